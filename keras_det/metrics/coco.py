"""COCO's twelve metrics and the average precision of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.metrics.columns import columns
from keras_det.metrics.engines import Evaluation, evaluate
from keras_det.words import counted

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
FEW_CLASSES = 10  # that are shown of the best, and of the worst
LONGEST_NAME = 40  # characters of a class name in the table


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


def metrics_of(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """`coco_metrics` of what `evaluated` has found."""
    metrics: dict[str, Any] = {
        name: _or_nan(value) for (name, *_), value in zip(NUMBERS, evaluation.numbers, strict=True)
    }
    per_class = evaluation.precision[:, :, :, 0, -1]
    metrics["AP_per_class"] = {
        str(name): _or_nan(per_class[:, :, k].mean()) for k, name in enumerate(class_names)
    }
    return metrics


def evaluated(
    ground_truth: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
) -> Evaluation:
    """COCO's numbers and precision arrays, by hotcoco where it is installed, else by pycocotools.

    Args:
        ground_truth, detections, class_names: as for `coco_metrics`.

    Raises:
        ValueError: as for `coco_metrics`.
    """
    return evaluate(*columns(ground_truth, detections, class_names), len(class_names))


def _or_nan(value: float) -> float:
    """Replaces -1, the value where there are no objects, by NaN."""
    return float(value) if value > -1 else float("nan")


def format_metrics(metrics: Mapping[str, Any], objects: Mapping[str, int] | None = None) -> str:
    """Formats COCO's table and the AP of each class, the best first; "-" where it is NaN.

    With more than 20 classes, only the ten best and the ten worst are shown.

    Args:
        metrics: dict as `coco_metrics` returns it; metrics that are missing are left out.
        objects: number of objects of each class, shown beside its AP.

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
    return "\n".join([*lines, "", *_class_lines(per_class, objects)] if per_class else lines)


def _class_lines(
    per_class: Mapping[str, float | None], objects: Mapping[str, int] | None
) -> list[str]:
    known = {k: v for k, v in per_class.items() if v is not None and not np.isnan(v)}
    ranked = sorted(known, key=lambda name: -known[name])
    empty = [name for name in per_class if name not in known]
    few = len(per_class) <= 2 * FEW_CLASSES
    best = [*ranked, *empty] if few else ranked[:FEW_CLASSES]
    worst = [] if few else ranked[FEW_CLASSES:][-FEW_CLASSES:]
    width = min(LONGEST_NAME, max(map(len, [*best, *worst]), default=0))

    def line(name: str) -> str:
        short = name if len(name) <= width else f"{name[: width - 1]}…"
        count = "" if objects is None else f"  {counted(objects[name], 'object'):>14}"
        return f"  {short:<{width}}  {_number(per_class[name])}{count}"

    if few:
        return ["AP per class", *map(line, best)]
    lines = [f"AP per class: the best and the worst of {len(per_class)} (all are in the JSON file)"]
    lines += map(line, best)
    if between := len(known) - len(best) - len(worst):
        lines.append(f"  … {counted(between, 'class', 'classes')} between")
    lines += map(line, worst)
    if empty:
        lines.append(f"  … {counted(len(empty), 'class', 'classes')} without objects")
    return lines


def _number(value: float | None) -> str:
    return "    -" if value is None or np.isnan(value) else f"{value:.3f}"
