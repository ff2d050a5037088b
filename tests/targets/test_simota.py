"""SimOTATargets against loops in NumPy, and by hand."""

import numpy as np
import pytest

from keras_det.targets import SimOTATargets
from tests.targets.scenes import (
    GENERATORS,
    SIZE,
    anchors_and_sizes,
    assign,
    centre,
    decoded,
    graph_and_eager,
    overlap,
    random_case,
)

# One row of five cells of 10 pixels.
ANCHORS = np.array([[10 * i, 0, 10 * i + 10, 10] for i in range(5)], "float32")


def outputs(scores, deltas=None, anchors=5):
    """Raw outputs of one image: scores `(anchors,)` of one class, or `(anchors, classes)`."""
    scores = np.array(scores, "float64").reshape(anchors, -1)
    deltas = np.zeros((1, anchors, 4)) if deltas is None else np.array([deltas])
    return {
        "class_logits": np.log(scores / (1 - scores))[None].astype("float32"),
        "box_deltas": deltas.astype("float32"),
    }


def positives(box, raw, label=0, sizes=(5,), **arguments):
    matcher = SimOTATargets(**arguments)
    result = assign(matcher, ANCHORS, [[box]], [[label]], sizes, raw)
    return np.flatnonzero(result["positive_mask"]).tolist()


# The object (8, 0, 32, 10) overlaps its predictions 0 to 3 by 20/320, 100/240, 100/240, 20/320: the
# sum 0.96 gives k = 1. Anchors 1 and 2 have the same overlap; the higher score costs less.
def test_the_anchor_of_least_cost_by_hand():
    box = [8, 0, 32, 10]
    assert positives(box, outputs([0.9, 0.3, 0.4, 0.9, 0.9])) == [2]
    assert positives(box, outputs([0.9, 0.4, 0.3, 0.9, 0.9])) == [1]
    # -log(0.1) - 3 log(0.4167) = 4.93 against -log(0.4) - 3 log(0.0625) = 9.23.
    assert positives(box, outputs([0.9, 0.1, 0.05, 0.9, 0.9])) == [1]
    # The overlap does not count: the score decides. Anchor 0 is outside: its centre is (5, 5).
    assert positives(box, outputs([0.9, 0.3, 0.4, 0.3, 0.9]), iou_weight=0.0) == [2]


# Anchors 1 and 2 predict the object: u = 1 each, so k = floor(2 + 0.0625 * 2) = 2.
def test_overlaps_decide_how_many_anchors_an_object_takes():
    exact = [[0] * 4, [0.5, 0, np.log(2.4), 0], [-0.5, 0, np.log(2.4), 0], [0] * 4, [0] * 4]
    raw = outputs([0.5] * 5, exact)
    assert positives([8, 0, 32, 10], raw) == [1, 2]
    assert positives([8, 0, 32, 10], raw, num_overlaps=1) == [1]


# A wrong class with a high score costs -log(1 - 0.9).
def test_scores_of_other_classes_cost():
    scores = np.full((5, 2), 0.3)
    scores[1, 1] = 0.9
    assert positives([8, 0, 32, 10], outputs(scores)) == [2]
    assert positives([8, 0, 32, 10], outputs(scores), label=1) == [1]


# The centre (28, 5) lies 0.3 strides from that of anchor 2, and 1.3 and 2.3 from its left ones.
@pytest.mark.parametrize("radius, chosen", [(1.0, [2]), (1.5, [1]), (2.5, [0])])
def test_candidates_lie_around_the_centre(radius, chosen):
    raw = outputs([0.9, 0.6, 0.3, 0.3, 0.3])
    found = positives([0, 0, 56, 10], raw, centre_radius=radius, iou_weight=0.0)
    assert found == chosen


# (11, 0, 14, 10) holds no centre. Anchor 1 overlaps it, 0 has the higher score and no overlap.
def test_an_object_without_a_centre_gets_the_cheapest_anchor():
    assert positives([11, 0, 14, 10], outputs([0.9, 0.5, 0.9, 0.5, 0.5])) == [1]
    # One that holds the centre of anchor 2 takes it, however high the cost.
    raw = outputs([0.5, 0.99, 0.001, 0.5, 0.5], [[0] * 4, [0] * 4, [9, 0, 0, 0], [0] * 4, [0] * 4])
    assert positives([18, 0, 26, 10], raw) == [2]


def test_a_conflict_goes_to_the_lower_cost():
    boxes = np.array([[[11, 0, 21, 10], [10, 0, 20.5, 10]]])
    for order in ([0, 1], [1, 0]):
        result = assign(
            SimOTATargets(0.8), ANCHORS, boxes[:, order], [[0, 0]], (5,), outputs([0.5] * 5)
        )
        np.testing.assert_allclose(result["box_targets"][0, 1, 2], np.log(1.05), rtol=1e-4)


def oracle(anchors, strides, boxes, labels, raw, radius, weight, q):
    """One image in float64, loops over objects and anchors; slot of every anchor, or -1."""
    logits = raw["class_logits"].astype("float64")
    predicted = [decoded(a, d) for a, d in zip(anchors, raw["box_deltas"], strict=True)]
    claims = {}
    for g in range(len(labels)):
        if labels[g] == -1:
            continue
        box = boxes[g].astype("float64")
        gx, gy = centre(box)
        costs, ious = [], []
        for a in range(len(anchors)):
            x, y = centre(anchors[a])
            if not (abs(x - gx) < radius * strides[a][0] and abs(y - gy) < radius * strides[a][1]):
                continue
            p = 1 / (1 + np.exp(-logits[a]))
            wanted = np.arange(len(p)) == labels[g]
            iou = overlap(predicted[a], box)
            cost = -np.log(np.where(wanted, p, 1 - p)).sum() - weight * np.log(iou + 1e-8)
            outside = not (box[0] < x < box[2] and box[1] < y < box[3])
            costs.append((cost + 1e5 * outside, a))
            ious.append(iou)
        k = max(1, int(sum(sorted(ious)[-q:])))
        for cost, a in sorted(costs)[:k]:
            claims.setdefault(a, []).append((cost, g))
    slot = np.full(len(anchors), -1)
    for a, rivals in claims.items():
        slot[a] = min(rivals)[1]
    return slot


def strides_of(name, count):
    """Width and height of the cell of every anchor."""
    generator, strides = GENERATORS[name], []
    for height, width in generator.feature_sizes(SIZE):
        cells = height * width * generator.num_anchors_per_cell
        strides += [(SIZE[1] / width, SIZE[0] / height)] * cells
    assert len(strides) == count
    return strides


@pytest.mark.parametrize("arguments", [(2.5, 3.0, 10), (1.5, 1.0, 3), (0.6, 3.0, 10)])
@pytest.mark.parametrize("name", GENERATORS)
def test_targets_equal_plain_loops(name, arguments):
    anchors, level_sizes = anchors_and_sizes(name)
    strides = strides_of(name, len(anchors))
    boxes, labels, raw = random_case(4, len(anchors))
    result = assign(SimOTATargets(*arguments), anchors, boxes, labels, level_sizes, raw)
    for i in range(len(boxes)):
        of_image = {key: value[i] for key, value in raw.items()}
        slot = oracle(anchors, strides, boxes[i], labels[i], of_image, *arguments)
        np.testing.assert_array_equal(result["positive_mask"][i], slot >= 0)
        expected = np.where(slot >= 0, labels[i][slot], -1)
        np.testing.assert_array_equal(result["class_targets"][i], expected)
        a, g = anchors[slot >= 0], boxes[i][slot[slot >= 0]]
        shift = (g[:, :2] + g[:, 2:] - a[:, :2] - a[:, 2:]) / 2 / (a[:, 2:] - a[:, :2])
        np.testing.assert_allclose(result["box_targets"][i][slot >= 0][:, :2], shift, atol=1e-4)
    assert result["positive_mask"].sum() > len(boxes) and not result["ignore_mask"].any()


def test_loops_in_many_steps(monkeypatch):
    from keras_det.targets import search, simota

    anchors, level_sizes = anchors_and_sizes("uneven strides")
    boxes, labels, raw = random_case(5, len(anchors), slots=20)
    whole = assign(SimOTATargets(), anchors, boxes, labels, level_sizes, raw)
    monkeypatch.setattr(search, "PAIRS", 50)
    monkeypatch.setattr(simota, "CHUNK", 1000)
    steps = assign(SimOTATargets(), anchors, boxes, labels, level_sizes, raw)
    for name, value in whole.items():
        np.testing.assert_allclose(steps[name], value, rtol=1e-5, err_msg=name)


# A level of one cell has no stride: its anchor is a candidate of every object.
def test_a_level_of_one_cell():
    assert positives([0, 0, 30, 10], outputs([0.5, 0.6, 0.5, 0.5, 0.9]), sizes=(4, 1)) == [1]
    raw = outputs([0.5, 0.6, 0.5, 0.5, 0.9], [[0] * 4] * 4 + [[-3, 0, np.log(3), 0]])
    assert positives([0, 0, 30, 10], raw, sizes=(4, 1), num_overlaps=1) == [1]
    # Outside the object: taken once there is no other.
    assert positives([300, 0, 330, 10], raw, sizes=(4, 1), num_overlaps=1) == [4]


@pytest.mark.parametrize("compiled", [False, True])
def test_targets_in_a_graph_with_any_number_of_slots(compiled):
    for result, expected in graph_and_eager(SimOTATargets(), compiled):
        np.testing.assert_array_equal(result["class_targets"], expected["class_targets"])
        np.testing.assert_allclose(result["box_targets"], expected["box_targets"], atol=1e-5)


@pytest.mark.parametrize("slots", [0, 3])
def test_images_without_objects_are_all_background(slots):
    boxes, labels = np.full((1, slots, 4), np.nan), np.full((1, slots), -1)
    result = assign(SimOTATargets(), ANCHORS, boxes, labels, (5,), outputs([0.5] * 5))
    np.testing.assert_array_equal(result["class_targets"], np.full((1, 5), -1))
    assert not result["positive_mask"].any() and not result["ignore_mask"].any()


@pytest.mark.parametrize("extreme", [100.0, -100.0])
def test_extreme_outputs_stay_finite(extreme):
    raw = {
        "class_logits": np.full((1, 5, 200), extreme, "float32"),
        "box_deltas": np.full((1, 5, 4), extreme, "float32"),
    }
    result = assign(SimOTATargets(), ANCHORS, [[[0, 0, 20, 10]]], [[0]], (5,), raw)
    assert result["positive_mask"].sum() == 1
    assert all(np.isfinite(value).all() for value in result.values())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"centre_radius": 0}, "`centre_radius` must be a positive number.*centre_radius=0"),
        ({"iou_weight": -1}, "`iou_weight` one of at least 0. Received: .*iou_weight=-1"),
        ({"num_overlaps": 0}, "`num_overlaps` must be an integer of at least 1. Received: "),
        ({"num_overlaps": 2.5}, "`num_overlaps` must be an integer of at least 1. Received: "),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimOTATargets(**arguments)


def test_missing_predictions_and_level_sizes_are_named():
    boxes, labels = np.zeros((1, 1, 4), "float32"), np.array([[0]])
    with pytest.raises(ValueError, match="SimOTATargets needs `raw`, .* Received: raw=None"):
        SimOTATargets().assign(ANCHORS, boxes, labels, (5,))
    with pytest.raises(ValueError, match="SimOTATargets needs `level_sizes`.*, 5 in all"):
        SimOTATargets().assign(ANCHORS, boxes, labels, raw=outputs([0.5] * 5))
