"""Corners in the wrong order, and boxes that leave most of their images unused."""

import numpy as np
import pytest

from keras_det.data.box_corners import note_unused_part, sort_corners
from keras_det.data.raw import ReadOptions
from tests.data.test_image_sizes import raw_of

# xyxy in images 100 high and 200 wide; as xywh most leave the image.
BOXES = np.array(
    [[10, 20, 150, 90], [100, 5, 190, 60], [30, 30, 180, 99], [90, 50, 199, 80]], float
)
WRITTEN = {
    "xyxy": BOXES[:, [2, 3, 0, 1]],
    "yxyx": BOXES[:, [3, 2, 1, 0]],
    "xywh": np.concatenate([BOXES[:, 2:], BOXES[:, :2] - BOXES[:, 2:]], axis=1),
    "center_xywh": np.concatenate(
        [(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, :2] - BOXES[:, 2:]], axis=1
    ),
}
RIGHT = {
    "xyxy": BOXES,
    "yxyx": BOXES[:, [1, 0, 3, 2]],
    "xywh": np.concatenate([BOXES[:, :2], BOXES[:, 2:] - BOXES[:, :2]], axis=1),
    "center_xywh": np.concatenate(
        [(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], axis=1
    ),
}


def raw_with(boxes, form="xyxy", size=(100, 200)):
    return raw_of([size] * len(boxes), boxes, form)


@pytest.mark.parametrize("form", list(WRITTEN))
@pytest.mark.parametrize("count", [1, 4])
def test_swapped_corners_are_put_in_order(form, count):
    boxes = RIGHT[form].copy()
    boxes[:count] = WRITTEN[form][:count]
    raw = raw_with(boxes, form)
    sort_corners(raw, ReadOptions())
    np.testing.assert_array_equal(raw.boxes, RIGHT[form])
    assert raw.notes[0].startswith(f"{count} of 4 boxes with ") and "annotations[0]" in raw.notes[0]


@pytest.mark.parametrize("form", list(RIGHT))
def test_boxes_in_order_stay(form):
    raw = raw_with(RIGHT[form], form)
    sort_corners(raw, ReadOptions())
    assert not raw.notes and (raw.boxes == RIGHT[form]).all()


def test_xywh_for_corners_is_left_to_the_detective():
    boxes = RIGHT["xywh"] * [1, 1, 0.2, 0.2]
    raw = raw_with(boxes, "xyxy")
    sort_corners(raw, ReadOptions())
    assert not raw.notes and (raw.boxes == boxes).all()


def test_boxes_outside_of_the_image_either_way_stay():
    boxes = np.array([[500, 50, 300, 20], *BOXES])
    raw = raw_with(boxes)
    sort_corners(raw, ReadOptions())
    assert not raw.notes and (raw.boxes == boxes).all()


def corner_boxes(scale, count=30):
    random = np.random.default_rng(0)
    start = random.uniform(0, 0.6, (count, 2))
    ends = start + random.uniform(0.1, 0.4, (count, 2))
    ends[0] = 1
    return np.concatenate([start, ends], axis=1) * np.tile(scale, 2)


@pytest.mark.parametrize(
    "scale, noted",
    [((200, 100), False), ((100, 50), True), ((200, 50), False), ((150, 75), False)],
)
def test_boxes_of_smaller_images_are_noted(scale, noted):
    raw = raw_with(corner_boxes(scale))
    note_unused_part(raw, normalised=False)
    assert bool(raw.notes) == noted
    if noted:
        assert "in the left 49% and the upper 50%" in raw.notes[0]


def test_percentages_are_noted_and_shares_or_few_boxes_are_not():
    boxes = corner_boxes((100, 100))
    raw = raw_with(boxes, size=(480, 640))
    note_unused_part(raw, normalised=False)
    assert "percentages" in raw.notes[0]
    for few, shares in ((boxes, True), (boxes[:19], False)):
        raw = raw_with(few, size=(480, 640))
        note_unused_part(raw, normalised=shares)
        assert not raw.notes
