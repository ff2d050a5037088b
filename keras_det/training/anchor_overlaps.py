"""How well anchors fit objects: the best overlap of every object, by NumPy alone."""

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
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    area = (x2 - x1) * (y2 - y1)
    best = np.zeros(len(x1))
    for level in levels:
        x, y = _nearest(level.x, (x1 + x2) / 2), _nearest(level.y, (y1 + y2) / 2)
        for width, height in zip(level.widths, level.heights, strict=True):
            across = np.minimum(x2, x + width / 2) - np.maximum(x1, x - width / 2)
            down = np.minimum(y2, y + height / 2) - np.maximum(y1, y - height / 2)
            common = np.maximum(across, 0.0) * np.maximum(down, 0.0)
            np.maximum(best, common / (area + width * height - common), out=best)
    return best


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
