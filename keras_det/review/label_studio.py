"""Writes Label Studio's tasks: what is labelled as annotation, what is proposed as prediction."""

import os
import urllib.parse
import xml.sax.saxutils
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.sample import Sample

# Names of the parts of the labelling setup, as Label Studio's own templates call them.
LABELS, IMAGE = "label", "image"
DIGITS = 6  # of a percentage: below a thousandth of a pixel in an image of 100,000


def label_studio_tasks(
    proposed: Dataset,
    names: Sequence[str],
    scores: np.ndarray,
    present: Dataset | None,
    urgency: Sequence[float],
    reasons: Sequence[str],
) -> list[dict[str, Any]]:
    """Tasks with `annotations` (what is labelled) and `predictions` (the proposal).

    Coordinates are percentages of the image. Crowd regions are left out: Label Studio has none.

    Args:
        proposed, scores, present, urgency, reasons: as of `keras_det.review.tasks.Tasks`.
        names: paths of the images below the folder that Label Studio serves.
    """
    tasks = []
    for i, name in enumerate(names):
        rows = proposed.rows(i)
        data: dict[str, Any] = {
            IMAGE: f"/data/local-files/?d={urllib.parse.quote(os.fsencode(name))}",
            "urgency": round(float(urgency[i]), 4),
            "reason": reasons[i],
        }
        results = _results(proposed[i], proposed.class_names, scores[rows], f"p{i}")
        prediction = {"model_version": "keras_det", "score": data["urgency"], "result": results}
        task: dict[str, Any] = {"id": i + 1, "data": data, "predictions": [prediction]}
        if present is not None:
            sample = present[i]
            none = np.full(len(sample.labels), np.nan)
            result = _results(sample, present.class_names, none, f"a{i}")
            task["annotations"] = [{"result": result, "was_cancelled": False}]
        tasks.append(task)
    return tasks


def _results(
    sample: Sample, class_names: Sequence[str], scores: np.ndarray, prefix: str
) -> list[dict[str, Any]]:
    """The boxes of one image as regions."""
    height, width = sample.original_size
    scale = 100.0 / np.array([width, height, width, height], np.float64)
    results = []
    for k, (box, label) in enumerate(zip(sample.boxes, sample.labels.tolist(), strict=True)):
        if sample.crowd[k]:
            continue
        x1, y1, x2, y2 = (box.astype(np.float64) * scale).tolist()
        region: dict[str, Any] = {
            "id": f"{prefix}_{k}",
            "type": "rectanglelabels",
            "from_name": LABELS,
            "to_name": IMAGE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": round(x1, DIGITS),
                "y": round(y1, DIGITS),
                "width": round(x2 - x1, DIGITS),
                "height": round(y2 - y1, DIGITS),
                "rotation": 0,
                "rectanglelabels": [class_names[label]],
            },
        }
        if np.isfinite(scores[k]):
            region["score"] = round(float(scores[k]), 4)
        results.append(region)
    return results


def label_config(class_names: Sequence[str]) -> str:
    """The labelling setup (XML) that fits the tasks."""
    labels = "\n".join(
        f"    <Label value={xml.sax.saxutils.quoteattr(name)}/>" for name in class_names
    )
    return f"""<View>
  <Text name="reason" value="$reason"/>
  <Image name="{IMAGE}" value="${IMAGE}"/>
  <RectangleLabels name="{LABELS}" toName="{IMAGE}">
{labels}
  </RectangleLabels>
</View>
"""
