import numpy as np

from keras_det.data.cleaning import clean_boxes


def cleaned(*boxes):
    """The result for boxes of one image, 6 high and 8 wide."""
    sizes = np.tile([[6, 8]], (len(boxes), 1))
    return clean_boxes(np.array(boxes, np.float64).reshape(-1, 4), sizes, lambda row: f"line {row}")


def test_boxes_inside_stay_as_they_are():
    boxes, keep, notes = cleaned([0, 0, 8, 6], [1.5, 2, 3, 4])
    np.testing.assert_array_equal(boxes, [[0, 0, 8, 6], [1.5, 2, 3, 4]])
    assert keep.all() and notes == []


def test_boxes_are_clipped_and_one_pixel_needs_no_note():
    boxes, keep, notes = cleaned([-1, 0, 9, 6], [1, 1, 9.5, 3], [-np.inf, 1, 2, np.inf])
    np.testing.assert_array_equal(boxes, [[0, 0, 8, 6], [1, 1, 8, 3], [0, 1, 2, 6]])
    assert keep.all() and notes == ["2 of 3 boxes clipped to the image (first: line 1)."]


def test_boxes_without_area_are_dropped():
    nan = np.nan
    boxes, keep, notes = cleaned(
        [1, 1, 2, 2], [3, 3, 3, 5], [4, 4, 2, 5], [9, 1, 12, 2], [nan, 1, 2, 2], [nan] * 4
    )
    assert keep.tolist() == [True] + [False] * 5 and boxes[1:].max() == 0
    assert notes == ["5 of 6 boxes left out: zero area or outside the image (first: line 1)."]


def test_no_boxes():
    boxes, keep, notes = cleaned()
    assert boxes.shape == (0, 4) and keep.shape == (0,) and notes == []


# Data sets hold float32, whose smallest number is 1.4e-45.
def test_a_side_that_float32_cannot_hold_is_no_area():
    _, keep, notes = cleaned([1, 1, 2, 2], [0, 0, 5, 5e-324], [2, 1, 2 + 1e-9, 3])
    assert keep.tolist() == [True, False, False] and "2 of 3 boxes left out" in notes[0]
