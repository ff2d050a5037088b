"""Pictures of what a detector finds, beside the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.data.sample import Sample
from keras_det.report.draw import draw_detections, draw_ground_truth, side_by_side


def truth_and_found(
    sample: Sample,
    found: Mapping[str, Any],
    class_names: Sequence[str],
    thresholds: Sequence[float],
) -> np.ndarray:
    """The image twice: the ground truth on the left, the detections on the right.

    Args:
        sample: the image with its objects.
        found: detections in pixels of the image, as from `detect`.
        class_names: of the model.
        thresholds: score threshold of each class. Without a detection above it, the best one is
            drawn faintly.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        DataError: the image cannot be read.
    """
    image = sample.read()
    return side_by_side(
        draw_ground_truth(image, sample.boxes, sample.labels, class_names),
        draw_detections(image, found, class_names, thresholds, show_best=True),
    )
