"""Box arithmetic against the original EfficientDet's and torchvision's arrays, and by hand."""

import math

import numpy as np
import pytest
from keras import ops

from keras_det.boxes import (
    box_areas,
    check_ground_truth,
    clip_boxes,
    decode_deltas,
    encode_deltas,
    pairwise_iou,
    valid_slots,
)
from tests.helpers import golden

XYXY = [1, 0, 3, 2]  # the original is yxyx, its deltas (ty, tx, th, tw)


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_decoding_equals_the_original():
    file = golden("efficientdet/decode_128.npz")
    anchors, deltas = file["anchors"][:, XYXY], file["deltas"][:, XYXY]
    assert deltas[:, 2:].max() < math.log(1000 / 16), "the clamp takes no part"
    boxes = as_numpy(decode_deltas(anchors, deltas))
    np.testing.assert_allclose(boxes, file["decoded"][:, XYXY], atol=1e-3, rtol=1e-5)
    clipped = as_numpy(clip_boxes(file["decoded"][:, XYXY], 128, 128))
    np.testing.assert_array_equal(clipped, file["clip_128"][:, XYXY])


def test_encoding_inverts_the_originals_decoding():
    file = golden("efficientdet/decode_128.npz")
    deltas = as_numpy(encode_deltas(file["anchors"][:, XYXY], file["decoded"][:, XYXY]))
    np.testing.assert_allclose(deltas, file["deltas"][:, XYXY], atol=1e-4)


def test_coder_equals_torchvision():
    file = golden("ops/misc_ops.npz")
    target, pred = file["iou/target_xyxy"], file["iou/pred_xyxy"]
    deltas = as_numpy(encode_deltas(pred, target))
    np.testing.assert_allclose(deltas, file["coder/1/encode(ref=target,prop=pred)"], atol=1e-5)
    boxes = as_numpy(decode_deltas(pred, file["coder/1/deltas"]))
    np.testing.assert_allclose(boxes, file["coder/1/decode"], rtol=1e-4, atol=1e-3)


def test_pairwise_iou_equals_torchvision():
    file = golden("ops/misc_ops.npz")
    iou = as_numpy(pairwise_iou(file["iou/pred_xyxy"], file["iou/target_xyxy"]))
    np.testing.assert_allclose(iou, file["iou/pairwise_iou"], atol=1e-6)


# Anchor centre (20, 30), sides 20 x 40. Box centre (30, 20), sides 40 x 20:
# dx = 10 / 20, dy = -10 / 40, dw = ln 2, dh = ln 1/2.
def test_deltas_by_hand():
    anchor, box = np.array([[10.0, 10, 30, 50]]), np.array([[10.0, 10, 50, 30]])
    deltas = [[0.5, -0.25, math.log(2), -math.log(2)]]
    np.testing.assert_allclose(as_numpy(encode_deltas(anchor, box)), deltas, rtol=1e-6)
    np.testing.assert_allclose(as_numpy(decode_deltas(anchor, np.array(deltas))), box, rtol=1e-6)


def test_huge_deltas_are_clamped_and_finite():
    """A delta of 1000 enlarges a side 1000 / 16 = 62.5-fold: 16 pixels become 1,000."""
    anchor = np.array([[-8.0, -8, 8, 8]], "float32")
    boxes = as_numpy(decode_deltas(anchor, np.array([[0, 0, 1000.0, 1000.0]], "float32")))
    np.testing.assert_allclose(boxes, [[-500, -500, 500, 500]], rtol=1e-5)


def test_degenerate_boxes_encode_to_finite_deltas():
    deltas = as_numpy(encode_deltas(np.array([[0.0, 0, 16, 16]]), np.zeros((1, 4))))
    assert np.isfinite(deltas).all()
    # ln(1e-8 / 16) = -21.1933
    np.testing.assert_allclose(deltas, [[-0.5, -0.5, -21.1933, -21.1933]], rtol=1e-5)


@pytest.mark.parametrize(
    "box, iou",
    [
        ([0, 0, 10, 10], 1.0),
        ([5, 0, 15, 10], 50 / 150),
        ([5, 5, 15, 15], 25 / 175),
        ([2, 2, 4, 7], 10 / 100),  # inside
        ([10, 0, 20, 10], 0.0),  # touching
        ([30, 30, 40, 40], 0.0),
        ([3, 3, 3, 8], 0.0),  # no width
        ([8, 8, 2, 2], 0.0),  # inverted
    ],
)
def test_iou_by_hand(box, iou):
    square = np.array([[0, 0, 10, 10]], "float32")
    result = as_numpy(pairwise_iou(square, np.array([box], "float32")))
    np.testing.assert_allclose(result, [[iou]], rtol=1e-6)


def test_iou_of_two_empty_boxes_is_zero():
    assert as_numpy(pairwise_iou(np.zeros((1, 4)), np.zeros((2, 4)))).tolist() == [[0.0, 0.0]]


def test_iou_keeps_leading_axes():
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 9, (2, n, 2, 2)), axis=2).reshape(2, n, 4) for n in (3, 5))
    together = as_numpy(pairwise_iou(a, b))
    assert together.shape == (2, 3, 5)
    for i in range(2):
        np.testing.assert_allclose(together[i], as_numpy(pairwise_iou(a[i], b[i])), rtol=1e-6)


def test_areas_and_clipping_by_hand():
    boxes = np.array([[0.0, 0, 4, 5], [4, 0, 0, 5], [-3, -2, 50, 40]])
    np.testing.assert_allclose(as_numpy(box_areas(boxes)), [20, 0, 53 * 42])
    clipped = as_numpy(clip_boxes(boxes[2:], 30, 45))
    np.testing.assert_allclose(clipped, [[0, 0, 45, 30]])


def test_the_label_alone_tells_an_empty_slot():
    assert as_numpy(valid_slots(np.array([3, -1, 0]))).tolist() == [True, False, True]


def test_sound_ground_truth_passes():
    check_ground_truth([[0, 0, 5, 5], [9, 9, 1, 1]], [1, -1], num_classes=2)
    check_ground_truth(np.zeros((0, 4)), np.zeros(0, "int32"), num_classes=2)


@pytest.mark.parametrize(
    "boxes, labels, message",
    [
        (np.zeros((2, 4)), [0], r"\(num_boxes, 4\).*boxes.shape=\(2, 4\).*labels.shape=\(1,\)"),
        (np.zeros((1, 5)), [0], r"Received: boxes.shape=\(1, 5\)"),
        ([[0, 0, 5, 5]], [2], r"`labels\[0\]` must lie in \[0, 1\]. Received: 2.*map them"),
        ([[0, 0, 5, 5], [0, 0, 5, 5]], [0, -2], r"`labels\[1\]`.*Received: -2"),
        ([[0, 0, 5, 5], [7, 2, 7, 4]], [0, 1], r"`boxes\[1\]`.*x1 < x2.*Received: \[7, 2, 7, 4\]"),
        ([[10, 10, 5, 20]], [0], r"Received: \[10, 10, 5, 20\].*convert_format"),
        ([[0, 0, np.nan, 5]], [0], r"Received: \[0, 0, nan, 5\]"),
    ],
)
def test_wrong_ground_truth_is_named(boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        check_ground_truth(np.asarray(boxes, "float32"), np.asarray(labels), num_classes=2)
