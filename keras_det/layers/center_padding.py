"""Pads images with black on all sides to a size that the network can halve repeatedly."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Config, Size, Tensor

# Padding of one axis: (cells before, cells behind).
Margin = tuple[int, int]


def padded_size(image_size: Size, divisor: int = 128) -> Size:
    """Rounds both sides up to a multiple of `divisor`, minus 1: `side | (divisor - 1)`.

    As in CornerNet's `test/coco.py`. Strided convolutions with symmetric padding halve such a side
    without a remainder: 511, 256, 128 … 4.

    Args:
        image_size: (height, width) in pixels.
        divisor: a power of 2.

    Returns:
        (height, width) in pixels.
    """
    height, width = image_size
    return int(height) | (divisor - 1), int(width) | (divisor - 1)


@keras.saving.register_keras_serializable(package="keras_det")
class CenterPadding(keras.layers.Layer):
    """Centres images on a black canvas of `padded_size`.

    As CornerNet's `crop_image` does: `padded // 2 - side // 2` pixels before, the rest behind.

    Args:
        divisor: a power of 2, the network's largest stride.

    Call arguments:
        images: `(batch, height, width, channels)`, any dtype, static height and width.

    Returns:
        Tensor `(batch, *padded_size, channels)`, float32.
    """

    def __init__(self, divisor: int = 128, **kwargs: Any) -> None:
        # Autocasting would round pixels to half precision.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        if divisor < 1 or divisor & (divisor - 1):
            raise ValueError(
                f"`divisor` must be a power of 2. Received: divisor={divisor!r}. Give the "
                "network's largest stride."
            )
        self.divisor = divisor

    def before(self, image_size: Size) -> Size:
        """Returns the rows above and the columns left of an image of (height, width)."""
        (height, width), padded = image_size, padded_size(image_size, self.divisor)
        return padded[0] // 2 - height // 2, padded[1] // 2 - width // 2

    def margins(self, image_size: Size) -> tuple[Margin, Margin, Margin, Margin]:
        """Returns (before, behind) of every axis of a batch, as `ops.pad` takes them."""
        padded, before = padded_size(image_size, self.divisor), self.before(image_size)
        sides = zip(before, padded, image_size, strict=True)
        rows, columns = ((b, p - b - side) for b, p, side in sides)
        return ((0, 0), rows, columns, (0, 0))

    def padded(self, images: np.ndarray) -> np.ndarray:
        """Pads a NumPy batch `(batch, height, width, channels)` without a backend."""
        return np.pad(images, self.margins((images.shape[1], images.shape[2])))

    def call(self, images: Tensor) -> Tensor:
        images = ops.cast(images, "float32")  # TFLite pads no uint8
        if tuple(images.shape[1:3]) == padded_size(images.shape[1:3], self.divisor):
            return images
        return ops.pad(images, self.margins(images.shape[1:3]))

    def compute_output_spec(self, images: Tensor) -> keras.KerasTensor:
        padded = padded_size(images.shape[1:3], self.divisor)
        return keras.KerasTensor((images.shape[0], *padded, images.shape[-1]), "float32")

    def get_config(self) -> Config:
        return {**super().get_config(), "divisor": self.divisor}
