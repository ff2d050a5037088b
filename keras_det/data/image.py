"""Reads an image file into RGB pixels, with the same values as TensorFlow's decoders."""

import io
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from keras_det.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")


def read_image(source: str | os.PathLike | bytes) -> np.ndarray:
    """Decodes an image to uint8 RGB.

    The EXIF orientation is not applied. `tf.io.decode_image` and the annotation files of COCO and
    Pascal VOC ignore it too, so boxes, `detect`, training and exports all see the same image. Grey
    images are repeated over the three channels, transparency is dropped, CMYK is converted, 16-bit
    images keep their upper eight bits, and an animation gives its first frame.

    Args:
        source: path of the file, or its encoded bytes.

    Returns:
        uint8 array `(height, width, 3)`, RGB.

    Raises:
        DataError: the file does not exist, is a folder, or does not decode.
        TypeError: `source` is neither a path nor bytes.
    """
    from PIL import Image

    if not isinstance(source, bytes | str | os.PathLike):
        raise TypeError(
            "An image must be a uint8 array, a path, or the encoded bytes of an image. Received: "
            f"{type(source).__name__}. Turn a PIL image into numpy.asarray(image.convert('RGB')), "
            "and put several images into a list."
        )
    name = f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "palette with transparency": harmless
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                return _to_rgb(image)
    except IsADirectoryError:
        raise DataError(
            f"An image must be a file. Received: {name}, which is a folder. Give a list of the "
            "files in it, or use `keras-det predict`."
        ) from None
    except FileNotFoundError:
        raise DataError(
            f"An image must exist at the given path. Received: {name}. Correct the path, or give "
            "the encoded bytes of the image."
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            "An image must be a whole JPEG, PNG, BMP, WebP, GIF or TIFF file. "
            f"Received: {name}, which does not decode ({error}). Replace the file or leave it out."
        ) from error


def as_image(image: np.ndarray | str | os.PathLike | bytes) -> np.ndarray:
    """Returns an array unchanged, and reads anything else with `read_image`."""
    return image if isinstance(image, np.ndarray) else read_image(image)


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns `(height, width)` in pixels from the file's header, without decoding the pixels.

    Raises:
        DataError: the file does not exist or has no readable header.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            "An image whose annotation names no size must be readable. "
            f"Received: {os.fspath(path)} ({error}). Write the size into the annotation, or "
            "replace the file."
        ) from error


def _to_rgb(image: "Image.Image") -> np.ndarray:
    if image.mode.startswith("I;16"):  # Pillow's own conversion saturates at 255
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.array(image.convert("RGB"))
