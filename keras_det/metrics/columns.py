"""Objects and detections of many images as flat arrays, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.words import counted


@dataclasses.dataclass(frozen=True)
class Objects:
    """The annotated objects of all images, in the order of the images.

    Attributes:
        images: number of images.
        image: int64 `(n,)`, index of the image of each object.
        boxes: float64 `(n, 4)`, left, top, width and height in pixels, as pycocotools takes them.
        labels: int64 `(n,)`.
        crowd: bool `(n,)`; detections inside are neither right nor wrong.
        area: float64 `(n,)`, square pixels.
    """

    images: int
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray


@dataclasses.dataclass(frozen=True)
class Found:
    """The detections of all images, in the order of the images.

    Attributes:
        images, image, boxes, labels: as of `Objects`.
        scores: float64 `(n,)`.
        place: int64 `(n,)`, position in the arrays of its image.
    """

    images: int
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    place: np.ndarray


def columns(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> tuple[Objects, Found]:
    """The objects and the detections of all images; slots labelled -1 are left out.

    Args:
        ground_truth, detections, class_names: as for `keras_det.metrics.coco.coco_metrics`.

    Raises:
        ValueError: numbers of images, boxes and labels differ, or a label is out of range.
    """
    if len(ground_truth) != len(detections):
        raise ValueError(
            "`detections` must hold one dict per image of `ground_truth`, in the same order. "
            f"Received: {counted(len(ground_truth), 'image')}, {counted(len(detections), 'dict')} "
            "of detections. Give images without detections a dict of empty arrays."
        )
    return _objects(ground_truth, len(class_names)), _found(detections, len(class_names))


def _objects(rows: Sequence[Mapping[str, Any]], num_classes: int) -> Objects:
    image, boxes, labels, counts = _boxes_and_labels(rows, num_classes, "ground_truth")
    kept = labels >= 0
    crowd, area = np.zeros(len(image), bool), boxes[:, 2] * boxes[:, 3]
    for name, column in (("crowd", crowd), ("area", area)):
        for i, stop in enumerate(np.cumsum(counts)):
            if rows[i].get(name) is not None:
                part = _flat(rows[i][name], counts[i], f"`ground_truth[{i}]['{name}']`")
                column[stop - counts[i] : stop] = part
    return Objects(len(rows), image[kept], boxes[kept], labels[kept], crowd[kept], area[kept])


def _found(rows: Sequence[Mapping[str, Any]], num_classes: int) -> Found:
    image, boxes, labels, counts = _boxes_and_labels(rows, num_classes, "detections")
    scores = [
        _flat(row["scores"], counts[i], f"`detections[{i}]['scores']`")
        for i, row in enumerate(rows)
    ]
    place = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = labels >= 0
    joined = np.concatenate([np.zeros(0), *scores]).astype("float64")
    return Found(len(rows), image[kept], boxes[kept], labels[kept], joined[kept], place[kept])


def _flat(values: Any, count: int, name: str) -> np.ndarray:
    """The values of one image as `(count,)`."""
    values = np.asarray(values).reshape(-1)
    if len(values) != count:
        raise ValueError(
            f"{name} must have one value per box. Received: {counted(len(values), 'value')} for "
            f"{counted(int(count), 'box', 'boxes')}. Give the values in the order of the boxes."
        )
    return values


def _boxes_and_labels(
    rows: Sequence[Mapping[str, Any]], num_classes: int, argument: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image indices, boxes as `Objects` has them, labels, and the number of boxes per image."""
    boxes = [np.asarray(row["boxes"], "float64").reshape(-1, 4) for row in rows]
    labels = [np.asarray(row["labels"], "int64").reshape(-1) for row in rows]
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        if len(box) != len(label):
            raise ValueError(
                f"`{argument}[{i}]` must have one label per box. Received: "
                f"{counted(len(box), 'box', 'boxes')}, {counted(len(label), 'label')}. Give the "
                "labels in the order of the boxes."
            )
    counts = np.array([len(each) for each in labels], "int64")
    image = np.repeat(np.arange(len(rows)), counts)
    flat = np.concatenate([np.zeros(0, "int64"), *labels])
    wrong = np.flatnonzero((flat < -1) | (flat >= num_classes))
    if len(wrong):
        raise ValueError(
            f"`{argument}[{image[wrong[0]]}]['labels']` must lie in 0..{num_classes - 1}, or be -1 "
            f"for an empty slot. Received: {int(flat[wrong[0]])}. Label k means class_names[k]: "
            "give the `class_names` of the data set and of the model that made the detections."
        )
    corners = np.concatenate([np.zeros((0, 4)), *boxes])
    return image, np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), flat, counts
