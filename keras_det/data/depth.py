"""Turns Pillow's images of any depth into eight bits."""

from typing import TYPE_CHECKING

import numpy as np

from keras_det.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# The upper eight bits of 12-bit values in a 16-bit image are below this.
DARK = 4096 >> 8


def is_deep(image: "Image.Image") -> bool:
    """Whether an opened image, not yet decoded, has 16 bits for each value."""
    tiles = getattr(image, "tile", None)
    raw_mode = str(tiles[0][3]) if tiles else ""
    return image.mode.startswith("I;16") or ";16" in raw_mode


def is_too_dark(pixels: np.ndarray) -> bool:
    """Whether the upper eight bits of a 16-bit image look as if it had 12 bits."""
    return bool(pixels.max(initial=0) < DARK)


def to_rgb(image: "Image.Image", name: str) -> np.ndarray:
    """Returns uint8 `(height, width, 3)` RGB; the rules are those of `read_image`.

    Args:
        image: an opened image of Pillow.
        name: of the file, for messages.

    Raises:
        DataError: floating-point numbers or 32-bit integers are out of range.
    """
    if image.mode.startswith("I;16"):  # Pillow's own conversion saturates at 255
        grey = np.asarray(image).astype(np.uint16) >> 8
    elif image.mode == "I":
        grey = _checked(np.asarray(image), 255, name, "32-bit integers")
    elif image.mode == "F":
        grey = np.rint(_checked(np.asarray(image), 1, name, "floating-point numbers") * 255)
    elif image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        from PIL import ImageChops

        # Pillow turns the inks around, as Adobe's programs write them, also without their mark.
        return np.array(ImageChops.invert(image).convert("RGB"))
    else:
        return np.array(image.convert("RGB"))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def _checked(values: np.ndarray, highest: int, name: str, what: str) -> np.ndarray:
    if not ((values >= 0) & (values <= highest)).all():
        raise DataError(
            f"An image of {what} must have values in 0..{highest}. Received: {name} with "
            f"{values.min():g} to {values.max():g}. Save it with 8 bits for each value (0..255); "
            "scale all images of the data set in the same way."
        )
    return values
