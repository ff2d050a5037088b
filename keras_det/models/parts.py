"""What the detectors take as arguments: parts by name or as instances, and saved ones."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.backbones import EFFICIENTNETS, RESNETS, efficientnet, feature_pyramid, resnet
from keras_det.errors import suggest
from keras_det.layers.normalization import Normalization
from keras_det.names import IMAGENET_DEVIATION, IMAGENET_MEAN, MIN_IMAGE_SIZE

LITE = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
# Of pixels 0..255: mean, scale and channel order. "tf" and "caffe" are the names that
# keras.applications gives to what its models were trained on.
NORMALIZATIONS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_DEVIATION, "rgb"),
    "lite": (*LITE, "rgb"),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "rgb"),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr"),
    # Of the original's config, printed there for pixels of 0..1.
    "cornernet": (
        tuple(255.0 * value for value in (0.40789654, 0.44719302, 0.47026115)),
        tuple(255.0 * value for value in (0.28863828, 0.27408164, 0.27809835)),
        "bgr",
    ),
}


def check_image_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Returns `(height, width)` from an int or a pair; ValueError below 32 pixels."""
    given: Any = image_size
    size = (given, given) if np.isscalar(given) else tuple(given)
    if len(size) != 2 or any(int(side) != side or side < MIN_IMAGE_SIZE for side in size):
        raise ValueError(
            f"`image_size` must be an int or (height, width), each a whole number of at least "
            f"{MIN_IMAGE_SIZE} pixels. Received: {image_size!r}. The published sizes are between "
            "320 and 1536."
        )
    return int(size[0]), int(size[1])


def check_class_names(num_classes: int | None, class_names: Sequence[str] | None) -> list[str]:
    """Returns the list of names, `class_0` … by default; ValueError where they do not fit."""
    if num_classes is None and class_names is None:
        raise ValueError(
            "`num_classes` or `class_names` must be given. Received: neither. Count the kinds of "
            "objects, without background."
        )
    if class_names is None:
        class_names = [f"class_{i}" for i in range(int(num_classes or 0))]
    names = [str(name) for name in class_names]
    if not names or (num_classes is not None and num_classes != len(names)):
        raise ValueError(
            f"`class_names` must hold one name per class, `num_classes` in all, at least one. "
            f"Received: num_classes={num_classes}, {len(names)} names. Leave out background."
        )
    return names


@contextlib.contextmanager
def precision(dtype: str | None) -> Iterator[keras.DTypePolicy]:
    """Every layer made inside gets this dtype policy ("float32", "mixed_bfloat16" …)."""
    previous = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield keras.config.dtype_policy()
    finally:
        keras.config.set_dtype_policy(previous)


def make_normalization(normalization: str | Normalization | None) -> Normalization:
    """The first layer of a detector, from a name of `NORMALIZATIONS`, None or an instance.

    Args:
        normalization: "imagenet" (torch, timm, keras-hub), "lite" (EfficientNet-Lite), "tf" or
            "caffe" (`keras.applications`: see `preprocess_input` of the model), None for one that
            rescales pixels itself, or a `Normalization`.
    """
    if isinstance(normalization, Normalization):
        return normalization
    if normalization is None:
        fill = [round(value) for value in IMAGENET_MEAN]
        return Normalization((0.0,) * 3, (1.0,) * 3, fill_color=fill, name="normalization")
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` must be one of {list(NORMALIZATIONS)}, None or a layer. "
            f"Received: {normalization!r}.{suggest(normalization, NORMALIZATIONS)} It says "
            "what the backbone was trained on; None where the backbone rescales pixels itself."
        )
    return Normalization(*NORMALIZATIONS[normalization], name="normalization")


def make_backbone(backbone: str | keras.Model) -> tuple[keras.Model, str]:
    """A backbone from its name or from a Keras model, and the name of its normalisation.

    Args:
        backbone: name of one of our ResNets or EfficientNets, or any `keras.Model` that
            `keras_det.backbones.feature_pyramid` takes.
    """
    if isinstance(backbone, keras.Model):
        return feature_pyramid(backbone), "imagenet"
    if backbone in RESNETS:
        return resnet(backbone), "imagenet"
    name = str(backbone).removeprefix("efficientnet_")
    if name in EFFICIENTNETS:
        return efficientnet(name), "lite" if name.startswith("lite") else "imagenet"
    names = [*RESNETS, *(f"efficientnet_{name}" for name in EFFICIENTNETS)]
    raise ValueError(
        f"`backbone` must be one of {names} or a keras.Model. Received: {backbone!r}."
        f"{suggest(backbone, names)} For a model of keras.applications or keras-hub see "
        "keras_det.backbones.feature_pyramid."
    )
