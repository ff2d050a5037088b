"""Replaces two gathers by one resize in a TFLite file."""

from typing import Any

import numpy as np

from keras_det.export.tflite_file.schema import (
    add_constant,
    add_operator_code,
    kind_of,
    read,
    schema,
    write,
)


def with_resizes(content: bytes) -> bytes:
    """Returns the same TFLite file with nearest-neighbour resizes as an operator of accelerators.

    The original EfficientDet repeats row floor(i * in / out). If one size is not a multiple of the
    other, such as P7 and P6 of Lite0 at 320 (3 and 5 cells), this package gathers rows and then
    columns. RESIZE_NEAREST_NEIGHBOR without half-pixel centres does both at once:
    floor(i * float32(in / out)). It replaces the gathers if it takes the same rows and columns.

    Args:
        content: a TFLite file.
    """
    model = read(content)
    found = [(graph, *pair) for graph in model.subgraphs for pair in _pairs(model, graph)]
    if not found:
        return content
    # Version 3 is the first that supports `half_pixel_centers`.
    code = add_operator_code(model, schema().BuiltinOperator.RESIZE_NEAREST_NEIGHBOR, version=3)
    for graph, first, second in found:
        graph.operators[_place(graph.operators, second)] = _resize(
            model, graph, code, first, second
        )
        del graph.operators[_place(graph.operators, first)]
    return write(model)


def _resize(model: Any, graph: Any, code: int, first: Any, second: Any) -> Any:
    """Returns the resize that replaces two gathers."""
    classes = schema()
    operator = classes.OperatorT()
    operator.opcodeIndex = code
    size = add_constant(model, graph, _size(graph, second), "size")
    operator.inputs = np.array([first.inputs[0], size], "i4")
    operator.outputs = second.outputs
    operator.builtinOptionsType = classes.BuiltinOptions.ResizeNearestNeighborOptions
    operator.builtinOptions = classes.ResizeNearestNeighborOptionsT()
    return operator


def _pairs(model: Any, graph: Any) -> list[tuple[Any, Any]]:
    """Returns pairs of gathers that a resize can replace.

    The first gathers rows and the second columns, and only the second reads the first.
    """
    gather = schema().BuiltinOperator.GATHER
    gathers = [op for op in graph.operators if kind_of(model, op) == gather]
    pairs = []
    for first in gathers:
        readers = [op for op in graph.operators if first.outputs[0] in op.inputs]
        if len(readers) != 1 or readers[0] not in gathers or first.outputs[0] in graph.outputs:
            continue
        second = readers[0]
        axes = (first.builtinOptions.axis, second.builtinOptions.axis)
        if axes == (1, 2) and _is_nearest(model, graph, first, second):
            pairs.append((first, second))
    return pairs


def _is_nearest(model: Any, graph: Any, first: Any, second: Any) -> bool:
    """Whether the indices of both gathers are floor(i * float32(in / out))."""
    shape = graph.tensors[first.inputs[0]].shape
    for axis, gather in ((1, first), (2, second)):
        data = model.buffers[graph.tensors[gather.inputs[1]].buffer].data
        if data is None:
            return False
        found = np.frombuffer(bytes(data), "<i4")
        scale = np.float32(shape[axis]) / np.float32(len(found))
        rows = np.floor(np.arange(len(found), dtype=np.float32) * scale).astype(int)
        if not np.array_equal(found, np.minimum(rows, shape[axis] - 1)):
            return False
    return True


def _size(graph: Any, gather: Any) -> np.ndarray:
    return np.array(graph.tensors[gather.outputs[0]].shape[1:3], "<i4")


def _place(operators: list[Any], operator: Any) -> int:
    return next(i for i, each in enumerate(operators) if each is operator)
