"""Shifts the scores of each class so that one threshold, 0.4, is the best one for all of them."""

import math
from collections.abc import Mapping

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.metrics.thresholds import ClassThreshold
from keras_det.models.anchor_detector import AnchorDetector
from keras_det.models.detector import Detector
from keras_det.training.evaluate import Measured, measure, per_class

TARGET = 0.4  # where the best threshold of every class shall lie
CLOSE = (0.3, 0.5)  # a threshold in this range is not measured again
LARGEST_SHIFT = 5.0  # in logits
MOST_LOST = 0.003  # of AP; a shift that costs more is taken back


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
            if all(CLOSE[0] <= each <= CLOSE[1] for each in per_class(found.thresholds, TARGET)):
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
    values = keras.ops.convert_to_numpy(bias).reshape(-1, model.num_classes) + np.asarray(
        shifts, "float32"
    )
    bias.assign(values.reshape(-1))


def _shifts(thresholds: Mapping[str, ClassThreshold]) -> np.ndarray:
    """What to add to the logits of each class, float64 `(classes,)`."""
    shifts = [_logit(TARGET) - _logit(each) for each in per_class(thresholds, TARGET)]
    return np.clip(np.array(shifts), -LARGEST_SHIFT, LARGEST_SHIFT)


def _logit(score: float) -> float:
    score = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(score / (1 - score))
