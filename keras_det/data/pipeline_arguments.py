"""Arguments of a `Pipeline`: size, padding colour, weights. Also why an image is broken."""

import warnings
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.image import read_image
from keras_det.errors import DataError
from keras_det.names import IMAGENET_MEAN


class TargetRows(NamedTuple):
    """The objects of a data set that become targets.

    `boxes` `(objects, 4)`, `labels` `(objects,)`; those of image i are the rows from
    `row_splits[i]` to `row_splits[i + 1]`. `crowded`: whether an image has more than `max_boxes`.
    """

    boxes: np.ndarray
    labels: np.ndarray
    row_splits: np.ndarray
    crowded: bool


def target_rows(dataset: Dataset, max_boxes: int) -> TargetRows:
    """The objects of a data set without crowd objects; warns of images with too many."""
    kept = ~dataset.crowd
    splits = np.concatenate([[0], np.cumsum(kept)])[dataset.row_splits]
    counts = np.diff(splits)
    crowded = bool((counts > max_boxes).any())
    if crowded:
        warnings.warn(
            f"{(counts > max_boxes).sum()} of {len(dataset)} images hold more than "
            f"max_boxes={max_boxes} objects (up to {counts.max()}; first: "
            f"{dataset.image_paths[int(np.argmax(counts > max_boxes))]}); the largest are kept. "
            "Raise `max_boxes` to train on all of them.",
            stacklevel=3,
        )
    return TargetRows(dataset.boxes[kept], dataset.labels[kept], splits, crowded)


def policy_of(model_or_size: Any) -> dict[str, Any]:
    """The resize policy of a model, or of letterboxing to a size; ValueError for anything else."""
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
    """The padding colour: the given one, the model's mean or ImageNet's; ValueError if invalid."""
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
            f"Received: {fill!r}. Leave it out for the mean colour of the model or of ImageNet."
        )
    return fill


def why_unread(path: str) -> str:
    """Returns a sentence on why an image cannot be read."""
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return f"TensorFlow cannot decode {path}, but Pillow can: save it again as JPEG or PNG."
