"""Stacked hourglass networks: down to a few cells and up again, with shortcuts at every size.

Newell et al. (https://arxiv.org/abs/1603.06937), as changed by CornerNet
(https://arxiv.org/abs/1808.01244, section 3.5, and `models/py_utils/kp.py` of its authors): strides
instead of pooling, residual blocks of two 3x3 convolutions, nearest upsampling.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_det.errors import suggest
from keras_det.layers.residual_block import ConvNormReLU, ResidualBlock
from keras_det.types import Tensor


class Hourglass(NamedTuple):
    """A network of `num_stacks` hourglasses; the outermost size, stride 4, comes first."""

    num_stacks: int
    channels: tuple[int, ...]  # at each size
    repeats: tuple[int, ...]  # residual blocks at each size: down, up and in the shortcut
    stem_channels: int

    @property
    def divisor(self) -> int:
        """Largest stride in pixels. An image side must be a multiple of it, minus 0 to 3."""
        return 4 * 2 ** (len(self.channels) - 1)


_FULL = ((256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4), 128)
HOURGLASSES = {
    "hourglass104": Hourglass(2, *_FULL),
    "hourglass52": Hourglass(1, *_FULL),
    "tiny": Hourglass(1, (48, 64, 96, 128), (1, 1, 1, 1), 24),
}


def find_hourglass(variant: str | Sequence[Any]) -> Hourglass:
    """Returns the `Hourglass` of a name, or the given one, checked.

    Args:
        variant: a name, an `Hourglass`, or its four values as a list, as saved models hold them.

    Raises:
        ValueError: there is no such name, or the numbers do not describe a network.
    """
    if isinstance(variant, str):
        if variant not in HOURGLASSES:
            raise ValueError(
                f"`variant` must be one of {list(HOURGLASSES)} or an `Hourglass`. Received: "
                f"{variant!r}.{suggest(variant, HOURGLASSES)} Choose a name from the list; "
                '"tiny" trains without a GPU.'
            )
        return HOURGLASSES[variant]
    row = Hourglass(*variant)
    if len(row.channels) != len(row.repeats) or len(row.channels) < 2 or row.num_stacks < 1:
        raise ValueError(
            "An `Hourglass` must have one or more stacks, two or more sizes, and one value of "
            f"`channels` and one of `repeats` per size. Received: {row}. Compare with "
            f"CornerNet's, {HOURGLASSES['hourglass104']}."
        )
    if min(*row.channels, *row.repeats, row.stem_channels) < 1:
        raise ValueError(
            f"`channels`, `repeats` and `stem_channels` must be at least 1. Received: {row}. "
            f"Compare with CornerNet's, {HOURGLASSES['hourglass104']}."
        )
    return row


class _Builder:
    """Builds the blocks of one network and names them after their place in it."""

    def __init__(self, row: Hourglass, remat: bool) -> None:
        self.row, self.remat = row, remat

    def blocks(self, x: Tensor, filters: Sequence[tuple[int, int]], name: str) -> Tensor:
        """A sequence of residual blocks; `filters` holds (channels, strides) of each."""
        for i, (channels, strides) in enumerate(filters):
            x = ResidualBlock(channels, strides, self.remat, name=f"{name}_{i}")(x)
        return x

    def hourglass(self, x: Tensor, level: int, name: str) -> Tensor:
        """One size of an hourglass and all smaller sizes inside it."""
        channels, repeats = self.row.channels, self.row.repeats
        here, below, count = channels[level], channels[level + 1], repeats[level]
        beside = self.blocks(x, [(here, 1)] * count, f"{name}_beside{level}")
        x = self.blocks(x, [(below, 2)] + [(below, 1)] * (count - 1), f"{name}_down{level}")
        if level + 2 < len(channels):
            x = self.hourglass(x, level + 1, name)
        else:
            x = self.blocks(x, [(below, 1)] * repeats[-1], f"{name}_middle")
        x = self.blocks(x, [(below, 1)] * (count - 1) + [(here, 1)], f"{name}_up{level}")
        x = keras.layers.UpSampling2D(2, name=f"{name}_upsample{level}")(x)
        return keras.layers.Add(name=f"{name}_add{level}")([beside, x])

    def stack_input(self, x: Tensor, output: Tensor, name: str) -> Tensor:
        """The input of the next hourglass, from the input and the output of this one."""
        width = self.row.channels[0]
        both = [
            ConvNormReLU(width, 1, activation=None, name=f"{name}_{way}")(each)
            for way, each in (("before", x), ("after", output))
        ]
        x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")(both))
        return self.blocks(x, [(width, 1)], f"{name}_next")


def hourglass(
    variant: str | Sequence[Any] = "hourglass104", remat: bool = False, name: str | None = None
) -> keras.Model:
    """Builds a stacked hourglass network.

    Args:
        variant: "hourglass104" (CornerNet's two stacks), "hourglass52" (one such stack), "tiny",
            or an `Hourglass` of any depth and width.
        remat: bool. True recomputes every residual block in the backward pass: a third more time
            for about half the memory of activations.
        name: name of the model, the variant by default.

    Returns:
        `keras.Model` from normalised images `(batch, height, width, 3)` to a dict "stack_0" … of
        maps with stride 4 and `channels[0]` channels, one per hourglass. Each image side, rounded
        up to a multiple of 4, must be a multiple of the `divisor` of the `Hourglass`.

    Raises:
        ValueError: `variant` is neither a known name nor a valid `Hourglass`.
    """
    row = find_hourglass(variant)
    build, width = _Builder(row, remat), row.channels[0]
    images = keras.Input((None, None, 3), name="normalized_images")
    x = ConvNormReLU(row.stem_channels, 7, 2, name="stem")(images)
    x = build.blocks(x, [(width, 2)], "stem_block")
    outputs = {}
    for stack in range(row.num_stacks):
        name_ = f"stack_{stack}"
        inside = build.hourglass(x, 0, name_)
        outputs[name_] = ConvNormReLU(width, name=f"{name_}_output")(inside)
        if stack + 1 < row.num_stacks:
            x = build.stack_input(x, outputs[name_], name_)
    name = name or (variant if isinstance(variant, str) else "hourglass")
    return keras.Model(images, outputs, name=name)
