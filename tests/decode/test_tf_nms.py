"""TensorFlow's operator gives what the layer gives, eagerly, in graphs and inside TFLite."""

import keras
import numpy as np
import pytest

from keras_det.decode import AnchorDecoder, TFAnchorDecoder, inference_decoder
from keras_det.decode.tf_nms import tf_non_max_suppression
from keras_det.layers.nms import NonMaxSuppression
from tests.nms_oracle import random_candidates

tf = pytest.importorskip("tensorflow")


def as_numpy(detections):
    return {name: keras.ops.convert_to_numpy(value) for name, value in detections.items()}


def assert_equal_to_layer(candidates, image_size=128, found=None, **settings):
    expected = as_numpy(NonMaxSuppression(**settings)(*candidates))
    if found is None:
        found = tf_non_max_suppression(*candidates, image_size=image_size, **settings)
    found = as_numpy(found)
    assert {name: array.dtype for name, array in found.items()} == {
        name: array.dtype for name, array in expected.items()
    }
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("method", ["gaussian", "hard"])
@pytest.mark.parametrize(
    "count, threshold, slots", [(60, 0.001, 20), (60, 0.7, 20), (60, 0.99, 20), (10, 0.001, 20)]
)
def test_random_candidates(method, class_agnostic, count, threshold, slots):
    candidates = random_candidates(seed=count, batch=2, count=count, num_classes=40)
    assert_equal_to_layer(
        candidates,
        method=method,
        class_agnostic=class_agnostic,
        score_threshold=threshold,
        max_detections=slots,
    )


@pytest.mark.parametrize("method", ["gaussian", "hard"])
def test_ties_take_the_first(method):
    boxes, _, labels = random_candidates(seed=1, batch=1, count=30)
    scores = np.repeat([[0.75, 0.5, 0.25]], 10, axis=1).astype("float32")
    boxes[0, 10:20] = boxes[0, :10]  # duplicates, too
    assert_equal_to_layer((boxes, scores, labels), method=method, max_detections=30)


def test_custom_sigma_threshold_and_non_square_image():
    boxes, scores, labels = random_candidates(seed=2, batch=1, count=40)
    boxes = boxes * np.array([2.0, 1.0, 2.0, 1.0], "float32")
    assert_equal_to_layer((boxes, scores, labels), (128, 256), sigma=0.2, max_detections=40)
    assert_equal_to_layer((boxes, scores, labels), (128, 256), method="hard", iou_threshold=0.2)


@pytest.mark.parametrize("method", ["gaussian", "hard"])
def test_nothing_passes_and_nothing_there(method):
    boxes, scores, labels = random_candidates(seed=2, batch=2, count=4)
    assert_equal_to_layer((boxes, scores * 0, labels), method=method, max_detections=3)
    empty = boxes[:, :0], scores[:, :0], labels[:, :0]
    assert_equal_to_layer(empty, method=method, max_detections=3)


def test_many_classes_never_meet():
    """One and the same box in 1,000 classes: every one keeps its score."""
    boxes = np.tile(np.array([[[0, 0, 128, 128]]], "float32"), (1, 1000, 1))
    scores = np.linspace(0.9, 0.1, 1000, dtype="float32")[None]
    labels = np.arange(1000, dtype="int32")[None]
    found = tf_non_max_suppression(boxes, scores, labels, image_size=128, max_detections=1000)
    np.testing.assert_array_equal(found["scores"], scores)


def test_small_boxes_of_high_classes_keep_their_overlap():
    """4-pixel boxes of class 89 in a 1536-pixel image; IoU 3 / 5 -> exp(-0.72) = 0.486752."""
    boxes = np.array([[[1500, 1500, 1504, 1504], [1501, 1500, 1505, 1504]]], "float32")
    labels = np.full((1, 2), 89, "int32")
    found = tf_non_max_suppression(
        boxes, np.array([[0.9, 0.8]], "float32"), labels, image_size=1536, max_detections=2
    )
    np.testing.assert_allclose(found["scores"], [[0.9, 0.8 * 0.486752]], atol=5e-4)


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("method", ["gaussian", "hard"])
def test_graphs_with_known_and_unknown_batch(method, batch):
    candidates = random_candidates(seed=4, batch=2, count=30)
    traced = tf.function(
        lambda *args: tf_non_max_suppression(*args, image_size=128, method=method),
        input_signature=[
            tf.TensorSpec((batch, *array.shape[1:]), array.dtype) for array in candidates
        ],
    )
    found = traced(*(tf.convert_to_tensor(array) for array in candidates))
    assert_equal_to_layer(candidates, found=found, method=method)


def test_linear_has_no_operator_and_the_decoder_keeps_the_layer():
    candidates = random_candidates(seed=4, batch=1, count=5)
    with pytest.raises(ValueError, match="no operator for linear .*Use keras_det.layers"):
        tf_non_max_suppression(*candidates, image_size=128, method="linear")
    decoder = TFAnchorDecoder(128, "linear", max_detections=5)
    expected = as_numpy(NonMaxSuppression("linear", max_detections=5)(*candidates))
    np.testing.assert_array_equal(decoder.suppress(*candidates)["scores"], expected["scores"])


def test_inference_decoder_suits_the_device(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    decoder = inference_decoder(64, method="hard")
    assert type(decoder) is TFAnchorDecoder and decoder.get_config()["method"] == "hard"
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["gpu"])
    assert type(inference_decoder(64)) is AnchorDecoder


@pytest.mark.parametrize("candidates", ["best_class", "pairs"])
@pytest.mark.parametrize("method", ["gaussian", "hard"])
@pytest.mark.parametrize("threshold", [0.001, 0.9])
def test_tflite_runs_it_with_builtin_operators(method, candidates, threshold):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    rng = np.random.default_rng(6)
    anchors = random_candidates(seed=6, batch=1, count=80)[0][0]
    decode = TFAnchorDecoder(
        128,
        method,
        score_threshold=threshold,
        pre_nms_top_k=50,
        max_detections=20,
        candidates=candidates,
    )
    function = tf.function(
        lambda logits, deltas: decode(logits, deltas, anchors),
        input_signature=[tf.TensorSpec((1, 80, 5)), tf.TensorSpec((1, 80, 4))],
    )
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = interpreters.Interpreter(model_content=converter.convert()).get_signature_runner()
    for _ in range(3):
        logits = rng.normal(0, 2, (1, 80, 5)).astype("float32")
        deltas = rng.normal(0, 0.2, (1, 80, 4)).astype("float32")
        found = runner(logits=logits, deltas=deltas)
        expected = as_numpy(decode(logits, deltas, anchors))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
