"""Which detection is paired with which object, checked by hand."""

import numpy as np
import pytest

from keras_det.review.pairing import pair_up

NAMES = ["cat", "dog"]
BOX = np.array([10.0, 10, 60, 60])


def truth(*rows, crowd=()):
    boxes = np.array([row[0] for row in rows]).reshape(-1, 4)
    crowds = np.array([k in crowd for k in range(len(rows))])
    return [{"boxes": boxes, "labels": [row[1] for row in rows], "crowd": crowds}]


def found(*rows):
    boxes = np.array([row[0] for row in rows]).reshape(-1, 4)
    return [
        {"boxes": boxes, "labels": [row[1] for row in rows], "scores": [row[2] for row in rows]}
    ]


def right(pixels):
    """The box so many pixels to the right: IoU (50 - p) / (50 + p)."""
    return BOX + [pixels, 0, pixels, 0]


# IoU of a box 10 pixels to the right: 40 / 60; 20 pixels: 30 / 70 = 0.429; 45 pixels: 5 / 95.
def test_the_own_class_is_taken_first_and_another_class_is_the_rival():
    objects = truth((BOX, 0))
    result = pair_up(objects, found((BOX, 1, 0.9), (right(10), 0, 0.3)), NAMES)
    assert result.object_of.tolist() == [0, -1]  # the higher score, whatever its class
    assert result.overlap.tolist() == [1.0, 0.0]
    assert result.support.tolist() == [0.3] and result.rival.tolist() == [0.9]
    assert result.rival_row.tolist() == [0] and not result.lone.any()
    two = pair_up(truth((BOX, 1), (right(10), 0)), found((BOX, 0, 0.9)), NAMES)
    assert two.object_of.tolist() == [1]  # of two at its place the one of its class
    assert two.overlap.tolist() == pytest.approx([2 / 3])
    assert two.crowding.tolist() == [1.0]  # with the other one


def test_a_near_object_of_the_same_class_is_paired_and_another_class_is_not():
    near = pair_up(truth((BOX, 0)), found((right(20), 0, 0.9)), NAMES)
    assert near.object_of.tolist() == [0] and near.overlap.tolist() == pytest.approx([3 / 7])
    assert near.support.tolist() == [0] and not near.lone.any()
    other = pair_up(truth((BOX, 0)), found((right(20), 1, 0.9)), NAMES)
    assert other.object_of.tolist() == [-1] and other.lone.tolist() == [True]
    assert other.crowding.tolist() == pytest.approx([3 / 7])
    far = pair_up(truth((BOX, 0)), found((right(45), 0, 0.9)), NAMES)
    assert far.detection_of.tolist() == [-1] and far.lone.tolist() == [True]


def test_a_second_opinion_is_neither_paired_nor_lone():
    result = pair_up(truth((BOX, 0)), found((BOX, 0, 0.9), (right(5), 0, 0.5)), NAMES)
    assert result.object_of.tolist() == [0, -1] and result.lone.tolist() == [False, False]


def test_of_lone_detections_at_one_place_the_strongest_stays():
    rows = found((right(100), 0, 0.5), (right(102), 1, 0.6), (right(200), 0, 0.3))
    assert pair_up(truth((BOX, 0)), rows, NAMES).lone.tolist() == [False, True, True]


def test_low_scores_and_crowd_regions_are_no_evidence():
    weak = pair_up(truth((BOX, 0)), found((BOX, 0, 0.009)), NAMES)
    assert weak.object_of.tolist() == [-1] and not weak.lone.any()
    crowd = truth((np.array([0, 0, 200, 200]), 0), crowd=(0,))
    inside = pair_up(crowd, found((BOX, 0, 0.9)), NAMES)
    assert inside.object_of.tolist() == [-1] and not inside.lone.any()


def test_nothing_at_all():
    nothing = pair_up(truth(), found(), NAMES)
    assert len(nothing.lone) == len(nothing.support) == 0
    undetected = pair_up(truth((BOX, 0)), found(), NAMES)
    assert undetected.rival.tolist() == [0] and undetected.rival_row.tolist() == [-1]
