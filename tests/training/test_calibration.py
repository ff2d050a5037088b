"""Shifted class biases: what they are, that AP stays, and when nothing is shifted."""

import math

import numpy as np
import pytest

from keras_det import load_model
from keras_det.metrics.coco import coco_metrics
from keras_det.metrics.score_facts import ScoreFacts
from keras_det.metrics.thresholds import ClassThreshold
from keras_det.training import calibration
from keras_det.training.calibration import Measured, add_to_logits, calibrate
from tests.export.tiny import TinyDetector

LEARNED = ScoreFacts(30, 0.4, 50, 0.1, 0.9)
# logit(0.4) = -0.405465, logit(0.03) = -3.476099, logit(0.1) = -2.197225.
OF_003, OF_01 = 3.070634, 1.791759


def two_classes():
    return TinyDetector(["class_0", "class_1"], (64, 64))


def row(threshold, objects=50, f1=0.6):
    return ClassThreshold(threshold, 0.6, 0.6, f1, objects)


def measured(ap, first, second, together, facts=LEARNED):
    return Measured({"AP": ap}, {"class_0": first, "class_1": second, "": together}, facts)


def biases(model):
    (bias,) = (v for v in model.class_variables() if len(v.shape) == 1)
    return np.array(bias).reshape(-1, 2)


def calibrated(monkeypatch, *results):
    """The model, the shifts of its biases, and what `calibrate` returns."""
    model, left = two_classes(), iter(results)
    before = biases(model)
    monkeypatch.setattr(calibration, "measure", lambda *_, **__: next(left))
    found = calibrate(model, None)
    return model, biases(model) - before, found


def test_each_class_gets_the_shift_to_the_target(monkeypatch):
    after = measured(0.5, row(0.41), row(0.38), row(0.4))
    before = measured(0.5, row(0.03), row(0.1), row(0.05))
    model, shifts, found = calibrated(monkeypatch, before, after)
    np.testing.assert_allclose(shifts, np.tile([OF_003, OF_01], (len(shifts), 1)), atol=1e-5)
    assert found is after and model.score_thresholds == [0.41, 0.38]


def test_a_class_that_says_too_little_takes_the_shift_of_all(monkeypatch):
    after = measured(0.5, row(0.4), row(0.4), row(0.4))
    for little in (row(0.9, objects=9), row(0.9, f1=0.05), row(math.nan, f1=0.0)):
        before = measured(0.5, row(0.03), little, row(0.1))
        _, shifts, _ = calibrated(monkeypatch, before, after)
        np.testing.assert_allclose(shifts[0], [OF_003, OF_01], atol=1e-5)


def test_a_shift_that_costs_precision_is_taken_back(monkeypatch):
    before = measured(0.5, row(0.03), row(0.1), row(0.05))
    worse = measured(0.496, row(0.4), row(0.4), row(0.4))
    model, shifts, found = calibrated(monkeypatch, before, worse)
    np.testing.assert_allclose(shifts, 0, atol=1e-5)
    assert found is before and model.score_thresholds == [0.03, 0.1]


def test_a_model_that_has_learned_too_little_is_left_alone(monkeypatch):
    facts = ScoreFacts(30, 0.012, 0, 0.95, 0.01)
    model, shifts, _ = calibrated(
        monkeypatch, measured(0.5, row(0.01), row(0.01), row(0.01), facts)
    )
    assert not shifts.any() and model.score_thresholds is None


def test_a_second_shift_follows_where_the_first_did_not_reach(monkeypatch):
    far = measured(0.5, row(0.1), row(0.4), row(0.2))
    near = measured(0.5, row(0.4), row(0.4), row(0.4))
    first = measured(0.5, row(0.03), row(0.4), row(0.2))
    _, shifts, found = calibrated(monkeypatch, first, far, near)
    np.testing.assert_allclose(shifts[0], [OF_003 + OF_01, 0], atol=1e-5)
    assert found is near


@pytest.fixture(scope="module")
def raw():
    """Raw outputs of six images, and ground truth that some of the boxes fit."""
    model, rng = two_classes(), np.random.default_rng(0)
    count = len(np.array(model.anchors))
    outputs = {
        "class_logits": rng.normal(-3, 1.5, (6, count, 2)).astype("float32"),
        "box_deltas": rng.normal(0, 0.2, (6, count, 4)).astype("float32"),
    }
    truth = []
    for i in range(6):
        chosen = rng.integers(0, count, 5)
        labels = rng.integers(0, 2, 5)
        outputs["class_logits"][i, chosen, labels] += 5
        truth.append({"boxes": np.clip(np.array(model.anchors)[chosen], 0, 64), "labels": labels})
    return model, outputs, truth


def precision(raw, shifts, **settings):
    """AP of each class with numbers added to the logits."""
    model, outputs, truth = raw
    moved = {**outputs, "class_logits": outputs["class_logits"] + np.array(shifts, "float32")}
    found = model.decode(
        moved, candidates="pairs", pre_nms_top_k=0, max_detections=2000, score_threshold=0.0,
        **settings,
    )  # fmt: skip
    found = {name: np.array(value) for name, value in found.items()}
    rows = [{name: found[name][i] for name in ("boxes", "scores", "labels")} for i in range(6)]
    return np.array(list(coco_metrics(truth, rows, ["a", "b"])["AP_per_class"].values()))


def test_a_shift_leaves_the_precision_of_hard_suppression_as_it_is(raw):
    own = precision(raw, [0, 0], method="hard")
    assert (own > 0.05).all()
    np.testing.assert_array_equal(precision(raw, [2.5, -1.5], method="hard"), own)


# Soft suppression multiplies scores, so the order changes: most among random boxes as here.
def test_soft_suppression_changes_little(raw):
    own = precision(raw, [0, 0], method="gaussian")
    moved = precision(raw, [1.0, -1.0], method="gaussian")
    assert 0 < np.abs(moved - own).max() < 0.05


def test_a_number_is_added_to_the_logits_of_a_class_alone():
    model = two_classes()
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("uint8")
    before = {name: np.array(value) for name, value in model(images).items()}
    add_to_logits(model, np.array([1.5, -0.5]))
    after = {name: np.array(value) for name, value in model(images).items()}
    difference = after["class_logits"] - before["class_logits"]
    np.testing.assert_allclose(
        difference, np.broadcast_to([1.5, -0.5], difference.shape), atol=1e-5
    )
    np.testing.assert_array_equal(after["box_deltas"], before["box_deltas"])


def test_thresholds_are_saved_with_the_model(tmp_path):
    model = two_classes()
    assert model.score_thresholds is None and "score_thresholds" not in model.get_config()
    model.score_thresholds = [0.4, 0.25]
    assert model.with_changes(image_size=(96, 64)).score_thresholds == [0.4, 0.25]
    model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").score_thresholds == [0.4, 0.25]
    model.save_to_preset(tmp_path / "preset")
    assert type(model).from_preset(tmp_path / "preset").score_thresholds == [0.4, 0.25]
    for wrong in ([0.4], [0.4, 1.5]):
        with pytest.raises(ValueError, match="must be 2 numbers in 0..1, one per class. Received"):
            model.score_thresholds = wrong
    model.score_thresholds = None
    assert "score_thresholds" not in model.get_config()
