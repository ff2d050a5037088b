"""AnchorTargets against the original EfficientDet, against loops in NumPy, and by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.targets import AnchorTargets
from tests.helpers import golden, sum_and_gradient

CASES = ["random6", "tiny", "dup", "aligned", "one", "empty", "crowd20"]


def assign(anchors, boxes, labels, **arguments):
    targets = AnchorTargets(**arguments).assign(anchors, boxes, labels)
    return {name: np.array(value) for name, value in targets.items()}


def padded(boxes, labels, slots):
    boxes, labels = np.reshape(boxes, (-1, 4)), np.reshape(labels, -1)
    out = np.full((slots, 4), np.nan, "float32"), np.full(slots, -1, "int32")
    out[0][: len(boxes)], out[1][: len(labels)] = boxes, labels
    return out


def golden_case(file, case, slots=25):
    boxes = file[f"{case}/gt_boxes"][:, [1, 0, 3, 2]]
    return padded(boxes, file[f"{case}/gt_classes"] - 1, slots)


def check_against_golden(targets, row, file, case):
    classes = file[f"{case}/cls_targets_flat"]
    boxes = file[f"{case}/box_targets_flat"][:, [1, 0, 3, 2]]
    np.testing.assert_array_equal(targets["class_targets"][row], classes)
    np.testing.assert_allclose(targets["box_targets"][row], boxes, rtol=1e-6, atol=5e-7)
    assert targets["positive_mask"][row].sum() == file[f"{case}/num_positives"]
    assert not targets["ignore_mask"].any()


@pytest.mark.parametrize("case", CASES)
def test_targets_equal_the_originals(case):
    file = golden("efficientdet/targets_128.npz")
    boxes, labels = golden_case(file, case)
    targets = assign(AnchorGenerator().anchors(128), boxes[None], labels[None])
    assert targets["class_targets"].dtype == np.int32
    assert targets["box_targets"].dtype == np.float32
    check_against_golden(targets, 0, file, case)


@pytest.mark.parametrize("compiled", [False, True])
def test_one_batch_in_a_graph_equals_the_originals(compiled):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function needs the TensorFlow backend")
    import tensorflow as tf

    file = golden("efficientdet/targets_128.npz")
    boxes, labels = (
        np.stack(part) for part in zip(*(golden_case(file, c) for c in CASES), strict=True)
    )
    signature = [tf.TensorSpec((None, 25, 4)), tf.TensorSpec((None, 25), tf.int32)]
    anchors = AnchorGenerator().anchors(128)
    function = tf.function(
        lambda b, c: AnchorTargets().assign(anchors, b, c),
        input_signature=None if compiled else signature,
        jit_compile=compiled,
    )
    targets = {k: v.numpy() for k, v in function(tf.constant(boxes), tf.constant(labels)).items()}
    for row, case in enumerate(CASES):
        check_against_golden(targets, row, file, case)


def oracle(anchors, boxes, labels, matched, unmatched, force):
    """One image, two plain loops; returns (slot per anchor or -1, ignored)."""
    iou = np.zeros((len(anchors), len(boxes)), "float32")
    for j in np.flatnonzero(labels != -1):
        sides = np.minimum(anchors[:, 2:], boxes[j, 2:]) - np.maximum(anchors[:, :2], boxes[j, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        area = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)
        iou[:, j] = common / (area + np.prod(boxes[j, 2:] - boxes[j, :2]) - common)
    best = iou.max(1)
    slot = np.where(best >= matched, iou.argmax(1), -1)
    ignored = (best >= unmatched) & (best < matched)
    for j in reversed(np.flatnonzero(labels != -1)) if force else ():
        slot[iou[:, j].argmax()], ignored[iou[:, j].argmax()] = j, False
    return slot, ignored


def encode(anchor, box):
    (w_a, h_a), (w, h) = anchor[2:] - anchor[:2], box[2:] - box[:2]
    (dx, dy) = (box[:2] + box[2:] - anchor[:2] - anchor[2:]) / 2 / (w_a, h_a)
    return [dx, dy, np.log(w / w_a), np.log(h / h_a)]


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.5, 0.4), (0.7, 0.3)])
@pytest.mark.parametrize("seed", range(4))
def test_targets_equal_plain_loops(seed, thresholds):
    rng = np.random.default_rng(seed)
    anchors = AnchorGenerator((3, 4), num_octaves=2).anchors((40, 56))
    # Corners on a grid of 4 pixels: many exact ties. Slots are empty at random, not at the end.
    corners = 4.0 * rng.integers(0, 10, (3, 12, 2))
    boxes = np.concatenate([corners, corners + 4.0 * rng.integers(1, 8, (3, 12, 2))], -1)
    boxes = boxes.astype("float32")
    labels = np.where(rng.random((3, 12)) < 0.4, -1, rng.integers(0, 5, (3, 12))).astype("int32")
    force = bool(seed % 2)
    result = assign(
        anchors,
        boxes,
        labels,
        matched_threshold=thresholds[0],
        unmatched_threshold=thresholds[1],
        force_match=force,
    )
    for i in range(3):
        slot, ignored = oracle(anchors, boxes[i], labels[i], *thresholds, force)
        expected = [
            encode(a, boxes[i, j]) if j >= 0 else [0] * 4
            for a, j in zip(anchors, slot, strict=True)
        ]
        classes = np.where(slot >= 0, labels[i][slot], -1)
        np.testing.assert_array_equal(result["class_targets"][i], classes)
        np.testing.assert_array_equal(result["positive_mask"][i], slot >= 0)
        np.testing.assert_array_equal(result["ignore_mask"][i], ignored)
        np.testing.assert_allclose(result["box_targets"][i], expected, rtol=1e-5, atol=1e-6)


ANCHORS = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10]], "float32")


# Anchor 0 against (0, 0, 10, 4): 40 / 100 = 0.4. Exactly 0.5: (10, 0, 20, 5) and anchor 1.
# dx = 0, dy = (2.5 - 5) / 10, dw = 0, dh = ln(5 / 10).
def test_thresholds_include_the_positive_and_exclude_the_background():
    boxes = np.array([[[0, 0, 10, 4], [10, 0, 20, 5], [20, 0, 30, 3.9]]], "float32")
    result = assign(
        ANCHORS, boxes, np.array([[0, 1, 2]]), unmatched_threshold=0.4, force_match=False
    )
    np.testing.assert_array_equal(result["class_targets"], [[-1, 1, -1, -1]])
    np.testing.assert_array_equal(result["positive_mask"], [[False, True, False, False]])
    np.testing.assert_array_equal(result["ignore_mask"], [[True, False, False, False]])
    expected = np.zeros((1, 4, 4))
    expected[0, 1] = [0, -0.25, 0, np.log(0.5)]
    np.testing.assert_allclose(result["box_targets"], expected, atol=1e-7)


# Anchor 1 overlaps object 0 by 0.8 and object 1 (its best anchor, 0.1) is forced on it.
def test_a_forced_match_overrides_a_better_regular_one():
    boxes = np.array([[[10, 0, 20, 8], [10, 0, 20, 1]]], "float32")
    result = assign(ANCHORS, boxes, np.array([[3, 4]]))
    # Both objects want anchor 1: the first gets it.
    np.testing.assert_array_equal(result["class_targets"], [[-1, 3, -1, -1]])
    boxes = np.array([[[10, 0, 20, 8], [15, 0, 26, 10], [14, 0, 24, 10]]], "float32")
    anchors = np.concatenate([ANCHORS, [[10, 0, 20, 8.5]]]).astype("float32")
    # Object 0 forces anchor 4; anchor 1 keeps it by 0.8; object 1 forces anchor 2 (6 / 15).
    result = assign(anchors, boxes[:, :2], np.array([[3, 4]]))
    np.testing.assert_array_equal(result["class_targets"], [[-1, 3, 4, -1, 3]])
    # Object 2 prefers anchor 1 (60 / 140) to 2 (40 / 160): it takes anchor 1 from object 0.
    result = assign(anchors, boxes, np.array([[3, 4, 5]]))
    np.testing.assert_array_equal(result["class_targets"], [[-1, 5, 4, -1, 3]])


def test_an_object_outside_every_anchor_forces_the_first():
    boxes = np.array([[[500, 500, 510, 510], [-90, -90, -80, -80]]], "float32")
    result = assign(ANCHORS, boxes, np.array([[7, 8]]))
    np.testing.assert_array_equal(result["class_targets"], [[7, -1, -1, -1]])
    assert not assign(ANCHORS, boxes, [[7, 8]], force_match=False)["positive_mask"].any()


@pytest.mark.parametrize("junk", [0.0, np.nan, np.inf, -5.0])
def test_an_empty_slot_matches_nothing_whatever_its_box(junk):
    boxes = np.array([[ANCHORS[2], [junk] * 4, ANCHORS[3], ANCHORS[1]]], "float32")
    labels = np.array([[-1, -1, 6, -1]])
    result = assign(ANCHORS, boxes, labels)
    np.testing.assert_array_equal(result["class_targets"], [[-1, -1, -1, 6]])
    np.testing.assert_array_equal(result["box_targets"], np.zeros((1, 4, 4)))


@pytest.mark.parametrize("slots", [0, 3])
def test_images_without_objects_are_all_background(slots):
    result = assign(ANCHORS, np.ones((2, slots, 4), "float32"), np.full((2, slots), -1))
    np.testing.assert_array_equal(result["class_targets"], np.full((2, 4), -1))
    np.testing.assert_array_equal(result["box_targets"], np.zeros((2, 4, 4)))
    assert not result["positive_mask"].any() and not result["ignore_mask"].any()


def test_targets_pass_no_gradient():
    def targets(boxes):
        return AnchorTargets().assign(ANCHORS, boxes, np.array([[0]]))["box_targets"]

    total, gradient = sum_and_gradient(targets, [[[1.0, 1.0, 11.0, 10.0]]])
    assert total != 0 and gradient is None


@pytest.mark.parametrize("matched, unmatched", [(0.4, 0.5), (1.5, 0.5), (0.5, 0.0)])
def test_bad_thresholds_are_named(matched, unmatched):
    with pytest.raises(ValueError, match="0 < unmatched_threshold <= matched_threshold <= 1"):
        AnchorTargets(matched, unmatched)
