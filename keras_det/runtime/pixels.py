"""Images as a network takes them: grey ones, and the colour of the padding."""

from collections.abc import Sequence

import numpy as np


def as_grey(image: np.ndarray) -> np.ndarray:
    """uint8 `(height, width, 1)` of RGB: ITU-R BT.601's luma, 0.299 R + 0.587 G + 0.114 B.

    It is the Y of a JPEG and of most cameras' YUV.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def as_shown(image: np.ndarray, channels: int) -> np.ndarray:
    """RGB as it is; with one channel its grey, three times."""
    return image if channels == 3 else np.repeat(as_grey(image), 3, axis=-1)


def fill_for(color: Sequence[float], channels: int = 3) -> tuple:
    """What surrounds a letterboxed image, one number per channel of RGB.

    Args:
        color: the model's padding colour, RGB, 0..255.
        channels: 3, or 1 where the network takes grey images: their mean, three times.
    """
    color = tuple(color)
    return color if channels == 3 else (round(sum(color) / 3),) * 3
