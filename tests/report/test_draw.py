"""Boxes lie on the pixels they should, labels stay inside, inputs stay as they were."""

import numpy as np
import pytest

from keras_det.report.draw import (
    class_colour,
    draw_detections,
    draw_ground_truth,
    side_by_side,
    text_colour,
)

NAMES = ["red blood cell", "white", "platelet"]


def grey(height=120, width=200):
    return np.full((height, width, 3), 128, "uint8")


def detections(boxes, scores, labels):
    return {"boxes": np.array(boxes), "scores": np.array(scores), "labels": np.array(labels)}


def changed(picture):
    """First row, first column, last row, last column that differ from the grey image."""
    rows, columns = np.nonzero((picture != 128).any(-1))
    return rows.min(), columns.min(), rows.max(), columns.max()


def test_outline_covers_the_boxs_own_pixels():
    """Box (50, 60, 90, 100) covers columns 50 .. 89 and rows 60 .. 99; its label lies above."""
    picture = draw_ground_truth(grey(), [[50, 60, 90, 100]], [1], NAMES, line_width=2)
    colour = np.array(class_colour(1))
    assert (picture[60:62, 50:90] == colour).all() and (picture[98:100, 50:90] == colour).all()
    assert (picture[60:100, 50:52] == colour).all() and (picture[60:100, 88:90] == colour).all()
    assert (picture[62:98, 52:88] == 128).all()
    assert (picture[:, :50] == 128).all() and (picture[100:] == 128).all()
    assert (picture[60:, 90:] == 128).all()
    assert (picture[50:60, 50:60] != 128).any(), "the label"


def test_the_input_is_not_modified():
    image = grey()
    image.flags.writeable = False
    found = detections([[5, 40, 60, 90]], [0.9], [0])
    before = {name: value.copy() for name, value in found.items()}
    assert (draw_detections(image, found, NAMES) != image).any()
    assert (image == 128).all()
    assert all((found[name] == before[name]).all() for name in found)


def test_the_threshold_and_empty_slots_are_left_out():
    boxes = [[5, 40, 60, 90], [80, 40, 120, 90], [0, 0, 0, 0]]
    found = detections(boxes, [0.9, 0.2, 0.0], [0, 1, -1])
    alone = draw_detections(grey(), detections(boxes[:1], [0.9], [0]), NAMES)
    np.testing.assert_array_equal(draw_detections(grey(), found, NAMES), alone)
    both = draw_detections(grey(), found, NAMES, score_threshold=0.2)
    assert (both[:, 80:120] != 128).any()
    labels = [0, -1]
    np.testing.assert_array_equal(
        draw_ground_truth(grey(), boxes[:2], labels, NAMES),
        draw_ground_truth(grey(), boxes[:1], [0], NAMES),
    )


def test_numbers_of_tracks_are_drawn():
    found = detections([[5, 60, 150, 110]], [0.9], [0])
    plain, numbered, none = (
        draw_detections(grey(), {**found, **more}, NAMES)
        for more in ({}, {"track_ids": np.array([17])}, {"track_ids": np.array([-1])})
    )
    np.testing.assert_array_equal(plain, none)
    label = [(picture[:60] != 128).any(-1).sum() for picture in (plain, numbered)]
    assert label[1] > 1.1 * label[0], "the label is longer"


def test_line_width_and_font_size_are_used():
    found = detections([[50, 60, 90, 100]], [0.9], [1])

    def drawn(**settings):
        return draw_detections(grey(), found, NAMES, **settings)

    colour = np.array(class_colour(1))
    widths = [(drawn(line_width=width)[80, 50:70] == colour).all(-1).sum() for width in (1, 4)]
    assert widths == [1, 4]
    tops = [changed(drawn(font_size=size))[0] for size in (8, 16)]
    assert tops[1] < tops[0] < 60
    for name in ("line_width", "font_size"):
        thin, thick = (
            draw_ground_truth(grey(), found["boxes"], [1], NAMES, **{name: size}) for size in (2, 9)
        )
        assert (thin != thick).any()


def test_no_detections_leave_the_image_alone():
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, "int32")}
    picture = draw_detections(grey(), empty, NAMES)
    np.testing.assert_array_equal(picture, grey())
    assert picture.dtype == np.uint8 and picture.flags.writeable


@pytest.mark.parametrize(
    "box",
    [
        [100, 60, 100.2, 60.3],
        [-50, -50, 3, 3],
        [190, 110, 400, 400],
        [300, 300, 310, 310],
        [50, 50, 50, 50],
        [30, 40, 20, 10],
    ],
)
def test_tiny_and_outlying_boxes_are_still_seen(box):
    picture = draw_ground_truth(grey(), [box], [2], NAMES)
    x, y = np.clip([box[0], box[1]], 0, [199, 119]).astype(int)
    near = picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].reshape(-1, 3)
    assert (near == class_colour(2)).all(-1).any()


@pytest.mark.parametrize("size", [(40, 30), (120, 200), (30, 400), (900, 1200)])
@pytest.mark.parametrize("corner", ["top left", "bottom right"])
def test_the_whole_label_stays_inside(size, corner):
    """The label's ground, `_fitting`'s size, is found in full: nothing is cut off."""
    height, width = size
    box = [0, 0, 6, 6] if corner == "top left" else [width - 6, height - 6, width, height]
    picture = draw_ground_truth(grey(*size), [box], [0], NAMES)
    rows, columns = np.nonzero((picture == class_colour(0)).all(-1))
    label_height, label_width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert 8 <= label_height <= height * 0.6 and 6 < label_width <= width
    text = (picture == text_colour(class_colour(0))).all(-1)
    assert text.any() or min(size) < 41


def test_lines_and_letters_grow_with_the_image():
    def measured(side):
        box = [side // 4, side // 2, side * 3 // 4, side - 10]
        picture = draw_ground_truth(grey(side, side), [box], [0], NAMES)
        column = (picture[:, side // 4 + 1] == class_colour(0)).all(-1)
        line = int((picture[box[3] - 30 :, side // 2] != 128).any(-1).sum())
        return line, box[1] - int(np.argmax(column))

    (thin, small), (thick, large) = measured(320), measured(3200)
    assert thin == 1 and thick == 10
    assert 11 <= small <= 20 and 60 <= large <= 110


def test_labels_do_not_cover_one_another():
    found = detections([[20, 60, 90, 110]] * 3, [0.9, 0.8, 0.7], [0, 1, 2])
    alone = draw_detections(grey(), detections([[20, 60, 90, 110]], [0.9], [0]), NAMES)
    picture = draw_detections(grey(), found, NAMES)
    top = changed(alone)[0]
    np.testing.assert_array_equal(picture[top:60, 20:60], alone[top:60, 20:60])
    for label in range(3):
        shown = (picture == class_colour(label)).all(-1).sum()
        assert shown > 100, f"label {label} has no place"


def test_colours_differ_and_text_stands_out():
    colours = [class_colour(label) for label in range(24)]
    assert len(set(colours)) == 24
    near = [np.abs(np.subtract(a, b)).sum() for a, b in zip(colours, colours[1:], strict=False)]
    assert min(near) > 150

    def luminance(colour):
        parts = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in np.divide(colour, 255)
        ]
        return np.dot(parts, [0.2126, 0.7152, 0.0722])

    for colour in colours:
        dark, light = sorted([luminance(colour), luminance(text_colour(colour))])
        assert (light + 0.05) / (dark + 0.05) > 4.5, colour


def test_side_by_side_keeps_every_pixel():
    left, right = grey(20, 30), np.zeros((10, 5, 3), "uint8")
    joined = side_by_side(left, right, gap=4)
    assert joined.shape == (20, 39, 3)
    np.testing.assert_array_equal(joined[:, :30], left)
    np.testing.assert_array_equal(joined[:10, 34:], right)
    assert (joined[:, 30:34] == 255).all() and (joined[10:, 34:] == 255).all()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: draw_ground_truth(np.zeros((9, 9), "uint8"), [], [], NAMES),
            ValueError,
            r"\(height, width, 3\).*Received: shape=\(9, 9\).*grey",
        ),
        (
            lambda: draw_ground_truth(np.zeros((9, 9, 3)), [], [], NAMES),
            TypeError,
            "uint8.*Received: dtype=float64",
        ),
        (
            lambda: draw_ground_truth(grey(), [[0, 0, 1, 1]], [3], NAMES),
            ValueError,
            r"`labels` must lie in 0..2. Received: 3",
        ),
        (
            lambda: draw_ground_truth(grey(), [[0, 0, 1, 1]], [0, 1], NAMES),
            ValueError,
            "Received: 1 box, 2 labels",
        ),
        (lambda: side_by_side(), ValueError, "at least one picture"),
    ],
)
def test_wrong_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_name_of_many_characters_takes_no_time():
    from keras_det.report.draw import LONGEST_LABEL, SMALLEST_FONT_SIZE, _fitting

    text, _, (width, _) = _fitting("x" * 100_000, SMALLEST_FONT_SIZE, 64, 64)
    assert text.endswith("x…") and width <= 64
    assert len(_fitting("x" * 100_000, 20, 10**5, 10**4)[0]) == LONGEST_LABEL
