"""The box of a COCO `segmentation`: polygons, and masks as runs of pixels."""

from typing import Any

import numpy as np

# A mask of more pixels than this is not one of an image.
MAX_PIXELS = 1 << 34


def box_of(segmentation: Any) -> list[float] | None:
    """Returns the box [x, y, width, height] around a segmentation; None where it holds nothing.

    Args:
        segmentation: a list of polygons `[x1, y1, x2, y2, …]`, one such polygon, or a mask
            `{"size": [height, width], "counts": …}` of runs, as numbers or as COCO's text.
    """
    if isinstance(segmentation, dict):
        return _box_of_mask(segmentation.get("counts"), segmentation.get("size"))
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        points = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons if polygon]
    except (ValueError, TypeError, OverflowError):
        return None
    if not points:
        return None
    corners = np.concatenate(points)
    if not np.isfinite(corners).all():
        return None
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _box_of_mask(counts: Any, size: Any) -> list[float] | None:
    """The box of a mask, whose runs go down the columns, the first one outside the object."""
    try:
        height, width = (int(side) for side in size)
        runs = np.array(_runs(counts) if isinstance(counts, str) else counts, np.int64)
    except (ValueError, TypeError, OverflowError):
        return None
    good = height > 0 and width > 0 and height * width <= MAX_PIXELS and runs.ndim == 1
    if not good or (runs < 0).any() or (runs > height * width).any():
        return None
    ends = np.cumsum(runs)
    if len(runs) < 2 or ends[-1] != height * width:
        return None
    starts, ends = (ends - runs)[1::2], ends[1::2]
    inside = ends > starts
    if not inside.any():
        return None
    starts, last = starts[inside], ends[inside] - 1
    left, right = int(starts[0] // height), int(last[-1] // height)
    several = last // height > starts // height  # such a run touches the top and the bottom
    top = 0 if several.any() else int((starts % height).min())
    bottom = height - 1 if several.any() else int((last % height).max())
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _runs(text: str) -> list[int]:
    """The lengths of runs written as text: five bits a character, the lowest first.

    Bit 6 of a character says that another one follows. From the fourth run on, the difference to
    the run two before is written.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError
    return runs
