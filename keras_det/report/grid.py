"""Joins pictures to one: rows and columns on a white background."""

from collections.abc import Sequence

import numpy as np

from keras_det.report.draw import side_by_side


def grid(pictures: Sequence[np.ndarray], columns: int, gap: int = 8) -> np.ndarray:
    """Joins pictures row by row.

    Args:
        pictures: uint8 `(h, w, 3)`.
        columns: int >= 1, pictures in a row.
        gap: int >= 0, pixels between them.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: `columns` is below 1, or there is no picture.
    """
    if columns < 1:
        raise ValueError(
            f"`columns` must be 1 or more. Received: {columns}. Give the number of pictures in a "
            "row."
        )
    starts = range(0, max(1, len(pictures)), columns)
    return stacked([side_by_side(*pictures[i : i + columns], gap=gap) for i in starts], gap)


def stacked(pictures: Sequence[np.ndarray], gap: int = 8) -> np.ndarray:
    """Joins pictures from top to bottom, aligned at the left."""
    turned = [picture.swapaxes(0, 1) for picture in pictures]
    return np.ascontiguousarray(side_by_side(*turned, gap=gap).swapaxes(0, 1))
