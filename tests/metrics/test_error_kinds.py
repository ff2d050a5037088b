"""Kinds of errors by hand, and equal to what TIDE's own package prints for a trained detector."""

import json
import math

import numpy as np
import pytest

from keras_det.metrics.columns import columns
from keras_det.metrics.error_kinds import ADVICE, KINDS, error_kinds, format_errors
from keras_det.metrics.matching import match
from tests.helpers import golden
from tests.metrics.scenes import bccd_found

# TIDE's names of the kinds.
NAMES = dict(zip(KINDS, ("Loc", "Cls", "Dupe", "Bkg", "Both", "Miss"), strict=True))


def found_in(truth, detections, classes=2):
    names = [str(k) for k in range(classes)]
    return error_kinds(match(*columns(truth, detections, names)), classes)


def test_counts_and_costs_equal_those_of_tide():
    """Lite0, trained for 156 steps, on 40 images of BCCD; printed by benchmarks/peer_tide.py."""
    expected = json.loads(golden("metrics/tide.json").read_text())
    found = found_in(*bccd_found()[:2], classes=3)
    assert 100 * found.ap50 == pytest.approx(expected["AP50"], abs=0.01)
    for name, kind in found.kinds.items():
        assert kind.count == expected["count"][NAMES[name]], name
        assert 100 * kind.cost == pytest.approx(expected["cost"][NAMES[name]], abs=0.01), name
    totals = expected["totals"]
    assert 100 * found.false_positives == pytest.approx(totals["FalsePos"], abs=0.01)
    assert 100 * found.false_negatives == pytest.approx(totals["FalseNeg"], abs=0.01)
    assert expected["cost"]["Loc"] > 5 and expected["cost"]["Cls"] > 0.5


# One object of class 0, 10 x 10. IoU of a box moved by d to the right: (10 - d) / (10 + d).
@pytest.mark.parametrize(
    "moved, label, kind",
    [
        (5, 0, "localisation"),  # 5 / 15
        (1, 1, "classification"),  # 9 / 11
        (5, 1, "both"),
        (9, 0, "background"),  # 1 / 19
        (40, 1, "background"),
    ],
)
def test_one_wrong_detection_has_the_kind_of_its_overlap(moved, label, kind):
    box = np.array([[0.0, 0, 10, 10]])
    truth = [{"boxes": box, "labels": [0]}, {"boxes": box, "labels": [1]}]
    wrong = {"boxes": box + [moved, 0, moved, 0], "labels": [label], "scores": [0.9]}
    other = {"boxes": box, "labels": [1], "scores": [0.8]}
    found = found_in(truth, [wrong, other])
    assert {name for name, each in found.kinds.items() if each.count} - {"missed"} == {kind}
    # An object that a localisation or classification error points at is not missed.
    assert found.kinds["missed"].count == (kind in ("both", "background"))
    assert found.kind.tolist().count(KINDS.index(kind)) == 1


def test_a_second_detection_is_a_duplicate():
    box = np.array([[0.0, 0, 10, 10]])
    truth = [{"boxes": box, "labels": [0]}] * 2
    twice = {"boxes": np.repeat(box, 2, 0), "labels": [0, 0], "scores": [0.9, 0.8]}
    once = {"boxes": box, "labels": [0], "scores": [0.7]}
    found = found_in(truth, [twice, once])
    # Right, wrong, right of 2: precision 1 up to recall 0.5 (51 of 101), then 2/3 (50).
    before = (51 + 50 * 2 / 3) / 101
    assert found.ap50 == pytest.approx(before)
    assert found.kinds["duplicate"].count == 1
    assert found.kinds["duplicate"].cost == pytest.approx(1 - before)
    assert found.false_positives == pytest.approx(1 - before) and found.false_negatives == 0


def test_only_the_best_error_at_an_object_becomes_right():
    """Two objects, one is found; the other has two boxes beside it: one is corrected."""
    box = np.array([[0.0, 0, 10, 10]])
    truth = [{"boxes": box, "labels": [0]}] * 2
    beside = np.concatenate([box + [5, 0, 5, 0], box + [0, 5, 0, 5]])
    detections = [
        {"boxes": box, "labels": [0], "scores": [0.9]},
        {"boxes": beside, "labels": [0, 0], "scores": [0.8, 0.7]},
    ]
    found = found_in(truth, detections)
    assert found.kinds["localisation"].count == 2
    assert found.ap50 == pytest.approx(51 / 101)
    assert found.kinds["localisation"].cost == pytest.approx(50 / 101)


def test_missed_objects_cost_what_recall_lacks():
    box = np.array([[0.0, 0, 10, 10]])
    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    detections = [{"boxes": box, "labels": [0], "scores": [0.9]}, nothing]
    found = found_in([{"boxes": box, "labels": [0]}] * 2, detections)
    assert found.kinds["missed"].count == 1 and found.missed.tolist() == [1]
    assert found.kinds["missed"].cost == pytest.approx(50 / 101)
    assert found.false_negatives == pytest.approx(50 / 101)


def test_what_lies_in_a_crowd_is_no_error():
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 100, 100]])
    truth = [{"boxes": boxes, "labels": [0, 0], "crowd": [False, True]}]
    detections = [{"boxes": boxes, "labels": [0, 0], "scores": [0.5, 0.9]}]
    found = found_in(truth, detections)
    assert found.ap50 == 1 and not any(each.count for each in found.kinds.values())


def test_without_objects_costs_are_undefined():
    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    one = {"boxes": np.array([[0, 0, 9, 9]]), "labels": [0], "scores": [0.5]}
    found = found_in([nothing], [one])
    assert math.isnan(found.ap50) and found.kinds["background"].count == 1
    assert math.isnan(found.kinds["background"].cost)
    assert "-" in format_errors(found)


def test_the_table_starts_with_the_worst_and_says_what_to_do():
    found = found_in(*bccd_found()[:2], classes=3)
    lines = format_errors(found).splitlines()
    assert lines[1].split() == ["localisation", "1,664", "0.068"]
    costs = [float(line.split()[-1]) for line in lines[1:7]]
    assert costs == sorted(costs, reverse=True)
    assert lines[7] == ADVICE["localisation"]
    assert max(map(len, [*lines, *ADVICE.values()])) <= 80 and set(ADVICE) == set(KINDS)
