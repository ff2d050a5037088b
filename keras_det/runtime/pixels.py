"""Pixels of the network's input: grey images, and the colour of the padding."""

from collections.abc import Sequence

import numpy as np


def as_grey(image: np.ndarray) -> np.ndarray:
    """Converts RGB to grey, uint8 `(height, width, 1)`.

    Grey is the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B: the Y of a JPEG and of the YUV
    of most cameras.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def as_shown(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns RGB images unchanged; for a network with one channel, the grey value three times."""
    return image if channels == 3 else np.repeat(as_grey(image), 3, axis=-1)


def fill_for(color: Sequence[float], channels: int = 3) -> tuple:
    """Returns the padding colour of letterboxed images, one number per channel of RGB.

    Args:
        color: the model's padding colour, RGB, 0..255.
        channels: 3, or 1 for a network that takes grey images. Then it is the rounded mean of the
            colour, three times.
    """
    color = tuple(color)
    return color if channels == 3 else (round(sum(color) / 3),) * 3
