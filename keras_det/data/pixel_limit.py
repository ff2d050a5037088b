"""How many pixels an image may decode to: a small file can claim to hold a huge image."""

import contextlib
import numbers
from collections.abc import Iterator

from keras_det.names import MOST_PIXELS, MOST_SERVED_PIXELS

# Of `read_image` and `Pipeline`, and of a SavedModel.
MAX_PIXELS, MAX_SERVED_PIXELS = MOST_PIXELS, MOST_SERVED_PIXELS
# Every 8x8 block of a JPEG needs at least one bit. So one byte can hold 512 pixels and no more.
JPEG_PIXELS_PER_BYTE = 512
LARGEST = 2**62  # more does not fit into an int64, and no image has as many

_default = MAX_PIXELS


def pixel_limit(max_pixels: int | None = None) -> int:
    """Returns the largest number of pixels that an image may have.

    Args:
        max_pixels: int >= 1. None: the default, see `default_pixel_limit`.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is below 1.
    """
    if max_pixels is None:
        return _default
    if not isinstance(max_pixels, numbers.Integral) or isinstance(max_pixels, bool):
        raise TypeError(
            f"`max_pixels` must be a whole number. Received: max_pixels={max_pixels!r}. Give an "
            f"integer, such as {MAX_PIXELS}, or leave it out for this default."
        )
    if max_pixels < 1:
        raise ValueError(
            f"`max_pixels` must be at least 1. Received: max_pixels={max_pixels!r}. Leave it out "
            f"for the default, {MAX_PIXELS}."
        )
    return min(int(max_pixels), LARGEST)


@contextlib.contextmanager
def default_pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Sets the limit that holds, in the whole process, where no other is given.

    For the command line: one option reaches every image that a command reads. None changes nothing.
    """
    global _default
    before = _default
    _default = pixel_limit(max_pixels)
    try:
        yield
    finally:
        _default = before
