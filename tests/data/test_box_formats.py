"""Which reading of boxes is taken, and what is said where it does not fit."""

import numpy as np
import pytest

from keras_det.data.box_formats import BOX_FORMATS, NEARLY_ALL, corners, judge, to_pixels
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError


def raw_of(boxes, sizes, box_format="xywh"):
    """Boxes as a reader hands them on, all in their own image or in those of the given sizes."""
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    sizes = np.broadcast_to(np.array(sizes, np.int64), (len(boxes), 2)).copy()
    numbers = list(range(len(boxes)))
    return RawAnnotations(
        source="a.json", name="set", split=None, class_names=["cat"], category_ids=[1],
        image_names=[f"{i}.png" for i in numbers], image_ids=numbers, image_sizes=sizes,
        image_index=np.arange(len(boxes)), boxes=boxes, labels=np.zeros(len(boxes), np.int64),
        crowd=np.zeros(len(boxes), bool), area=np.full(len(boxes), np.nan),
        where=lambda row: f"a.json, annotations[{row}]", folders=[], box_format=box_format,
    )  # fmt: skip


def written(pixels, box_format, sizes):
    """The opposite of `corners`."""
    x1, y1, x2, y2 = pixels.T
    w, h = x2 - x1, y2 - y1
    numbers = {
        "xyxy": (x1, y1, x2, y2), "yxyx": (y1, x1, y2, x2), "xywh": (x1, y1, w, h),
        "center_xywh": (x1 + w / 2, y1 + h / 2, w, h),
        "center_yxhw": (y1 + h / 2, x1 + w / 2, h, w),
    }  # fmt: skip
    order = box_format.removeprefix("rel_")
    boxes = np.stack(numbers[order], axis=1)
    if box_format.startswith("rel_"):
        first_is_y = order in ("yxyx", "center_yxhw")
        boxes /= sizes[:, [0, 1, 0, 1] if first_is_y else [1, 0, 1, 0]]
    return boxes


def drawn(seed, count=400, at_border=0.2):
    """Boxes `(count, 4)` xyxy and sizes of their landscape images; some touch the border."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers([200, 500], [400, 900], (count, 2))
    limit = sizes[:, [1, 0]]
    sides = limit * rng.uniform(0.02, 0.6, (count, 2))
    low = rng.uniform(0, 1, (count, 2)) * (limit - sides)
    low = np.where(rng.random((count, 2)) < at_border / 2, 0, low)
    low = np.where(rng.random((count, 2)) < at_border / 2, limit - sides, low)
    return np.concatenate([low, low + sides], axis=1), sizes


# In an image of width 100 and height 50, the box from (10, 20) to (30, 40).
GOLDEN = {
    "xyxy": [10, 20, 30, 40], "yxyx": [20, 10, 40, 30], "xywh": [10, 20, 20, 20],
    "center_xywh": [20, 30, 20, 20], "center_yxhw": [30, 20, 20, 20],
    "rel_xyxy": [0.1, 0.4, 0.3, 0.8], "rel_yxyx": [0.4, 0.1, 0.8, 0.3],
    "rel_xywh": [0.1, 0.4, 0.2, 0.4], "rel_center_xywh": [0.2, 0.6, 0.2, 0.4],
    "rel_center_yxhw": [0.6, 0.2, 0.4, 0.2],
}  # fmt: skip


@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_every_reading_of_one_box(box_format):
    found = corners([GOLDEN[box_format]], box_format, [[50, 100]])
    np.testing.assert_allclose(found, [[10, 20, 30, 40]], rtol=1e-12)


@pytest.mark.parametrize("box_format", BOX_FORMATS)
@pytest.mark.parametrize("seed", range(5))
def test_the_true_reading_is_never_ruined(box_format, seed):
    pixels, sizes = drawn(seed)
    for count in (1, 2, 400):
        raw = raw_of(written(pixels, box_format, sizes)[:count], sizes[:count], box_format)
        to_pixels(raw, ReadOptions())
        np.testing.assert_allclose(raw.boxes, pixels[:count], rtol=1e-9, atol=1e-9)
        assert raw.box_format == "xyxy" and raw.notes == []


# Shares of the image with x and y exchanged are inside the image too: nothing can tell.
SAME = [{"rel_xyxy", "rel_yxyx"}, {"rel_center_xywh", "rel_center_yxhw"}]
PAIRS = [(a, b) for a in BOX_FORMATS for b in BOX_FORMATS if a != b and {a, b} not in SAME]


@pytest.mark.parametrize("true, claimed", PAIRS)
def test_a_wrong_reading_is_caught_and_the_true_one_is_named(true, claimed):
    for seed in range(3):
        pixels, sizes = drawn(seed)
        boxes = written(pixels, true, sizes)
        with pytest.raises(DataError, match="Boxes that fit, by format") as caught:
            to_pixels(raw_of(boxes, sizes, claimed), ReadOptions())
        assert f"--box-format {true})" in str(caught.value) or f" {true} [" in str(caught.value)
        raw = raw_of(boxes, sizes, claimed)
        to_pixels(raw, ReadOptions(box_format=true))  # the advice helps
        np.testing.assert_allclose(raw.boxes, pixels, rtol=1e-9, atol=1e-9)
        with pytest.raises(DataError):  # a wrong one given by the caller is caught too
            to_pixels(raw_of(boxes, sizes, true), ReadOptions(box_format=claimed))


def test_corners_in_a_file_of_sides_are_named_with_shares():
    # As sides: 80 + 95 > 100 and 60 + 80 > 100; as corners, all three fit. As yxyx the second
    # box would end at y = 90, below the image.
    rows = [[80, 20, 95, 30], [60, 10, 90, 30], [0, 0, 40, 20]]
    with pytest.raises(
        DataError,
        match=r"^Boxes must be \[x, y, width, height\] in pixels \(xywh\) and lie inside their "
        r"images. Received: \[80, 20, 95, 30\] in a.json, annotations\[0\], an image of width 100 "
        r"and height 50; 2 of 3 boxes do not fit their image. Boxes that fit, by format: xywh "
        r"33%, xyxy 100%, .* The boxes seem to be \[x1, y1, x2, y2\] in pixels: give "
        r'box_format="xyxy" \(--box-format xyxy\)\.$',
    ):
        to_pixels(raw_of(rows, [50, 100]), ReadOptions())


def test_shares_of_the_image_in_a_file_of_pixels():
    rows = [[0.1, 0.1, 0.2, 0.3], [0.7, 0.05, 0.3, 0.9]]
    with pytest.raises(
        DataError,
        match="all boxes .* so they are in normalised coordinates.*in normalised coordinates: "
        r'give box_format="rel_xywh" \(--box-format rel_xywh\)',
    ):
        to_pixels(raw_of(rows, [64, 96]), ReadOptions())
    # Far from the border, the numbers may be centers as well: both are named.
    with pytest.raises(DataError, match=r"Several formats fit: rel_xywh \[.*rel_center_xywh \["):
        to_pixels(raw_of([[0.4, 0.5, 0.2, 0.1]], [64, 96]), ReadOptions())
    # Whole images as [0, 0, 1, 1]; in a tiny image that is one pixel.
    with pytest.raises(DataError, match="rel_xywh"):
        to_pixels(raw_of([[0, 0, 1, 1]] * 3, [64, 96]), ReadOptions())
    raw = raw_of([[0, 0, 1, 1]], [6, 8])
    to_pixels(raw, ReadOptions())
    np.testing.assert_array_equal(raw.boxes, [[0, 0, 1, 1]])


@pytest.mark.parametrize("claimed", ["xywh", "center_xywh", "xyxy"])
def test_exchanged_sizes_are_never_called_another_format(claimed):
    for seed in range(5):
        pixels, sizes = drawn(seed, count=100)
        boxes = written(pixels, claimed, sizes)
        with pytest.raises(DataError, match="With width and height swapped, 100% fit") as caught:
            to_pixels(raw_of(boxes, sizes[:, ::-1], claimed), ReadOptions())
        assert "seem to be" not in str(caught.value)


def test_a_few_bad_boxes_are_left_to_the_cleaning():
    pixels, sizes = drawn(0, count=100)
    boxes = written(pixels, "xywh", sizes)
    boxes[:9, 0] += 2000
    to_pixels(raw_of(boxes, sizes), ReadOptions())
    boxes[:11, 0] += 2000
    with pytest.raises(DataError, match=r"11 of 100 boxes.*No format fits.*--box-format xywh\) k"):
        to_pixels(raw_of(boxes, sizes), ReadOptions())
    raw = raw_of(boxes, sizes)
    to_pixels(raw, ReadOptions(box_format="xywh"))  # the advice helps
    assert raw.boxes[99].tolist() == pytest.approx(pixels[99].tolist())
    boxes[:60, 0] += 2000
    with pytest.raises(DataError, match="60 of 100 boxes.*after annotation.$"):
        to_pixels(raw_of(boxes, sizes), ReadOptions(box_format="xywh"))
    # Three of four, where no other reading fits either.
    raw = raw_of([[50, 50, 500, 1], [-90, 1, 5, 5], [1, -90, 5, 5], [1, 1, 5, 5]], [100, 100])
    to_pixels(raw, ReadOptions())
    assert raw.boxes[3].tolist() == [1, 1, 6, 6]


def test_boxes_without_sides_count_neither_way():
    rows = [[5, 5, 0, 0]] * 20 + [[1, 1, 4, 4]]
    to_pixels(raw_of(rows, [10, 10]), ReadOptions())
    to_pixels(raw_of([[0, 0, 0, 0]], [10, 10]), ReadOptions())
    to_pixels(raw_of(np.zeros((0, 4)), np.zeros((0, 2))), ReadOptions())


def test_numbers_that_are_not_finite_do_not_fit():
    found = judge(np.array([[np.nan, 1, 2, 2], [np.inf, 1, 2, 2], [1, 1, 2, 2]]), "xywh",
                  np.array([[9, 9]] * 3))  # fmt: skip
    assert found.fitting.tolist() == [False, False, True] and found.own == pytest.approx(1 / 3)


def test_boxes_at_the_origin_fit_as_both_readings():
    raw = raw_of([[0, 0, 30, 20], [0, 0, 96, 64]], [64, 96])
    to_pixels(raw, ReadOptions())
    np.testing.assert_array_equal(raw.boxes, [[0, 0, 30, 20], [0, 0, 96, 64]])


def test_centers_that_nearly_fit_as_corners_are_noted():
    # 195 boxes around the middle and 12 at the right border, whose corner reading leaves it.
    rows = [[50, 25, 10, 10]] * 195 + [[93, 25, 14, 10]] * 12
    raw = raw_of(rows, [50, 100])
    to_pixels(raw, ReadOptions())
    assert len(raw.notes) == 1
    assert "12 of 207 boxes extend beyond their image if read as xywh" in raw.notes[0]
    assert "--box-format center_xywh" in raw.notes[0]


def test_other_readings_are_tried_only_where_the_own_does_not_fit():
    pixels, sizes = drawn(0)
    assert list(judge(pixels, "xyxy", sizes).shares) == ["xyxy"]
    found = judge(pixels, "xywh", sizes)
    assert found.shares["xyxy"] == 1.0 and len(found.shares) == 5 and found.own < NEARLY_ALL


def test_a_box_format_that_is_none():
    with pytest.raises(DataError, match="`box_format` must be one of xyxy.*'xyhw'.*mean 'xywh'"):
        to_pixels(raw_of([[1, 1, 2, 2]], [9, 9]), ReadOptions(box_format="xyhw"))
