"""Boxes whose corners were written in the wrong order, and boxes that leave most images unused."""

import numpy as np

from keras_det.data.box_formats import check_box_format, judge
from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.words import counted

# So few boxes of a file may have swapped corners whatever else their numbers could be.
FEW = 0.1
# Of more, no other reading may fit this share of the boxes.
FITS = 0.95
# Boxes that all end before this share of both sides were probably measured in other units.
USED_PART = 0.6
# Fewer boxes may lie in one corner by chance. So may a few of many lie outside of it.
ENOUGH, NEARLY_ALL = 20, 0.99


def sort_corners(raw: RawAnnotations, options: ReadOptions) -> None:
    """Exchanges corners in the wrong order, which tools write when a box is drawn to the left.

    The first corner then lies right of or below the second one; in formats with sizes, a width or
    height is negative. Only boxes that fit their images afterwards are changed. A file in which
    many boxes are like this and another reading fits, such as xywh, is left to the detective.

    Args:
        raw: boxes as written and its notes are changed.
        options: `box_format` overrules the format's.
    """
    form = check_box_format(options.box_format) or raw.box_format
    if not len(raw.boxes):
        return
    boxes = np.asarray(raw.boxes, np.float64)
    with_corners = form.removeprefix("rel_") in ("xyxy", "yxyx")
    with np.errstate(invalid="ignore"):
        rows = boxes[:, 2:] < boxes[:, :2] if with_corners else boxes[:, 2:] < 0
    swapped = np.flatnonzero(rows.any(axis=1))
    if not len(swapped):
        return
    sizes = raw.image_sizes[raw.image_index]
    if len(swapped) > FEW * len(boxes):
        others = list(judge(boxes, form, sizes).shares.values())[1:]
        if others and max(others) >= FITS:
            return
    ordered = _ordered(boxes[swapped], form, with_corners)
    fits = judge(ordered, form, sizes[swapped]).fitting
    if not fits.any():
        return
    raw.boxes = boxes.copy()
    raw.boxes[swapped[fits]] = ordered[fits]
    what = "swapped corners" if with_corners else "a negative width or height"
    count, first = int(fits.sum()), raw.where(int(swapped[fits][0]))
    text = f"{count} of {counted(len(boxes), 'box', 'boxes')} with {what}, read in the right order"
    raw.notes.append(Note("boxes-corners-swapped", text, count, len(boxes), first))


def _ordered(boxes: np.ndarray, form: str, with_corners: bool) -> np.ndarray:
    """The same boxes with the corners in order and sides that are not negative."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if with_corners:
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)
    if not form.removeprefix("rel_").startswith("center_"):
        first = first + np.minimum(second, 0)
    return np.concatenate([first, np.abs(second)], axis=1)


def note_unused_part(raw: RawAnnotations, normalised: bool) -> None:
    """Notes boxes that all lie in the upper left corner of images: percentages, smaller images.

    Args:
        raw: boxes in xyxy pixels.
        normalised: whether the boxes are normalised coordinates, which cannot be wrong like this.
    """
    if normalised or len(raw.boxes) < ENOUGH:
        return
    limit = raw.image_sizes[raw.image_index][:, ::-1]
    ends = np.quantile(raw.boxes[:, 2:] / np.maximum(limit, 1), NEARLY_ALL, axis=0)
    if (ends > USED_PART).any():
        return
    right, lower = (f"{max(end, 0):.0%}" for end in ends.tolist())
    text = (
        f"Nearly all boxes lie in the left {right} and the upper {lower} of their images. If the "
        "objects are elsewhere, the numbers are percentages, or pixels of smaller images. "
        "`keras-det data preview` shows them. Divide percentages by 100; restore images that were "
        "enlarged."
    )
    raw.notes.append(Note("boxes-in-one-part", text))
