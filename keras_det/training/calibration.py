"""Shifts the scores of each class so that one threshold, 0.4, is the best one for all of them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.metrics.coco import evaluated, metrics_of
from keras_det.metrics.score_facts import ScoreFacts, score_facts
from keras_det.metrics.thresholds import ClassThreshold, thresholds_of
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.detector import Detector
from keras_det.training.evaluate import detect_dataset

TARGET = 0.4  # where the best threshold of every class shall lie
CLOSE = (0.3, 0.5)  # a threshold in this range is not measured again
UNKNOWN = 0.3  # threshold where nothing was measured
FEWEST_OBJECTS = 10  # a class with fewer takes the shift of all classes together
LEAST_F1 = 0.1  # the threshold of a class that is hardly found means nothing
LARGEST_SHIFT = 5.0  # in logits
MOST_LOST = 0.003  # of AP; a shift that costs more is taken back


@dataclasses.dataclass(frozen=True)
class Measured:
    """A detector on a data set: COCO's metrics, the best thresholds, and facts about its scores."""

    metrics: dict[str, Any]
    thresholds: dict[str, ClassThreshold]
    facts: ScoreFacts

    def score_thresholds(self) -> list[float] | None:
        """One threshold per class: its own, or the common one for a rare or hardly found class.

        None for a model that has learned too little.
        """
        return _per_class(self.thresholds, UNKNOWN) if self.facts.learned else None

    def as_metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        rows = {name: row._asdict() for name, row in self.thresholds.items() if name}
        shown = {"highest_score": self.facts.highest, "objects_above": self.facts.passing}
        return {**self.metrics, **shown, "learned": self.facts.learned, "thresholds": rows}


def measure(model: Detector, dataset: Dataset, batch_size: int = 8) -> Measured:
    """Runs a detector on a data set and measures everything that is reported about it.

    Args:
        model: a detector with the data set's classes.
        dataset: `Dataset`.
        batch_size: images per call.

    Raises:
        ValueError: the data set does not have the model's classes, in the model's order.
    """
    model.check_dataset(dataset)
    indices, detections = detect_dataset(model, dataset, batch_size)
    matched = evaluated(dataset.ground_truth(indices), detections, model.class_names)
    thresholds = thresholds_of(matched, model.class_names)
    sizes = [dataset[index].original_size for index in indices]
    facts = score_facts(detections, sizes, _per_class(thresholds, UNKNOWN))
    if not facts.learned:
        facts = score_facts(detections, sizes, UNKNOWN)
    return Measured(metrics_of(matched, model.class_names), thresholds, facts)


def calibrate(model: Detector, dataset: Dataset, batch_size: int = 8) -> Measured:
    """Shifts the class biases of a detector with anchors; measures before and after.

    A number is added to all logits of a class. It is chosen so that the threshold with the best F1
    on the data set becomes 0.4:

        shift = logit(0.4) - logit(best threshold)

    The order of the detections of a class does not change, so with hard NMS its AP does not change
    either. Soft-NMS multiplies scores, so AP may change a little; if it falls by more than 0.003,
    nothing is shifted. The shift is part of the head's bias, so every export has it. A model that
    has learned too little, or has no anchors, is only measured.

    Args:
        model: the detector. Its class biases and its `score_thresholds` are changed.
        dataset: the calibration data: images that the model was not trained on.
        batch_size: images per call.

    Returns:
        The measurements of the model after the shift.
    """
    found = measure(model, dataset, batch_size)
    if isinstance(model, AnchorDetector) and found.facts.learned:
        for _ in range(2):
            shifts = _shifts(found.thresholds)
            if not np.abs(shifts).any():
                break
            add_to_logits(model, shifts)
            again = measure(model, dataset, batch_size)
            if again.metrics["AP"] < found.metrics["AP"] - MOST_LOST:
                add_to_logits(model, -shifts)
                break
            found = again
            if all(CLOSE[0] <= each <= CLOSE[1] for each in _per_class(found.thresholds, TARGET)):
                break
    model.score_thresholds = found.score_thresholds()
    return found


def add_to_logits(model: AnchorDetector, shifts: np.ndarray) -> None:
    """Adds a number to the logits of each class, in the bias of the class prediction.

    Args:
        model: the detector.
        shifts: `(classes,)`.
    """
    (bias,) = (each for each in model.class_variables() if len(each.shape) == 1)
    values = np.array(bias).reshape(-1, model.num_classes) + np.asarray(shifts, "float32")
    bias.assign(values.reshape(-1))


def _shifts(thresholds: Mapping[str, ClassThreshold]) -> np.ndarray:
    """What to add to the logits of each class, float64 `(classes,)`."""
    shifts = [_logit(TARGET) - _logit(each) for each in _per_class(thresholds, TARGET)]
    return np.clip(np.array(shifts), -LARGEST_SHIFT, LARGEST_SHIFT)


def _per_class(thresholds: Mapping[str, ClassThreshold], unknown: float) -> list[float]:
    """Thresholds in the order of the classes; the common one for rare or hardly found classes."""
    together = thresholds[""]
    common = together.threshold if together.f1 >= LEAST_F1 else unknown
    return [
        row.threshold if row.objects >= FEWEST_OBJECTS and row.f1 >= LEAST_F1 else common
        for name, row in thresholds.items()
        if name
    ]


def _logit(score: float) -> float:
    score = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(score / (1 - score))
