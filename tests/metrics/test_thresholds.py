"""The best F1 threshold against a search over every score that matches by hand."""

import math

import numpy as np
import pytest

from keras_det.metrics.columns import columns
from keras_det.metrics.matching import match
from keras_det.metrics.thresholds import (
    best_f1,
    best_thresholds,
    format_thresholds,
    thresholds_of,
)


# Scores 0.9 right, 0.8 wrong, 0.6 right, 0.5 wrong; 3 objects. Kept 1: 2*1/(1+3) = 0.5; 2: 2/5;
# 3: 2*2/(3+3) = 0.667; 4: 4/7. The threshold lies between 0.6 and 0.5.
def test_the_best_threshold_is_the_one_by_hand():
    found = best_f1(np.array([0.5, 0.9, 0.6, 0.8]), np.array([0, 1, 1, 0], bool), 3)
    assert found.threshold == pytest.approx(0.55)
    assert found.precision == pytest.approx(2 / 3) and found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3) and found.objects == 3


# Two detections of 0.5, one of them right: both are kept or none. Alone, the right one had F1 1.
def test_equal_scores_are_kept_together():
    found = best_f1(np.array([0.5, 0.5]), np.array([True, False]), 1)
    assert found.f1 == pytest.approx(2 / 3) and found.threshold == pytest.approx(0.25)


@pytest.mark.parametrize("scores, right, objects", [([], [], 2), ([0.5], [False], 2), ([], [], 0)])
def test_without_anything_right_there_is_no_threshold(scores, right, objects):
    found = best_f1(np.array(scores), np.array(right, bool), objects)
    assert math.isnan(found.threshold) and found.f1 == 0 and found.objects == objects


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def brute_force(truth, detections, label):
    """The highest F1 over every score as threshold, each matched from the beginning."""
    scores = sorted({s for row in detections for s in row["scores"][row["labels"] == label]})
    objects = sum(int((row["labels"] == label).sum()) for row in truth)
    best = 0.0
    for lowest in scores:
        right = kept = 0
        for row, found in zip(truth, detections, strict=True):
            free = [box for box, k in zip(row["boxes"], row["labels"], strict=True) if k == label]
            order = np.argsort(-found["scores"], kind="stable")
            for i in order:
                if found["labels"][i] != label or found["scores"][i] < lowest:
                    continue
                kept += 1
                overlaps = [iou(found["boxes"][i], box) for box in free]
                if overlaps and max(overlaps) >= 0.5:
                    free.pop(int(np.argmax(overlaps)))
                    right += 1
        best = max(best, 2 * right / (kept + objects))
    return best, objects


def random_images(seed, images=6):
    rng = np.random.default_rng(seed)
    truth, detections = [], []
    for _ in range(images):
        corner = rng.integers(0, 60, (4, 2))
        boxes = np.concatenate([corner, corner + rng.integers(10, 30, (4, 2))], 1).astype("float64")
        labels = rng.integers(0, 2, 4)
        moved = np.concatenate([boxes + rng.normal(0, 4, boxes.shape), boxes[::-1] + 3])
        given = np.concatenate([labels, rng.integers(0, 2, 4)])
        truth.append({"boxes": boxes, "labels": labels})
        scores = np.round(rng.uniform(0.01, 1, 8), 2)
        detections.append({"boxes": moved, "labels": given, "scores": scores})
    return truth, detections


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_equal_those_of_a_search_over_every_score(seed):
    truth, detections = random_images(seed)
    found = best_thresholds(truth, detections, ["a", "b"])
    for label, name in enumerate("ab"):
        best, objects = brute_force(truth, detections, label)
        assert found[name].f1 == pytest.approx(best) and found[name].objects == objects
        # What `score > threshold` keeps has the F1 that is promised.
        kept = [
            {key: row[key][row["scores"] > found[name].threshold] for key in row}
            for row in detections
        ]
        count = sum(int((row["labels"] == label).sum()) for row in kept)
        right = best * (count + objects) / 2
        assert found[name].precision == pytest.approx(right / count)
    assert found[""].objects == found["a"].objects + found["b"].objects


def test_a_matching_at_ten_overlaps_serves_too():
    truth, detections = random_images(0)
    names = ["a", "b"]
    matches = match(*columns(truth, detections, names))
    assert thresholds_of(matches, names) == best_thresholds(truth, detections, names)


def test_what_lies_in_a_crowd_does_not_count():
    box = np.array([[0, 0, 20, 20]], "float64")
    far = np.array([[40, 40, 60, 60]], "float64")
    crowd = {"boxes": np.concatenate([box, far]), "labels": np.zeros(2, int)}
    crowd["crowd"] = np.array([False, True])
    found = {"boxes": np.concatenate([box, far]), "labels": np.zeros(2, int)}
    found["scores"] = np.array([0.4, 0.9])
    (row, _) = best_thresholds([crowd], [found], ["a"]).values()
    assert (row.precision, row.recall, row.objects) == (1.0, 1.0, 1)


def test_the_table_fits_into_80_columns():
    long = best_f1(np.array([0.9]), np.array([True]), 1234567)._asdict()
    none = best_f1(np.zeros(0), np.zeros(0, bool), 0)._asdict()
    rows = {f"a very long name of a class, number {i}": long for i in range(25)}
    text = format_thresholds({**rows, "nothing": none, "": long})
    assert max(map(len, text.splitlines())) <= 80
    assert "0.45" in text and text.splitlines()[-1] == "… and 6 classes with fewer objects"
