"""The first layer of every detector: scales pixels 0..255 to the range of the backbone."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Config, Shape, Tensor

CHANNEL_ORDERS = ("rgb", "bgr")


@keras.saving.register_keras_serializable(package="keras_det")
class Normalization(keras.layers.Layer):
    """Normalises images per channel, in float32 under every precision policy.

        out = (images - mean) / scale

    Args:
        mean: three floats in 0..255, in the order of `channel_order`.
        scale: three floats, positive, in the order of `channel_order`.
        channel_order: "rgb" or "bgr", the order that the backbone was trained on. "bgr" reverses
            the channels of the RGB input before normalising.
        fill_color: three ints in 0..255, RGB, the colour of the padding. Default: the mean,
            rounded, which is about 0 after normalising.

    Call arguments:
        images: `(batch, height, width, 3)`, RGB, 0..255, uint8 or float.

    Returns:
        Tensor `(batch, height, width, 3)`, float32.
    """

    def __init__(
        self,
        mean: Sequence[float],
        scale: Sequence[float],
        channel_order: str = "rgb",
        fill_color: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.mean = [float(value) for value in mean]
        self.scale = [float(value) for value in scale]
        self.channel_order = channel_order
        self._fill_color = None if fill_color is None else [int(value) for value in fill_color]
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(
                f"`channel_order` must be one of {CHANNEL_ORDERS}. Received: {channel_order!r}. "
                "Give the order that the backbone was trained on; the input is RGB either way."
            )
        if len(self.mean) != 3 or len(self.scale) != 3 or min(self.scale) <= 0:
            raise ValueError(
                "`mean` and `scale` must hold three numbers each, `scale` above 0. Received: "
                f"mean={mean}, scale={scale}. ImageNet's are (123.675, 116.28, 103.53) and "
                "(58.395, 57.12, 57.375)."
            )

    @property
    def fill_color(self) -> tuple[int, ...]:
        """Colour of the padding: three ints in 0..255, RGB. The rounded mean unless given."""
        if self._fill_color is not None:
            return tuple(self._fill_color)
        mean = self.mean if self.channel_order == "rgb" else self.mean[::-1]
        return tuple(int(value) for value in np.rint(mean))

    def call(self, images: Tensor) -> Tensor:
        images = ops.cast(images, "float32")
        if self.channel_order == "bgr":
            images = ops.flip(images, axis=-1)
        return (images - ops.array(self.mean, "float32")) / ops.array(self.scale, "float32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> Config:
        config = super().get_config()
        config.pop("dtype")
        return {
            **config,
            "mean": self.mean,
            "scale": self.scale,
            "channel_order": self.channel_order,
            "fill_color": self._fill_color,
        }
