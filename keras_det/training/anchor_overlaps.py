"""How well anchors fit objects: best overlaps and numbers of positive cells, by NumPy alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.types import Size


class AnchorLevel(NamedTuple):
    """The anchors of one pyramid level: every cell has the same shapes around its centre.

    Attributes:
        x, y: centres of the columns and of the rows, input pixels.
        widths, heights: of the anchors of a cell, input pixels.
    """

    x: np.ndarray
    y: np.ndarray
    widths: np.ndarray
    heights: np.ndarray


def anchor_levels(generator: AnchorGenerator, image_size: Size) -> list[AnchorLevel]:
    """The anchors of a generator, level by level.

    Args:
        generator: `AnchorGenerator`.
        image_size: (height, width) of the network's input in pixels.
    """
    anchors = generator.anchors(image_size).astype(np.float64)
    levels, start = [], 0
    for rows, columns in generator.feature_sizes(image_size):
        count = rows * columns * generator.num_anchors_per_cell
        cells = anchors[start : start + count].reshape(rows, columns, -1, 4)
        first = cells[0, 0]
        levels.append(
            AnchorLevel(
                x=(cells[0, :, 0, 0] + cells[0, :, 0, 2]) / 2,
                y=(cells[:, 0, 0, 1] + cells[:, 0, 0, 3]) / 2,
                widths=first[:, 2] - first[:, 0],
                heights=first[:, 3] - first[:, 1],
            )
        )
        start += count
    return levels


def best_overlaps(boxes: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """The highest IoU of every box with any anchor.

    Among anchors of one shape, the one with the nearest centre overlaps most; this holds on each
    axis separately. So each box is compared with a few dozen anchors, not with all.

    Args:
        boxes: `(objects, 4)`, xyxy in pixels of the network's input.
        levels: of `anchor_levels`.

    Returns:
        float64 `(objects,)` in 0..1.
    """
    return overlaps_and_cells(boxes, levels, threshold=2.0)[0]


def overlaps_and_cells(
    boxes: np.ndarray, levels: Sequence[AnchorLevel], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The highest IoU of every box with any anchor, and how many cells have a positive anchor.

    Args:
        boxes, levels: as for `best_overlaps`.
        threshold: IoU from which on an anchor is positive, above 0.

    Returns:
        float64 `(objects,)` in 0..1, and the number of cells `(objects,)`. On each level, only the
        5 x 5 cells around the nearest one are counted, so numbers above 8 may be too small.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    x1, y1, x2, y2 = corners.T
    area = (x2 - x1) * (y2 - y1)
    best, cells = np.zeros(len(corners)), np.zeros(len(corners), np.int64)
    for level in levels:
        x, y = _nearest(level.x, (x1 + x2) / 2), _nearest(level.y, (y1 + y2) / 2)
        positive = np.zeros((len(corners), 5, 5), bool)
        for width, height in zip(level.widths.tolist(), level.heights.tolist(), strict=True):
            across = np.minimum(x2, x + width / 2) - np.maximum(x1, x - width / 2)
            down = np.minimum(y2, y + height / 2) - np.maximum(y1, y - height / 2)
            common = np.maximum(across, 0.0) * np.maximum(down, 0.0)
            overlaps = common / (area + width * height - common)
            np.maximum(best, overlaps, out=best)
            # No other anchor of this shape overlaps more than the nearest one.
            rows = np.flatnonzero(overlaps >= threshold)
            positive[rows] |= _reach(corners[rows], level, width, height, threshold)
        cells += positive.sum(axis=(1, 2))
    return best, cells


def _reach(
    corners: np.ndarray, level: AnchorLevel, width: float, height: float, threshold: float
) -> np.ndarray:
    """Which of the 5 x 5 anchors of one shape around each box reach the threshold."""
    x1, y1, x2, y2 = corners.T
    across = _common(_around(level.x, (x1 + x2) / 2), width, x1, x2)
    down = _common(_around(level.y, (y1 + y2) / 2), height, y1, y2)
    common = down[:, :, None] * across[:, None, :]
    both = ((x2 - x1) * (y2 - y1) + width * height)[:, None, None]
    return common >= threshold * (both - common)


def _around(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The evenly spaced centres around each value, `(values, 5)`; NaN beyond the ends."""
    step = centres[1] - centres[0] if len(centres) > 1 else 1.0
    index = np.rint((values - centres[0]) / step).astype(np.int64).clip(0, len(centres) - 1)
    index = index[:, None] + np.arange(-2, 3)
    inside = (index >= 0) & (index < len(centres))
    return np.where(inside, centres[index.clip(0, len(centres) - 1)], np.nan)


def _common(centres: np.ndarray, side: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The length that intervals around `(n, 5)` centres have in common with `(n,)` intervals."""
    shared = np.minimum(high[:, None], centres + side / 2)
    shared -= np.maximum(low[:, None], centres - side / 2)
    return np.nan_to_num(np.maximum(shared, 0.0))


def holds_centre(boxes: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """Whether a box contains an anchor centre of the level whose anchors overlap it most.

    `ATSSTargets` takes anchors whose centre is inside the box and that overlap it more than others
    do; these are on that level.

    Args:
        boxes, levels: as for `best_overlaps`.

    Returns:
        bool `(objects,)`.
    """
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    held, best = np.zeros(len(x1), bool), np.full(len(x1), -1.0)
    for level in levels:
        x, y = _nearest(level.x, (x1 + x2) / 2), _nearest(level.y, (y1 + y2) / 2)
        inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
        overlap = best_overlaps(boxes, [level])
        held, best = np.where(overlap > best, inside, held), np.maximum(best, overlap)
    return held


def _nearest(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest of evenly spaced centres to each value."""
    step = centres[1] - centres[0] if len(centres) > 1 else 1.0
    index = np.rint((values - centres[0]) / step)
    return centres[np.clip(index, 0, len(centres) - 1).astype(np.int64)]
