"""TaskAlignedTargets against loops in NumPy, and by hand."""

import numpy as np
import pytest

from keras_det.targets import TaskAlignedTargets
from tests.helpers import sum_and_gradient
from tests.targets.scenes import (
    GENERATORS,
    anchors_and_sizes,
    assign,
    centre,
    decoded,
    graph_and_eager,
    overlap,
    random_case,
)

ANCHORS = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10]], "float32")


def outputs(scores, deltas=None):
    """Raw outputs of one image with one class."""
    scores = np.array(scores, "float64")
    deltas = np.zeros((1, len(scores), 4)) if deltas is None else np.array([deltas])
    return {
        "class_logits": np.log(scores / (1 - scores))[None, :, None].astype("float32"),
        "box_deltas": deltas.astype("float32"),
    }


# The object (0, 0, 20, 10) holds the centres of anchors 0 and 1. Both predict their own box, IoU
# 1/2, so t = s / 64: 0.8 / 64 and 0.2 / 64. Quality: t / max(t) * max(u) = 1/2 and 1/8.
def test_quality_by_hand():
    result = assign(
        TaskAlignedTargets(),
        ANCHORS,
        [[[0, 0, 20, 10]]],
        [[0]],
        (4,),
        outputs([0.8, 0.2, 0.9, 0.9]),
    )
    np.testing.assert_array_equal(result["positive_mask"], [[True, True, False, False]])
    np.testing.assert_array_equal(result["class_targets"], [[0, 0, -1, -1]])
    np.testing.assert_allclose(result["quality"], [[0.5, 0.125, 0, 0]], rtol=1e-5)
    expected = [[0.5, 0, np.log(2), 0], [-0.5, 0, np.log(2), 0], [0] * 4, [0] * 4]
    np.testing.assert_allclose(result["box_targets"], [expected], atol=1e-6)
    assert not result["ignore_mask"].any() and result["ignore_mask"].dtype == bool
    assert result["quality"].dtype == np.float32 and result["class_targets"].dtype == np.int32


# With one candidate, the larger t counts: a score four times as high, or an IoU of 1 instead of
# 1/2, which weighs 64 times. Anchor 1 predicts (0, 0, 20, 10): it is moved by -5 and twice as wide.
@pytest.mark.parametrize(
    "beta, alpha, chosen", [(6, 1, 1), (1, 1, 0), (1, 0, 1), (6.5, 1.0, 1), (0.5, 1, 0)]
)
def test_alpha_and_beta_weigh_score_and_overlap(beta, alpha, chosen):
    raw = outputs([0.8, 0.2, 0.5, 0.5], [[0] * 4, [-0.5, 0, np.log(2), 0], [0] * 4, [0] * 4])
    matcher = TaskAlignedTargets(1, alpha, beta)
    result = assign(matcher, ANCHORS, [[[0, 0, 20, 10]]], [[0]], (4,), raw)
    np.testing.assert_array_equal(np.flatnonzero(result["positive_mask"]), [chosen])
    np.testing.assert_allclose(result["quality"][0, chosen], [0.5, 1.0][chosen], rtol=1e-5)


# Two objects choose anchor 1, which predicts its own box: IoU 100/120 with the second, 100/140 with
# the first. The first object keeps no anchor.
def test_a_conflict_goes_to_the_larger_overlap():
    boxes = [[[10, 0, 24, 10], [10, 0, 22, 10]]]
    for order in ([0, 1], [1, 0]):
        result = assign(
            TaskAlignedTargets(),
            ANCHORS,
            np.array(boxes)[:, order],
            [[0, 0]],
            (4,),
            outputs([0.5] * 4),
        )
        np.testing.assert_array_equal(np.flatnonzero(result["positive_mask"]), [1])
        np.testing.assert_allclose(result["quality"][0, 1], 100 / 120, rtol=1e-5)
        np.testing.assert_allclose(result["box_targets"][0, 1, 2], np.log(1.2), rtol=1e-5)


def oracle(anchors, boxes, labels, raw, m, alpha, beta):
    """One image in float64: slot of every anchor or -1, and its quality."""
    predicted = [decoded(a, d) for a, d in zip(anchors, raw["box_deltas"], strict=True)]
    claims, alignment, iou = {}, {}, {}
    for g in range(len(labels)):
        if labels[g] == -1:
            continue
        ranked = []
        for a in range(len(anchors)):
            x, y = centre(anchors[a])
            if boxes[g][0] < x < boxes[g][2] and boxes[g][1] < y < boxes[g][3]:
                score = 1 / (1 + np.exp(-float(raw["class_logits"][a, labels[g]])))
                iou[g, a] = overlap(predicted[a], boxes[g].astype("float64"))
                alignment[g, a] = score**alpha * iou[g, a] ** beta
                ranked.append((-alignment[g, a], a))
        for t, a in sorted(ranked)[:m]:
            if t < -1e-30:
                claims.setdefault(a, []).append(g)
    slot, quality = np.full(len(anchors), -1), np.zeros(len(anchors))
    for a, rivals in claims.items():
        slot[a] = max(rivals, key=lambda g: iou[g, a])
    for g in set(slot[slot >= 0]):
        own = np.flatnonzero(slot == g)
        most = max(alignment[g, a] for a in own)
        for a in own:
            quality[a] = alignment[g, a] / most * max(iou[g, b] for b in own)
    return slot, quality


@pytest.mark.parametrize("arguments", [(13, 1.0, 6.0), (1, 0.5, 2.0), (4, 1.0, 2.5), (1000, 0, 1)])
@pytest.mark.parametrize("name", GENERATORS)
def test_targets_equal_plain_loops(name, arguments):
    anchors, level_sizes = anchors_and_sizes(name)
    boxes, labels, raw = random_case(3, len(anchors))
    matcher = TaskAlignedTargets(*arguments)
    result = assign(matcher, anchors, boxes, labels, level_sizes, raw)
    for i in range(len(boxes)):
        of_image = {key: value[i] for key, value in raw.items()}
        slot, quality = oracle(anchors, boxes[i], labels[i], of_image, *arguments)
        np.testing.assert_array_equal(result["positive_mask"][i], slot >= 0)
        expected = np.where(slot >= 0, labels[i][slot], -1)
        np.testing.assert_array_equal(result["class_targets"][i], expected)
        np.testing.assert_allclose(result["quality"][i], quality, rtol=2e-4, atol=1e-6)
        a, g = anchors[slot >= 0], boxes[i][slot[slot >= 0]]
        shift = (g[:, :2] + g[:, 2:] - a[:, :2] - a[:, 2:]) / 2 / (a[:, 2:] - a[:, :2])
        np.testing.assert_allclose(result["box_targets"][i][slot >= 0][:, :2], shift, atol=1e-4)
    assert result["positive_mask"].sum() > len(boxes)


# More pairs of blocks and objects than one step of the loop scores.
def test_many_objects_take_several_steps(monkeypatch):
    from keras_det.targets import search

    anchors, level_sizes = anchors_and_sizes("nine per cell")
    boxes, labels, raw = random_case(5, len(anchors), slots=20)
    whole = assign(TaskAlignedTargets(), anchors, boxes, labels, level_sizes, raw)
    monkeypatch.setattr(search, "PAIRS", 7)
    steps = assign(TaskAlignedTargets(), anchors, boxes, labels, level_sizes, raw)
    for name, value in whole.items():
        np.testing.assert_allclose(steps[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("compiled", [False, True])
def test_targets_in_a_graph_with_any_number_of_slots(compiled):
    for result, expected in graph_and_eager(TaskAlignedTargets(), compiled):
        np.testing.assert_array_equal(result["class_targets"], expected["class_targets"])
        np.testing.assert_allclose(result["quality"], expected["quality"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("slots", [0, 3])
def test_images_without_objects_are_all_background(slots):
    boxes, labels = np.full((1, slots, 4), np.nan), np.full((1, slots), -1)
    result = assign(TaskAlignedTargets(), ANCHORS, boxes, labels, (4,), outputs([0.5] * 4))
    np.testing.assert_array_equal(result["class_targets"], np.full((1, 4), -1))
    for name in ("box_targets", "quality", "positive_mask", "ignore_mask"):
        assert not result[name].any(), name


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [8, 8, 2, 2], [500, 500, 510, 510], [0, 0, 4, 4]])
def test_an_object_that_holds_no_centre_gets_no_anchor(box):
    result = assign(TaskAlignedTargets(), ANCHORS, [[box]], [[0]], (4,), outputs([0.5] * 4))
    assert not result["positive_mask"].any()


# Anchor 1 predicts a box far away: IoU 0, t = 0.
def test_predictions_that_miss_the_object_are_not_taken():
    raw = outputs([0.5] * 4, [[0] * 4, [50, 0, 0, 0], [0] * 4, [0] * 4])
    result = assign(TaskAlignedTargets(), ANCHORS, [[[0, 0, 20, 10]]], [[0]], (4,), raw)
    np.testing.assert_array_equal(np.flatnonzero(result["positive_mask"]), [0])


@pytest.mark.parametrize("extreme", [100.0, -100.0])
def test_extreme_outputs_stay_finite(extreme):
    raw = {
        name: np.full((1, 4, n), extreme, "float32")
        for name, n in (("class_logits", 1), ("box_deltas", 4))
    }
    result = assign(TaskAlignedTargets(), ANCHORS, [[[0, 0, 20, 10]]], [[0]], (4,), raw)
    assert all(np.isfinite(value).all() for value in result.values())


@pytest.mark.parametrize("name", ["class_logits", "box_deltas"])
def test_predictions_get_no_gradient(name):
    raw = outputs([0.8, 0.2, 0.9, 0.9])

    def quality(value):
        given = {**raw, name: value}
        return TaskAlignedTargets().assign(
            ANCHORS, np.array([[[0, 0, 20, 10.0]]]), np.array([[0]]), raw=given
        )["quality"]

    total, gradient = sum_and_gradient(quality, raw[name])
    assert total != 0 and gradient is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_candidates": 0}, "`num_candidates` must be an integer of at least 1. Received: "),
        ({"num_candidates": 1.5}, "`num_candidates` must be an integer of at least 1. Received: "),
        ({"alpha": -1}, "`alpha` must be a number of at least 0.*Received: alpha=-1"),
        ({"beta": 0}, "`beta` a positive number. Received: alpha=1.0, beta=0"),
        ({"beta": float("nan")}, "`beta` a positive number. Received: alpha=1.0, beta=nan"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TaskAlignedTargets(**arguments)


@pytest.mark.parametrize("raw", [None, {"class_logits": np.zeros((1, 4, 1))}])
def test_missing_predictions_are_named(raw):
    with pytest.raises(ValueError, match="TaskAlignedTargets needs `raw`, .* Received: raw="):
        TaskAlignedTargets().assign(ANCHORS, np.zeros((1, 1, 4)), np.array([[0]]), raw=raw)
