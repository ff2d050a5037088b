"""The classes of TFLite's file format, and files as objects of them.

TensorFlow generates them and keeps them in a private module; the package `tflite` of PyPI (2.18)
reads files, but lacks the object form that is needed to change them. `schema` is the only place
that imports them: tests/export/tflite_file/test_schema.py fails where TensorFlow moves them.
"""

import functools
from types import ModuleType
from typing import Any

IDENTIFIER = b"TFL3"


def schema() -> ModuleType:
    """The module of the generated classes: `ModelT`, `TensorT`, `BuiltinOperator`, …"""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def read(content: bytes) -> Any:
    """The `ModelT` of a TFLite file."""
    classes = schema()
    return classes.ModelT.InitFromObj(classes.Model.GetRootAsModel(content, 0))


def write(model: Any) -> bytes:
    """The TFLite file of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def kind_of(model: Any, operator: Any) -> int:
    """Number of an operator's builtin kind.

    Args:
        model: `ModelT`.
        operator: `OperatorT` of one of its graphs.
    """
    code = model.operatorCodes[operator.opcodeIndex]
    # Files of old converters only fill the 8-bit field.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


@functools.cache
def kind_names() -> dict[int, str]:
    """Names of TFLite's builtin operators by their number."""
    builtin = vars(schema().BuiltinOperator)
    return {number: name for name, number in builtin.items() if isinstance(number, int)}


@functools.cache
def type_names() -> dict[int, str]:
    """Names of TFLite's tensor types by their number."""
    types = vars(schema().TensorType)
    return {number: name for name, number in types.items() if isinstance(number, int)}


def name_of(model: Any, operator: Any) -> str:
    """Name of an operator's kind; a custom operator's own."""
    custom = model.operatorCodes[operator.opcodeIndex].customCode
    return custom.decode() if custom else kind_names()[kind_of(model, operator)]


def add_operator_code(model: Any, kind: int, version: int) -> int:
    """Appends a builtin operator's code to a `ModelT`; returns its index.

    Args:
        model: `ModelT`.
        kind: number of the builtin operator.
        version: of it: what it needs of a runtime.
    """
    code = schema().OperatorCodeT()
    code.builtinCode, code.version = kind, version
    code.deprecatedBuiltinCode = min(kind, 127)  # what the 8-bit field holds of later operators
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
