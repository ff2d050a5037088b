"""An input in the shape of the images, with no more pixels than the published one."""

import math
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.models import AnchorDetector, Detector, build_model, model_class
from keras_det.types import ImageSize, Size

STEP = 32  # sides are multiples of this: the stride of level 5
LONGEST = 4  # the longer side is at most this many times the shorter one
LEAST_GAIN = 1.05  # a smaller gain keeps the square


class InputSize(NamedTuple):
    """The result of `fit_input_size`.

    Attributes:
        size: (height, width) in pixels.
        published: side of the published square input, in pixels.
        gain: factor by which letterboxed images are larger in `size` than in the square (geometric
            mean); 1.1 is 10% larger.
    """

    size: Size
    published: int
    gain: float

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"Input {height}x{width} (height x width) instead of {self.published}x"
            f"{self.published}: it fits the shape of the images and has no more pixels."
        )


def fitted_input(model: Any, dataset: Dataset) -> InputSize | None:
    """The input size that fits the images; None where the model keeps its own.

    Models without anchors and models that are built already keep their own.

    Args:
        model: a name from `keras_det.models.MODEL_NAMES`, or a detector.
        dataset: the training data.
    """
    kind = model_class(model) if isinstance(model, str) else Detector
    if not issubclass(kind, AnchorDetector):
        return None
    return fit_input_size(dataset, kind.image_sizes[model.partition("_")[2]])


def build_for(model: str, dataset: Dataset, image_size: ImageSize | None = None) -> Detector:
    """Builds a detector as `keras-det train --recipe auto` does, with its published anchors.

    Args:
        model: a name from `keras_det.models.MODEL_NAMES`.
        dataset: the training data, for the classes and the shape of the images.
        image_size: int or (height, width). None: the size that fits the images.

    Raises:
        DataError: there is no such model, or it does not accept the size.
    """
    if image_size is None and (fitted := fitted_input(model, dataset)):
        image_size = fitted.size
    size = {} if image_size is None else {"image_size": image_size}
    return build_model(model, class_names=list(dataset.class_names), **size)


def fit_input_size(dataset: Dataset, side: int) -> InputSize | None:
    """Finds the input in which the images appear largest, with at most `side * side` pixels.

    Images of 640x480 fill three quarters of a square input; the rest is padding. Among the sizes
    whose sides are multiples of 32, the longer one at most four times the shorter one, the search
    maximises the geometric mean over the images of

        min(height / image height, width / image width).

    With about as many tall as wide images, the square stays. An input of the right shape also
    distorts images less where they are stretched.

    Args:
        dataset: the training data.
        side: side of the square input, in pixels.

    Returns:
        `InputSize`, or None where the images would be less than 5% larger than in the square, or
        where there are no images.
    """
    if not len(dataset):
        return None
    images, counts = np.unique(dataset.image_sizes, axis=0, return_counts=True)

    def scale(size: Size) -> float:
        scales = (np.array(size) / np.maximum(images, 1)).min(axis=1)
        return math.exp(np.average(np.log(scales), weights=counts))

    best = max(_sizes(side), key=scale, default=(side, side))
    gain = scale(best) / scale((side, side))
    return InputSize(best, side, gain) if gain >= LEAST_GAIN else None


def _sizes(side: int) -> list[Size]:
    """For each height, the largest width with at most `side * side` pixels in all."""
    found = []
    for height in range(STEP, LONGEST * side, STEP):
        width = side * side // height // STEP * STEP
        if 0 < max(height, width) <= LONGEST * min(height, width):
            found.append((height, width))
    return found
