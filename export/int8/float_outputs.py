"""Puts raw outputs behind an operator that stays in float."""

from collections.abc import Collection
from typing import Any

import numpy as np

from keras_det.export.tflite_file.schema import (
    add_constant,
    add_operator_code,
    name_of,
    schema,
)


def reshape_outputs(model: Any, names: Collection[str], joining: Collection[str]) -> dict[int, str]:
    """Adds a RESHAPE, to the same shape, behind every raw output that a kernel computes.

    The maps of a CornerNet are such outputs. The quantizer returns wrong numbers for some of them,
    and loses those that the decoder in the file reads too. Behind a RESHAPE in float they are
    right. The predictions of anchor detectors have one anyway: it joins the levels.

    Args:
        model: `ModelT` with one subgraph and one signature; it is changed.
        names: of the raw outputs.
        joining: names of operators that stay in float.

    Returns:
        The names of these outputs by the index of the tensor that the network computes.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    found: dict[int, str] = {}
    code = None
    for output in signature.outputs:
        tensor = int(output.tensorIndex)
        place = next(i for i, op in enumerate(graph.operators) if tensor in op.outputs)
        readers = [op for op in graph.operators if tensor in op.inputs]
        joined = name_of(model, graph.operators[place]) in joining
        if joined or output.name.decode() not in names:
            continue
        if code is None:
            code = add_operator_code(model, schema().BuiltinOperator.RESHAPE, version=1)
        behind = _like(graph, tensor)
        for reader in readers:
            reader.inputs = np.where(reader.inputs == tensor, behind, reader.inputs)
        graph.outputs = np.where(graph.outputs == tensor, behind, graph.outputs)
        output.tensorIndex = behind
        graph.operators.insert(place + 1, _reshape(model, graph, code, tensor, behind))
        found[tensor] = output.name.decode()
    return found


def _like(graph: Any, index: int) -> int:
    """Adds a tensor with the shape and the name of another, and returns its index."""
    tensor, other = schema().TensorT(), graph.tensors[index]
    tensor.name, tensor.shape, tensor.type = other.name, other.shape, other.type
    tensor.buffer, tensor.hasRank = 0, True
    tensor.quantization = schema().QuantizationParametersT()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _reshape(model: Any, graph: Any, code: int, tensor: int, behind: int) -> Any:
    classes = schema()
    operator = classes.OperatorT()
    operator.opcodeIndex = code
    shape = np.array(graph.tensors[tensor].shape, "<i4")
    operator.inputs = np.array([tensor, add_constant(model, graph, shape, "shape")], "i4")
    operator.outputs = np.array([behind], "i4")
    operator.builtinOptionsType = classes.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = classes.ReshapeOptionsT()
    operator.builtinOptions.newShape = shape
    return operator
