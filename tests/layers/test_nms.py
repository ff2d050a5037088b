"""NonMaxSuppression against a NumPy oracle, effdet's and torchvision's arrays, and by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.nms import NonMaxSuppression
from tests.helpers import check_layer, golden
from tests.nms_oracle import detections_by_oracle, random_candidates

# Three boxes of side 10: the second overlaps the first by 5 x 10 (IoU 50 / 150 = 1/3), the third
# lies apart. exp(-(1/3)^2 / 0.5) = exp(-2/9) = 0.800737.
HAND = np.array([[[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]]], "float32")
HAND_SCORES = np.array([[0.9, 0.8, 0.7]], "float32")
SAME, OTHER = np.zeros((1, 3), "int32"), np.array([[0, 1, 0]], "int32")


def as_numpy(detections):
    return {name: keras.ops.convert_to_numpy(value) for name, value in detections.items()}


def suppress(boxes, scores, labels, **settings):
    return as_numpy(NonMaxSuppression(**settings)(boxes, scores, labels))


def assert_same(found, expected, atol=1e-6):
    assert set(found) == {"boxes", "scores", "labels", "num_detections"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=atol, err_msg=name)
    assert [found[n].dtype.name for n in ("boxes", "scores")] == ["float32"] * 2
    assert [found[n].dtype.name for n in ("labels", "num_detections")] == ["int32"] * 2


@pytest.mark.parametrize(
    "settings, labels, scores, order",
    [
        ({}, SAME, [0.9, 0.7, 0.8 * 0.800737], [0, 2, 1]),
        ({}, OTHER, [0.9, 0.8, 0.7], [0, 1, 2]),
        ({"class_agnostic": True}, OTHER, [0.9, 0.7, 0.8 * 0.800737], [0, 2, 1]),
        # exp(-(1/9) / 0.1) = exp(-10/9) = 0.329193
        ({"sigma": 0.1}, SAME, [0.9, 0.7, 0.8 * 0.329193], [0, 2, 1]),
        # linear: IoU 1/3 lies above 0.3, not above 0.5 or 1/3
        ({"method": "linear"}, SAME, [0.9, 0.7, 0.8 * 2 / 3], [0, 2, 1]),
        ({"method": "linear", "iou_threshold": 0.5}, SAME, [0.9, 0.8, 0.7], [0, 1, 2]),
        ({"method": "hard", "iou_threshold": 0.3}, SAME, [0.9, 0.7], [0, 2]),
        ({"method": "hard"}, SAME, [0.9, 0.8, 0.7], [0, 1, 2]),
        ({"method": "hard", "iou_threshold": 0.3}, OTHER, [0.9, 0.8, 0.7], [0, 1, 2]),
    ],
)
def test_three_boxes_by_hand(settings, labels, scores, order):
    found = suppress(HAND, HAND_SCORES, labels, max_detections=5, **settings)
    number = len(order)
    assert found["num_detections"].tolist() == [number]
    np.testing.assert_allclose(found["scores"][0, :number], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["boxes"][0, :number], HAND[0, order])
    np.testing.assert_array_equal(found["labels"][0, :number], labels[0, order])
    assert not found["boxes"][0, number:].any() and not found["scores"][0, number:].any()
    assert (found["labels"][0, number:] == -1).all()


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
def test_random_candidates_equal_the_oracle(method, class_agnostic):
    candidates = random_candidates(seed=3, batch=2, count=60)
    for threshold, slots in ((0.001, 20), (0.6, 20), (0.001, 80)):
        settings = {"method": method, "score_threshold": threshold, "max_detections": slots}
        settings["class_agnostic"] = class_agnostic
        found = suppress(*candidates, **settings)
        assert_same(found, detections_by_oracle(*candidates, **settings))


def test_of_equal_scores_the_first_is_taken():
    boxes = np.array([[[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10], [40, 0, 50, 10]]])
    found = suppress(boxes, np.full((1, 4), 0.5), np.zeros((1, 4)), max_detections=4)
    np.testing.assert_array_equal(found["boxes"][0, :, 0], [0, 20, 40, 0])
    # The duplicate keeps exp(-1 / 0.5) of its score.
    np.testing.assert_allclose(found["scores"][0], [0.5, 0.5, 0.5, 0.5 * np.exp(-2)], rtol=1e-6)


def test_the_score_threshold_is_strict():
    scores = np.array([[0.5, 0.25, 0.125]], "float32")  # exact in binary
    found = suppress(HAND, scores, OTHER, score_threshold=0.25, max_detections=3)
    assert found["num_detections"].tolist() == [1]


def test_fewer_slots_than_survivors_keeps_the_best():
    found = suppress(HAND, HAND_SCORES[:, [2, 1, 0]], OTHER, max_detections=1)
    np.testing.assert_allclose(found["scores"], [[0.9]])
    np.testing.assert_array_equal(found["boxes"][0], HAND[0, 2:])


@pytest.mark.parametrize("count", [0, 3])
def test_no_candidate_passes(count):
    found = suppress(HAND[:, :count], np.zeros((1, count)), SAME[:, :count], max_detections=2)
    assert found["num_detections"].tolist() == [0]
    assert found["boxes"].shape == (1, 2, 4) and not found["boxes"].any()
    assert found["labels"].tolist() == [[-1, -1]]


def test_boxes_without_area_suppress_nothing():
    boxes = np.zeros((1, 2, 4), "float32")
    found = suppress(boxes, np.array([[0.9, 0.8]]), SAME[:, :2], max_detections=2)
    np.testing.assert_allclose(found["scores"], [[0.9, 0.8]])


# effdet 0.4.1's soft_nms and torchvision 0.28's nms, on boxes in pixels.
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    "case, settings",
    [
        ("gauss_s.5_thr.005", {"sigma": 0.5, "score_threshold": 0.005}),
        ("gauss_s.3_thr.05", {"sigma": 0.3, "score_threshold": 0.05}),
        (
            "linear_iou.5_thr.005",
            {"method": "linear", "iou_threshold": 0.5, "score_threshold": 0.005},
        ),
        ("linear_iou.3_thr.05", {"method": "linear", "score_threshold": 0.05}),
    ],
)
def test_soft_nms_equals_effdet(case, settings, batched):
    file = golden("ops/misc_ops.npz")
    name = f"softnms{'_batched' if batched else ''}/{case}"
    expected, scores = file[f"{name}/idx"], file[f"{name}/scores"]
    found = suppress_golden(file, class_agnostic=not batched, **settings)
    assert found["num_detections"].tolist() == [len(expected)]
    # effdet moves classes apart by pixels, which rounds boxes: 1e-4.
    np.testing.assert_allclose(found["scores"][0, : len(expected)], scores, atol=1e-4)
    boxes = file["softnms/boxes_xyxy"][expected]
    np.testing.assert_array_equal(found["boxes"][0, : len(expected)], boxes)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
def test_hard_nms_equals_torchvision(iou_threshold, batched):
    file = golden("ops/misc_ops.npz")
    expected = file[f"nms{'_batched' if batched else ''}/iou{iou_threshold}/idx"]
    settings = {"method": "hard", "iou_threshold": iou_threshold, "score_threshold": 0.0}
    found = suppress_golden(file, class_agnostic=not batched, **settings)
    assert found["num_detections"].tolist() == [len(expected)]
    boxes = file["softnms/boxes_xyxy"][expected]
    np.testing.assert_array_equal(found["boxes"][0, : len(expected)], boxes)
    np.testing.assert_array_equal(
        found["scores"][0, : len(expected)], file["softnms/scores"][expected]
    )


def suppress_golden(file, **settings):
    arrays = (file[f"softnms/{name}"][None] for name in ("boxes_xyxy", "scores", "classes"))
    return suppress(*arrays, max_detections=80, **settings)


@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
def test_layer_passes_the_common_check(method):
    candidates = random_candidates(seed=0, batch=2, count=7)
    own = {"sigma": 0.4} if method == "gaussian" else {"iou_threshold": 0.4}
    settings = {"method": method, "max_detections": 5, **own}
    check_layer(NonMaxSuppression, settings, candidates, output_dtype="float32", half_tolerance=0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
def test_layer_compiles_under_xla():
    tf = pytest.importorskip("tensorflow")
    candidates = random_candidates(seed=5, batch=2, count=20)
    layer = NonMaxSuppression(max_detections=6)
    compiled = tf.function(lambda *args: layer(*args), jit_compile=True)
    tensors = [tf.convert_to_tensor(array) for array in candidates]
    assert_same(as_numpy(compiled(*tensors)), as_numpy(layer(*candidates)), atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"method": "soft"}, "`method` must be one of .*Received: method='soft'"),
        ({"sigma": 0.0}, "`sigma` must be above 0.*Received: sigma=0.0"),
        ({"iou_threshold": 1.5}, "`iou_threshold` must be in 0..1.*Received: iou_threshold=1.5"),
        ({"score_threshold": -1}, "`score_threshold` must be at least 0"),
        ({"max_detections": 0}, "`max_detections` must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NonMaxSuppression(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_detections": 2.5}, "`max_detections` must be an integer. Received: max_.*=2.5"),
        ({"sigma": "wide"}, "`sigma` must be a number. Received: sigma='wide'"),
        ({"class_agnostic": "no"}, "`class_agnostic` must be True or False. Received: "),
    ],
)
def test_settings_of_the_wrong_type_are_named(settings, message):
    with pytest.raises(TypeError, match=message):
        NonMaxSuppression(**settings)


@pytest.mark.parametrize(
    "method, name, methods",
    [
        ("gaussian", "iou_threshold", "'linear' or 'hard'"),
        ("linear", "sigma", "'gaussian'"),
        ("hard", "sigma", "'gaussian'"),
    ],
)
def test_a_setting_that_the_method_does_not_use_is_refused(method, name, methods):
    message = f"`{name}` is for method={methods}. Received: {name}=0.5, method='{method}'."
    with pytest.raises(ValueError, match=message):
        NonMaxSuppression(method, **{name: 0.5})


USED = [("gaussian", None, 0.5), ("linear", 0.3, None), ("hard", 0.5, None)]


@pytest.mark.parametrize("method, iou_threshold, sigma", USED)
def test_config_holds_the_values_that_are_used(method, iou_threshold, sigma):
    config = NonMaxSuppression(method).get_config()
    assert (config["iou_threshold"], config["sigma"]) == (iou_threshold, sigma)
    assert NonMaxSuppression.from_config(config).get_config() == config


# As release 0.1.0 stored it: a value for every setting.
@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
def test_config_of_an_earlier_release_loads(method):
    layer = NonMaxSuppression(method, name="nms")
    stored = {**layer.get_config(), "iou_threshold": None, "sigma": 0.5}
    assert NonMaxSuppression.from_config(stored).get_config() == layer.get_config()
    stored["iou_threshold"] = 0.7
    again = NonMaxSuppression.from_config(stored)
    assert again.iou_threshold == (None if method == "gaussian" else 0.7)
