"""Draws a finding: the label in the data, and what it should be, in two colours."""

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.report.draw import draw_boxes
from keras_det.review.finding import LabelFinding

IN_DATA, PROPOSED, OTHERS = (240, 60, 60), (60, 225, 90), (70, 120, 255)
# The part of the image around the boxes: so many times their size, and at least so many pixels.
AROUND, LEAST = 3.0, 120
SMALLEST = 480  # pixels: a smaller picture is enlarged, so that its texts fit


def draw_finding(dataset: Dataset, finding: LabelFinding) -> np.ndarray:
    """Draws what is in the data in red, what is proposed in green, other objects in blue.

    Only the surroundings of the boxes are shown.

    Args:
        dataset: what the finding is about.
        finding: of one of its images.

    Returns:
        uint8 `(h, w, 3)` RGB.

    Raises:
        DataError: the image cannot be read.
    """
    from PIL import Image

    sample, names = dataset[finding.image], dataset.class_names
    pixels = sample.read()
    boxes, texts, colours = [], [], []
    if finding.proposed_box is not None and finding.proposed_label is not None:
        boxes.append(finding.proposed_box)
        texts.append(f"{names[finding.proposed_label]} {finding.detected:.2f}")
        colours.append(PROPOSED)
    if finding.box is not None and finding.label is not None:
        boxes.append(finding.box)
        texts.append(names[finding.label])
        colours.append(IN_DATA)
    left, top, right, bottom = _window(np.array(boxes), *pixels.shape[:2])
    others = [box for k, box in enumerate(sample.boxes) if k != finding.object]
    texts += [""] * len(others)
    colours += [OTHERS] * len(others)
    part = pixels[top:bottom, left:right]
    scale = max(1.0, SMALLEST / max(part.shape[:2]))
    size = round(part.shape[1] * scale), round(part.shape[0] * scale)
    part = np.array(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR))
    shifted = (np.array([*boxes, *others]) - [left, top, left, top]) * scale
    return draw_boxes(part, shifted, texts, colours)


def _window(boxes: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """The part of the image to show: left, top, right, bottom in pixels."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    centre, side = (low + high) / 2, max(LEAST, AROUND * float((high - low).max()))
    limits = np.array([width, height])
    first = np.clip(np.floor(centre - side / 2), 0, np.maximum(limits - side, 0)).astype(int)
    last = np.minimum(np.ceil(first + side), limits).astype(int)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])
