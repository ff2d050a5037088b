"""Tracks of moving squares with known identities."""

import numpy as np
import pytest

from keras_det.video.tracks import Tracks, scaled
from tests.video.moving import found, paths, switches


@pytest.fixture(autouse=True)
def _extra():
    for package in ("trackers", "supervision"):
        pytest.importorskip(package, reason="the extra `video`")


def identities(crossing, count=40, missing=(), thresholds=(0.3, 0.3), scores=(0.9, 0.8)):
    """The numbers of the two squares, frame by frame; detections come from left to right.

    Args:
        missing: frames in which the second square is not found.
    """
    tracks, result = Tracks(thresholds, 25), []
    for frame, boxes in enumerate(paths(crossing, count)):
        order = np.argsort(boxes[:, 0], kind="stable")
        order = order[order == 0] if frame in missing else order
        given = found(boxes[order], [scores[k] for k in order], labels=order)
        numbers = tracks.update(given)
        assert numbers.dtype == np.int32 and len(numbers) == len(order)
        result.append(dict(zip(order.tolist(), numbers.tolist(), strict=True)))
    return result


@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("count", [20, 80])
def test_squares_keep_their_numbers(crossing, count):
    result = identities(crossing, count)
    assert result[0] == {0: -1, 1: -1} and {*result[1].values()} == {0, 1}
    assert switches(result) == 0
    assert all({*each.values()} == {0, 1} for each in result[1:])


def test_numbers_by_place_would_switch():
    """The check can fail: from left to right, the crossing squares change places once."""
    by_place = []
    for boxes in paths(True, 40):
        order = np.argsort(boxes[:, 0], kind="stable").tolist()
        by_place.append({who: place for place, who in enumerate(order)})
    assert switches(by_place) == 2


def test_an_object_that_is_hidden_for_a_while_keeps_its_number():
    assert switches(identities(True, 80, missing=range(34, 46))) == 0
    # Longer than the second for which a track is kept: it gets a new number.
    assert switches(identities(False, 80, missing=range(20, 60))) == 1


def test_scores_below_the_threshold_only_continue_tracks():
    weak = identities(False, scores=(0.9, 0.2))
    assert all(frame[1] == -1 for frame in weak) and weak[-1][0] == 0
    own = identities(False, scores=(0.9, 0.2), thresholds=(0.3, 0.15))
    assert own[-1][1] >= 0
    # Found well at first, then above a third of the threshold, then below.
    tracks = Tracks([0.6, 0.6], 25)
    numbers = [
        tracks.update(found([[10, 10, 30, 30]], [score]))[0]
        for score in (0.9, 0.9, 0.21, 0.21, 0.19)
    ]
    assert numbers == [-1, 0, 0, 0, -1]


# Threshold 0.2: 0.1 is half way to it, 0.25 of 1; 0.6 is half way from it to 1.
def test_scores_are_scaled_to_the_threshold_of_their_class():
    given = scaled(np.array([0, 0.1, 0.2, 0.6, 1]), np.full(5, 0.2))
    np.testing.assert_allclose(given, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(scaled(np.array([0.4, 1]), np.array([0.0, 1.0])), [0.7, 0.5])


def test_nothing_found_is_no_error():
    tracks = Tracks([0.3, 0.3], 25)
    assert tracks.update(found(np.zeros((0, 4)))).shape == (0,)
    tracks.update(found([[10, 10, 30, 30]]))
    assert tracks.update(found(np.zeros((0, 4)))).shape == (0,)
