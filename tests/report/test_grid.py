"""Pictures in rows and columns."""

import numpy as np
import pytest

from keras_det.report.grid import grid, stacked


def test_grid_places_pictures():
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    joined = grid(pictures, 2, gap=1)
    assert joined[..., 0].tolist() == [
        [10, 10, 10, 255, 20, 20, 20],
        [10, 10, 10, 255, 20, 20, 20],
        [255] * 7,
        [30, 30, 30, 255, 255, 255, 255],
        [30, 30, 30, 255, 255, 255, 255],
    ]


def test_stacked_keeps_different_widths():
    joined = stacked([np.zeros((1, 2, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)], gap=1)
    assert joined[..., 0].tolist() == [[0, 0], [255, 255], [0, 255]]


def test_columns_below_1():
    with pytest.raises(ValueError, match="`columns` must be 1 or more. Received: 0"):
        grid([np.zeros((1, 1, 3), np.uint8)], 0)
