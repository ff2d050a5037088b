"""Curves, confusion, reliability and thresholds by hand; the JSON holds what its schema says."""

import json
import math
import pathlib

import numpy as np
import pytest

import keras_det.metrics
from keras_det.metrics.analysis import SCHEMA, analyse
from keras_det.metrics.coco import coco_metrics, evaluated
from keras_det.metrics.columns import columns
from keras_det.metrics.confusion import confusion_matrix
from keras_det.metrics.curves import average_precision, precision_recall
from keras_det.metrics.matching import match
from keras_det.metrics.reliability import reliability
from keras_det.metrics.thresholds import best_f1, highest_for_recall, lowest_for_precision
from tests.metrics.scenes import bccd_found, random_scenes


def boxes_at(*corners, side=10.0):
    corners = np.array(corners, "float64").reshape(-1, 2)
    return np.concatenate([corners, corners + side], axis=1)


@pytest.fixture(scope="module")
def bccd():
    truth, detections, names = bccd_found()
    return truth, detections, names, analyse(detections, truth, names)


def test_curves_average_to_ap(bccd):
    truth, detections, names, found = bccd
    metrics = coco_metrics(truth, detections, names)
    assert found.metrics == {key: metrics[key] for key in found.metrics}
    for name, curves in found.precision_recall.items():
        assert np.mean(curves["mean"]) == pytest.approx(metrics["AP_per_class"][name])
        assert found.ap_by_size[name]["all"] == pytest.approx(metrics["AP_per_class"][name])
    at_half = [np.mean(curves["0.50"]) for curves in found.precision_recall.values()]
    at_three_quarters = [np.mean(curves["0.75"]) for curves in found.precision_recall.values()]
    assert np.mean(at_half) == pytest.approx(metrics["AP50"])
    assert np.mean(at_three_quarters) == pytest.approx(metrics["AP75"])
    assert found.errors.ap50 == pytest.approx(metrics["AP50"])
    for size in ("small", "medium", "large"):
        of_classes = [row[size] for row in found.ap_by_size.values()]
        expected = metrics[f"AP_{size}"]
        assert np.nanmean(of_classes) == pytest.approx(expected)


# Right, wrong, right, wrong of four objects, as in test_coco.py: (26 + 25 * 2/3) / 101.
def test_average_precision_by_hand():
    assert average_precision(np.array([1, 0, 1, 0], bool), 4) == pytest.approx(0.422442, abs=1e-6)
    assert average_precision(np.zeros(0, bool), 4) == 0
    assert math.isnan(average_precision(np.zeros(0, bool), 0))


def test_a_curve_by_hand():
    truth = [{"boxes": boxes_at((0, 0), (20, 0), (40, 0), (60, 0)), "labels": [0] * 4}]
    boxes = boxes_at((0, 0), (0, 50), (20, 0), (20, 50))
    detections = [{"boxes": boxes, "labels": [0] * 4, "scores": [0.9, 0.8, 0.7, 0.6]}]
    curve = precision_recall(evaluated(truth, detections, ["a", "b"]), ["a", "b"])
    assert curve["a"]["0.50"] == pytest.approx([1] * 26 + [2 / 3] * 25 + [0] * 50)
    assert all(map(math.isnan, curve["b"]["mean"]))


def test_confusion_by_hand():
    """Object 0 found as itself and once more, 1 found as class 1 (it is 0), 2 missed, one ghost."""
    truth = [{"boxes": boxes_at((0, 0), (50, 0), (100, 0)), "labels": [0, 0, 1]}]
    boxes = boxes_at((0, 0), (1, 0), (50, 0), (51, 1), (0, 90), (100, 0))
    detections = [
        {"boxes": boxes, "labels": [0, 0, 1, 1, 1, 1], "scores": [0.9, 0.8, 0.6, 0.7, 0.5, 0.2]}
    ]
    matches = match(*columns(truth, detections, ["a", "b"]))
    #               as a, as b, nothing
    assert confusion_matrix(matches, [0.3, 0.3], 2).tolist() == [
        [1, 1, 0],
        [0, 0, 1],
        [1, 2, 0],
    ]
    # With a lower threshold the third object is found; with a high one nothing is.
    assert confusion_matrix(matches, [0.3, 0.1], 2)[1].tolist() == [0, 1, 0]
    assert confusion_matrix(matches, [0.9, 0.9], 2)[:, 2].tolist() == [2, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_confusion_counts_every_object_and_detection_once(seed):
    truth, detections, names = random_scenes(20, 3, seed, crowd=0)
    matches = match(*columns(truth, detections, names))
    matrix = confusion_matrix(matches, [0.4] * 3, 3)
    objects = np.bincount(np.concatenate([row["labels"] for row in truth]), minlength=3)
    assert matrix.sum(axis=1)[:3].tolist() == objects.tolist()
    shown = [row["labels"][row["scores"] > 0.4] for row in detections]
    assert matrix.sum(axis=0)[:3].tolist() == np.bincount(np.concatenate(shown)).tolist()
    right = matches.right[0] & (matches.scores > 0.4)
    assert np.diag(matrix)[:3].tolist() == np.bincount(matches.labels[right]).tolist()


def test_crowds_are_left_out_of_the_confusion_matrix():
    truth = [{"boxes": boxes_at((0, 0), side=50), "labels": [0], "crowd": [True]}]
    detections = [{"boxes": boxes_at((5, 5)), "labels": [0], "scores": [0.9]}]
    assert not confusion_matrix(match(*columns(truth, detections, ["a"])), [0.1], 1).any()


def test_the_calibration_error_by_hand():
    """Bins of 0.5: scores 0.2, 0.4 with one right (0.5 - 0.3), 0.9, 1.0, 0.8 with two right."""
    found = reliability([0.2, 0.4, 0.9, 1.0, 0.8], [0, 1, 1, 0, 1], bins=2)
    assert found.count.tolist() == [2, 3] and found.score == pytest.approx([0.3, 0.9])
    assert found.precision == pytest.approx([0.5, 2 / 3])
    assert found.error == pytest.approx((2 * 0.2 + 3 * (0.9 - 2 / 3)) / 5)
    assert math.isnan(reliability([], []).error)


def test_the_calibration_error_equals_that_of_hotcoco(bccd):
    hotcoco = pytest.importorskip("hotcoco", reason="the extra `fast-eval` is not installed")
    truth, detections, names, found = bccd
    matches = match(*columns(truth, detections, names))
    expected, _ = hotcoco.metrics.calibration_error(matches.scores, matches.right[0], 10)
    assert found.reliability.error == pytest.approx(expected)


# Scores 0.9 right, 0.8 wrong, 0.6 right, 0.5 wrong, of 3 objects: precision 1, 1/2, 2/3, 1/2 and
# recall 1/3, 1/3, 2/3, 2/3.
@pytest.mark.parametrize(
    "choose, wanted, threshold",
    [
        (lowest_for_precision, 0.9, 0.85),
        (lowest_for_precision, 0.6, 0.55),
        (lowest_for_precision, 0.5, 0.25),
        (highest_for_recall, 0.3, 0.85),
        (highest_for_recall, 0.5, 0.55),
        (highest_for_recall, 0.7, math.nan),
    ],
)
def test_thresholds_for_a_wanted_precision_or_recall(choose, wanted, threshold):
    scores, right = np.array([0.5, 0.9, 0.6, 0.8]), np.array([0, 1, 1, 0], bool)
    found = choose(scores, right, 3, wanted)
    assert found.threshold == pytest.approx(threshold, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_wanted_thresholds_equal_a_search(seed):
    rng = np.random.default_rng(seed)
    scores, right = rng.integers(1, 11, 40) / 10, rng.random(40) < 0.6
    cuts = {}
    for cut in sorted(set(scores)):
        kept = scores >= cut
        cuts[cut] = (right[kept].mean(), right[kept].sum() / 30)
    for wanted in (0.4, 0.5, 0.6, 0.7):
        precise = [cut for cut, (precision, _) in cuts.items() if precision >= wanted]
        complete = [cut for cut, (_, recall) in cuts.items() if recall >= wanted]
        for found, expected in (
            (lowest_for_precision(scores, right, 30, wanted), min(precise, default=None)),
            (highest_for_recall(scores, right, 30, wanted), max(complete, default=None)),
        ):
            if expected is None:
                assert math.isnan(found.threshold)
                continue
            lower = max([cut for cut in cuts if cut < expected], default=0.0)
            assert found.threshold == pytest.approx((expected + lower) / 2)
            assert (found.precision, found.recall) == pytest.approx(cuts[expected])


@pytest.mark.parametrize("wanted", [0, 1.1, math.nan])
def test_a_wanted_share_out_of_range_is_refused(wanted):
    with pytest.raises(ValueError, match="`wanted` must lie above 0.*Received"):
        lowest_for_precision(np.ones(1), np.ones(1, bool), 1, wanted)


def test_the_thresholds_of_the_matrix_are_those_with_the_best_f1(bccd):
    truth, detections, names, found = bccd
    # No platelet is found: that class takes the threshold of all.
    assert math.isnan(found.best_f1["Platelets"].threshold)
    own = [found.best_f1[name].threshold for name in ("", "RBC", "WBC")]
    assert found.confusion_thresholds == own
    given = analyse(detections, truth, names, thresholds=[0.9, 0.9, 0.9])
    assert given.confusion[:, :3].sum() < found.confusion[:, :3].sum()
    assert given.best_f1 == found.best_f1
    with pytest.raises(ValueError, match="one score per class. Received: 1 for 3"):
        analyse(detections, truth, names, thresholds=[0.5])
    matches = match(*columns(truth, detections, names))
    together = best_f1(matches.scores, matches.right[0], found.objects)
    assert found.best_f1[""] == together


@pytest.mark.parametrize("scenes", ["bccd", "random", "nothing"])
def test_the_json_holds_what_its_schema_says(scenes):
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    truth, detections, names = {
        "bccd": bccd_found,
        "random": lambda: random_scenes(5, 4, seed=0),
        "nothing": lambda: ([nothing], [nothing], ["a"]),
    }[scenes]()
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(analyse(detections, truth, names).to_json())
    jsonschema.validate(content, schema)
    content["errors"]["kinds"]["duplicate"]["cost"] = 12.5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_public_names_are_found():
    assert keras_det.metrics.analyse is analyse
    assert set(keras_det.metrics.__all__) <= set(dir(keras_det.metrics))
    assert pathlib.Path(keras_det.metrics.analysis.SCHEMA).is_file()
