"""Which outputs a TFLite file shows."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_det.export.tflite_file.schema import schema

# Vtable slots of `outputs`, in the schema's table SubGraph and in its table SignatureDef.
SUBGRAPH_OUTPUTS, SIGNATURE_OUTPUTS = 8, 6


def hide_outputs(content: bytes, hidden: Iterable[str], order: Sequence[str] = ()) -> bytes:
    """The same file with some outputs of its one signature no longer shown.

    Works in place: operators, weights and their alignment stay as they are, so what was measured
    on the file with all outputs holds for this one.

    Args:
        content: a TFLite file with one subgraph and one signature.
        hidden: names of outputs.
        order: names of all others, in the order in which they are to stand. Default: as they are.
    """
    changed = bytearray(content)
    model = schema().Model.GetRootAsModel(changed, 0)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    outputs = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    by_name = {x.Name().decode(): x for x in outputs}
    gone = {by_name[name].TensorIndex() for name in hidden}
    tensors = [int(x) for x in graph.OutputsAsNumpy() if x not in gone]
    if order:
        tensors = [by_name[name].TensorIndex() for name in order]
    _shorten(changed, graph, SUBGRAPH_OUTPUTS, lambda position: tensors)
    shown = [x for x in outputs if x.TensorIndex() not in gone]
    # Offsets of tables count from the place where they stand.
    _shorten(
        changed,
        signature,
        SIGNATURE_OUTPUTS,
        lambda position: [x._tab.Pos - position - 4 * i for i, x in enumerate(shown)],
    )
    return bytes(changed)


def _shorten(
    content: bytearray, table: Any, slot: int, values_at: Callable[[int], list[int]]
) -> None:
    """Overwrites a vector of 32-bit numbers with fewer of them, which `values_at(start)` gives."""
    start = table._tab.Vector(table._tab.Offset(slot))
    values = values_at(start)
    struct.pack_into(f"<I{len(values)}i", content, start - 4, len(values), *values)
