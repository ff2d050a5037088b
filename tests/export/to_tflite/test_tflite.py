"""TFLite files: run by LiteRT beside the Keras model, at odd sizes, in both number formats."""

import json
import sys

import keras
import numpy as np
import pytest

from keras_det import export
from keras_det.data import drawn_images
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.tflite_file.float16 import with_float16_kernels
from keras_det.export.tflite_file.operators import check_operators, operator_counts
from keras_det.export.tflite_file.outputs import hide_outputs
from keras_det.export.to_tflite.conversion import convert
from keras_det.export.to_tflite.tflite import whole_file
from keras_det.models import EfficientDet, RetinaNet
from keras_det.runtime.detections import trim
from tests.export.tiny import tiny

pytestmark = pytest.mark.slow
interpreter = pytest.importorskip("ai_edge_litert.interpreter")


def runner(path):
    loaded = interpreter.Interpreter(str(path))
    run = loaded.get_signature_runner("serving_default")
    run.keep = loaded
    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A letterboxing model, its float32 file and the report."""
    model = tiny(image_size=(96, 128))
    path = tmp_path_factory.mktemp("phone") / "new" / "tiny.tflite"
    return model, path, export.tflite(model, path)


def compare_by_hand(model, path, box_tolerance, score_tolerance):
    """LiteRT beside the model on images of two shapes, without the code of the check."""
    run, total = runner(path), 0
    for image in drawn_images(2, (90, 170), seed=9) + drawn_images(2, (150, 80), seed=9):
        fill = model.normalization.fill_color
        pixels, _ = resize_image(image, model.resize_policy, fill)
        found = run(images=pixels[None])
        reference = trim({k: np.array(v) for k, v in model.detect_function()(pixels[None]).items()})
        count = int(found["num_detections"][0])
        clear = int((reference["scores"] > 0.05 + score_tolerance).sum())
        assert count >= clear
        np.testing.assert_array_equal(found["labels"][0, :clear], reference["labels"][:clear])
        for name, tolerance in (("boxes", box_tolerance), ("scores", score_tolerance)):
            value = found[name][0, :clear]
            np.testing.assert_allclose(value, reference[name][:clear], atol=tolerance)
        np.testing.assert_array_equal(found["labels"][0, count:], -1)
        total += clear
    assert total > 20


def test_letterbox_float32(exported):
    model, path, report = exported
    assert report.passed and report.comparison.matched_detections > 50
    assert report.comparison.box_error_max < 1e-3 and report.comparison.score_error_max < 1e-5
    compare_by_hand(model, path, 1e-3, 1e-5)


def test_files_beside_the_artefact(exported):
    model, path, report = exported
    names = ["tiny.tflite", "tiny.tflite.certificate.json", "tiny.tflite.labels.txt"]
    assert sorted(p.name for p in path.parent.iterdir()) == names
    assert path.with_name(names[2]).read_text() == "cat\ndog\ncow\n"
    content = json.loads(path.with_name(names[1]).read_text())
    assert content["settings"]["quantize"] == "float32"
    assert content["versions"]["interpreter"].startswith("ai-edge-litert")
    assert content["size_bytes"] == path.stat().st_size == report.size_bytes


def test_signature_is_the_contract(exported):
    run = runner(exported[1])
    (name, image), *others = run.get_input_details().items()
    assert (name, image["dtype"], image["shape"].tolist()) == ("images", np.uint8, [1, 96, 128, 3])
    assert not others
    outputs = {
        k: (v["dtype"], v["shape"].tolist()) for k, v in sorted(run.get_output_details().items())
    }
    assert outputs == {
        "boxes": (np.float32, [1, 100, 4]),
        "labels": (np.int32, [1, 100]),
        "num_detections": (np.int32, [1]),
        "scores": (np.float32, [1, 100]),
    }


def test_batch_norm_is_folded_and_upsampling_is_one_operator(exported):
    model, path, report = exported
    counts = operator_counts(path.read_bytes())
    assert counts == report.settings["operators"]
    # One multiplication per weighted input of a node: 4 nodes with 2 inputs, 3 with 3 and the top
    # one with 2. The decoder has its own on a few thousand numbers. The image's scale is in the
    # first kernel.
    raw = operator_counts(convert(model))
    assert raw["MUL"] == 4 * 2 + 3 * 3 + 2 and raw["SUB"] == 1
    # Additions: 4 + 3 * 2 + 1 between those inputs.
    assert raw["ADD"] == 4 + 3 * 2 + 1
    # The backbone's 5, a projection from each of P3, P4, P5 to the neck wherever channels differ
    # (here nowhere), 8 nodes, and 2 heads * 5 levels * (1 hidden + 1 prediction).
    assert raw["CONV_2D"] == 5 + 8 + 20 and raw["DEPTHWISE_CONV_2D"] == 8 + 20
    # From P7 (1 x 1) to P6 (2 x 2), to P5 (3 x 4: not twice), to P4, to P3.
    assert raw["RESIZE_NEAREST_NEIGHBOR"] == 4 and "GATHER" not in raw
    assert "RELU6" not in raw and "TILE" not in raw, "activations belong into the convolutions"


def test_stretch_float16(tmp_path):
    model = tiny(image_size=(128, 80), resize_mode="stretch", seed=1)
    path = tmp_path / "half.tflite"
    report = export.tflite(model, path, quantize="float16")
    assert report.passed and report.comparison.matched_detections > 30
    assert report.settings["operators"]["DEQUANTIZE"] > 0
    compare_by_hand(model, path, 1.0, 1e-2)


def test_raw_outputs_and_another_size(tmp_path):
    model = tiny(image_size=(96, 128))
    path = tmp_path / "raw.tflite"
    report = export.tflite(model, path, postprocess="none", image_size=(64, 100))
    assert report.passed and report.comparison.matched_detections > 0 and report.decoding == {}
    run, smaller = runner(path), model.with_image_size((64, 100))
    pixels = drawn_images(1, (64, 100), seed=2)[0][None]
    found, reference = run(images=pixels), smaller(pixels)
    assert set(found) == {"class_logits", "box_deltas"}
    for name, value in found.items():
        np.testing.assert_allclose(value, reference[name], atol=1e-4)


def test_untrained_mixed_precision_model_in_float16(tmp_path):
    model = tiny(finds=False, dtype="mixed_float16")
    report = export.tflite(model, tmp_path / "new.tflite", quantize="float16")
    assert report.passed and report.verdict.startswith("passed on raw outputs only")
    assert any("mixed_float16" in note for note in report.notes)


def test_published_model_converts(tmp_path):
    model = EfficientDet("lite0", class_names=["a", "b"], image_size=(64, 96))
    report = export.tflite(model, tmp_path / "lite0.tflite", quantize="float16")
    counts = report.settings["operators"]
    # 9 residual additions of the backbone and 11 in each of 3 BiFPN cells; the rest decodes.
    raw = 9 + 33
    assert raw < counts["ADD"] < raw + 12 and counts["MUL"] < 12
    assert "hardly varies" in str(report), "random weights: logits are the prior everywhere"


def test_silu_and_squeeze_and_excitation_convert(tmp_path):
    # A custom gradient of silu once made the frozen graph impossible to save.
    model = EfficientDet("d0", class_names=["a", "b"], image_size=(64, 64))
    assert export.tflite(model, tmp_path / "d0.tflite").settings["operators"]["LOGISTIC"] > 50


def test_float16_rounds_kernels_only():
    model = tiny(image_size=(64, 96))
    decoder = model.decoder(exported=True)
    single = convert(model, decoder)
    half = with_float16_kernels(single)
    kernels = _constants(half, "FLOAT16")
    assert kernels and {len(shape) for shape in kernels} == {4}
    assert not [shape for shape in _constants(half, "FLOAT32") if len(shape) == 4]
    # Biases, anchors and the pixels' mean and scale: as many as before, of the same shapes.
    expected = [shape for shape in _constants(single, "FLOAT32") if len(shape) != 4]
    assert sorted(_constants(half, "FLOAT32")) == sorted(expected)


def test_float16_leaves_kernels_beyond_its_range():
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator
    from tensorflow.lite.tools import flatbuffer_utils

    single = convert(tiny(image_size=(64, 96)))
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(single))
    codes = [code.builtinCode for code in model.operatorCodes]
    kinds = [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]
    first = model.subgraphs[0].operators[kinds.index(BuiltinOperator.CONV_2D)].inputs[1]
    tensor = model.subgraphs[0].tensors[first]
    data = model.buffers[tensor.buffer].data.copy()
    data[:4] = np.frombuffer(np.float32(70000).tobytes(), np.uint8)
    model.buffers[tensor.buffer].data = data
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    files = [with_float16_kernels(file) for file in (content, single)]
    rounded, all_rounded = (len(_constants(file, "FLOAT16")) for file in files)
    assert rounded == all_rounded - 1


def test_float16_keeps_shared_kernels_shared():
    # Plain heads of a RetinaNet use one kernel on all five levels.
    model = RetinaNet("resnet18", num_classes=2, image_size=64, neck_channels=16)
    half = with_float16_kernels(convert(model))
    assert len(half) < 2.1 * model.count_params() + 100_000


def _constants(content, kind):
    """Shapes of the constants of a type."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    tensors = [model.Subgraphs(0).Tensors(i) for i in range(model.Subgraphs(0).TensorsLength())]
    return [
        tensor.ShapeAsNumpy().tolist()
        for tensor in tensors
        if tensor.Type() == getattr(schema.TensorType, kind)
        and tensor.ShapeLength()
        and model.Buffers(tensor.Buffer()).DataLength()
    ]


def test_hiding_outputs_keeps_everything_else():
    model = tiny(image_size=(64, 64))
    opened = convert(model, model.decoder(exported=True))
    hidden = hide_outputs(opened, ("class_logits", "box_deltas"))
    assert len(hidden) == len(opened) and operator_counts(hidden) == operator_counts(opened)
    runs = []
    for content in (opened, hidden):
        loaded = interpreter.Interpreter(model_content=content)
        pixels = drawn_images(1, (64, 64), seed=1)[0][None]
        runs.append(loaded.get_signature_runner("serving_default")(images=pixels))
    assert set(runs[0]) - set(runs[1]) == {"class_logits", "box_deltas"}
    for name, value in runs[1].items():
        np.testing.assert_array_equal(value, runs[0][name])


def test_lost_variables_and_foreign_operators_are_refused():
    import tensorflow as tf

    class Holder(tf.Module):  # its list of a Keras model's variables is not one of tf.Variable
        def __init__(self, model):
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32)])
        def __call__(self, x):
            return self.model(x)

    holder = Holder(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
    function = holder.__call__.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], holder).convert()
    with pytest.raises(export.ExportError, match="only builtin operators. Received: .*VAR_HANDLE"):
        check_operators(content)


def test_flex_operators_are_refused():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((2, 2), tf.float32)])
    def function(x):
        return {"out": tf.linalg.det(x)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    with pytest.raises(export.ExportError, match="builtin operators. Received: Flex.*Determinant"):
        check_operators(converter.convert())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"quantize": "int4"}, "`quantize` must be one of float32, .*int8. Received: 'int4'"),
        ({"quantize": "flaot16"}, "Did you mean 'float16'"),
        ({"postprocess": "flex"}, "`postprocess` must be one of builtin, mediapipe, split, none"),
        ({"image_size": 8}, "`image_size` must be an int or"),
    ],
)
def test_wrong_arguments(exported, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export.tflite(exported[0], tmp_path / "x.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_not_overwritten(exported):
    with pytest.raises(DataError, match="must not exist yet"):
        export.tflite(*exported[:2])


def test_without_litert_the_report_says_who_ran_the_file(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    model, path, _ = exported
    content = path.read_bytes()
    running = whole_file(model, content, content, None)
    assert "install ai-edge-litert" in running.notes[0]
    assert running.versions["interpreter"].startswith("tensorflow")
    pixels = drawn_images(1, (96, 128), seed=2)[0]
    assert len(running.calls(pixels, pixels[None])["serving_default"]()["scores"]) > 0
