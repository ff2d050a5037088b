"""One resize in the place of two gathers, in a TFLite file."""

import numpy as np

from keras_det.export.flatbuffer import kind_of


def with_resizes(content: bytes) -> bytes:
    """The same TFLite file with nearest enlargements as the operator that accelerators know.

    The original EfficientDet repeats row floor(i * in / out). Where sizes are no multiples of each
    other, as P7 and P6 of Lite0 at 320 (3 and 5 cells), this is a gather of rows and one of columns
    here. RESIZE_NEAREST_NEIGHBOR without half-pixel centres does both at once:
    floor(i * float32(in / out)). It takes their place where the rows and columns are the same.

    Args:
        content: a TFLite file.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR
    code.version = 3  # the first that takes `half_pixel_centers`
    changed = 0
    for graph in model.subgraphs:
        for first, second in _pairs(model, graph, schema):
            size = _constant(model, graph, _size(graph, second), schema)
            operator = schema.OperatorT()
            operator.opcodeIndex = len(model.operatorCodes)
            operator.inputs = np.array([first.inputs[0], size], "i4")
            operator.outputs = second.outputs
            operator.builtinOptionsType = schema.BuiltinOptions.ResizeNearestNeighborOptions
            operator.builtinOptions = schema.ResizeNearestNeighborOptionsT()
            place = _place(graph.operators, second)
            graph.operators[place] = operator
            del graph.operators[_place(graph.operators, first)]
            changed += 1
    if not changed:
        return content
    model.operatorCodes.append(code)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _pairs(model, graph, schema):
    """Pairs of a gather of rows and one of columns that only it feeds, as a resize does them."""
    gathers = [op for op in graph.operators if kind_of(model, op) == schema.BuiltinOperator.GATHER]
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


def _is_nearest(model, graph, first, second):
    """Whether both index lists are floor(i * float32(in / out))."""
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


def _size(graph, gather):
    return np.array(graph.tensors[gather.outputs[0]].shape[1:3], "<i4")


def _constant(model, graph, values, schema):
    """Index of a new constant tensor."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = f"size_{len(graph.tensors)}".encode(), np.array(values.shape, "i4")
    tensor.type, tensor.buffer = schema.TensorType.INT32, len(model.buffers) - 1
    tensor.hasRank, tensor.quantization = True, schema.QuantizationParametersT()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _place(operators, operator):
    return next(i for i, each in enumerate(operators) if each is operator)
