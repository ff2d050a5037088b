"""Fuses several sets of detections of an image: weighted box fusion, and hard NMS."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FUSED_IOU = 0.55  # the best of the paper, on COCO
SUPPRESSED_IOU = 0.5


def weighted_box_fusion(
    found: Sequence[Mapping[str, Any]],
    iou_threshold: float = FUSED_IOU,
    class_agnostic: bool = False,
) -> dict[str, np.ndarray]:
    """Averages the boxes of each object that several models, or several views, have found.

    "Weighted boxes fusion" (https://arxiv.org/abs/1910.13302), section 3. The boxes of all N sets
    are taken in descending order of score. A box joins the cluster of its class whose fused box it
    overlaps most, if the IoU is above the threshold; else it starts a cluster. After each box, the
    fused box of its cluster is computed again from the T boxes in it, with scores C (step 6):

        C = sum(C_i) / T,    X = sum(C_i * X_i) / sum(C_i),    Y = sum(C_i * Y_i) / sum(C_i)

    At the end, the score is lowered if few of the N sets have the object (step 7):

        C = C * min(T, N) / N

    Args:
        found: N sets of detections of the same image: dicts of `boxes` `(n, 4)` xyxy in pixels of
            the image, `scores` `(n,)` in 0..1 and `labels` `(n,)`, as `detect` returns them. Boxes
            with a score of 0 are left out.
        iou_threshold: float from 0 to below 1.
        class_agnostic: bool. True fuses boxes of different classes too; the one with the highest
            score gives the class.

    Returns:
        dict of `boxes` float32 `(n, 4)`, `scores` float32 `(n,)` from high to low, and `labels`
        int32 `(n,)`.

    Raises:
        ValueError: `found` is empty, or the threshold is out of range.
    """
    _check(found, iou_threshold)
    boxes, scores, labels = joined(found)
    groups = np.zeros_like(labels) if class_agnostic else labels
    fused: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(boxes[:0], scores[:0], labels[:0])]
    for group in np.unique(groups):
        own = groups == group
        centres, values, first = _fused(boxes[own], scores[own], iou_threshold, len(found))
        fused.append((centres, values, labels[own][first]))
    return _in_order(*(np.concatenate(parts) for parts in zip(*fused, strict=True)))


def suppressed(
    found: Sequence[Mapping[str, Any]],
    iou_threshold: float = SUPPRESSED_IOU,
    class_agnostic: bool = False,
) -> dict[str, np.ndarray]:
    """Keeps the boxes that overlap no box with a higher score: non-maximum suppression (hard).

    Args:
        found, iou_threshold, class_agnostic: as of `weighted_box_fusion`. A box is left out if its
            IoU with a kept box of its class is above the threshold.

    Returns:
        A dict as of `weighted_box_fusion`.

    Raises:
        ValueError: `found` is empty, or the threshold is out of range.
    """
    _check(found, iou_threshold)
    boxes, scores, labels = joined(found)
    free, kept = np.ones(len(scores), bool), list[int]()
    for i in range(len(scores)):
        if free[i]:
            kept.append(i)
            close = _iou(boxes[i], boxes) > iou_threshold
            free &= ~(close if class_agnostic else close & (labels == labels[i]))
    return _in_order(boxes[kept], scores[kept], labels[kept])


def joined(found: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All boxes, scores (float64) and labels (int32) by falling score, without scores of 0."""
    boxes = np.concatenate([np.reshape(each["boxes"], (-1, 4)) for each in found])
    scores = np.concatenate([np.reshape(each["scores"], -1) for each in found])
    labels = np.concatenate([np.reshape(each["labels"], -1) for each in found])
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    return boxes[order].astype(np.float64), scores[order].astype(np.float64), labels[order]


def _fused(
    boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, sets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fused boxes and scores of one class, and the place of the first box of each cluster.

    Args:
        boxes, scores: by falling score.
        iou_threshold: as of `weighted_box_fusion`.
        sets: N.
    """
    sums, centres = np.zeros_like(boxes), np.zeros_like(boxes)
    totals, counts = np.zeros(len(boxes)), np.zeros(len(boxes))
    first: list[int] = []
    for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        ious = _iou(box, centres[: len(first)])
        place = int(np.argmax(ious)) if len(first) else 0
        if not len(first) or not ious[place] > iou_threshold:
            place = len(first)
            first.append(i)
        sums[place] += score * box
        totals[place] += score
        counts[place] += 1
        centres[place] = sums[place] / totals[place]
    clusters = len(first)
    totals, counts = totals[:clusters], counts[:clusters]
    values = totals / counts * np.minimum(counts, sets) / sets
    return centres[:clusters], values, np.array(first, int)


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box with many, float64 `(n,)`; 0 where both are empty."""
    low, high = np.maximum(others[:, :2], box[:2]), np.minimum(others[:, 2:], box[2:])
    common = np.maximum(high - low, 0.0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + np.prod(box[2:] - box[:2])
    union = areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _in_order(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    order = np.argsort(-scores, kind="stable")
    return {
        "boxes": boxes[order].astype("float32"),
        "scores": scores[order].astype("float32"),
        "labels": labels[order].astype("int32"),
    }


def _check(found: Sequence[Mapping[str, Any]], iou_threshold: float) -> None:
    if not len(found):
        raise ValueError(
            "`found` must hold the detections of at least one model or view. Received: none. Give "
            "a list of what `detect` has returned."
        )
    if not 0 <= iou_threshold < 1:
        raise ValueError(
            f"`iou_threshold` must be at least 0 and below 1. Received: {iou_threshold!r}. Use "
            f"{FUSED_IOU:g} for fusion and {SUPPRESSED_IOU:g} for NMS."
        )
