"""Splits a TFLite file into a body for an accelerator and a tail, which decodes its outputs."""

import dataclasses
from typing import Any

import numpy as np

from keras_det.export.tflite_file.schema import name_of, read, schema, write

# Operators that only join predictions. They move to the tail.
JOINING_OR_DEQUANTIZING = ("RESHAPE", "CONCATENATION", "DEQUANTIZE")


@dataclasses.dataclass(frozen=True)
class Joint:
    """An output of the body, which is a part of a raw output.

    Args:
        name: of the output.
        shape: of the output.
        scale, zero: value = scale * (number - zero) for an int8 output; scale is None for floats.
    """

    name: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero: int = 0


def cut(content: bytes) -> tuple[bytes, dict[str, list[Joint]]]:
    """Cuts a file after its predictions, before they are joined.

    Accelerators do not support DEQUANTIZE at the end of an int8 file, and some do not support large
    RESHAPE or CONCATENATION operators. The tail does this work.

    Args:
        content: a TFLite file with one subgraph and one signature, which returns raw outputs.

    Returns:
        `(body, joints)`: the file with the outputs `<raw output>_0`, `_1`, …, or the name of the
        raw output if it has one part; and by raw output its parts in order.
    """
    model = read(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    joints: dict[str, list[Joint]] = {}
    outputs: list[tuple[int, str]] = []
    for output in signature.outputs:
        raw = output.name.decode()
        found = _parts(model, graph, int(output.tensorIndex))
        labels = [raw] if len(found) == 1 else [f"{raw}_{i}" for i in range(len(found))]
        joints[raw] = [
            _joint(graph.tensors[tensor], label)
            for tensor, label in zip(found, labels, strict=True)
        ]
        outputs += zip(found, labels, strict=True)
    graph.outputs = np.array([tensor for tensor, _ in outputs], "i4")
    signature.outputs = [_named(*output) for output in outputs]
    graph.operators = _needed(graph)
    return write(model), joints


def _parts(model: Any, graph: Any, tensor: int) -> list[int]:
    """Returns the tensors of which a raw output consists."""
    producers = {int(x): op for op in graph.operators for x in op.outputs}
    operator = producers.get(tensor)
    if operator is None or name_of(model, operator) not in JOINING_OR_DEQUANTIZING:
        return [tensor]
    given = operator.inputs
    if name_of(model, operator) != "CONCATENATION":
        given = given[:1]
    return [part for each in given for part in _parts(model, graph, int(each))]


def _joint(tensor: Any, name: str) -> Joint:
    shape = tuple(int(side) for side in tensor.shape)
    if tensor.type != schema().TensorType.INT8:
        return Joint(name, shape)
    parameters = tensor.quantization
    return Joint(name, shape, float(parameters.scale[0]), int(parameters.zeroPoint[0]))


def _named(tensor: int, name: str) -> Any:
    output = schema().TensorMapT()
    output.name, output.tensorIndex = name, tensor
    return output


def _needed(graph: Any) -> list[Any]:
    """Returns the operators that the outputs need, in their order."""
    producers = {int(x): i for i, each in enumerate(graph.operators) for x in each.outputs}
    needed, waiting = set[int](), [int(tensor) for tensor in graph.outputs]
    while waiting:
        i = producers.get(waiting.pop())
        if i is not None and i not in needed:
            needed.add(i)
            waiting += [int(tensor) for tensor in graph.operators[i].inputs]
    return [graph.operators[i] for i in sorted(needed)]


def value_of(joint: Joint, number: Any) -> Any:
    """Returns the float values of an output of the body.

    Args:
        joint: the output.
        number: its array or tensor, as float32.
    """
    return number if joint.scale is None else (number - float(joint.zero)) * joint.scale


def joined(found: dict, joints: dict[str, list[Joint]], shapes: dict) -> dict:
    """Joins the outputs of the body to raw outputs, as floats.

    Args:
        found: outputs of the body, arrays by name.
        joints: of `cut`.
        shapes: shapes of the raw outputs by name, without the batch.
    """
    raw = {}
    for name, each in joints.items():
        values = [value_of(joint, found[joint.name].astype(np.float32)) for joint in each]
        raw[name] = np.concatenate([x.reshape(1, -1, *shapes[name][1:]) for x in values], axis=1)
        raw[name] = raw[name].reshape(1, *shapes[name])
    return raw
