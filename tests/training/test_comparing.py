"""Two detectors on the same images: who is better, and where."""

import numpy as np
import pytest

from keras_det.metrics import coco_metrics
from keras_det.training.comparing import compare

NAMES = ["cat", "dog"]
BOX = np.array([[10.0, 10, 60, 60]])


def truth(label):
    return {"boxes": BOX, "labels": [label]}


def found(label, shift=0.0, score=0.9):
    return {"boxes": BOX + shift, "labels": [label], "scores": [score]}


# A misplaces every second cat, B finds everything; both find the dogs.
TRUTH = [truth(0)] * 40 + [truth(1)] * 20
A = [found(0, shift=15.0 * (k % 2)) for k in range(40)] + [found(1)] * 20
B = [found(0)] * 40 + [found(1)] * 20


def test_the_better_detector_is_named_with_an_interval():
    result = compare(TRUTH, A, B, NAMES, resamples=200)
    for letter, rows in (("A", A), ("B", B)):
        metrics = coco_metrics(TRUTH, rows, NAMES)
        assert result.as_dict()["all"][f"AP_{letter}"] == pytest.approx(metrics["AP"])
        assert result.as_dict()["classes"]["cat"][f"AP_{letter}"] == pytest.approx(
            metrics["AP_per_class"]["cat"]
        )
    low, high = result.as_dict()["all"]["interval"]
    assert 0 < low < result.as_dict()["all"]["change"] < high
    assert result.verdict().startswith("B is better: the interval of B - A, +0.")
    assert compare(TRUTH, B, A, NAMES, resamples=200).verdict().startswith("A is better")


def test_the_table_marks_what_is_clear_and_fits_80_columns():
    lines = compare(TRUTH, A, B, ["c" * 40, "dog"], resamples=200).text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("ccccccccccccccccccc…       40") and lines[1].endswith(" *")
    assert "+0.000  +0.000 … +0.000" in lines[2] and not lines[2].endswith("*")
    assert lines[3].startswith("all classes") and "      60 " in lines[3]
    assert lines[-1] == "Fewer errors: A in 0 images, B in 20; equal in 40."


# One image in 60 differs: a set of images drawn again often has none of it.
def test_a_small_difference_is_not_clear():
    almost = [found(0, shift=15.0), *B[1:]]
    result = compare(TRUTH, almost, B, NAMES, resamples=300)
    assert result.verdict().startswith("Neither is clearly better: ")
    assert result.wins == (0, 1)


def test_images_with_the_largest_difference_come_first():
    misses = [dict(each, scores=[0.9], boxes=each["boxes"] + 200) for each in B[:2]]
    first = [*misses, *B[2:]]
    second = [*B[:58], found(0), found(0)]
    result = compare(TRUTH, first, second, NAMES, [[0.5, 0.5]] * 2, resamples=10)
    assert result.wins == (2, 2)
    chosen = result.most_different(4)
    assert sorted(chosen[:2]) == [0, 1] and sorted(chosen[2:]) == [58, 59]
    assert result.most_different(0) == []


def test_thresholds_decide_which_errors_count():
    low = [found(0, score=0.4)] * 40 + [found(1)] * 20
    assert compare(TRUTH, low, B, NAMES, [[0.5, 0.5]] * 2, resamples=10).wins == (0, 40)
    assert compare(TRUTH, low, B, NAMES, [[0.3, 0.5]] * 2, resamples=10).wins == (0, 0)


def test_a_class_without_objects_is_a_dash():
    result = compare(TRUTH, A, B, [*NAMES, "owl"], resamples=10)
    assert result.text().splitlines()[3].split() == ["owl", "0", "-", "-", "-"]
    assert result.as_dict()["classes"]["owl"]["AP_A"] is None
    nothing = [{"boxes": np.zeros((0, 4)), "labels": []}] * 60
    assert compare(nothing, A, B, NAMES, resamples=10).verdict().startswith("The models cannot")
