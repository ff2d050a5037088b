"""COCO's twelve metrics and the average precision of each class, computed by pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.words import counted

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

# In the order of pycocotools' `stats`: name, kind, IoU, object size, detections per image.
NUMBERS = (
    ("AP", "Average Precision", "0.50:0.95", "all", 100),
    ("AP50", "Average Precision", "0.50", "all", 100),
    ("AP75", "Average Precision", "0.75", "all", 100),
    ("AP_small", "Average Precision", "0.50:0.95", "small", 100),
    ("AP_medium", "Average Precision", "0.50:0.95", "medium", 100),
    ("AP_large", "Average Precision", "0.50:0.95", "large", 100),
    ("AR_1", "Average Recall", "0.50:0.95", "all", 1),
    ("AR_10", "Average Recall", "0.50:0.95", "all", 10),
    ("AR_100", "Average Recall", "0.50:0.95", "all", 100),
    ("AR_small", "Average Recall", "0.50:0.95", "small", 100),
    ("AR_medium", "Average Recall", "0.50:0.95", "medium", 100),
    ("AR_large", "Average Recall", "0.50:0.95", "large", 100),
)


def coco_metrics(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Average precision and recall as COCO defines them (https://cocodataset.org/#detection-eval).

    The size of an object is its annotated area in square pixels of the original image: small below
    32^2, medium below 96^2, large above. Detections inside a crowd region are neither right nor
    wrong.

    Args:
        ground_truth: one dict per image: `boxes` `(n, 4)` xyxy pixels of the original image,
            `labels` `(n,)`; optional `crowd` `(n,)` bool (default: none) and `area` `(n,)` in
            square pixels (default: of the box). Other keys are not read.
        detections: one dict per image **in the same order**: `boxes` `(m, 4)` xyxy pixels of the
            original image, `scores` `(m,)`, `labels` `(m,)`; slots labelled -1 are left out. COCO
            counts the best 100 per class and image.
        class_names: label k means `class_names[k]`.

    Returns:
        dict of the twelve metrics, floats in 0..1, under the names in `NUMBERS` ("AP", "AP50", …),
        and "AP_per_class", a dict from class name to AP. NaN where the images hold no such object.

    Raises:
        ValueError: numbers of images, boxes and labels differ, or a label is out of range.
    """
    return metrics_of(evaluated(ground_truth, detections, class_names), class_names)


def metrics_of(evaluation: "COCOeval", class_names: Sequence[str]) -> dict[str, Any]:
    """`coco_metrics` of what `evaluated` has matched, for all four object sizes."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation.accumulate()
        evaluation.summarize()
    metrics: dict[str, Any] = {
        name: _or_nan(value) for (name, *_), value in zip(NUMBERS, evaluation.stats, strict=True)
    }
    # precision: IoU, recall, class, size, detections per image.
    per_class = evaluation.eval["precision"][:, :, :, 0, -1]
    metrics["AP_per_class"] = {
        str(name): _or_nan(per_class[:, :, k].mean()) for k, name in enumerate(class_names)
    }
    return metrics


def evaluated(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    sizes: Sequence[str] | None = None,
) -> "COCOeval":
    """Matches the detections of every image with pycocotools.

    Args:
        ground_truth, detections, class_names: as for `coco_metrics`.
        sizes: object sizes to match for: "all", "small", "medium", "large". Default: all four.

    Returns:
        pycocotools' `COCOeval` after `evaluate()`, before `accumulate()`.

    Raises:
        ValueError: as for `coco_metrics`.
    """
    from pycocotools.cocoeval import COCOeval

    if len(ground_truth) != len(detections):
        raise ValueError(
            "`detections` must hold one dict per image of `ground_truth`, in the same order. "
            f"Received: {counted(len(ground_truth), 'image')}, {counted(len(detections), 'dict')} "
            "of detections. Give images without detections a dict of empty arrays."
        )
    annotated = [_annotations(row, i, len(class_names)) for i, row in enumerate(ground_truth)]
    detected = [_detections(row, i, len(class_names)) for i, row in enumerate(detections)]

    class Evaluation(COCOeval):
        """Uses the objects directly; pycocotools' `COCO` class would copy and index them first."""

        def _prepare(self) -> None:
            self._gts, self._dts = _numbered_groups(annotated), _numbered_groups(detected)
            self.evalImgs: list[dict[str, Any] | None] = []
            self.eval: dict[str, Any] = {}

    evaluation = Evaluation(iouType="bbox")
    params = evaluation.params
    params.imgIds, params.catIds = list(range(len(ground_truth))), list(range(len(class_names)))
    if sizes is not None:
        ranges = dict(zip(params.areaRngLbl, params.areaRng, strict=True))
        params.areaRngLbl, params.areaRng = list(sizes), [ranges[name] for name in sizes]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation.evaluate()
    return evaluation


def _or_nan(value: float) -> float:
    """Replaces -1, pycocotools' value where there are no objects, by NaN."""
    return float(value) if value > -1 else float("nan")


def _numbered_groups(images: Iterable[Sequence[dict[str, Any]]]) -> "_Groups":
    """Groups objects by (image, class). Ids start at 1: pycocotools takes id 0 for no match."""
    groups = _Groups()
    for number, entry in enumerate((entry for image in images for entry in image), start=1):
        entry["id"] = number
        groups.setdefault((entry["image_id"], entry["category_id"]), []).append(entry)
    return groups


class _Groups(dict[tuple[int, int], list[dict[str, Any]]]):
    """Lists by key. A missing key gives an empty list without being stored."""

    def __missing__(self, key: tuple[int, int]) -> list[dict[str, Any]]:
        return []


def _annotations(row: Mapping[str, Any], image: int, num_classes: int) -> list[dict[str, Any]]:
    """The objects of one image as pycocotools' annotations."""
    boxes, labels = _boxes_and_labels(row, image, num_classes, "ground_truth")
    crowd = row.get("crowd")
    area = row.get("area")
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd, bool)
    area = boxes[:, 2] * boxes[:, 3] if area is None else np.asarray(area, "float64")
    rows = zip(boxes.tolist(), labels.tolist(), crowd.tolist(), area.tolist(), strict=True)
    return [
        {
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": square,
            "iscrowd": int(is_crowd),
            "ignore": int(is_crowd),
        }
        for box, label, is_crowd, square in rows
        if label >= 0
    ]


def _detections(row: Mapping[str, Any], image: int, num_classes: int) -> list[dict[str, Any]]:
    """The detections of one image as pycocotools' results."""
    boxes, labels = _boxes_and_labels(row, image, num_classes, "detections")
    scores = np.asarray(row["scores"], "float64").reshape(-1)
    rows = zip(boxes.tolist(), labels.tolist(), scores.tolist(), strict=True)
    return [
        {
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": box[2] * box[3],
            "score": score,
        }
        for box, label, score in rows
        if label >= 0
    ]


def _boxes_and_labels(
    row: Mapping[str, Any], image: int, num_classes: int, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as COCO's (x, y, width, height) and labels, checked."""
    boxes = np.asarray(row["boxes"], "float64").reshape(-1, 4)
    labels = np.asarray(row["labels"], "int64").reshape(-1)
    if len(boxes) != len(labels):
        raise ValueError(
            f"`{argument}[{image}]` must have one label per box. Received: "
            f"{counted(len(boxes), 'box', 'boxes')}, {counted(len(labels), 'label')}. Give the "
            "labels in the order of the boxes."
        )
    wrong = labels[(labels < -1) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"`{argument}[{image}]['labels']` must lie in 0..{num_classes - 1}, or be -1 for an "
            f"empty slot. Received: {int(wrong[0])}. Label k means class_names[k]: give the "
            "`class_names` of the data set and of the model that made the detections."
        )
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=-1), labels


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Formats COCO's table and the AP of each class, the best first; "-" where it is NaN.

    Args:
        metrics: dict as `coco_metrics` returns it; metrics that are missing are left out.

    Returns:
        The table as text, without a line break at the end.
    """
    lines = [
        f"{name:<10} {kind:<17} IoU={iou:<9} area={size:<6} detections={limit:<3}  "
        f"{_number(metrics[name])}"
        for name, kind, iou, size, limit in NUMBERS
        if name in metrics
    ]
    per_class = metrics.get("AP_per_class", {})
    if per_class:
        width = max(map(len, per_class))
        ranked = sorted(per_class.items(), key=lambda item: (np.isnan(item[1]), -item[1]))
        lines += ["", "AP per class"]
        lines += [f"  {name:<{width}}  {_number(value)}" for name, value in ranked]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "    -" if value is None or np.isnan(value) else f"{value:.3f}"
