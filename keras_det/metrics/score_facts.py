"""Whether the scores of a detector mean anything: what was measured, and one sentence about it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.words import counted

# Twice the prior of 0.01 that the class head starts with.
LEAST_SCORE = 0.02
# The best boxes of two images are "the same" above this IoU, and the best scores below this spread.
SAME_BOX, SAME_SCORE = 0.9, 0.1
OWN = "the best threshold of its class"  # words for thresholds that differ
FEWEST_IMAGES = 4  # fewer do not show what is constant, except with very low scores
# Objects that are always in the same place do give a constant box, with a score from here on.
SURE, SURE_OF_FEW = 0.5, 0.1
CURE = (
    "Train longer (--epochs), start from trained weights (--weights), and check the boxes "
    "(keras-det data preview)."
)


@dataclasses.dataclass(frozen=True)
class ScoreFacts:
    """What the best detection of each image shows.

    Attributes:
        images: number of images.
        highest: highest score in any image; 0 where nothing was found.
        passing: number of detections above their threshold.
        same_box: mean IoU of the best boxes of different images, in shares of the image's sides;
            1 where every image gives the same box.
        spread: (highest - lowest) / highest of the best scores of the images.
    """

    images: int
    highest: float
    passing: int
    same_box: float
    spread: float

    @property
    def constant(self) -> bool:
        """Whether every image gives nearly the same box with nearly the same score."""
        sure = SURE if self.images >= FEWEST_IMAGES else SURE_OF_FEW
        same = self.same_box > SAME_BOX and self.spread < SAME_SCORE
        return self.images > 1 and same and self.highest < sure

    @property
    def learned(self) -> bool:
        """False for a model that has learned too little."""
        return self.highest >= LEAST_SCORE and not self.constant

    def sentence(self, threshold: str) -> str:
        """What to tell a user: `count`, or that the model has learned too little.

        Args:
            threshold: words for what `passing` counts by, such as "the threshold 0.3".
        """
        images = counted(self.images, "image")
        if self.highest < LEAST_SCORE:
            return (
                f"The model has learned too little: the highest score in {images} is "
                f"{_short(self.highest)}. {CURE}"
            )
        if self.constant:
            return (
                "The model has learned too little: it gives nearly the same box and score in all "
                f"{counted(self.images, 'image')} (highest score {_short(self.highest)}). {CURE}"
            )
        return self.count(threshold)

    def count(self, threshold: str) -> str:
        """The highest score, and how many detections score above the threshold."""
        what = counted(self.passing, "detection")
        images = counted(self.images, "image")
        return f"Highest score {_short(self.highest)}; {what} in {images} above {threshold}."


def _short(score: float) -> str:
    return f"{score:.3f}" if score < 0.1 else f"{score:.2f}"


def score_facts(
    detections: Sequence[Mapping[str, Any]],
    sizes: Sequence[Sequence[int]],
    thresholds: float | Sequence[float],
) -> ScoreFacts:
    """Measures the scores of detections.

    Args:
        detections: one dict per image: `boxes` `(n, 4)` xyxy pixels, `scores`, `labels` `(n,)`.
        sizes: (height, width, …) of each image in the same pixels.
        thresholds: lowest score of an object, or one per class.
    """
    best, boxes = [], []
    for found, size in zip(detections, sizes, strict=True):
        scores = np.asarray(found["scores"], "float64").reshape(-1)
        if len(scores):
            first = int(scores.argmax())
            best.append(float(scores[first]))
            sides = np.array([size[1], size[0]] * 2, "float64")
            boxes.append(np.asarray(found["boxes"], "float64").reshape(-1, 4)[first] / sides)
    highest = max(best, default=0.0)
    passing = sum(int(above_threshold(found, thresholds).sum()) for found in detections)
    spread = (highest - min(best)) / highest if highest else 0.0
    if len(best) < len(detections):  # no detection at all in some images: scores do differ
        spread = 1.0
    same = _mean_iou(np.array(boxes)) if len(boxes) > 1 else 0.0
    return ScoreFacts(len(detections), highest, passing, same, spread)


def above_threshold(found: Mapping[str, Any], thresholds: float | Sequence[float]) -> np.ndarray:
    """Which detections of one image score above the threshold of their class, bool `(n,)`.

    Args:
        found: dict of `scores` and `labels` `(n,)`; slots labelled -1 never do.
        thresholds: one float, or one per class.
    """
    scores = np.asarray(found["scores"], "float64").reshape(-1)
    labels = np.asarray(found["labels"], "int64").reshape(-1)
    lowest = np.asarray(thresholds, "float64")
    return (labels >= 0) & (scores > (lowest if lowest.ndim == 0 else lowest[labels]))


def _mean_iou(boxes: np.ndarray) -> float:
    """Mean IoU of each box `(n, 4)` with the next one, around."""
    others = np.roll(boxes, 1, axis=0)
    corners = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    common = np.clip(corners[1] - corners[0], 0, None).prod(axis=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    union = areas[0] + areas[1] - common
    return float(np.mean(common / np.maximum(union, 1e-12)))
