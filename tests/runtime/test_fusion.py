"""Weighted box fusion and suppression: by hand, and against the paper's steps written down."""

import numpy as np
import pytest

from keras_det.runtime import weighted_box_fusion
from keras_det.runtime.fusion import suppressed
from tests.nms_oracle import iou, random_candidates, soft_nms

SEEDS = range(6)


def found_of(boxes, scores, labels=None):
    boxes = np.reshape(np.float32(boxes), (-1, 4))
    labels = np.zeros(len(boxes)) if labels is None else labels
    return {"boxes": boxes, "scores": np.float32(scores), "labels": np.int32(labels)}


def fused_by_the_book(found, threshold, agnostic=False):
    """Section 3 of the paper, step by step, with lists of boxes: what the fast version equals."""
    rows = [
        (float(score), np.float64(box), int(label))
        for each in found
        for box, score, label in zip(each["boxes"], each["scores"], each["labels"], strict=True)
    ]
    rows = [row for row in sorted(rows, key=lambda row: -row[0]) if row[0] > 0]
    clusters, fused = [], []
    for row in rows:
        overlaps = [
            float(iou(row[1], other[1][None])[0]) if agnostic or row[2] == other[2] else 0.0
            for other in fused
        ]
        place = int(np.argmax(overlaps)) if overlaps else -1
        if place < 0 or overlaps[place] <= threshold:
            clusters.append([])
            fused.append(None)
            place = len(fused) - 1
        clusters[place].append(row)
        weights = np.array([score for score, _, _ in clusters[place]])
        boxes = np.array([box for _, box, _ in clusters[place]])
        mean = (weights[:, None] * boxes).sum(axis=0) / weights.sum()
        fused[place] = (weights.mean(), mean, clusters[place][0][2])
    final = [
        (score * min(len(cluster), len(found)) / len(found), box, label)
        for (score, box, label), cluster in zip(fused, clusters, strict=True)
    ]
    return sorted(final, key=lambda row: -row[0])


def scene(seed, sets=3, objects=12):
    """Sets of detections with the same objects, moved a little, and some of their own."""
    rng = np.random.default_rng(seed)
    boxes, scores, labels = (each[0] for each in random_candidates(seed, 1, objects))
    found = []
    for _ in range(sets):
        moved = boxes + rng.normal(0, 2, boxes.shape).astype("float32")
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        seen = rng.random(objects) < 0.8
        changed = np.clip(scores + rng.normal(0, 0.1, objects), 0.01, 1)
        found.append(found_of(moved[seen], changed[seen], labels[seen] % 2))
    return found


# Two views see one object, with the scores 0.8 and 0.4: the mean is 0.6, and the box lies a third
# of the way from the first to the second: 10 + (16 - 10) / 3 = 12. A third box is seen once: a
# score of 0.5 becomes 0.5 * 1 / 2 = 0.25.
def test_the_numbers_of_one_object_by_hand():
    first = found_of([[10, 10, 110, 60], [200, 0, 220, 20]], [0.8, 0.5])
    second = found_of([[16, 13, 116, 57]], [0.4])
    fused = weighted_box_fusion([first, second])
    np.testing.assert_allclose(fused["boxes"], [[12, 11, 112, 59], [200, 0, 220, 20]], rtol=1e-6)
    np.testing.assert_allclose(fused["scores"], [0.6, 0.25], rtol=1e-6)
    assert fused["scores"].dtype == fused["boxes"].dtype == np.float32
    assert fused["labels"].dtype == np.int32 and fused["labels"].tolist() == [0, 0]


# Three boxes of one object in two sets: T = 3 is above N = 2, and the score is the mean alone.
def test_more_boxes_than_sets_do_not_raise_the_score():
    twice = found_of([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.3])
    fused = weighted_box_fusion([twice, found_of([[0, 0, 10, 10]], [0.6])])
    np.testing.assert_allclose(fused["scores"], [0.6], rtol=1e-6)


# The third box overlaps the first by 1/3, but the fused box of the first two, [2, 0, 12, 10], by
# 7 / 13 = 0.54.
def test_boxes_are_compared_with_the_fused_box():
    sets = [
        found_of([[0, 0, 10, 10]], [0.8]),
        found_of([[4, 0, 14, 10]], [0.8]),
        found_of([[5, 0, 15, 10]], [0.2]),
    ]
    fused = weighted_box_fusion(sets, iou_threshold=0.4)
    np.testing.assert_allclose(fused["boxes"], [[(4 * 0.8 + 5 * 0.2) / 1.8, 0, (4 * 0.8 + 5 * 0.2)
                                                 / 1.8 + 10, 10]], rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(fused["scores"], [0.6], rtol=1e-6)


def test_a_box_joins_the_cluster_that_it_overlaps_most():
    sets = [found_of([[0, 0, 10, 10], [6, 0, 16, 10]], [0.9, 0.8]), found_of([[5, 0, 15, 10]], 0.7)]
    fused = weighted_box_fusion(sets, iou_threshold=0.3)
    assert len(fused["scores"]) == 2
    np.testing.assert_allclose(fused["scores"], [0.75, 0.45], rtol=1e-6)


def test_classes_are_fused_apart_unless_asked():
    sets = [found_of([[0, 0, 10, 10]], [0.4], [1]), found_of([[0, 0, 10, 10]], [0.8], [3])]
    apart = weighted_box_fusion(sets)
    assert apart["labels"].tolist() == [3, 1]
    np.testing.assert_allclose(apart["scores"], [0.4, 0.2], rtol=1e-6)
    together = weighted_box_fusion(sets, class_agnostic=True)
    assert together["labels"].tolist() == [3]
    np.testing.assert_allclose(together["scores"], [0.6], rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.55, 0.8])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_fusion_follows_the_steps_of_the_paper(seed, agnostic, threshold):
    found = scene(seed)
    fused = weighted_box_fusion(found, threshold, agnostic)
    expected = fused_by_the_book(found, threshold, agnostic)
    np.testing.assert_allclose(fused["scores"], [row[0] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(fused["boxes"], [row[1] for row in expected], rtol=1e-5, atol=1e-4)
    assert fused["labels"].tolist() == [row[2] for row in expected]


# The scene has clusters of all sizes: else the comparison above would say little.
def test_the_scenes_hold_what_can_go_wrong():
    counts = [len(weighted_box_fusion(scene(seed))["scores"]) for seed in SEEDS]
    boxes = [sum(len(each["scores"]) for each in scene(seed)) for seed in SEEDS]
    assert all(1 < count < total for count, total in zip(counts, boxes, strict=True))


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_suppression_is_the_hard_one(seed, agnostic):
    found = scene(seed)
    boxes, scores, labels = (
        np.concatenate([each[key] for each in found]) for key in ("boxes", "scores", "labels")
    )
    chosen, _ = soft_nms(boxes, scores, labels, method="hard", class_agnostic=agnostic)
    kept = suppressed(found, 0.5, agnostic)
    np.testing.assert_array_equal(kept["boxes"], boxes[chosen])
    np.testing.assert_array_equal(kept["scores"], scores[chosen])
    np.testing.assert_array_equal(kept["labels"], labels[chosen])


@pytest.mark.parametrize("fuse", [weighted_box_fusion, suppressed])
def test_nothing_found_and_scores_of_zero(fuse):
    nothing = found_of([], [])
    fused = fuse([nothing, nothing])
    assert fused["boxes"].shape == (0, 4) and len(fused["scores"]) == len(fused["labels"]) == 0
    one = fuse([nothing, found_of([[1, 2, 3, 4], [9, 9, 9, 9]], [0.5, 0.0], [2, 2])])
    np.testing.assert_array_equal(one["boxes"], [[1, 2, 3, 4]])
    assert one["labels"].tolist() == [2]


def test_boxes_without_area_stay_apart():
    point = found_of([[5, 5, 5, 5]], [0.5])
    assert len(weighted_box_fusion([point, point], 0.0)["scores"]) == 2


@pytest.mark.parametrize("fuse", [weighted_box_fusion, suppressed])
def test_wrong_arguments_are_named(fuse):
    with pytest.raises(ValueError, match="`found` must hold the detections of at least one"):
        fuse([])
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(
            ValueError, match="`iou_threshold` must be at least 0 and below 1. Received"
        ):
            fuse([found_of([], [])], wrong)
