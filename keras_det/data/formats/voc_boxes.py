"""Pascal VOC's boxes: pixels counted from 0 or 1, corners in the wrong order, xywh for corners."""

from collections.abc import Callable

import numpy as np

from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted

# Fewer boxes that start at 0 are weighed against those that end at the border.
FEW = 5
# A few boxes that start at 0 are slips where so many times more boxes touch 1 or the far border.
SLIP = 3
# So are a single one among ten, and less than this share of many.
TEN, LEAST = 10, 0.01
# In files that store xywh more than half of the boxes have xmax < xmin or ymax < ymin.
XYWH_SHARE = 0.1
# A reading of the boxes holds where this share of them lies inside the images.
FITS = 0.95


def first_pixel(
    boxes: np.ndarray, sizes: np.ndarray, where: Callable[[int], str]
) -> tuple[float, list[Note]]:
    """Decides whether the boxes of a data set count pixels from 0 or from 1.

    Counted from 1, boxes at the border have xmin = 1 and xmax = width; counted from 0, xmin = 0 and
    xmax = width or width - 1. What the boxes do not show is read as Pascal VOC has it, from 1. The
    rule, by numbers of boxes of the whole data set:

    - No box starts at 0 (xmin or ymin below 1): from 1. Except: five boxes or more end at
      width - 1 or height - 1, three times as many as one pixel before, while none ends at width or
      height and none starts at 1: from 0.
    - One to four start at 0: from 0. Except: it is a single one of ten or more, or they are less
      than 1% of the boxes, or three times as many start at 1 or end at width or height. Then they
      are slips, and all is read from 1.
    - Five or more start at 0: from 0, unless more boxes start at 1.

    Args:
        boxes: `(n, 4)` corners as written, xmin < xmax and ymin < ymax.
        sizes: `(n, 2)`, annotated (height, width); 0 where not given.
        where: names the file and object of a box.

    Returns:
        `(0.0 or 1.0, notes)`: a note wherever a box starts at 0, or the choice is not 1.
    """
    start, limit = boxes[:, :2], sizes[:, ::-1]
    given = limit > 0
    at_zero = ((start >= 0) & (start < 1)).any(axis=1)
    at_one = (start == 1).any(axis=1) & ~at_zero

    def ending(before: int) -> np.ndarray:
        return np.asarray((given & (boxes[:, 2:] == limit - before)).any(axis=1))

    zeros, ones = int(at_zero.sum()), int(at_one.sum())
    far = int((ending(0) & ~at_zero).sum())
    none_at_end = not ending(0).any()
    last, before_last = int(ending(1).sum()), int(ending(2).sum())
    if not zeros:
        if none_at_end and not ones and last >= max(FEW, SLIP * before_last):
            text = (
                f"Pixels are counted from 0: {last} of {counted(len(boxes), 'box', 'boxes')} "
                f"{'ends' if last == 1 else 'end'} one pixel before the width or height of their "
                f"image, none at it. {_other_way(1)}"
            )
            return 0.0, [Note("boxes-first-pixel", text, last, len(boxes))]
        return 1.0, []
    count, first = len(boxes), where(int(np.flatnonzero(at_zero)[0]))
    if zeros < FEW:
        single = zeros == 1 and count >= TEN
        slips = single or zeros < LEAST * count or ones + far >= SLIP * zeros
    else:
        slips = ones > zeros
    if slips:
        text = (
            f"Pixels are counted from 1, as Pascal VOC does: {zeros} of "
            f"{counted(count, 'box', 'boxes')} with a side at 0, clipped (first: {first}); {ones} "
            f"with a side at 1, {far} with a side at the width or height of their images. "
            f"{_other_way(0)}"
        )
        return 1.0, [Note("boxes-first-pixel", text, zeros, count)]
    text = (
        f"Pixels are counted from 0: {zeros} of {counted(count, 'box', 'boxes')} with a side at 0"
    )
    return 0.0, [Note("boxes-first-pixel", text, zeros, count, first, _other_way(1))]


def _other_way(pixel: int) -> str:
    return f"To count from {pixel}, give voc_first_pixel={pixel} (--voc-first-pixel {pixel})."


def sort_corners(
    boxes: np.ndarray, sizes: np.ndarray, where: Callable[[int], str]
) -> tuple[np.ndarray, list[Note]]:
    """Exchanges corners that were written in the wrong order.

    Files that store x, y, width, height look alike, but then x + width and y + height stay inside
    the image for every box; for corners they do so for one box in four.

    Args:
        boxes: `(n, 4)` as written.
        sizes: `(n, 2)`, annotated (height, width); 0 where not given.
        where: names the file and object of a box.

    Returns:
        `(boxes, notes)`: corners sorted where this puts them inside the image.

    Raises:
        DataError: the boxes are xywh, or neither reading fits them.
    """
    inverted = np.asarray((boxes[:, :2] > boxes[:, 2:]).any(axis=1))
    if not inverted.any():
        return boxes, []
    ordered = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    known = np.asarray((sizes > 0).all(axis=1))
    limit = sizes[:, ::-1] + 1
    inside = (ordered[:, 2:] <= limit) & (ordered[:, :2] >= 0)
    as_corners = known & np.asarray(inside.all(axis=1))
    inside = (boxes[:, :2] + boxes[:, 2:] <= limit) & (boxes[:, :2] >= 0) & (boxes[:, 2:] >= 0)
    as_xywh = known & np.asarray(inside.all(axis=1))
    few = inverted.mean() <= XYWH_SHARE
    if not few:
        _refuse(boxes, inverted, known, as_corners, as_xywh, where)
    fixed = inverted & (as_corners | ~known)
    notes = []
    if fixed.any():
        first = where(int(np.flatnonzero(fixed)[0]))
        text = (
            f"{fixed.sum()} of {counted(len(boxes), 'box', 'boxes')} with swapped corners (xmax < "
            "xmin or ymax < ymin), read in the right order"
        )
        notes.append(Note("boxes-corners-swapped", text, int(fixed.sum()), len(boxes), first))
    return np.where(fixed[:, None], ordered, boxes), notes


def _refuse(
    boxes: np.ndarray,
    inverted: np.ndarray,
    known: np.ndarray,
    as_corners: np.ndarray,
    as_xywh: np.ndarray,
    where: Callable[[int], str],
) -> None:
    """Raises DataError unless the inverted boxes are clearly corners in the wrong order."""
    row = int(np.flatnonzero(inverted)[0])
    values = ", ".join(f"{value:g}" for value in boxes[row])
    start = (
        "A box must satisfy xmin < xmax and ymin < ymax. Received: "
        f"[{values}] in {where(row)}. {inverted.sum()} of {counted(len(boxes), 'box', 'boxes')} "
        f"{'is' if inverted.sum() == 1 else 'are'} like this"
    )
    count = int(known.sum())
    if not count:
        raise DataError(
            f"{start}, and no file gives the <size> that would show whether the corners are "
            "swapped or x, y, width, height are stored. If it is x, y, width, height, give "
            'box_format="xywh" (--box-format xywh); else swap the corners in the files.'
        )
    corners, xywh = int(as_corners.sum()), int(as_xywh.sum())
    shares = (
        f"read as x, y, width, height, {xywh} of {count} lie inside their images, as swapped "
        f"corners {corners}"
    )
    if xywh >= FITS * count and count < FEW:
        raise DataError(
            f"{start}: the files seem to store x, y, width, height, or their corners are swapped "
            f"({shares}). Compare one with its image. For x, y, width, height give "
            'box_format="xywh" (--box-format xywh); else swap the corners in the files.'
        )
    if xywh >= FITS * count:
        raise DataError(
            f"{start}: the files seem to store x, y, width, height ({shares}). Give "
            'box_format="xywh" (--box-format xywh), or write xmin + width and ymin + height into '
            "xmax and ymax."
        )
    if corners < FITS * count:
        raise DataError(
            f"{start}; no reading fits ({shares}). Compare the boxes and <size> with the images, "
            "and correct the files or export them again."
        )
