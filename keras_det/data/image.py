"""Reads an image file into RGB pixels, with the same values as TensorFlow's decoders."""

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.errors import DataError
from keras_det.types import Image, ImageFile

if TYPE_CHECKING:
    import PIL.Image


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")


def read_image(source: ImageFile) -> np.ndarray:
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
    import PIL.Image

    if not isinstance(source, bytes | str | os.PathLike):
        raise TypeError(
            "An image must be a uint8 array, a path, or the encoded bytes of an image. Received: "
            f"{type(source).__name__}. Turn a PIL image into numpy.asarray(image.convert('RGB')), "
            "and put several images into a list."
        )
    name = f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "palette with transparency": harmless
            with PIL.Image.open(file) as image:
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
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            "An image must be a whole JPEG, PNG, BMP, WebP, GIF or TIFF file. "
            f"Received: {name}, which does not decode ({error}). Replace the file or leave it out."
        ) from error


def as_image(image: Image) -> np.ndarray:
    """Returns an array unchanged, and reads anything else with `read_image`."""
    return image if isinstance(image, np.ndarray) else read_image(image)


def rgb_pixels(image: Any) -> np.ndarray:
    """Returns the pixels of an `Image`, uint8 `(height, width, 3)`.

    Raises:
        DataError: the image does not decode.
        TypeError: `image` is not an array, a path or bytes.
        ValueError: an array has another shape or type, or a side of 0.
    """
    pixels = as_image(image)
    check_rgb(pixels)
    return pixels


def check_rgb(pixels: np.ndarray) -> None:
    """Raises ValueError for an array that is not a uint8 RGB image, or has a side of 0."""
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(
            "An image as an array must have the shape (height, width, 3), RGB. Received: "
            f"{pixels.dtype} {pixels.shape}. Repeat a grey image over three channels; drop an "
            "alpha channel; put the channels last. keras_det.data.read_image returns this shape "
            "for every file."
        )
    if pixels.dtype != np.uint8:
        raise ValueError(
            "An image as an array must be uint8, with values in 0..255. Received: "
            f'{pixels.dtype} {pixels.shape}. Convert it with `astype("uint8")`; multiply values '
            "in 0..1 by 255 first."
        )
    if 0 in pixels.shape:
        raise ValueError(
            "An image must be at least 1 pixel high and 1 pixel wide. Received: an array of shape "
            f"{pixels.shape}. Leave this image out, or correct how it is read or cropped."
        )


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns `(height, width)` in pixels from the file's header, without decoding the pixels.

    Raises:
        DataError: the file does not exist or has no readable header.
    """
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            "An image whose annotation names no size must be readable. "
            f"Received: {os.fspath(path)} ({error}). Write the size into the annotation, or "
            "replace the file."
        ) from error


def _to_rgb(image: "PIL.Image.Image") -> np.ndarray:
    if image.mode.startswith("I;16"):  # Pillow's own conversion saturates at 255
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.array(image.convert("RGB"))
