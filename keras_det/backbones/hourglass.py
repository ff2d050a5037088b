"""Stacked hourglass networks: down to a few cells and up again, with shortcuts at every size.

Newell et al. (https://arxiv.org/abs/1603.06937) as CornerNet changed it
(https://arxiv.org/abs/1808.01244, section 3.5, and `models/py_utils/kp.py` of its authors): strides
instead of pooling, residual blocks of two 3x3 convolutions, nearest upsampling.
"""

from typing import NamedTuple

import keras

from keras_det.errors import suggest
from keras_det.layers.residual_block import ConvNormReLU, ResidualBlock


class Hourglass(NamedTuple):
    """A network of `num_stacks` hourglasses; the outermost size, stride 4, comes first."""

    num_stacks: int
    channels: tuple[int, ...]  # of each size
    repeats: tuple[int, ...]  # residual blocks on each way at each size
    stem_channels: int

    @property
    def divisor(self) -> int:
        """Largest stride: an image side must be a multiple of it, minus 0 to 3."""
        return 4 * 2 ** (len(self.channels) - 1)


_FULL = ((256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4), 128)
HOURGLASSES = {
    "hourglass104": Hourglass(2, *_FULL),
    "hourglass52": Hourglass(1, *_FULL),
    "tiny": Hourglass(1, (48, 64, 96, 128), (1, 1, 1, 1), 24),
}


def find_hourglass(variant) -> Hourglass:
    """The row of a name, or a row of one's own, checked."""
    if isinstance(variant, str):
        if variant not in HOURGLASSES:
            raise ValueError(
                f"`variant` must be one of {list(HOURGLASSES)} or an `Hourglass`. Received: "
                f'{variant!r}.{suggest(variant, HOURGLASSES)} "tiny" trains without a GPU.'
            )
        return HOURGLASSES[variant]
    row = Hourglass(*variant)
    if len(row.channels) != len(row.repeats) or len(row.channels) < 2 or row.num_stacks < 1:
        raise ValueError(
            "An `Hourglass` must have at least one stack and as many `repeats` as `channels`, two "
            f"or more: one per size. Received: {row}. CornerNet's is {HOURGLASSES['hourglass104']}."
        )
    if min(*row.channels, *row.repeats, row.stem_channels) < 1:
        raise ValueError(
            f"`channels`, `repeats` and `stem_channels` must be at least 1. Received: {row}. "
            f"CornerNet's is {HOURGLASSES['hourglass104']}."
        )
    return row


class _Builder:
    """Blocks of one network, named after where they stand."""

    def __init__(self, row, remat):
        self.row, self.remat = row, remat

    def blocks(self, x, filters, name):
        """Residual blocks in a row; `filters` is a list of (channels, strides)."""
        for i, (channels, strides) in enumerate(filters):
            x = ResidualBlock(channels, strides, self.remat, name=f"{name}_{i}")(x)
        return x

    def hourglass(self, x, level, name):
        """One size of an hourglass and all within it."""
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


def hourglass(variant="hourglass104", remat: bool = False, name: str | None = None) -> keras.Model:
    """Builds a stacked hourglass network.

    Args:
        variant: "hourglass104" (two stacks, CornerNet's), "hourglass52" (one of them), "tiny", or
            an `Hourglass` of any depth and width.
        remat: bool. True computes the inside of every residual block again in the backward pass:
            a third more time for about half the memory of activations.
        name: name of the model, the variant by default.

    Returns:
        `keras.Model`: normalised images `(batch, height, width, 3)`, each side rounded up to a
        multiple of 4 being one of the row's `divisor`, to a dict "stack_0" … of maps with stride 4
        and `channels[0]` channels, one for each hourglass.
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
            both = [
                ConvNormReLU(width, 1, activation=None, name=f"{name_}_{way}")(each)
                for way, each in (("before", x), ("after", outputs[name_]))
            ]
            x = keras.layers.ReLU(name=f"{name_}_relu")(keras.layers.Add(name=f"{name_}_add")(both))
            x = build.blocks(x, [(width, 1)], f"{name_}_next")
    name = name or (variant if isinstance(variant, str) else "hourglass")
    return keras.Model(images, outputs, name=name)
