"""Reads an image file into upright RGB pixels, with the same values as TensorFlow's decoders."""

import functools
import io
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from keras_det.data.depth import is_deep, is_too_dark, to_rgb
from keras_det.data.filled import JPEG_END, JPEG_ENDS, check_filled
from keras_det.data.foreign_files import what_is, what_is_at
from keras_det.data.orientation import (
    JPEG_START,
    ORIENTATION_TAG,
    exif_orientation,
    stays_stored,
    turned,
    turned_back,
    upright_size,
)
from keras_det.data.pillow_warnings import without_pillow_warnings
from keras_det.data.pixel_limit import JPEG_PIXELS_PER_BYTE, pixel_limit
from keras_det.data.png_chunks import check_chunks
from keras_det.data.quick_header import quick_header
from keras_det.errors import DataError
from keras_det.files import open_bytes, read_bytes
from keras_det.types import Image, ImageFile, Size
from keras_det.words import counted

if TYPE_CHECKING:
    import PIL.Image

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif")
# What is opened. Pillow has readers of other formats; that of EPS runs another program.
PILLOW_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "GIF", "TIFF", "AVIF")
# Pillow's limit is a variable of its module; it is changed only under this lock.
_PILLOW_LIMIT = threading.Lock()


class Header(NamedTuple):
    """What an image file says before its pixels.

    `size`: (height, width) of the stored pixels. `orientation`: EXIF, 1..8. `deep`: more than eight
    bits for each value.
    """

    size: Size
    orientation: int
    deep: bool

    @property
    def upright(self) -> Size:
        """(height, width) of the upright image."""
        return upright_size(self.size, self.orientation)


def read_image(source: ImageFile, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes an image to uint8 RGB, upright.

    The EXIF orientation of JPEG, PNG, WebP, TIFF and AVIF files is applied. Training, `detect`,
    calibration and a SavedModel that takes bytes do the same, so all see the same image. Grey
    images are repeated over the three channels, transparency is dropped, CMYK is converted, and an
    animation gives its first frame.

    Images of more than eight bits: 16-bit images keep their upper eight bits, with a warning if all
    values are below 4096 (12 bits in 16). Floating-point numbers must lie in 0..1 and are
    multiplied by 255. 32-bit integers must lie in 0..255 and stay as they are.

    Args:
        source: path of the file, or its encoded bytes.
        max_pixels: int. Images with more pixels are refused before they are decoded. Default:
            178,956,970, as in Pillow, or what --max-pixels says.

    Returns:
        uint8 array `(height, width, 3)`, RGB.

    Raises:
        DataError: the file does not exist, is a folder, does not decode, has too many pixels or
            values out of range, or is a JPEG of fewer bytes than its pixels need.
        TypeError: `source` is neither a path nor bytes, or `max_pixels` is not a whole number.
        ValueError: `max_pixels` is below 1.
    """
    pixels, orientation = _read_stored(source, max_pixels)
    return np.ascontiguousarray(turned(pixels, orientation))


def read_annotated(
    source: ImageFile,
    size: Size,
    stored_pixels: bool = False,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Decodes an image to uint8 RGB, upright or as it is stored, as its labels were drawn.

    Args:
        source: as of `read_image`.
        size: annotated (height, width); 0 if unknown.
        stored_pixels: bool, the answer where both ways up have the annotated size.
        max_pixels: as of `read_image`.

    Returns:
        As `read_image`.

    Raises:
        DataError: as `read_image`, or the image has another size than annotated.
    """
    pixels, orientation = _read_stored(source, max_pixels)
    height, width = pixels.shape[:2]
    if not stays_stored((height, width), orientation, size, stored_pixels):
        pixels = turned(pixels, orientation)
    if min(size) > 0 and pixels.shape[:2] != tuple(size):
        raise DataError(
            "An image must have the size of its annotation. Received: "
            f"{_name_of(source)} with {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), "
            f"annotated as {size[1]}x{size[0]}. Restore the image that was annotated, or correct "
            "the annotation."
        )
    return np.ascontiguousarray(pixels)


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


def read_header(path: str | os.PathLike) -> Header:
    """Returns size, orientation and depth of an image file, without decoding the pixels.

    Raises:
        DataError: the file does not exist or has no readable header.
    """
    try:
        with open_bytes(path) as file:
            quick = quick_header(file)
            if quick is not None:
                return Header(quick.size, quick.orientation, False)
            with without_pillow_warnings(), _opened(file) as image:
                orientation = _orientation(image, file)
                return Header(_stored_size(image), orientation, is_deep(image))
    except Exception as error:  # a damaged file can raise any error
        raise DataError(
            "An image without an annotated size must be readable. "
            f"Received: {os.fspath(path)} ({what_is_at(path)}). Write the size into the "
            "annotation, or replace the file."
        ) from error


def read_size(path: str | os.PathLike) -> Size:
    """Returns `(height, width)` of the upright image, without decoding the pixels.

    Raises:
        DataError: the file does not exist or has no readable header.
    """
    return read_header(path).upright


def _read_stored(source: ImageFile, max_pixels: int | None) -> tuple[np.ndarray, int]:
    """Returns the pixels as they are stored, uint8 `(height, width, 3)`, and the orientation."""
    if not isinstance(source, bytes | str | os.PathLike):
        raise TypeError(
            "An image must be a uint8 array, a path, or the encoded bytes of an image. Received: "
            f"{type(source).__name__}. Turn a PIL image into numpy.asarray(image.convert('RGB')), "
            "and put several images into a list."
        )
    name, limit = _name_of(source), pixel_limit(max_pixels)
    contents = source if isinstance(source, bytes) else _contents(source)
    try:
        pixels, orientation, dark = _decode_whole(contents, name, limit)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise any error
        raise DataError(
            "An image must be a whole JPEG, PNG, BMP, WebP, GIF, TIFF or AVIF file. "
            f"Received: {name}, which does not decode ({_why(error, contents)}). Replace the file "
            "or leave it out."
        ) from error
    if dark:
        warnings.warn(
            f"{name}: all values of this 16-bit image are below 4096, as if it had 12 bits. Only "
            "the upper eight bits are used, so it is nearly black. If it has 12 bits, multiply its "
            "values by 16 and save it again.",
            stacklevel=3,
        )
    return pixels, orientation


def _why(error: Exception, contents: bytes) -> str:
    """Why bytes do not decode: what they are, where Pillow knows no such image."""
    import PIL

    return what_is(contents) if isinstance(error, PIL.UnidentifiedImageError) else str(error)


def _name_of(source: ImageFile) -> str:
    return counted(len(source), "byte") if isinstance(source, bytes) else os.fspath(source)


def _contents(path: str | os.PathLike) -> bytes:
    """The bytes of a file."""
    name = os.fspath(path)
    try:
        return read_bytes(path)
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
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(
            f"An image must be a file that can be read. Received: {name} ({error}). Check its "
            "permissions and the disk."
        ) from error


def _decode_whole(contents: bytes, name: str, max_pixels: int) -> tuple[np.ndarray, int, bool]:
    """Decodes an image. A JPEG may lack its end marker if all of its pixels are there."""
    try:
        return _decode(contents, name, max_pixels)
    except DataError:
        raise
    except Exception:
        if not contents.startswith(JPEG_START) or contents.endswith(JPEG_END):
            raise
        contents = contents.removesuffix(b"\xff")
        marked, filled = (_decode(contents + end, name, max_pixels) for end in JPEG_ENDS)
        if not np.array_equal(marked[0], filled[0]):
            raise
        return marked


def _decode(contents: bytes, name: str, max_pixels: int) -> tuple[np.ndarray, int, bool]:
    """Returns the stored pixels, the orientation, and whether the image has only 12 of 16 bits."""
    check_chunks(contents)
    file = io.BytesIO(contents)
    with without_pillow_warnings(), _opened(file) as image:
        check_pixels(image, len(contents), name, max_pixels)
        orientation, deep = _orientation(image, io.BytesIO(contents)), is_deep(image)
        kind = image.format
        image.load()
        check_filled(image, contents)
        pixels = to_rgb(image, name)
    if kind == "TIFF":  # Pillow turns these itself
        pixels = turned_back(pixels, orientation)
    return pixels, orientation, deep and is_too_dark(pixels)


def check_pixels(image: "PIL.Image.Image", length: int, name: str, max_pixels: int) -> None:
    """Checks an opened image before its pixels are read.

    Args:
        image: opened.
        length: of the file in bytes.
        name: of the file.
        max_pixels: that it may have.

    Raises:
        DataError: it declares too many pixels, or a JPEG more than so many bytes can hold.
    """
    height, width = _stored_size(image)
    if height * width > max_pixels:
        raise DataError(
            f"An image may have at most {max_pixels:,} pixels. Received: {name} with "
            f"{width}x{height} (width x height). Make it smaller, or raise `max_pixels` of "
            "read_image or Pipeline (--max-pixels on the command line) if there is enough memory."
        )
    size = counted(length, "byte")
    received = name if name == size else f"{name} with {size}"  # encoded bytes have no other name
    if image.format in ("JPEG", "MPO") and height * width > length * JPEG_PIXELS_PER_BYTE:
        raise DataError(
            f"A JPEG of {width}x{height} pixels must have at least "
            f"{height * width // JPEG_PIXELS_PER_BYTE:,} bytes. Received: {received}. Most "
            "of its pixels are missing. Replace the file or leave it out."
        )


@functools.cache
def pillow_formats() -> list[str]:
    """Those of `PILLOW_FORMATS` that this Pillow can open."""
    import PIL.Image

    PIL.Image.init()
    return [name for name in PILLOW_FORMATS if name in PIL.Image.OPEN]


def _opened(file: BinaryIO) -> "PIL.Image.Image":
    """Opens an image with Pillow, but without its limit of pixels."""
    import PIL.Image

    try:
        return PIL.Image.open(file, formats=pillow_formats())
    except PIL.Image.DecompressionBombError:
        with _PILLOW_LIMIT:
            limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
            try:
                file.seek(0)
                return PIL.Image.open(file, formats=pillow_formats())
            finally:
                PIL.Image.MAX_IMAGE_PIXELS = limit


def _stored_size(image: "PIL.Image.Image") -> Size:
    """(height, width) of the stored pixels; Pillow's own is upright for TIFF files."""
    tags = getattr(image, "tag_v2", None)
    if image.format == "TIFF" and tags:
        return int(tags[257]), int(tags[256])
    return image.height, image.width


def _orientation(image: "PIL.Image.Image", file: BinaryIO) -> int:
    if image.format in ("TIFF", "AVIF"):
        value = image.getexif().get(ORIENTATION_TAG, 1)
        return int(value) if value in range(1, 9) else 1
    place = file.tell()
    orientation = exif_orientation(file)
    file.seek(place)
    return orientation
