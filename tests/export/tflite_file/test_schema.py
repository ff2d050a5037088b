"""The one place that imports TensorFlow's private classes for TFLite's format."""

import ast

import numpy as np
import pytest
import tensorflow as tf

from keras_det.export.tflite_file import schema as fence
from tests.helpers import ROOT

NEEDED = (
    "Model ModelT SubGraphT OperatorT OperatorCodeT TensorT BufferT MetadataT TensorMapT "
    "QuantizationParametersT ResizeNearestNeighborOptionsT BuiltinOperator BuiltinOptions "
    "TensorType"
)


def test_tensorflow_has_the_classes():
    try:
        classes = fence.schema()
    except ImportError:
        pytest.fail(
            f"TensorFlow {tf.__version__} no longer has tensorflow.lite.python.schema_py_generated "
            "(2.20 and 2.21 have). Let `schema()` in export/tflite_file/schema.py import it from "
            "its new place, or from ai_edge_litert.schema_py_generated."
        )
    missing = [name for name in NEEDED.split() if not hasattr(classes, name)]
    assert not missing, f"TensorFlow {tf.__version__} lacks {missing} of TFLite's format"


def test_nothing_else_imports_them():
    private = ("tensorflow.lite.python", "tensorflow.lite.tools", "ai_edge_litert.tools")
    found = []
    for top in ("export", "keras_det"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(private):
                    found.append(path.relative_to(ROOT).as_posix())
    assert found == ["export/tflite_file/schema.py"]


@pytest.fixture(scope="module")
def content():
    """A file that multiplies two numbers and adds a constant."""

    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32)])
    def function(x):
        return x * x + tf.constant([[1.0, 2.0]])

    holder = tf.Module()
    concrete = [function.get_concrete_function()]
    return tf.lite.TFLiteConverter.from_concrete_functions(concrete, holder).convert()


def test_reading_and_writing_keeps_a_file(content):
    model = fence.read(content)
    assert [fence.name_of(model, op) for op in model.subgraphs[0].operators] == ["MUL", "ADD"]
    written = fence.write(model)
    assert written[4:8] == b"TFL3"
    # As TensorFlow's own tool for it does.
    from tensorflow.lite.tools import flatbuffer_utils

    theirs = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    assert written == bytes(flatbuffer_utils.convert_object_to_bytearray(theirs))
    interpreter = tf.lite.Interpreter(model_content=written)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.float32([[3, 4]]))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert found.tolist() == [[10, 18]]


def test_operator_codes_of_later_operators_fill_the_8_bit_field_with_127():
    model = fence.schema().ModelT()
    model.operatorCodes = []
    kinds = fence.schema().BuiltinOperator
    assert fence.add_operator_code(model, kinds.DEQUANTIZE, version=3) == 0
    assert fence.add_operator_code(model, kinds.GELU, version=1) == 1
    codes = [(c.builtinCode, c.deprecatedBuiltinCode, c.version) for c in model.operatorCodes]
    assert codes == [(6, 6, 3), (150, 127, 1)]


def test_names_of_kinds_and_types():
    assert fence.kind_names()[6] == "DEQUANTIZE" and fence.type_names()[9] == "INT8"


def test_constants_behind_the_flatbuffer_are_kept(content):
    model = fence.read(content)
    tensors = model.subgraphs[0].tensors
    (constant,) = (model.buffers[t.buffer] for t in tensors if len(bytes(_data(model, t))) == 8)
    values, constant.data = bytes(constant.data), None
    constant.size = len(values)
    for _ in range(2):  # the second time with the right offset
        constant.offset = len(fence.write(model)) + 2
        outside = fence.write(model) + b"\0\0" + values
    assert bytes(outside[constant.offset :]) == values
    again = fence.write(fence.read(outside))
    for each in (outside, again):
        assert run(each) == [[10.0, 18.0]]


def _data(model, tensor):
    data = model.buffers[tensor.buffer].data
    return b"" if data is None else data


def run(content):
    """What the file of `content` gives for `[[3, 4]]`."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.float32([[3, 4]]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()
