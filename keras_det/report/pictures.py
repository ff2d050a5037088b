"""Pictures of what a detector finds, beside the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.report.draw import draw_detections, draw_ground_truth, side_by_side


def truth_and_found(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    found: Mapping[str, Any],
    class_names: Sequence[str],
    thresholds: Sequence[float],
) -> np.ndarray:
    """The image twice: the ground truth on the left, the detections on the right.

    Args:
        image: uint8 `(height, width, 3)` RGB.
        boxes, labels: its objects, `(n, 4)` xyxy pixels and `(n,)`.
        found: detections in pixels of the image, as from `detect`.
        class_names: of the model.
        thresholds: score threshold of each class. Without a detection above it, the best one is
            drawn faintly.

    Returns:
        uint8 array, RGB, about twice as wide.
    """
    return side_by_side(
        draw_ground_truth(image, boxes, labels, class_names),
        draw_detections(image, found, class_names, thresholds, show_best=True),
    )
