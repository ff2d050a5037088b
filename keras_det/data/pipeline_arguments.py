"""Arguments of a `Pipeline`: size, padding colour, weights. Also why an image is broken."""

import numbers
import warnings
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.augment import Augment
from keras_det.data.dataset import Dataset
from keras_det.data.image import read_annotated
from keras_det.data.orientation import JPEG_START, PNG_START
from keras_det.data.sample import Sample
from keras_det.errors import DataError
from keras_det.files import read_bytes
from keras_det.names import IMAGENET_MEAN
from keras_det.words import counted


class TargetRows(NamedTuple):
    """The objects of a data set that become targets.

    `boxes` `(objects, 4)`, `labels` `(objects,)`; those of image i are the rows from
    `row_splits[i]` to `row_splits[i + 1]`. `crowded`: whether an image has more than `max_boxes`.
    """

    boxes: np.ndarray
    labels: np.ndarray
    row_splits: np.ndarray
    crowded: bool


def check_images(dataset: Dataset) -> None:
    """DataError for a data set without images."""
    if not len(dataset):
        raise DataError(
            f"A data set must hold at least one image. Received: {dataset.summary} "
            "Check the split and the folder of the images."
        )


def check_divisible(batch_size: int, parts: int, each: str) -> None:
    """Raises a ValueError unless a batch can be divided into equal parts.

    Args:
        batch_size: images of a batch.
        parts: number of parts.
        each: who gets a part: "device" or "worker".
    """
    if batch_size % parts:
        raise ValueError(
            f"The batch size must be a multiple of the number of {each}s. Received: batches of "
            f"{counted(batch_size, 'image')} for {counted(parts, each)}. Take a batch size of "
            f"{-(-batch_size // parts) * parts}, or another number of {each}s."
        )


def target_rows(dataset: Dataset, max_boxes: int) -> TargetRows:
    """The objects of a data set without crowd objects; warns of images with too many."""
    kept = ~dataset.crowd
    splits = np.concatenate([[0], np.cumsum(kept)])[dataset.row_splits]
    counts = np.diff(splits)
    crowded = bool((counts > max_boxes).any())
    if crowded:
        warnings.warn(
            f"More than max_boxes={max_boxes} objects are in {(counts > max_boxes).sum()} of "
            f"{counted(len(dataset), 'image')} (up to {counts.max()}; first: "
            f"{dataset.image_paths[int(np.argmax(counts > max_boxes))]}); the largest are kept. "
            "Raise max_boxes= (--max-boxes) to train on all of them.",
            stacklevel=3,
        )
    return TargetRows(dataset.boxes[kept], dataset.labels[kept], splits, crowded)


def whole_number(name: str, value: Any, least: int | None = 1) -> int:
    """Returns an argument as an int.

    Args:
        name: name of the argument, for messages.
        value: the argument.
        least: the smallest value that is allowed; None for any.

    Raises:
        TypeError: it is not a whole number. `True` and `2.0` do not count as whole numbers.
        ValueError: it is below `least`.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(
            f"`{name}` must be a whole number. Received: {name}={value!r}. Give an integer, such "
            "as 8."
        )
    if least is not None and value < least:
        raise ValueError(
            f"`{name}` must be at least {least}. Received: {int(value)}. Give a "
            f"{'positive ' if least == 1 else 'larger '}integer."
        )
    return int(value)


def bool_or_none(name: str, value: Any) -> bool | None:
    """Returns an argument that is True, False or None; TypeError for anything else."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    raise TypeError(
        f"`{name}` must be True, False or None. Received: {name}={value!r}. Leave it out for None."
    )


def policy_of(model_or_size: Any) -> dict[str, Any]:
    """The resize policy of a model, or of letterboxing to a size; ValueError for anything else."""
    policy = getattr(model_or_size, "resize_policy", None)
    if policy is not None:
        return policy
    try:
        sides = np.broadcast_to(model_or_size, (2,))
        size = tuple(whole_number("size", side, None) for side in sides)
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
            f"set. Received: {np.shape(sample_weight)} for {counted(len(dataset), 'image')}, "
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


def why_unread(sample: Sample, max_pixels: int) -> str:
    """Returns a sentence on why an image cannot be read."""
    return _unread_by_pillow(sample, max_pixels) or (
        f"TensorFlow cannot decode {sample.image_path}, but Pillow can: save it again as JPEG or "
        "PNG."
    )


def _unread_by_pillow(sample: Sample, max_pixels: int) -> str:
    """Why Pillow cannot read an image; "" if it can."""
    try:
        read_annotated(sample.image_path, sample.original_size, sample.stored_pixels, max_pixels)
    except DataError as error:
        return str(error)
    return ""


def plain_after_of(plain_after: Any, augment: Augment) -> int | None:
    """The epoch from which on the strong steps are left out; ValueError where there are none."""
    if plain_after is None:
        return None
    if not augment.strong:
        raise ValueError(
            "`plain_after` needs an augmentation with a strong step: Mosaic, MixUp, CopyPaste or "
            f"Cutout. Received: plain_after={plain_after!r}, augment={augment}. Leave out "
            "`plain_after`."
        )
    return whole_number("plain_after", plain_after, 0)


def tensorflow_decodes(path: str) -> bool:
    """Whether TensorFlow decodes a JPEG or PNG file; Pillow reads more of the damaged ones.

    True for other formats, which the pipeline decodes with Pillow.
    """
    import tensorflow as tf

    content = read_bytes(path)
    if not content.startswith((JPEG_START, PNG_START)):
        return True
    try:
        tf.io.decode_image(content, channels=3, expand_animations=False)
    except tf.errors.OpError:
        return False
    return True


def broken_images(dataset: Dataset, used: list[int], max_pixels: int) -> list[int]:
    """Those of the images of one input that cannot be read; the first where all can."""
    if len(used) < 2:
        return used

    def broken(index: int) -> bool:
        sample = dataset[index]
        unread = _unread_by_pillow(sample, max_pixels)
        return bool(unread) or not tensorflow_decodes(sample.image_path)

    return [index for index in dict.fromkeys(used) if broken(index)] or used[:1]
