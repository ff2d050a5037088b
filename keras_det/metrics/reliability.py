"""Whether 80% of the detections with a score of 0.8 are right: the reliability curve."""

import dataclasses
import math

import numpy as np

BINS = 10


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Scores against the share of detections that are right, in bins of equal width.

    Attributes:
        edges: float64 `(bins + 1,)`, 0 … 1; a bin holds its lower edge.
        count: int64 `(bins,)`, detections.
        score: float64 `(bins,)`, their mean score; NaN for none.
        precision: float64 `(bins,)`, the share of them that are right, 0..1; NaN for none.
        error: the expected calibration error, 0..1; NaN without detections.
    """

    edges: np.ndarray
    count: np.ndarray
    score: np.ndarray
    precision: np.ndarray
    error: float


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """The reliability curve and the expected calibration error.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017
    (https://arxiv.org/abs/1706.04599), equation 3:

        ECE = sum_b n_b / n |precision_b - score_b|

    Args:
        scores: `(n,)`, 0..1, of the detections that count.
        right: bool `(n,)`, whether each matches an object.
        bins: int >= 1.
    """
    scores, right = np.asarray(scores, "float64"), np.asarray(right, bool)
    place = np.clip((scores * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, each, minlength=bins) for each in (scores, right))
    with np.errstate(invalid="ignore"):
        score, precision = (each / count for each in sums)
    apart = np.abs(score - precision)[count > 0]
    error = float((count[count > 0] * apart).sum() / len(scores)) if len(scores) else math.nan
    return Reliability(np.linspace(0, 1, bins + 1), count, score, precision, error)
