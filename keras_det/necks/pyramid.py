"""The base class of all necks and the convolutions that they share."""

from collections.abc import Mapping
from typing import Any, cast

import keras
from keras import ops

from keras_det.names import PADDINGS
from keras_det.types import Config, Features, MapShape, Shape, Size, Tensor

# torchvision fills an FPN's kernels from U(-a, a), a² = 3 / fan_in (`kaiming_uniform_` with slope
# 1, Caffe2's "Xavier fill"): variance 1 / fan_in. Biases are 0. The FPN paper does not specify it.
KERNEL_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
}


def halved(size: Size) -> Size:
    """Height and width after a stride of 2: half, rounded up."""
    height, width = size
    return -(-height // 2), -(-width // 2)


def convolution(
    neck: "PyramidNeck", input_shape: Shape, kernel: int, name: str
) -> keras.layers.Conv2D:
    """Returns a built convolution with stride 1 and bias to the neck's channels."""
    layer = keras.layers.Conv2D(
        neck.channels,
        kernel,
        padding="same",
        kernel_initializer=keras.initializers.get(KERNEL_INITIALIZER),
        dtype=neck.dtype_policy,
        name=name,
    )
    layer.build(input_shape)
    return layer


def strided_convolution(
    neck: "PyramidNeck", input_shape: Shape, padding: str, name: str
) -> keras.layers.Conv2D:
    """Returns a built 3x3 convolution with stride 2 and bias; call it through `halve`.

    Along an odd side, "same" pads one pixel on each side too. Only even sides need explicit zeros.

    Args:
        neck: gives the channels and the dtype.
        input_shape: `(batch, height, width, channels)`, static height and width.
        padding: "symmetric" or "same".
        name: of the layer.
    """
    even = any(side is not None and side % 2 == 0 for side in input_shape[1:3])
    layer = keras.layers.Conv2D(
        neck.channels,
        3,
        strides=2,
        padding="valid" if padding == "symmetric" and even else "same",
        kernel_initializer=keras.initializers.get(KERNEL_INITIALIZER),
        dtype=neck.dtype_policy,
        name=name,
    )
    layer.build((input_shape[0], None, None, input_shape[-1]))  # the padding changes the sides
    return layer


def halve(layer: keras.layers.Conv2D, x: Tensor) -> Tensor:
    """Calls a `strided_convolution`: `(batch, h, w, c)` to `(batch, ceil(h / 2), ceil(w / 2), …)`.

    Symmetric padding adds one zero on each side. On an even side no window reaches the last zero,
    so it is left out.
    """
    if layer.padding == "valid":
        rows, columns = ((1, side % 2) for side in x.shape[1:3])
        x = ops.pad(x, ((0, 0), rows, columns, (0, 0)))
    return layer(x)


def check_padding(padding: str) -> None:
    """Raises ValueError where `padding` is not one of `PADDINGS`."""
    if padding not in PADDINGS:
        raise ValueError(
            f"`padding` must be one of {PADDINGS}. Received: {padding!r}. Weights from torch need "
            '"symmetric", those of the TensorFlow Model Garden "same".'
        )


class PyramidNeck(keras.layers.Layer):
    """Base class of the necks: turns a backbone's levels into the pyramid for the heads.

    A neck uses the backbone's levels from `min_level` to `max_level`, which must have no gap. It
    makes the missing coarse levels itself and ignores all other levels of the backbone.

    Args:
        channels: int, channels of every level.
        min_level: int >= 1, finest level of the result, with a stride of `2**min_level` pixels.
        max_level: int >= `min_level`, coarsest level of the result.

    Call arguments:
        features: dict "P3" … "P5" of maps `(batch, height, width, channels)` with static sizes.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.
    """

    def __init__(
        self, channels: int, min_level: int = 3, max_level: int = 7, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 1 <= min_level <= max_level:
            raise ValueError(
                "`min_level` must be at least 1 and at most `max_level`. Received: "
                f"min_level={min_level}, max_level={max_level}. RetinaNet and EfficientDet use 3 "
                "to 7."
            )
        self.channels = channels
        self.min_level = min_level
        self.max_level = max_level

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the result, finest first."""
        return tuple(range(self.min_level, self.max_level + 1))

    def taken(self, features: Mapping[str, Any]) -> list[str]:
        """Returns the names of the backbone's levels that the neck uses, finest first.

        Args:
            features: dict with the backbone's levels as keys.

        Raises:
            ValueError: `min_level` is missing, or there is a gap.
        """
        names = [f"P{level}" for level in self.levels if f"P{level}" in features]
        expected = [f"P{self.min_level + i}" for i in range(len(names))]
        if not names or names != expected:
            raise ValueError(
                f"{self.name}: `features` must hold P{self.min_level} and the levels after it "
                f"without a gap. Received levels: {sorted(features)}. Use a backbone with these "
                "levels, or change `min_level`."
            )
        return names

    def input_shapes(self, input_shape: Mapping[str, Shape]) -> list[MapShape]:
        """Returns the shapes of the backbone's levels that the neck uses, finest first.

        Raises:
            ValueError: a level is missing, a size is unknown, or a level is larger than the one
                before it.
        """
        given = [tuple(input_shape[name]) for name in self.taken(input_shape)]
        if any(None in shape[1:3] for shape in given):
            raise ValueError(
                f"{self.name}: `features` must have a static height and width. Received sizes: "
                f"{[shape[1:3] for shape in given]}. Build the backbone with image_size=(height, "
                "width)."
            )
        shapes = cast(list[MapShape], given)
        sizes = [shape[1:3] for shape in shapes]
        for fine, coarse in zip(sizes, sizes[1:], strict=False):
            if coarse[0] > fine[0] or coarse[1] > fine[1]:
                raise ValueError(
                    f"{self.name}: no level may be larger than the one before it. Received sizes: "
                    f"{sizes}. Name each level of the backbone P<log2 of its stride>."
                )
        return shapes

    def level_sizes(self, input_shape: Mapping[str, Shape]) -> list[Size]:
        """Returns (height, width) of every level of the result, finest first.

        Each level that the neck makes has half the size of the one before it, rounded up.
        """
        sizes = [shape[1:3] for shape in self.input_shapes(input_shape)]
        while len(sizes) < len(self.levels):
            sizes.append(halved(sizes[-1]))
        return sizes

    def check_halving(self, input_shape: Mapping[str, Shape]) -> None:
        """Checks the sizes for necks that also shrink maps.

        Raises:
            ValueError: a level has not half the size of the one before it, rounded up.
        """
        sizes = self.level_sizes(input_shape)
        expected = [sizes[0]]
        for size in sizes[:-1]:
            expected.append(halved(size))
        if sizes != expected:
            raise ValueError(
                f"{self.name}: each level must have half the size of the one before it, rounded "
                f"up. Received sizes: {sizes}. Choose an image size that is a multiple of "
                f"{2**self.max_level}, or the neck FPN or BiFPN, which take other sizes too."
            )

    def output_shapes(self, input_shape: Mapping[str, Shape]) -> list[MapShape]:
        """Returns the shapes `(batch, height, width, channels)` of the result, finest first."""
        batch = input_shape[self.taken(input_shape)[0]][0]
        return [(batch, *size, self.channels) for size in self.level_sizes(input_shape)]

    def compute_output_shape(self, input_shape: dict[str, Shape]) -> dict[str, Shape]:
        shapes = self.output_shapes(input_shape)
        return {f"P{level}": shape for level, shape in zip(self.levels, shapes, strict=True)}

    def compute_output_spec(
        self, features: Features, training: bool | None = None
    ) -> dict[str, keras.KerasTensor]:
        shapes = self.compute_output_shape({name: x.shape for name, x in features.items()})
        return {
            name: keras.KerasTensor(shape, dtype=self.compute_dtype)
            for name, shape in shapes.items()
        }

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "channels": self.channels,
            "min_level": self.min_level,
            "max_level": self.max_level,
        }
