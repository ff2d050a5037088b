"""Hides outputs of a TFLite file."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_det.export.tflite_file.schema import schema

# Vtable slots of `outputs`, in the schema's table SubGraph and in its table SignatureDef.
SUBGRAPH_OUTPUTS, SIGNATURE_OUTPUTS = 8, 6


def hide_outputs(content: bytes, hidden: Iterable[str], order: Sequence[str] = ()) -> bytes:
    """Returns the same file without some outputs of its signature.

    Only the lists of outputs change. Operators, weights and their alignment stay, so measurements
    on the file with all outputs are valid for this one.

    Args:
        content: a TFLite file with one subgraph and one signature.
        hidden: names of the outputs to hide.
        order: names of all other outputs in their new order. Default: their present order.
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
    # Offsets of tables are relative to the position of the offset.
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
    """Overwrites a vector of 32-bit numbers with a shorter one.

    Args:
        content: of the file.
        table: that has the vector.
        slot: of the vector in the table.
        values_at: function from the position of the vector to its new values.
    """
    start = table._tab.Vector(table._tab.Offset(slot))
    values = values_at(start)
    struct.pack_into(f"<I{len(values)}i", content, start - 4, len(values), *values)
