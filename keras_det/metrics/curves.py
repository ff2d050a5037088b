"""Precision against recall, and AP of each class and object size."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.metrics.engines import Evaluation

RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision
SIZES = ("all", "small", "medium", "large")  # of objects, in COCO's order
# Rows of COCO's ten overlaps: 0.5, 0.75, and the mean of all ten.
CURVES = {"0.50": slice(0, 1), "0.75": slice(5, 6), "mean": slice(0, 10)}


def ap_by_size(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """COCO's AP of each class and object size, the mean over IoU 0.5 … 0.95.

    Args:
        evaluation: as `keras_det.metrics.coco.evaluated` returns it.
        class_names: in the order of the labels.

    Returns:
        By class name a dict of "all", "small", "medium" and "large": 0..1, NaN where the images
        hold no such object.
    """
    found = evaluation.precision[..., -1].mean(axis=(0, 1))
    return {
        str(name): {size: _or_nan(found[k, j]) for j, size in enumerate(SIZES)}
        for k, name in enumerate(class_names)
    }


def precision_recall(
    evaluation: Evaluation, class_names: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """The highest precision at a recall of at least 0, 0.01, … 1, for each class.

    The mean of a curve is the AP at that overlap.

    Args:
        evaluation, class_names: as for `ap_by_size`.

    Returns:
        By class name a dict of "0.50", "0.75" and "mean" (over IoU 0.5 … 0.95): 101 numbers in
        0..1, NaN for a class without objects.
    """
    curves = evaluation.precision[:, :, :, 0, -1]
    return {
        str(name): {
            overlap: [_or_nan(value) for value in curves[rows, :, k].mean(axis=0)]
            for overlap, rows in CURVES.items()
        }
        for k, name in enumerate(class_names)
    }


def average_precision(right: np.ndarray, objects: int) -> float:
    """AP of one class at one overlap: the mean of COCO's 101 interpolated precisions.

    Args:
        right: bool `(n,)`, whether each detection matches an object, the highest score first.
        objects: number of objects.

    Returns:
        float in 0..1; NaN without objects.
    """
    if not objects:
        return math.nan
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / objects, RECALLS, side="left")
    return float(best[places[places < len(best)]].sum() / len(RECALLS))


def _or_nan(value: Any) -> float:
    """Replaces -1, the value where there are no objects, by NaN."""
    return float(value) if value > -1 else math.nan
