"""The score above which a detection is worth showing: the best F1 of each class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_det.metrics.columns import columns
from keras_det.metrics.matching import IOUS, Matches, match
from keras_det.words import counted


class ClassThreshold(NamedTuple):
    """The threshold of a class with the best F1, and what it gives.

    Attributes:
        threshold: detections with a higher score are kept, 0..1; NaN if no detection is right.
        precision: share of the kept detections that are right, 0..1.
        recall: share of the objects that are found, 0..1.
        f1: 2 * precision * recall / (precision + recall).
        objects: number of objects of the class, without crowd.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    objects: int


def best_f1(scores: np.ndarray, right: np.ndarray, objects: int) -> ClassThreshold:
    """The threshold with the highest F1 = 2 * right / (kept + objects).

    It lies half-way between the lowest kept score and the next lower one, so that small differences
    between engines change nothing. If several thresholds have the same F1, the lowest is taken.

    Args:
        scores: `(n,)`, of the detections.
        right: `(n,)` bool, whether each is matched with an object.
        objects: number of objects, matched or not.
    """
    scores = np.asarray(scores, "float64")
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.asarray(right, bool)[order]
    kept = np.arange(1, len(scores) + 1)
    found = np.cumsum(right)
    f1 = 2 * found / (kept + max(objects, 1))
    # A threshold cannot keep one of two equal scores.
    f1[:-1][scores[:-1] == scores[1:]] = -1.0
    if not objects or not len(f1) or f1.max() <= 0:
        return ClassThreshold(math.nan, math.nan, 0.0 if objects else math.nan, 0.0, objects)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    lower = scores[best + 1] if best + 1 < len(scores) else 0.0
    return ClassThreshold(
        float((scores[best] + lower) / 2),
        float(found[best] / kept[best]),
        float(found[best] / objects),
        float(f1[best]),
        objects,
    )


def best_thresholds(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> dict[str, ClassThreshold]:
    """The best threshold of each class, and under "" the best one for all classes together.

    Detections are matched as in COCO, at an IoU of 0.5: in the order of the scores, each with the
    unmatched object of its class that it overlaps most. Detections in crowd regions do not count.

    Args:
        ground_truth, detections, class_names: as for `keras_det.metrics.coco.coco_metrics`.

    Raises:
        ValueError: as for `coco_metrics`.
    """
    found = match(*columns(ground_truth, detections, class_names), IOUS[:1])
    return thresholds_of(found, class_names)


def thresholds_of(matches: Matches, class_names: Sequence[str]) -> dict[str, ClassThreshold]:
    """`best_thresholds` from matches whose first overlap is 0.5."""
    scores, right, counts = matches.scores, matches.right[0], ~matches.ignored[0]
    objects = matches.object_counts(len(class_names))
    parts: list[tuple[str, slice, int]] = [
        (str(name), part, int(count))
        for name, part, count in zip(
            class_names, matches.class_slices(len(class_names)), objects, strict=True
        )
    ]
    return {
        name: best_f1(scores[part][counts[part]], right[part][counts[part]], count)
        for name, part, count in [*parts, ("", slice(None), int(objects.sum()))]
    }


def format_thresholds(thresholds: Mapping[str, Mapping[str, Any]], rows: int = 20) -> str:
    """A table of the thresholds, at most 80 columns wide.

    Args:
        thresholds: fields of `ClassThreshold` by class, as in `metrics.json`.
        rows: maximum number of classes; if there are more, those with the most objects are shown.
    """
    named = sorted(
        ((name, row) for name, row in thresholds.items() if name),
        key=lambda item: -int(item[1]["objects"]),
    )
    width = min(28, max([len("class"), *(len(name) for name, _ in named[:rows])]))
    lines = [f"{'class':<{width}}  objects  threshold  precision  recall    F1"]
    for name, row in named[:rows]:
        short = name if len(name) <= width else f"{name[: width - 1]}…"
        numbers = [_number(row[key]) for key in ("threshold", "precision", "recall", "f1")]
        lines.append(
            f"{short:<{width}}  {row['objects']:>7}  {numbers[0]:>9}  {numbers[1]:>9}  "
            f"{numbers[2]:>6}  {numbers[3]:>4}"
        )
    if len(named) > rows:
        left = counted(len(named) - rows, "class", "classes")
        lines.append(f"… and {left} with fewer objects")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"
