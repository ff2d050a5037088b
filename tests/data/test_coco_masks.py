"""The box of a segmentation; the oracle for masks is pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as masks

from keras_det.data.formats.coco_masks import box_of


@pytest.mark.parametrize("seed", range(12))
def test_mask_agrees_with_pycocotools(seed):
    rng = np.random.default_rng(seed)
    picture = np.zeros((37, 23), np.uint8)
    for _ in range(1 + seed % 4):
        y, x = rng.integers(0, 30), rng.integers(0, 18)
        picture[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = 1
    packed = masks.encode(np.asfortranarray(picture))
    text = {"size": [37, 23], "counts": packed["counts"].decode()}
    flat = np.concatenate([[0], picture.T.reshape(-1), [2]])
    places = np.flatnonzero(np.diff(flat[:-1]))
    counts = np.diff([0, *places, picture.size]).tolist()
    ys, xs = np.nonzero(picture)
    expected = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert box_of(text) == expected == box_of({"size": [37, 23], "counts": counts})
    np.testing.assert_array_equal(expected, masks.toBbox(packed))


def test_mask_of_two_full_columns():
    # 3 rows: column 0 is empty, columns 1 and 2 are full, column 3 is empty.
    assert box_of({"size": [3, 4], "counts": [3, 6, 3]}) == [1, 0, 2, 3]


def test_polygons():
    assert box_of([[1, 2, 5, 2, 5, 7]]) == [1, 2, 4, 5]
    assert box_of([1, 2, 5, 2, 5, 7]) == [1, 2, 4, 5]
    assert box_of([[1, 2, 3, 3], [0, 5, 1, 9]]) == [0, 2, 3, 7]


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        [],
        [[]],
        [[1, 2, 3]],
        [["x", "y"]],
        [[1, None]],
        [[float("inf"), 1]],
        "text",
        {},
        {"size": [3, 4]},
        {"size": [3, 4], "counts": [12]},
        {"size": [3, 4], "counts": [3, 6]},
        {"size": [3, 4], "counts": [-3, 15]},
        {"size": [0, 0], "counts": [0, 0]},
        {"size": [3], "counts": [3, 6, 3]},
        {"size": [10**9, 10**9], "counts": [0, 10**18]},
        {"size": [3, 4], "counts": "\x01"},
        {"size": [3, 4], "counts": "oooooooooooooooooooo"},
        {"size": [3, 4], "counts": [[3], [6]]},
    ],
)
def test_segmentation_that_holds_no_box(nothing):
    assert box_of(nothing) is None
