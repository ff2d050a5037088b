"""Tracks objects through the frames of a video, with ByteTrack of the package `trackers`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.video.libraries import needed

# ByteTrack has one threshold for detections that start a track. Scores are scaled so that the
# threshold of each class comes to lie here.
MIDDLE = 0.5
# Detections below the threshold only continue tracks, down to this share of it. The paper takes 0.1
# and 0.6 (https://arxiv.org/abs/2110.06864, section 3); its threshold for new tracks is 0.7.
LEAST_SHARE = 1 / 3
NONE = -1  # id of a detection in no track


class Tracks:
    """Gives each object of a video an ID that it keeps from frame to frame.

    ByteTrack (https://arxiv.org/abs/2110.06864) predicts where each tracked box will be, and
    matches it with the detections that overlap most, those with high scores first. Classes are
    ignored. An object that is not found for a second loses its ID.

    Args:
        thresholds: the score of each class from which on a detection can start a track.
        rate: frames per second that are given to `update`.

    Raises:
        DataError: `trackers` or `supervision` is not installed.
    """

    def __init__(self, thresholds: Sequence[float], rate: float) -> None:
        self.supervision = needed("supervision")
        self.thresholds = np.asarray(thresholds, "float64")
        self.tracker = needed("trackers").ByteTrackTracker(
            frame_rate=float(rate),
            track_activation_threshold=MIDDLE,
            high_conf_det_threshold=MIDDLE,
        )

    def update(self, found: Mapping[str, Any]) -> np.ndarray:
        """Takes the detections of the next frame.

        Args:
            found: as `detect` returns it for one image.

        Returns:
            int32 `(n,)`, the track ID of each detection, from 0; -1 for a detection in no track. A
            new object gets its ID in the second frame in a row in which it is found.
        """
        scores = scaled(found["scores"], self.thresholds[found["labels"]])
        (rows,) = np.nonzero(scores >= MIDDLE * LEAST_SHARE)
        given = self.supervision.Detections(
            xyxy=np.reshape(found["boxes"], (-1, 4))[rows].astype("float32"),
            confidence=scores[rows].astype("float32"),
            data={"row": rows},
        )
        tracked = self.tracker.update(given)
        ids = np.full(len(scores), NONE, "int32")
        if len(tracked):
            ids[tracked.data["row"]] = tracked.tracker_id
        return ids


def scaled(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Scores on a scale where each threshold is 0.5: straight lines from 0 to it and on to 1.

    Args:
        scores: `(n,)` in 0..1.
        thresholds: `(n,)` in 0..1.
    """
    scores = np.asarray(scores, "float64")
    below = MIDDLE * scores / np.maximum(thresholds, 1e-9)
    above = MIDDLE + (1 - MIDDLE) * (scores - thresholds) / np.maximum(1 - thresholds, 1e-9)
    return np.where(scores < thresholds, below, above)
