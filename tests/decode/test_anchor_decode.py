"""AnchorDecoder against the original EfficientDet's post-processing, and its choice by brute force.

Where the original differs, and how these tests allow for it:
- it suppresses first and clips afterwards ("global") or never ("per class"); AnchorDecoder clips
  first. Anchors are moved 1024 pixels into a 4096-pixel image, where nothing is clipped, and back.
- its classes start at 1, its boxes are yxyx and multiplied by the image's scale.
- "hard" has no score threshold there: 0 here, which every sigmoid passes.
- unused rows of "global" repeat box 0 with score 0: only the first `valid_len` rows are compared.
- `pyfunc` adds one pixel to sides: `soft_nms(pixel=1)` of tests/nms_oracle.py is compared with it,
  and AnchorDecoder with the same oracle at `pixel=0`.
"""

import keras
import numpy as np
import pytest

from keras_det.decode import AnchorDecoder, TFAnchorDecoder
from tests.helpers import golden
from tests.nms_oracle import detections_by_oracle, soft_nms

MOVE, ROOM = 1024.0, 4096
NO_THRESHOLD = {"score_threshold": 0.0}


def original(name="postprocess_128.npz"):
    """Its raw outputs in our order, anchors, image scales and the file of results."""
    raw, results = golden("efficientdet/postprocess_128.npz"), golden(f"efficientdet/{name}")
    logits = np.concatenate([raw[f"cls_{level}"].reshape(2, -1, 90) for level in range(3, 8)], 1)
    deltas = np.concatenate([raw[f"box_{level}"].reshape(2, -1, 4) for level in range(3, 8)], 1)
    anchors = golden("efficientdet/anchors.npz")["boxes_128"][:, [1, 0, 3, 2]]
    return logits, deltas[..., [1, 0, 3, 2]], anchors, raw["image_scales"], results


def as_numpy(detections):
    return {name: keras.ops.convert_to_numpy(value) for name, value in detections.items()}


def compare_with_original(decoder, case, name="postprocess_128.npz"):
    logits, deltas, anchors, scales, results = original(name)
    found = as_numpy(decoder(logits, deltas, anchors + MOVE))
    valid = results[f"{case}/valid_len"]
    np.testing.assert_array_equal(found["num_detections"], valid)
    for i, count in enumerate(valid):
        boxes = found["boxes"][i, :count] - MOVE
        if case.startswith("global"):
            boxes = np.clip(boxes, 0, 128)
        expected = results[f"{case}/boxes"][i, :count][:, [1, 0, 3, 2]]
        np.testing.assert_allclose(boxes * scales[i], expected, atol=1e-3)
        np.testing.assert_allclose(
            found["scores"][i, :count], results[f"{case}/scores"][i, :count], atol=2e-5
        )
        np.testing.assert_array_equal(
            found["labels"][i, :count] + 1, results[f"{case}/classes"][i, :count]
        )


@pytest.mark.parametrize("decoder", [AnchorDecoder, TFAnchorDecoder])
@pytest.mark.parametrize("top", [0, 5000])
@pytest.mark.parametrize("method", ["hard", "gaussian"])
@pytest.mark.parametrize("scope", ["global", "perclass"])
def test_detections_equal_the_original(scope, method, top, decoder):
    pytest.importorskip("tensorflow")
    settings = NO_THRESHOLD if method == "hard" else {}
    # The original's 5,000 of 276,210 pairs; without the limit, one class per anchor.
    candidates = "pairs" if top and scope == "perclass" else "best_class"
    decode = decoder(
        ROOM,
        method,
        pre_nms_top_k=top,
        class_agnostic=scope == "global",
        candidates=candidates,
        **settings,
    )
    compare_with_original(decode, f"{scope}_{method}_top{top}")


@pytest.mark.parametrize(
    "case, settings",
    [
        (
            "global_hard_s0.4_i0.3_m20",
            {"method": "hard", "score_threshold": 0.4, "iou_threshold": 0.3},
        ),
        ("perclass_gaussian_s0.4_sig0.3_m20", {"score_threshold": 0.4, "sigma": 0.3}),
    ],
)
def test_other_settings_equal_the_original(case, settings):
    agnostic = case.startswith("global")
    decode = AnchorDecoder(
        ROOM, max_detections=20, class_agnostic=agnostic, pre_nms_top_k=0, **settings
    )
    compare_with_original(decode, case)


@pytest.mark.parametrize("method", ["hard", "gaussian"])
@pytest.mark.parametrize("scope", ["global", "perclass"])
def test_unused_slots_equal_the_original_in_number(scope, method):
    decode = AnchorDecoder(
        ROOM,
        method,
        score_threshold=0.85,
        max_detections=30,
        class_agnostic=scope == "global",
        pre_nms_top_k=0,
    )
    name = "postprocess_128_padded.npz"
    compare_with_original(decode, f"{scope}_{method}_s0.85_m30", name)
    found = as_numpy(decode(*original()[:3]))
    assert (found["labels"][1, 5:] == -1).all() and not found["boxes"][1, 5:].any()


def test_combined_suppression_of_tensorflow_gives_the_same_scores():
    """`combined`: tf.image.combined_non_max_suppression, hard, per class, (anchor, class) pairs.

    It clips its result to the image and cuts each class at 100.
    """
    logits, deltas, anchors, scales, results = original()
    decode = AnchorDecoder(ROOM, "hard", pre_nms_top_k=5000, candidates="pairs", **NO_THRESHOLD)
    found = as_numpy(decode(logits, deltas, anchors + MOVE))
    np.testing.assert_allclose(found["scores"], results["combined/scores"], atol=1e-6)
    np.testing.assert_array_equal(found["labels"] + 1, results["combined/classes"])
    boxes = np.clip(found["boxes"] - MOVE, 0, 128) * scales[:, None, None]
    np.testing.assert_allclose(boxes, results["combined/boxes"][..., [1, 0, 3, 2]], atol=1e-3)


@pytest.mark.parametrize("method", ["hard", "gaussian", "linear"])
def test_the_originals_numpy_code_differs_by_its_pixel_only(method):
    logits, deltas, anchors, scales, results = original()
    settings = {"method": method, "max_detections": 100}
    settings["score_threshold"] = 0.001 if method == "gaussian" else 0.0
    everything = AnchorDecoder(
        ROOM, "hard", 1.0, pre_nms_top_k=150, max_detections=150, **NO_THRESHOLD
    )
    candidates = as_numpy(everything(logits, deltas, anchors + MOVE))
    arrays = [candidates[name][:1] for name in ("boxes", "scores", "labels")]
    _, scores = soft_nms(*(array[0] for array in arrays), pixel=1.0, **settings)
    rows = results[f"pyfunc_{method}_top0"][0]
    np.testing.assert_allclose(scores[: len(rows)], rows[: len(scores), 5], atol=1e-4)
    decode = AnchorDecoder(ROOM, pre_nms_top_k=150, **settings)
    found = as_numpy(decode(logits[:1], deltas[:1], anchors + MOVE))
    expected = detections_by_oracle(*arrays, **settings)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_array_equal(found["labels"], expected["labels"])


def random_raw(batch=2, anchors=50, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (batch, anchors, classes)).astype("float32")
    deltas = rng.normal(0, 0.3, (batch, anchors, 4)).astype("float32")
    corners = rng.uniform(-5, 50, (anchors, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (anchors, 2))], -1)
    return logits, deltas, boxes.astype("float32")


@pytest.mark.parametrize("top", [5, 12, 0])
@pytest.mark.parametrize("candidates", ["best_class", "pairs"])
def test_the_choice_of_candidates_is_exact(candidates, top):
    logits, deltas, anchors = random_raw()
    decode = AnchorDecoder(
        64, "hard", 1.0, pre_nms_top_k=top, max_detections=20, candidates=candidates, **NO_THRESHOLD
    )
    found = as_numpy(decode(logits, deltas, anchors))
    probabilities = 1 / (1 + np.exp(-logits.astype("float64")))
    for i in range(2):
        table = probabilities[i] if candidates == "pairs" else probabilities[i].max(-1)
        count = min(20, top or 20)
        order = np.argsort(-table.ravel())[:count]
        np.testing.assert_allclose(found["scores"][i, :count], table.ravel()[order], rtol=1e-5)
        labels = order % 7 if candidates == "pairs" else probabilities[i].argmax(-1)[order]
        np.testing.assert_array_equal(found["labels"][i, :count], labels)
        assert found["num_detections"][i] == count


def test_box_and_label_by_hand():
    """Anchor (10, 10, 30, 50) moved by (0.5 * 20, -0.25 * 40), width doubled, clipped to 32 x 64.

    Centre (20 + 10, 30 - 10) = (30, 20), sides 40 x 40: (10, 0, 50, 40), clipped at x = 32.
    """
    logits = np.array([[[-9.0, 0.0, -9.0], [-9.0, -9.0, -9.0]]])
    deltas = np.array([[[0.5, -0.25, np.log(2.0), 0.0], [0.0, 0.0, 0.0, 0.0]]])
    anchors = np.array([[10, 10, 30, 50], [0, 0, 8, 8]], "float32")
    decode = AnchorDecoder((64, 32), max_detections=2)
    found = as_numpy(decode(logits, deltas, anchors))
    np.testing.assert_allclose(found["boxes"], [[[10, 0, 32, 40], [0, 0, 0, 0]]], atol=1e-5)
    np.testing.assert_allclose(found["scores"], [[0.5, 0.0]])
    assert found["labels"].tolist() == [[1, -1]] and found["num_detections"].tolist() == [1]


@pytest.mark.parametrize("decoder", [AnchorDecoder, TFAnchorDecoder])
def test_a_dynamic_batch_gives_the_same(decoder):
    tf = pytest.importorskip("tensorflow")
    logits, deltas, anchors = random_raw(batch=3)
    decode = decoder(64, max_detections=10, candidates="pairs", pre_nms_top_k=40)
    traced = tf.function(
        lambda a, b: decode(a, b, anchors),
        input_signature=[tf.TensorSpec((None, 50, 7)), tf.TensorSpec((None, 50, 4))],
    )
    found, expected = as_numpy(traced(logits, deltas)), as_numpy(decode(logits, deltas, anchors))
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert traced(logits[:0], deltas[:0])["boxes"].shape == (0, 10, 4)


def test_decoder_compiles_under_xla():
    tf = pytest.importorskip("tensorflow")
    logits, deltas, anchors = random_raw()
    decode = AnchorDecoder(64, max_detections=10)
    compiled = tf.function(lambda a, b: decode(a, b, anchors), jit_compile=True)
    found = as_numpy(compiled(tf.constant(logits), tf.constant(deltas)))
    expected = as_numpy(decode(logits, deltas, anchors))
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_half_precision_inputs_are_decoded_in_float32():
    logits, deltas, anchors = random_raw()
    halves = [keras.ops.cast(array, "bfloat16") for array in (logits, deltas)]
    singles = [keras.ops.cast(array, "float32") for array in halves]
    decode = AnchorDecoder(64, max_detections=10)
    found, expected = as_numpy(decode(*halves, anchors)), as_numpy(decode(*singles, anchors))
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_config_holds_every_setting():
    settings = {"method": "linear", "iou_threshold": 0.4, "sigma": None, "score_threshold": 0.2}
    settings |= {"pre_nms_top_k": 30, "max_detections": 9, "class_agnostic": True}
    settings |= {"candidates": "pairs", "image_size": (64, 32)}
    assert AnchorDecoder(**settings).get_config() == settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"candidates": "all"}, "`candidates` must be one of .*Received: candidates='all'"),
        ({"pre_nms_top_k": -1}, "`pre_nms_top_k` must be a number .*pre_nms_top_k=-1"),
        ({"method": "none"}, "`method` must be one of"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AnchorDecoder(64, **settings)


# Two anchors of one image of 20 x 20; the first box lies below it: clipped, it has no height.
def test_a_box_outside_the_image_is_no_detection():
    anchors = np.array([[0, 30, 10, 40], [0, 0, 10, 10]], "float32")
    logits, deltas = np.array([[[3.0], [1.0]]], "float32"), np.zeros((1, 2, 4), "float32")
    found = AnchorDecoder(20)(logits, deltas, anchors)
    assert int(found["num_detections"][0]) == 1
    np.testing.assert_allclose(found["boxes"][0, 0], [0, 0, 10, 10])
    np.testing.assert_allclose(found["scores"][0, 0], 0.731059, rtol=1e-5)  # sigmoid(1)
