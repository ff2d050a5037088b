"""Which images of an unlabelled folder to label next: those about which a model is least sure."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics.score_facts import above_threshold
from keras_det.names import DEFAULT_THRESHOLD

TINY = 1e-6  # scores are kept this far from 0 and 1, where their log-odds are infinite


@dataclasses.dataclass(frozen=True)
class Uncertain:
    """One image of the ranking.

    Attributes:
        image: its index.
        uncertainty: sum over its detections, see `rank_images`; 0 or more.
        detections: number of detections above the thresholds.
        most_uncertain: index of the detection that adds the most; None without detections.
    """

    image: int
    uncertainty: float
    detections: int
    most_uncertain: int | None


def rank_images(
    detections: Sequence[Mapping[str, Any]],
    thresholds: Sequence[float] | float = DEFAULT_THRESHOLD,
) -> list[Uncertain]:
    """Ranks images by how unsure a model is about them, the least sure first.

    "1-vs-2" margin sampling, summed over the detections of an image (Brust, Käding and Denzler
    2019, "Active Learning for Deep Object Detection", https://arxiv.org/abs/1809.09875, section 3):


        uncertainty = sum over detections of (1 - |p - (1 - p)|)^2 = (1 - |2 p - 1|)^2

    The two most probable classes of a detection are its own, with the probability p, and the
    background. p is the score, shifted so that the score threshold of its class becomes 1/2: there,
    a detection is as likely right as it is useful to drop it:

        logit(p) = logit(score) - logit(threshold)

    A detection at the threshold adds 1, one whose score is near 0 or 1 adds next to nothing. An
    image in which nothing was found has 0.

    Args:
        detections: of each image: `scores` and `labels`, as `detect` returns them.
        thresholds: score threshold of each class, or one for all, above 0 and below 1.
    """
    ranked = []
    for image, row in enumerate(detections):
        each = uncertainty_of(row, thresholds)
        best = int(each.argmax()) if len(each) else None
        above = int(above_threshold(row, thresholds).sum())
        ranked.append(Uncertain(image, float(each.sum()), above, best))
    return sorted(ranked, key=lambda each: -each.uncertainty)


def uncertainty_of(
    detections: Mapping[str, Any], thresholds: Sequence[float] | float
) -> np.ndarray:
    """What each detection of one image adds, float64 `(n,)` in 0..1; see `rank_images`."""
    limits = np.asarray(thresholds, np.float64)
    labels = np.asarray(detections["labels"], np.int64).reshape(-1)
    scores = np.asarray(detections["scores"], np.float64).reshape(-1)
    shifted = log_odds(scores) - log_odds(limits if limits.ndim == 0 else limits[labels])
    p = 1 / (1 + np.exp(-shifted))
    return np.where(labels >= 0, (1 - np.abs(2 * p - 1)) ** 2, 0.0)


def log_odds(p: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)), finite for 0 and 1 too."""
    kept = np.clip(p, TINY, 1 - TINY)
    return np.log(kept / (1 - kept))
