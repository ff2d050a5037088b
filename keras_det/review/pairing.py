"""Which detection speaks about which annotated object, whatever the classes of the two."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics.columns import Found, Objects, columns
from keras_det.metrics.matching import pairs

LOWEST = 0.01  # score: a detection below it is no evidence
SAME_PLACE = 0.5  # IoU from which on a detection and an object are at the same place
NEARBY = 0.1  # IoU from which on they may mean the same thing, as of TIDE's error kinds


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Objects and detections of many images, and how they belong together.

    Attributes:
        objects: the annotated objects.
        found: the detections.
        object_of: int64 `(detections,)`, the object that a detection is paired with, else -1.
        overlap: float64 `(detections,)`, IoU with it, else 0.
        crowding: float64 `(detections,)`, the largest IoU with another object.
        lone: bool `(detections,)`: not paired, and at the place of no object or crowd region.
        detection_of: int64 `(objects,)`, the detection that an object is paired with, else -1.
        support: float64 `(objects,)`, the highest score of a detection of the object's own class at
            its place that is not paired with another object; 0 where there is none.
        rival: float64 `(objects,)`, the same of a detection of another class.
        rival_row: int64 `(objects,)`, that detection; -1 where there is none.
    """

    objects: Objects
    found: Found
    object_of: np.ndarray
    overlap: np.ndarray
    crowding: np.ndarray
    lone: np.ndarray
    detection_of: np.ndarray
    support: np.ndarray
    rival: np.ndarray
    rival_row: np.ndarray


def pair_up(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> Pairing:
    """Pairs each detection with at most one object, and each object with at most one detection.

    In the order of the scores, a detection takes the free object of its own class that it overlaps
    most, if their IoU is at least 0.5, else such an object of another class. What is left is paired
    in the same way with a free object of its own class at an IoU of 0.1 to 0.5. A detection at the
    place of an object that another one has taken is a second opinion on that object: it stays
    unpaired, but not lone.

    Args:
        ground_truth, detections, class_names: as for `keras_det.metrics.coco.coco_metrics`.
    """
    objects, found = columns(ground_truth, detections, class_names)
    rows = np.flatnonzero(found.scores >= LOWEST)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    place, thing, overlap = pairs(objects, found, rows, NEARBY, by_class=False)
    row = rows[place]
    crowd = objects.crowd[thing]
    covered = np.zeros(len(found.scores), bool)
    covered[row[crowd & (overlap >= SAME_PLACE)]] = True
    row, thing, overlap = row[~crowd], thing[~crowd], overlap[~crowd]
    same = found.labels[row] == objects.labels[thing]
    there = overlap >= SAME_PLACE
    object_of = np.full(len(found.scores), -1)
    detection_of = np.full(len(objects.labels), -1)
    # By score; of one detection, its own class first, then the largest overlap.
    order = np.lexsort((-overlap, ~same, row, -found.scores[row]))
    _take(order[there[order]], row, thing, object_of, detection_of)
    covered[row[there]] = True
    lone = (found.scores >= LOWEST) & ~covered
    _take(order[(same & lone[row])[order]], row, thing, object_of, detection_of)
    chosen = object_of[row] == thing
    iou, crowding = np.zeros((2, len(found.scores)))
    iou[row[chosen]] = overlap[chosen]
    np.maximum.at(crowding, row[~chosen], overlap[~chosen])
    about = there & ((object_of[row] < 0) | chosen)
    support, _ = _strongest(about & same, row, thing, found.scores, len(objects.labels))
    rival = _strongest(about & ~same, row, thing, found.scores, len(objects.labels))
    alone = _best_of_each_place(found, np.flatnonzero(lone & (object_of < 0)))
    return Pairing(objects, found, object_of, iou, crowding, alone, detection_of, support, *rival)


def _strongest(
    which: np.ndarray, row: np.ndarray, thing: np.ndarray, scores: np.ndarray, objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each object the highest score among some pairs, and the detection that has it."""
    row, thing = row[which], thing[which]
    order = np.argsort(scores[row], kind="stable")
    best = np.full(objects, -1)
    best[thing[order]] = row[order]  # the last one, with the highest score, stays
    return np.where(best >= 0, scores[best], 0.0) if len(scores) else np.zeros(objects), best


def _best_of_each_place(found: Found, rows: np.ndarray) -> np.ndarray:
    """bool `(detections,)`: these detections without those at the place of a stronger one."""
    kept = np.zeros(len(found.scores), bool)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    none = np.zeros(len(rows), bool)
    boxes, labels = found.boxes[rows], found.labels[rows]
    others = Objects(found.images, found.image[rows], boxes, labels, none, boxes[:, 2])
    first, second, _ = pairs(others, found, rows, SAME_PLACE, by_class=False)
    weaker: dict[int, list[int]] = {}
    for strong, weak in zip(first.tolist(), second.tolist(), strict=True):
        if strong < weak:
            weaker.setdefault(strong, []).append(weak)
    dropped = np.zeros(len(rows), bool)
    for place in range(len(rows)):
        if not dropped[place]:
            dropped[weaker.get(place, [])] = True
    kept[rows[~dropped]] = True
    return kept


def _take(
    order: np.ndarray,
    row: np.ndarray,
    thing: np.ndarray,
    object_of: np.ndarray,
    detection_of: np.ndarray,
) -> None:
    """Pairs in this order what is still free; fills `object_of` and `detection_of`."""
    for detection, target in zip(row[order].tolist(), thing[order].tolist(), strict=True):
        if object_of[detection] < 0 and detection_of[target] < 0:
            object_of[detection], detection_of[target] = target, detection
