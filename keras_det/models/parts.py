"""Checks and builds the constructor arguments of the detectors."""

import contextlib
import math
import numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.backbones import EFFICIENTNETS, RESNETS, efficientnet, feature_pyramid, resnet
from keras_det.data.class_names import without_blanks
from keras_det.errors import suggest
from keras_det.layers.normalization import Normalization
from keras_det.names import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    MAX_IMAGE_SIZE,
    MAX_LEVEL,
    MIN_IMAGE_SIZE,
)
from keras_det.types import ImageSize, Size
from keras_det.words import counted, printable

LITE = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
# Mean, scale and channel order, for pixels in 0..255. "tf" and "caffe" are the names that
# keras.applications gives to the input of its models.
NORMALIZATIONS: dict[str, tuple[Sequence[float], Sequence[float], str]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_DEVIATION, "rgb"),
    "lite": (*LITE, "rgb"),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "rgb"),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr"),
    # From the config of the original, which gives them for pixels in 0..1.
    "cornernet": (
        tuple(255.0 * value for value in (0.40789654, 0.44719302, 0.47026115)),
        tuple(255.0 * value for value in (0.28863828, 0.27408164, 0.27809835)),
        "bgr",
    ),
}


def check_image_size(image_size: ImageSize) -> Size:
    """Returns `(height, width)` from an int or a pair; ValueError below 32 or above 8,192."""
    given: Any = image_size
    size = tuple(given) if isinstance(given, (list, tuple, np.ndarray)) else (given, given)
    whole = [is_number(side) and side == int(side) for side in size]
    fits = len(size) == 2 and all(whole) and min(size) >= MIN_IMAGE_SIZE
    if not fits or max(size) > MAX_IMAGE_SIZE:
        raise ValueError(
            f"`image_size` must be an int or (height, width), each a whole number from "
            f"{MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE:,} pixels. Received: {image_size!r}. "
            "The published sizes are between 320 and 1536."
        )
    return int(size[0]), int(size[1])


def check_class_names(num_classes: int | None, class_names: Sequence[str] | None) -> list[str]:
    """Returns the class names, by default `class_0` …, with control characters as `\\x1b`.

    Raises:
        TypeError: `class_names` is not a list of names, or `num_classes` not an int.
        ValueError: the two contradict, or a name is empty, has spaces around it or occurs twice.
    """
    if num_classes is None and class_names is None:
        raise ValueError(
            "`num_classes` or `class_names` must be given. Received: neither. Give the names of "
            "the classes or their number, without background."
        )
    if num_classes is not None and not is_whole(num_classes):
        raise TypeError(
            f"`num_classes` must be an int. Received: num_classes={num_classes!r}. Give the number "
            "of classes without background, or `class_names`."
        )
    # A set has another order in every process, and a dict gives its keys.
    unordered = isinstance(class_names, (str, bytes, set, frozenset, Mapping))
    if unordered or not isinstance(class_names, (Iterable, type(None))):
        raise TypeError(
            "`class_names` must be a list of names, in the order of their labels. Received: "
            f'{class_names!r}. Write a single class as ["cat"], several as '
            '["cat", "dog"].'
        )
    if class_names is None:
        class_names = [f"class_{i}" for i in range(int(num_classes or 0))]
    names = [printable(str(name)) for name in class_names]
    if not names or (num_classes is not None and num_classes != len(names)):
        raise ValueError(
            f"`class_names` must hold one name per class, `num_classes` in all, at least one. "
            f"Received: num_classes={num_classes}, {counted(len(names), 'name')}. Give only one of "
            "the two; background is not a class."
        )
    bad = [name for name in map(str, class_names) if not name or name != without_blanks(name)]
    if bad:
        raise ValueError(
            "`class_names` must hold names that are not empty and have no spaces around them: "
            f"label files have one line for each. Received: {', '.join(map(repr, bad[:3]))}"
            f"{', …' if len(bad) > 3 else ''}. Remove the spaces, and name every class."
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(
            f"`class_names` must hold each name once. Received: {', '.join(map(repr, twice))} more "
            "than once. Give every class a name of its own."
        )
    return names


def mended_class_names(class_names: Sequence[str]) -> list[str]:
    """Names that `check_class_names` accepts, from those of a file that an older version wrote.

    Spaces around a name are removed. A name that is then empty or occurs twice is replaced by
    `class_` and its label, such as `class_0`.

    Args:
        class_names: as the file has them.
    """
    names = [printable(without_blanks(name)) for name in class_names]
    count = Counter(names)
    return [
        name if name and count[name] == 1 else f"class_{label}" for label, name in enumerate(names)
    ]


def is_number(value: object) -> bool:
    """Whether it is a finite real number, of Python or NumPy; a bool does not count."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)  # type: ignore[arg-type]


def is_whole(value: object) -> bool:
    """Whether it is an integer, of Python or NumPy; a bool does not count."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_loss_weights(**values: Any) -> None:
    """Raises a ValueError for a weight of a loss that is not a finite number of at least 0."""
    for name, value in values.items():
        if not is_number(value) or value < 0:
            raise ValueError(
                f"`{name}` must be a finite number of at least 0. Received: {name}={value!r}. "
                "Leave it out for the default; 0 switches that loss off."
            )


def check_levels(min_level: Any, max_level: Any) -> None:
    """Raises a ValueError unless the levels of the pyramid are integers in ascending order."""
    whole = is_whole(min_level) and is_whole(max_level)
    if not whole or not 1 <= min_level <= max_level <= MAX_LEVEL:
        raise ValueError(
            "`min_level` and `max_level` must be whole numbers of at least 1 and at most "
            f"{MAX_LEVEL}, the first not above the second. Received: min_level={min_level!r}, "
            f"max_level={max_level!r}. Leave them "
            "out for the published pyramid, such as 3 to 7."
        )


def check_assigns(name: str, value: Any, example: str) -> None:
    """Raises a TypeError for a part that must assign targets and has no method `assign`.

    Args:
        name: the argument's name.
        value: the part; None, the default, is right too.
        example: an expression that gives a right value, for the message.
    """
    is_object = not isinstance(value, type) and callable(getattr(value, "assign", None))
    if value is not None and not is_object:
        raise TypeError(
            f"`{name}` must be an object with a method `assign`. Received: {name}={value!r}. Give "
            f"{example}, or leave it out for the default."
        )


def check_bools(**values: Any) -> None:
    """Raises a TypeError for a value that is not True or False; the names are the arguments'."""
    for name, value in values.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(
                f"`{name}` must be True or False. Received: {name}={value!r}. Leave it out for the "
                "default."
            )


@contextlib.contextmanager
def precision(dtype: str | None) -> Iterator[keras.DTypePolicy]:
    """Inside the context, new layers get this dtype policy; None keeps the current one.

    Args:
        dtype: "float32", "mixed_bfloat16" …, or None.
    """
    previous = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield keras.config.dtype_policy()
    finally:
        keras.config.set_dtype_policy(previous)


def make_normalization(normalization: str | Normalization | None) -> Normalization:
    """The first layer of a detector, which normalises pixels for the backbone.

    Args:
        normalization: "imagenet" (torch, timm, keras-hub), "lite" (EfficientNet-Lite), "tf" or
            "caffe" (`keras.applications`: see `preprocess_input` of the model), "cornernet"; None
            for a backbone that rescales pixels itself; or a `Normalization`.

    Raises:
        ValueError: there is no such name.
    """
    if isinstance(normalization, Normalization):
        return normalization
    if normalization is None:
        fill = [round(value) for value in IMAGENET_MEAN]
        return Normalization((0.0,) * 3, (1.0,) * 3, fill_color=fill, name="normalization")
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` must be one of {list(NORMALIZATIONS)}, None or a layer. Received: "
            f"{normalization!r}.{suggest(normalization, NORMALIZATIONS)} Give the normalization "
            "that the backbone was trained with, or None if the backbone rescales pixels itself."
        )
    return Normalization(*NORMALIZATIONS[normalization], name="normalization")


def make_backbone(backbone: str | keras.Model, remat: bool = False) -> tuple[keras.Model, str]:
    """Returns a backbone and the name of its normalisation.

    Args:
        backbone: name of a ResNet or EfficientNet of this package, or any `keras.Model` that
            `keras_det.backbones.feature_pyramid` accepts.
        remat: bool. True recomputes its blocks in the backward pass, if it is given by name.

    Raises:
        ValueError: there is no such name, or the model gives no feature maps.
    """
    if isinstance(backbone, keras.Model):
        return feature_pyramid(backbone), "imagenet"
    if backbone in RESNETS:
        return resnet(backbone, remat=remat), "imagenet"
    name = str(backbone).removeprefix("efficientnet_")
    if name in EFFICIENTNETS:
        return efficientnet(name, remat=remat), "lite" if name.startswith("lite") else "imagenet"
    names = [*RESNETS, *(f"efficientnet_{name}" for name in EFFICIENTNETS)]
    raise ValueError(
        f"`backbone` must be one of {names} or a keras.Model. Received: {backbone!r}."
        f"{suggest(backbone, names)} For a model of keras.applications or keras-hub see "
        "keras_det.backbones.feature_pyramid."
    )
