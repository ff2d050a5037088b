"""The arguments of a `Pipeline`: size, padding colour, weights; why an image was not read."""

from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.image import read_image
from keras_det.errors import DataError
from keras_det.names import IMAGENET_MEAN

# ImageNet's mean colour, the padding where no model says its own.


def policy_of(model_or_size: Any) -> dict:
    """The resize policy of a model, or letterboxing to a size; ValueError for anything else."""
    policy = getattr(model_or_size, "resize_policy", None)
    if policy is not None:
        return policy
    try:
        size = tuple(int(side) for side in np.broadcast_to(model_or_size, (2,)))
    except (TypeError, ValueError):
        raise ValueError(
            "`model_or_size` must be a detector, an integer or (height, width). Received: "
            f"{model_or_size!r}. Give the model, or the input size in pixels."
        ) from None
    return {"mode": "letterbox", "size": size}


def weights_of(sample_weight: Any, dataset: Dataset) -> np.ndarray:
    """One float32 weight for each image of the data set; ValueError for anything else."""
    try:
        weights = np.asarray(sample_weight, np.float32)
    except (TypeError, ValueError):
        weights = np.empty((0, 0), np.float32)
    if weights.shape != (len(dataset),) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            "`sample_weight` must hold one finite number of at least 0 for each image of the data "
            f"set. Received: {np.shape(sample_weight)} for {len(dataset)} images, "
            f"{sample_weight!r:.80}. 0 leaves an image out."
        )
    return weights


def fill_of(fill: Any, model_or_size: Any) -> Any:
    """The padding colour: as given, the model's mean, or ImageNet's; ValueError for no colour."""
    if fill is None:
        normalization = getattr(model_or_size, "normalization", None)
        return IMAGENET_MEAN if normalization is None else normalization.fill_color
    try:
        values = np.broadcast_to(np.asarray(fill, "float64"), (3,))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not ((values >= 0) & (values <= 255)).all():
        raise ValueError(
            "`fill` must be a colour: one number in 0..255, or three (red, green, blue). "
            f"Received: {fill!r}. Leave it out for the model's mean colour."
        )
    return fill


def why_unread(path: str) -> str:
    """Says in words why an image cannot be read."""
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return f"TensorFlow does not decode {path}, Pillow does; save it again as JPEG or PNG."
