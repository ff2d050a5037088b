"""Whether boxes count from 0 or 1, and corners in the wrong order."""

import numpy as np
import pytest

from keras_det.data.formats.voc import find, read
from keras_det.data.formats.voc_boxes import first_pixel, sort_corners
from keras_det.data.raw import ReadOptions
from keras_det.errors import DataError
from tests.data.builders import write_voc

WIDTH, HEIGHT = 100, 80
INNER = [20, 20, 40, 40]
AT_0, AT_1, AT_2 = [0, 20, 40, 40], [20, 1, 40, 40], [2, 20, 40, 40]
FULL, LAST, BEFORE_LAST = [20, 20, 100, 40], [20, 20, 40, 79], [20, 20, 98, 40]


def decide(rows, size=(HEIGHT, WIDTH)):
    boxes = np.array(rows, np.float64)
    return first_pixel(boxes, np.array([size] * len(rows)), "box {}".format)


@pytest.mark.parametrize(
    "rows, expected, said",
    [
        # Nothing starts at 0: from 1, without a word.
        ([INNER], 1, ""),
        ([AT_1, FULL, INNER], 1, ""),
        ([LAST] * 4, 1, ""),
        ([LAST] * 5 + [AT_1], 1, ""),
        ([LAST] * 5 + [FULL], 1, ""),
        ([LAST] * 5 + [BEFORE_LAST] * 2, 1, ""),
        ([LAST] * 5 + [BEFORE_LAST], 0, "5 of 6 boxes end one pixel before"),
        # A few start at 0.
        ([AT_0], 0, "1 of 1 box with a side at 0 (first: box 0)"),
        ([INNER, [0.5, 20, 40, 40]], 0, "(first: box 1)"),
        ([INNER] * 8 + [AT_0], 0, "1 of 9"),
        ([INNER] * 12 + [AT_0], 1, "1 of 13 boxes with a side at 0, clipped (first: box 12)"),
        ([INNER] * 12 + [AT_0] * 2, 0, "2 of 14"),
        ([INNER] * 300 + [AT_0] * 2, 1, "2 of 302"),
        ([AT_0, AT_1, AT_1, FULL], 1, "2 with a side at 1, 1 with a side at the width"),
        ([AT_0, AT_1, FULL], 0, "1 of 3"),
        ([AT_0, FULL, FULL, FULL], 1, "0 with a side at 1, 3 with a side at the width"),
        # Many start at 0; ends at the width do not count, exporters differ there.
        ([AT_0] * 5 + [FULL] * 90, 0, "5 of 95"),
        ([AT_0] * 5 + [AT_1] * 5, 0, "5 of 10"),
        ([AT_0] * 5 + [AT_1] * 6, 1, "5 of 11"),
        ([AT_0] * 20 + [INNER] * 9000, 0, "20 of 9,020"),
        # Left of the image: says nothing.
        ([[-3, 20, 40, 40], AT_2], 1, ""),
    ],
)
def test_first_pixel(rows, expected, said):
    pixel, notes = decide(rows)
    assert pixel == expected and said in " ".join(notes)
    assert bool(notes) == bool(said)
    other = f"voc_first_pixel={1 - expected} (--voc-first-pixel {1 - expected})"
    assert not notes or (f"counted from {expected}" in notes[0] and other in notes[0])


def test_sizes_that_are_not_given_say_nothing():
    assert decide([AT_0, [1, 9, 100, 80]], size=(0, 0))[0] == 0
    assert decide([[5, 5, 0, 0]] * 9, size=(0, 0)) == (1, [])


def test_bccd_counts_from_one():
    # 4,888 boxes: 625 start at 1, none at 0; 555 end at the width or height, 63 one pixel before.
    rows = [[1, 9, 50, 60]] * 625 + [[9, 9, 100, 60]] * 555 + [LAST] * 63 + [INNER] * 3645
    assert decide(rows) == (1, [])


def test_one_slip_moves_no_other_box(tmp_path):
    objects = [("cat", 0, 2, 4, 5, 0), ("cat", 1, 1, 8, 6, 0), ("cat", 3, 2, 8, 5, 0)]
    root = write_voc(tmp_path, {"a": objects, "b": [("cat", 2, 2, 4, 6, 0)]}, {"val": ["b"]})
    source = find(root).everything
    raw = read(source, ReadOptions())
    np.testing.assert_array_equal(raw.boxes[1:], [[0, 0, 8, 6], [2, 1, 8, 5], [1, 1, 4, 6]])
    raw = read(source, ReadOptions(voc_first_pixel=0))
    np.testing.assert_array_equal(raw.boxes, [box[1:5] for box in objects] + [[2, 2, 4, 6]])
    assert raw.notes == []
    # A split is read as the whole data set is.
    raw = read(find(root).splits["val"], ReadOptions())
    assert raw.boxes.tolist() == [[1, 1, 4, 6]] and "a.xml, object 0" in raw.notes[0]


@pytest.mark.parametrize(
    "form, expected", [("xywh", [1, 0, 4, 5]), ("yxyx", [1, 0, 4, 5]), ("rel_xyxy", [2, 1, 4, 5])]
)
def test_other_box_formats(tmp_path, form, expected):
    root = write_voc(tmp_path, {"a": [("cat", 2, 1, 4, 5, 0)]})
    raw = read(find(root).everything, ReadOptions(box_format=form))
    assert raw.boxes.tolist() == [expected]


def test_first_pixel_of_xywh(tmp_path):
    # x + width reaches the width 8 three times: the box at 0 is a slip.
    objects = [("cat", 0, 2, 4, 3, 0)] + [("cat", 4, 2, 4, 3, 0)] * 3
    root = write_voc(tmp_path, {"a": objects})
    raw = read(find(root).everything, ReadOptions(box_format="xywh"))
    assert raw.boxes.tolist() == [[-1, 1, 4, 3]] + [[3, 1, 4, 3]] * 3


def sort(rows, size=(HEIGHT, WIDTH)):
    boxes = np.array(rows, np.float64)
    return sort_corners(boxes, np.array([size] * len(rows)), "box {}".format)


def random_corners(count):
    rng = np.random.default_rng(0)
    start = rng.integers(1, [WIDTH - 20, HEIGHT - 20], (count, 2))
    return np.concatenate([start, start + rng.integers(2, 20, (count, 2))], axis=1).astype(float)


@pytest.mark.parametrize("columns", [[2, 3, 0, 1], [2, 1, 0, 3], [0, 3, 2, 1]])
@pytest.mark.parametrize("every", [1, 3, 20])
def test_exchanged_corners(columns, every):
    corners = random_corners(40)
    written = corners.copy()
    written[::every] = written[::every][:, columns]
    found, notes = sort(written)
    np.testing.assert_array_equal(found, corners)
    count = len(written[::every])
    assert f"{count} of 40 boxes with swapped corners" in notes[0] and "box 0" in notes[0]


def test_corners_in_order_are_left_alone():
    corners = random_corners(40)
    found, notes = sort(corners)
    np.testing.assert_array_equal(found, random_corners(40))
    assert notes == []
    assert sort([[5, 5, 5, 9]])[1] == []  # no width: dropped later


def test_xywh_is_told_and_not_turned():
    corners = random_corners(40)
    corners[:, 2:] -= corners[:, :2]
    with pytest.raises(
        DataError, match=r"of 40 boxes .* seem to store x, y, width, height \(read "
    ):
        sort(corners)
    with pytest.raises(DataError, match=r'40 of 40 lie inside .*box_format="xywh" \(--box-format'):
        sort(corners)


def test_unclear_corners_name_both_readings():
    with pytest.raises(DataError, match=r"or their corners are swapped \(.* corners 2\). Compare"):
        sort([[9, 9, 5, 5], [9, 9, 5, 5]])
    with pytest.raises(DataError, match=r"no file gives the <size>.*else swap the corners"):
        sort([[9, 9, 5, 5]] * 9, size=(0, 0))
    with pytest.raises(DataError, match=r"no reading fits \(.* 0 of 9 lie inside .* corners 0\)"):
        sort([[900, 9, 5, 5]] * 9)


def test_few_inverted_boxes_outside_their_images_stay_as_they_are():
    rows = [*random_corners(30), [900, 9, 5, 5]]
    found, notes = sort(rows)
    np.testing.assert_array_equal(found, rows)
    assert notes == []
