"""8-bit TFLite files: which layers are quantised, how, and what they compute."""

import json
import sys

import keras
import numpy as np
import pytest

from keras_det import export
from keras_det.data import draw_shapes_dataset, drawn_images, load
from keras_det.data.resize import resize_image
from keras_det.errors import DataError
from keras_det.export.int8.calibration import calibration_pixels, observed_ranges
from keras_det.export.int8.float_file import FloatFile, layer_name
from keras_det.export.int8.quantizer import PACKAGES
from keras_det.export.network.graph import exportable
from keras_det.export.tflite_file.operators import operator_counts
from keras_det.export.to_tflite.conversion import convert
from keras_det.export.to_tflite.decoders import make_decoder
from keras_det.models import quantize_aware
from tests.export.tiny import tiny
from tests.helpers import quantizer_or_skip

quantizer_or_skip()
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

SIZE = (64, 96)


def calibration(count=6, size=SIZE):
    return drawn_images(count, size, seed=5)


@pytest.fixture(scope="module")
def network():
    """A detector, its file in float32 with float input, ranges and the pixels they are of."""
    model = tiny(image_size=SIZE)
    decoder = make_decoder(model, "builtin")
    file = FloatFile(convert(model, decoder, dtype="float32"), model)
    pixels, _ = calibration_pixels(calibration(), model)
    return model, file, observed_ranges(file.content, file.tensors, file.pixels, pixels), pixels


def opened(content):
    loaded = interpreter.Interpreter(model_content=content)
    loaded.allocate_tensors()
    run = loaded.get_signature_runner("serving_default")
    run.keep = loaded
    return loaded, run


def types_by_layer(content):
    """Types of the tensors that the file computes, by the first part of their names."""
    loaded, _ = opened(content)
    found = {}
    for each in loaded.get_tensor_details():
        found.setdefault(each["name"].split(":")[0], set()).add(np.dtype(each["dtype"]).name)
    return found


KNOWN = {"lite0", "bifpn", "cell0_node1", "resample_0", "projection", "net", "block3_expand"}


@pytest.mark.parametrize(
    "tensor, layer",
    [
        ("lite0_1/bifpn_1/cell0_node1_1/resample_0_1/projection_1/Squeeze", "bifpn/cell0_node1"),
        # The activation was fused into the convolution, whose name comes last.
        ("lite0_1/bifpn_1/Relu6_3;lite0_1/bifpn_1/cell0_node1_9/conv", "bifpn/cell0_node1"),
        ("lite0_1/net_1/block3_expand_1/conv;", "net/block3"),
        ("lite0_1/bifpn_1/add", "bifpn"),
        ("PartitionedCall:0", "PartitionedCall:0"),
    ],
)
def test_layers_by_the_names_of_tensors(tensor, layer):
    assert layer_name(tensor, KNOWN) == layer


@pytest.mark.slow
def test_the_network_is_quantised_and_the_decoder_is_not(network):
    model, file, ranges, _ = network
    heads = {"class_head/prediction", "class_head/convolution_0", "box_head/prediction"}
    assert {"normalization", "bi_fpn/cell0_node0"} | heads <= set(file.layers)
    content = file.int8(ranges)
    types, counts = types_by_layer(content), operator_counts(content)
    for layer in file.layers:
        assert types[layer] <= {"int8", "int32"} or "prediction" in layer, layer
    assert types["tail"] <= {"float32", "int32", "bool"}
    # One at the input; one at the output of each head and level.
    assert counts["QUANTIZE"] == 1 and counts["DEQUANTIZE"] == 2 * 5
    before = operator_counts(file.content)
    for name in (*before, "QUANTIZE", "DEQUANTIZE"):
        if name not in ("QUANTIZE", "DEQUANTIZE"):
            assert counts[name] == before[name]


@pytest.mark.slow
def test_bytes_of_the_input_are_the_pixels(network):
    _, file, ranges, _ = network
    loaded, run = opened(file.int8(ranges))
    (given,) = loaded.get_input_details()
    assert given["dtype"] == np.uint8 and given["quantization"] == (1.0, 0)
    for each in run.get_output_details().values():
        assert each["dtype"] in (np.float32, np.int32)


@pytest.mark.slow
def test_int8_is_near_the_model_and_nearer_with_layers_in_float(network):
    model, file, ranges, pixels = network
    images = [image[None] for image in drawn_images(3, SIZE, seed=8)]

    def error(content):
        _, run = opened(content)
        dtype = run.get_input_details()["images"]["dtype"]
        squares = []
        for image in images:
            found, expected = run(images=image.astype(dtype)), model(image)
            for name, value in expected.items():
                value = np.array(value)
                squares.append(np.square((found[name] - value) / value.std()).mean())
        return np.sqrt(np.mean(squares))

    whole, half = error(file.int8(ranges)), error(file.int8(ranges, file.layers[:12]))
    nothing = error(file.int8(ranges, file.layers))
    assert 0.003 < half < whole < 0.12
    assert nothing < 1e-5, "layers in float compute as before"


@pytest.mark.slow
def test_layers_in_float_hold_float_numbers(network):
    _, file, ranges, _ = network
    left = ["bi_fpn/cell0_node3", "class_head/prediction"]
    types = types_by_layer(file.int8(ranges, left))
    for layer in left:
        assert "float32" in types[layer] and "int32" not in types[layer]
    assert types["class_head/convolution_0"] <= {"int8", "int32", "float32"}
    assert types["bi_fpn/cell0_node0"] <= {"int8", "int32"}


@pytest.mark.slow
def test_a_range_that_is_too_small_clips(network):
    model, file, ranges, pixels = network
    # An oracle of one tensor: int8 holds nothing outside the range that was observed.
    cut = [name for name in ranges if name.startswith("class_head/prediction")]
    narrow = {**ranges, **{k: (ranges[k][0] / 4, ranges[k][1] / 4) for k in cut}}
    _, run = opened(file.int8(narrow))
    found = run(images=pixels[0])["class_logits"]
    low = min(narrow[name][0] for name in cut)
    expected = np.array(model(pixels[0])["class_logits"])
    assert expected.min() < 2 * low and found.min() > 1.05 * low


@pytest.mark.slow
def test_dynamic_quantises_the_kernels_of_convolutions(tmp_path):
    model = tiny(image_size=SIZE, max_level=4)
    reports = {}
    for kind in ("float32", "dynamic"):
        path = tmp_path / f"{kind}.tflite"
        reports[kind] = export.tflite(model, path, quantize=kind)
    assert reports["dynamic"].passed and reports["dynamic"].settings["quantize"] == "dynamic"
    kernels = {}
    for kind in reports:
        loaded, _ = opened((tmp_path / f"{kind}.tflite").read_bytes())
        kernels[kind] = [
            np.dtype(each["dtype"]).name
            for each in loaded.get_tensor_details()
            if len(each["shape"]) == 4 and each["shape"][3] == 16 and each["shape"][0] == 16
        ]
    assert set(kernels["float32"]) == {"float32"} and set(kernels["dynamic"]) == {"int8"}
    counts = [report.settings["operators"] for report in reports.values()]
    assert counts[0] == counts[1], "activations stay in float between the layers"


@pytest.mark.slow
def test_int8_with_a_data_set_writes_what_was_measured(tmp_path):
    draw_shapes_dataset(tmp_path / "data", num_train=4, num_val=3, image_size=80)
    model = tiny(image_size=SIZE, max_level=4)
    path, told = tmp_path / "int8.tflite", []
    report = export.tflite(
        model,
        path,
        quantize="int8",
        calibration=load(tmp_path / "data", split="train"),
        on_progress=told.append,
    )
    content = json.loads(path.with_name("int8.tflite.certificate.json").read_text())
    settings = content["settings"]
    assert settings["quantize"] == "int8" and settings["calibration_images"] == 4 + 2
    errors = list(settings["sensitivity"].values())
    assert errors == sorted(errors, reverse=True) and errors[0] > 0
    assert settings["float_layers"] == [] and len(settings["attempts"]) == 1
    assert "layers most sensitive to int8" in str(report) and "no labelled images" in report.verdict
    assert "measured 10 of" in "".join(told) and "0 layers in float32" in told[-1]
    _, run = opened(path.read_bytes())
    image, _ = resize_image(drawn_images(1, 90, seed=3)[0], model.resize_policy, (0, 0, 0))
    assert set(run(images=image[None])) == {"boxes", "scores", "labels", "num_detections"}


@pytest.mark.slow
@pytest.mark.parametrize("postprocess", ["mediapipe", "none"])
def test_other_ends(tmp_path, postprocess):
    model = tiny(image_size=SIZE, resize_mode="stretch")
    path = tmp_path / "x.tflite"
    metadata = "mediapipe" if postprocess == "mediapipe" else None
    arguments = {"postprocess": postprocess, "metadata": metadata}
    export.tflite(model, path, quantize="int8", calibration=calibration(), **arguments)
    image = drawn_images(1, SIZE, seed=2)[0][None]
    found = opened(path.read_bytes())[1](images=image)
    if postprocess == "none":
        assert set(found) == {"class_logits", "box_deltas"}
        return
    assert set(found) == {"locations", "classes", "scores", "num_detections"}
    mediapipe = pytest.importorskip("mediapipe", reason="pip install .[mediapipe]")
    vision = mediapipe.tasks.vision
    options = vision.ObjectDetectorOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)), score_threshold=0.1
    )
    with vision.ObjectDetector.create_from_options(options) as detector:
        shown = detector.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, image[0].copy()))
    scores = [each.categories[0].score for each in shown.detections]
    count = int((found["scores"][0, : int(found["num_detections"][0])] > 0.1).sum())
    assert count > 3 and len(scores) == count
    np.testing.assert_allclose(scores, found["scores"][0, :count], atol=1e-6)


def test_calibration_is_asked_for(tmp_path):
    model = tiny(image_size=SIZE)
    with pytest.raises(DataError, match="needs `calibration`, images of the kind.*None"):
        export.tflite(model, tmp_path / "x.tflite", quantize="int8")
    with pytest.raises(DataError, match='`calibration` is only used with quantize="int8".*dynamic'):
        export.tflite(model, tmp_path / "x.tflite", quantize="dynamic", calibration=[])
    with pytest.raises(DataError, match="one image of `calibration` must be readable. Received: 0"):
        export.tflite(model, tmp_path / "x.tflite", quantize="int8", calibration=[])
    assert list(tmp_path.iterdir()) == []


def test_without_the_quantiser(tmp_path, monkeypatch):
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    model = tiny(image_size=SIZE)
    with pytest.raises(DataError, match=r"ai-edge-quantizer.*pip install .*\[quantize\]"):
        export.tflite(model, tmp_path / "x.tflite", quantize="dynamic")


def apart(model, seed=0):
    """Makes one channel before each last 1x1 convolution up to a hundred times another, without
    changing what the network computes: one scale does not fit all of them."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.SeparableConv2D):
            factors = 10 ** rng.uniform(-1, 1, layer.depthwise_kernel.shape[2])
            layer.depthwise_kernel.assign(layer.depthwise_kernel * factors[:, None])
            layer.pointwise_kernel.assign(layer.pointwise_kernel / factors[:, None])


def int8_errors(model, expected, images):
    """RMS of what the int8 file gives, in standard deviations, against given raw outputs."""
    file = FloatFile(convert(model, dtype="float32"), model)
    pixels, _ = calibration_pixels(images, model)
    content = file.int8(observed_ranges(file.content, file.tensors, file.pixels, pixels))
    run = opened(content)[1]
    found = [run(images=image[None]) for image in images]
    errors = [
        (np.concatenate([each[name] for each in found]) - value) / value.std()
        for name, value in expected.items()
    ]
    return float(np.sqrt(np.mean([np.square(error).mean() for error in errors])))


@pytest.mark.slow
def test_training_with_rounding_makes_int8_better():
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = tiny(image_size=(64, 64), max_level=4)
    images = drawn_images(32, (64, 64), seed=1)
    batch = np.stack(images).astype("float32")
    expected = {name: np.array(value) for name, value in model(batch).items()}
    apart(model)
    for name, value in model(batch).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)
    aware = quantize_aware(model)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 300))
    optimizer.build(aware.trainable_variables)

    @tf.function
    def step(x, wanted):
        with tf.GradientTape() as tape:
            found = aware(x, training=True)
            loss = sum(
                tf.reduce_mean(tf.square(found[name] - wanted[name])) / expected[name].var()
                for name in expected
            )
        gradients = tape.gradient(loss, aware.trainable_variables)
        pairs = zip(gradients, aware.trainable_variables, strict=True)
        optimizer.apply_gradients([pair for pair in pairs if pair[0] is not None])

    rng = np.random.default_rng(0)
    for _ in range(300):
        rows = rng.choice(32, 8, replace=False)
        step(tf.constant(batch[rows]), {k: tf.constant(v[rows]) for k, v in expected.items()})
    plain, notes = exportable(aware)
    assert "quantisation-aware training" in notes[0] and not plain.quantization_aware
    before = int8_errors(model, expected, images)
    after = int8_errors(plain, expected, images)
    assert before > 0.1 and after < 0.9 * before
