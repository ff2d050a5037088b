"""The best overlap of an object, against all anchors."""

import numpy as np
import pytest

from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.training.anchor_overlaps import (
    anchor_levels,
    best_overlaps,
    holds_centre,
    overlaps_and_cells,
)

GENERATORS = [
    AnchorGenerator((3, 4, 5), 3.0),
    AnchorGenerator((2, 3), 1.0, 2, (1.0, 3.0)),
    AnchorGenerator((3, 4), sizes=((24, 30), (48, 60)), offset=0.0, integer=True),
]


def boxes_in(height, width, count=200):
    rng = np.random.default_rng(0)
    first = rng.uniform(-5, [width, height], (count, 2))
    return np.concatenate([first, first + rng.uniform(1, 60, (count, 2))], axis=1)


def all_overlaps(boxes, generator):
    """IoU of every box with every anchor."""
    anchors = generator.anchors((90, 130)).astype(float)
    corners = np.maximum(anchors[None, :, :2], boxes[:, None, :2])
    ends = np.minimum(anchors[None, :, 2:], boxes[:, None, 2:])
    common = np.prod(np.maximum(ends - corners, 0), axis=-1)
    areas = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (boxes, anchors)]
    return common / (areas[0][:, None] + areas[1][None] - common)


@pytest.mark.parametrize("generator", GENERATORS)
def test_best_overlap_is_the_best_of_all_anchors(generator):
    boxes = boxes_in(90, 130)
    iou = all_overlaps(boxes, generator)
    found = best_overlaps(boxes, anchor_levels(generator, (90, 130)))
    np.testing.assert_allclose(found, iou.max(axis=1), rtol=1e-5, atol=1e-9)
    assert found.max() > 0.5


@pytest.mark.parametrize("threshold", [0.4, 0.6])
@pytest.mark.parametrize("generator", GENERATORS)
def test_cells_are_those_with_a_positive_anchor(generator, threshold):
    boxes = boxes_in(90, 130)
    iou = all_overlaps(boxes, generator)
    # Anchors lie cell by cell. From about ten cells on, some are beyond the 5 x 5.
    positive = (iou >= threshold).reshape(len(boxes), -1, generator.num_anchors_per_cell)
    best, cells = overlaps_and_cells(boxes, anchor_levels(generator, (90, 130)), threshold)
    np.testing.assert_allclose(best, iou.max(axis=1), rtol=1e-5, atol=1e-9)
    expected = positive.any(axis=2).sum(axis=1)
    np.testing.assert_array_equal(np.minimum(cells, 8), np.minimum(expected, 8))
    assert (cells <= expected).all() and cells.max() > 0


# Stride 8: centres at 4, 12, …
def test_centres_inside_are_found():
    levels = anchor_levels(AnchorGenerator((3,), 3.0), (32, 32))
    boxes = [[3, 3, 5, 5], [5, 5, 11, 11], [3, 5, 5, 11], [5, 5, 13, 13]]
    assert holds_centre(boxes, levels).tolist() == [True, False, False, True]
    # P4 has a centre at 8, inside the second box, but its anchors overlap that box less than P3's.
    levels = anchor_levels(AnchorGenerator((3, 4), 3.0), (32, 32))
    assert holds_centre(boxes, levels).tolist() == [True, False, False, True]
