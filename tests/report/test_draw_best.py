"""Where nothing passes the threshold, the best box is drawn faintly."""

import numpy as np

from keras_det.report.draw import FAINT, draw_detections

IMAGE = np.full((60, 80, 3), 90, "uint8")
FOUND = {
    "boxes": np.array([[5, 30, 25, 50], [40, 30, 70, 55]], "float64"),
    "scores": np.array([0.2, 0.1]),
    "labels": np.array([0, 1]),
}


def drawn(threshold, **more):
    return draw_detections(IMAGE, FOUND, ["a", "b"], threshold, line_width=1, **more)


def test_nothing_is_drawn_where_nothing_passes():
    np.testing.assert_array_equal(drawn(0.5), IMAGE)


def test_the_best_box_is_half_transparent():
    alone = drawn([0.15, 0.5])  # the first box only
    expected = np.rint(90 + FAINT * (alone.astype("float64") - 90))
    found = drawn(0.5, show_best=True)
    np.testing.assert_allclose(found, expected, atol=1)
    assert (found != IMAGE).any()


def test_what_passes_is_drawn_as_ever():
    np.testing.assert_array_equal(drawn(0.15, show_best=True), drawn(0.15))
    np.testing.assert_array_equal(drawn([0.5, 0.05], show_best=True), drawn([0.5, 0.05]))
    assert (drawn([0.5, 0.05]) != drawn(0.15)).any(), "thresholds belong to classes"


def test_empty_slots_are_never_the_best():
    empty = {**FOUND, "labels": np.array([-1, -1])}
    found = draw_detections(IMAGE, empty, ["a", "b"], 0.5, show_best=True)
    np.testing.assert_array_equal(found, IMAGE)
