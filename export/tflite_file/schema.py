"""The classes of TFLite's file format, and helpers to read and change files.

The classes are generated code in a private module of TensorFlow. The package `tflite` of PyPI
(2.18) can read files, but it lacks the object classes for changing them. Only `schema` imports the
private module: tests/export/tflite_file/test_schema.py fails if TensorFlow moves it.
"""

import functools
from types import ModuleType
from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"


def schema() -> ModuleType:
    """Returns the module of the generated classes: `ModelT`, `TensorT`, `BuiltinOperator`, …"""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def read(content: bytes) -> Any:
    """Reads a TFLite file to a `ModelT`.

    LiteRT's quantizer stores large constants after the flatbuffer, at an offset from the start of
    the file. They are copied into the `ModelT`, so that `write` keeps them.
    """
    classes = schema()
    model = classes.ModelT.InitFromObj(classes.Model.GetRootAsModel(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1: inside the flatbuffer
            outside = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(outside, np.uint8)
            buffer.offset = buffer.size = 0
    for operator in (each for graph in model.subgraphs for each in graph.operators):
        if (start := operator.largeCustomOptionsOffset) > 1:
            outside = content[start : start + operator.largeCustomOptionsSize]
            operator.customOptions = np.frombuffer(outside, np.uint8)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


def write(model: Any) -> bytes:
    """Writes a `ModelT` to a TFLite file."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def kind_of(model: Any, operator: Any) -> int:
    """Returns the number of the builtin operator that an operator is.

    Args:
        model: `ModelT`.
        operator: `OperatorT` of one of its graphs.
    """
    code = model.operatorCodes[operator.opcodeIndex]
    # Files of old converters only fill the 8-bit field.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


@functools.cache
def kind_names() -> dict[int, str]:
    """Returns the names of TFLite's builtin operators by number."""
    builtin = vars(schema().BuiltinOperator)
    return {number: name for name, number in builtin.items() if isinstance(number, int)}


@functools.cache
def type_names() -> dict[int, str]:
    """Returns the names of TFLite's tensor types by number."""
    types = vars(schema().TensorType)
    return {number: name for name, number in types.items() if isinstance(number, int)}


def name_of(model: Any, operator: Any) -> str:
    """Returns the name of a builtin operator, or the own name of a custom operator.

    Args:
        model: `ModelT`.
        operator: `OperatorT` of one of its graphs.
    """
    custom = model.operatorCodes[operator.opcodeIndex].customCode
    return custom.decode() if custom else kind_names()[kind_of(model, operator)]


def add_operator_code(model: Any, kind: int, version: int) -> int:
    """Appends the code of a builtin operator to a `ModelT`, and returns its index.

    Args:
        model: `ModelT`.
        kind: number of the builtin operator.
        version: of the operator, which a runtime must support.
    """
    code = schema().OperatorCodeT()
    code.builtinCode, code.version = kind, version
    code.deprecatedBuiltinCode = min(kind, 127)  # an 8-bit field: 127 for all later operators
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_constant(model: Any, graph: Any, values: np.ndarray, name: str) -> int:
    """Adds a constant tensor to a graph, and returns its index.

    Args:
        model: `ModelT`.
        graph: `SubGraphT` of it.
        values: int32.
        name: the beginning of the tensor's name.
    """
    classes = schema()
    buffer = classes.BufferT()
    buffer.data = np.frombuffer(values.astype("<i4").tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = classes.TensorT()
    tensor.name = f"{name}_{len(graph.tensors)}".encode()
    tensor.shape = np.array(values.shape, "i4")
    tensor.type, tensor.buffer = classes.TensorType.INT32, len(model.buffers) - 1
    tensor.hasRank, tensor.quantization = True, classes.QuantizationParametersT()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
