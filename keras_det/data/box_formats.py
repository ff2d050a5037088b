"""The formats of boxes: which one a file uses, and the way to xyxy pixels."""

import numpy as np

from keras_det.data.raw import RawAnnotations, ReadOptions


def to_pixels(raw: RawAnnotations, options: ReadOptions) -> None:
    """Turns `raw.boxes` into xyxy pixels.

    Args:
        raw: `boxes` are in `box_format`; afterwards in "xyxy".
        options: `box_format` overrules the format's.

    Raises:
        DataError: the boxes do not fit their images in this format.
    """
    form = options.box_format or raw.box_format
    raw.boxes = corners(raw.boxes, form, raw.image_sizes[raw.image_index])
    raw.box_format = "xyxy"


def corners(boxes: np.ndarray, box_format: str, sizes: np.ndarray) -> np.ndarray:
    """Returns boxes as xyxy pixels.

    Args:
        boxes: `(n, 4)` in `box_format`.
        box_format: "xyxy", "yxyx", "xywh" or "center_xywh", or with "rel_" in front.
        sizes: `(n, 2)`, (height, width) of each box's image in pixels.
    """
    order = box_format.removeprefix("rel_")
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    if order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    elif order == "xywh":
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    elif order == "center_xywh":
        half = boxes[:, 2:] / 2
        boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    if box_format.startswith("rel_"):
        boxes = boxes * np.asarray(sizes, np.float64).reshape(-1, 2)[:, [1, 0, 1, 0]]
    return boxes
