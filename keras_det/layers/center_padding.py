"""Surrounds images with black so that a network which halves them again and again fits."""

import keras
import numpy as np
from keras import ops


def padded_size(image_size, divisor: int = 128) -> tuple[int, int]:
    """The smallest sides of the form multiple of `divisor` minus 1: `side | (divisor - 1)`.

    CornerNet's `test/coco.py`. With strided convolutions that pad symmetrically such a side halves
    without a rest: 511, 256, 128 … 4.

    Args:
        image_size: (height, width) in pixels.
        divisor: a power of 2.
    """
    return tuple(int(side) | (divisor - 1) for side in image_size)


@keras.saving.register_keras_serializable(package="keras_det")
class CenterPadding(keras.layers.Layer):
    """Puts images in the middle of black ones of `padded_size`.

    As CornerNet's `crop_image` does: `padded // 2 - side // 2` pixels before, the rest behind.

    Args:
        divisor: a power of 2.

    Call arguments:
        images: `(batch, height, width, channels)`, any dtype, static height and width.

    Returns:
        Tensor `(batch, *padded_size, channels)`, float32.
    """

    def __init__(self, divisor=128, **kwargs):
        # Autocasting would round pixels to half precision.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        if divisor < 1 or divisor & (divisor - 1):
            raise ValueError(
                f"`divisor` must be a power of 2. Received: divisor={divisor!r}. It is the "
                "network's largest stride."
            )
        self.divisor = divisor

    def before(self, image_size) -> tuple[int, int]:
        """Rows above and columns left of an image of (height, width)."""
        padded = padded_size(image_size, self.divisor)
        return tuple(p // 2 - side // 2 for p, side in zip(padded, image_size, strict=True))

    def margins(self, image_size) -> tuple:
        """What `pad` of a batch takes: (before, behind) of every axis."""
        padded, before = padded_size(image_size, self.divisor), self.before(image_size)
        sides = zip(before, padded, image_size, strict=True)
        rows, columns = ((b, p - b - side) for b, p, side in sides)
        return ((0, 0), rows, columns, (0, 0))

    def padded(self, images: np.ndarray) -> np.ndarray:
        """`call` for NumPy arrays, without a backend."""
        return np.pad(images, self.margins(images.shape[1:3]))

    def call(self, images):
        images = ops.cast(images, "float32")  # TFLite pads no uint8
        if tuple(images.shape[1:3]) == padded_size(images.shape[1:3], self.divisor):
            return images
        return ops.pad(images, self.margins(images.shape[1:3]))

    def compute_output_spec(self, images):
        padded = padded_size(images.shape[1:3], self.divisor)
        return keras.KerasTensor((images.shape[0], *padded, images.shape[-1]), "float32")

    def get_config(self):
        return {**super().get_config(), "divisor": self.divisor}
