"""The score above which a detection is worth showing, for each class."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

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


Choice: TypeAlias = Callable[[np.ndarray, np.ndarray, int], ClassThreshold]


def best_f1(scores: np.ndarray, right: np.ndarray, objects: int) -> ClassThreshold:
    """The threshold with the highest F1 = 2 * right / (kept + objects).

    It lies half-way between the lowest kept score and the next lower one, so that small differences
    between engines change nothing. If several thresholds have the same F1, the lowest is taken.

    Args:
        scores: `(n,)`, of the detections.
        right: `(n,)` bool, whether each is matched with an object.
        objects: number of objects, matched or not.
    """
    cuts = _Cuts(scores, right, objects)
    f1 = np.where(cuts.possible, cuts.f1, -1.0)
    if not objects or not len(f1) or f1.max() <= 0:
        return _nothing(objects)
    return cuts.at(len(f1) - 1 - int(np.argmax(f1[::-1])))


def lowest_for_precision(
    scores: np.ndarray, right: np.ndarray, objects: int, wanted: float
) -> ClassThreshold:
    """The lowest threshold that reaches a wanted precision: it finds the most objects.

    Args:
        scores, right, objects: as for `best_f1`.
        wanted: precision above 0 and at most 1.

    Returns:
        The threshold, or NaN if none reaches the precision.

    Raises:
        ValueError: `wanted` is out of its range.
    """
    _check_wanted(wanted)
    cuts = _Cuts(scores, right, objects)
    reached = np.flatnonzero(cuts.possible & (cuts.found >= wanted * cuts.kept))
    return cuts.at(int(reached[-1])) if objects and len(reached) else _nothing(objects)


def highest_for_recall(
    scores: np.ndarray, right: np.ndarray, objects: int, wanted: float
) -> ClassThreshold:
    """The highest threshold that reaches a wanted recall: it keeps the fewest wrong detections.

    Args, Returns and Raises as for `lowest_for_precision`, with the recall as `wanted`.
    """
    _check_wanted(wanted)
    cuts = _Cuts(scores, right, objects)
    reached = np.flatnonzero(cuts.possible & (cuts.found >= wanted * objects))
    return cuts.at(int(reached[0])) if objects and len(reached) else _nothing(objects)


class _Cuts:
    """What each threshold keeps: the first, the first two, … of the detections by their scores."""

    def __init__(self, scores: np.ndarray, right: np.ndarray, objects: int) -> None:
        scores = np.asarray(scores, "float64")
        order = np.argsort(-scores, kind="stable")
        self.scores, self.objects = scores[order], objects
        self.kept = np.arange(1, len(scores) + 1)
        self.found = np.cumsum(np.asarray(right, bool)[order])
        self.f1 = 2 * self.found / (self.kept + max(objects, 1))
        # A threshold cannot keep one of two equal scores.
        self.possible = np.append(self.scores[:-1] != self.scores[1:], True)[: len(scores)]

    def at(self, place: int) -> ClassThreshold:
        """The threshold that keeps the detections up to this one."""
        lower = self.scores[place + 1] if place + 1 < len(self.scores) else 0.0
        return ClassThreshold(
            float((self.scores[place] + lower) / 2),
            float(self.found[place] / self.kept[place]),
            float(self.found[place] / self.objects),
            float(self.f1[place]),
            self.objects,
        )


def _nothing(objects: int) -> ClassThreshold:
    return ClassThreshold(math.nan, math.nan, 0.0 if objects else math.nan, 0.0, objects)


def _check_wanted(wanted: float) -> None:
    if not 0 < wanted <= 1:
        raise ValueError(
            f"`wanted` must lie above 0 and be at most 1. Received: {wanted!r}. Give a share, such "
            "as 0.9 for 90%."
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


def thresholds_of(
    matches: Matches, class_names: Sequence[str], choose: Choice = best_f1
) -> dict[str, ClassThreshold]:
    """`best_thresholds` from matches whose first overlap is 0.5.

    Args:
        matches: of `keras_det.metrics.matching.match`.
        class_names: in the order of the labels.
        choose: what to choose from scores, matches and the number of objects; see `best_f1`.
    """
    scores, right, counts = matches.scores, matches.right[0], ~matches.ignored[0]
    objects = matches.object_counts(len(class_names))
    parts: list[tuple[str, slice, int]] = [
        (str(name), part, int(count))
        for name, part, count in zip(
            class_names, matches.class_slices(len(class_names)), objects, strict=True
        )
    ]
    return {
        name: choose(scores[part][counts[part]], right[part][counts[part]], count)
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
