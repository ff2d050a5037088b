"""Pictures of what a detector finds, beside the truth."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_det.data.sample import Sample
from keras_det.errors import DataError
from keras_det.models import Detector
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.report.draw import draw_detections, draw_ground_truth, side_by_side


def truth_and_found(
    model: Detector, sample: Sample, found: Mapping[str, Any] | None = None
) -> np.ndarray | None:
    """An image twice: the ground truth on the left, the detections on the right.

    Where no detection is above the model's threshold, the best one is drawn faintly.

    Args:
        model: the detector.
        sample: the image with its objects.
        found: detections in pixels of the image. Default: the model finds them.

    Returns:
        uint8 array, RGB, about twice as wide as the image; None where that cannot be read.
    """
    try:
        image = sample.read()
    except DataError:
        return None
    found = model.detect(image) if found is None else found
    thresholds = model.score_thresholds or [DEFAULT_THRESHOLD] * model.num_classes
    return side_by_side(
        draw_ground_truth(image, sample.boxes, sample.labels, model.class_names),
        draw_detections(image, found, model.class_names, thresholds, show_best=True),
    )
