"""Looks at every image file once: its header and, unless only headers are wanted, its pixels."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_det.data.filled import check_filled
from keras_det.data.image import check_pixels, pillow_formats, read_image, read_size
from keras_det.data.pixel_limit import pixel_limit
from keras_det.data.png_chunks import check_chunks
from keras_det.errors import DataError
from keras_det.files import open_bytes

if TYPE_CHECKING:
    from PIL import Image

# JPEG files are reduced while they are decoded, to no less than this side in pixels …
DRAFT_SIDE = 64
# … and statistics are taken at no more than about this side.
STATISTICS_SIDE = 128
HASH_SIDE, THUMBNAIL_SIDE, COLOUR_SIDE = 32, 16, 16
# Images that are looked at between two reports of progress.
BLOCK = 256
ORIENTATION = 0x0112
# Modes of Pillow that can be reduced as they are.
SIMPLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")


class Look(NamedTuple):
    """What one look at an image file shows.

    Attributes:
        problem: "", "missing", "empty", "unreadable", "truncated" or "ends-early": the last one
            lacks its end, but is read.
        message: what the decoder says about the problem.
        size: (height, width) of the stored pixels.
        orientation: of EXIF, 1 to 8.
        format: of the content, such as "JPEG".
        mode: Pillow's, such as "RGB".
        digest: of the bytes; equal files have equal ones.
        bits: perceptual hash, 64 bits.
        thumbnail: uint8 `(256,)`, grey.
        mean, deviation: of the grey values, 0..255.
        contrast: largest minus smallest grey value; small objects count too.
        sharpness: variance within blocks of 2x2 pixels, at about 128 pixels; blur takes it away.
        colour: largest difference between two channels, over 16x16 cells of the image.
    """

    problem: str = ""
    message: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    format: str = ""
    mode: str = ""
    digest: bytes = b""
    bits: int = 0
    thumbnail: np.ndarray | None = None
    mean: float = 128.0
    deviation: float = 64.0
    contrast: float = 255.0
    sharpness: float = 1000.0
    colour: float = 255.0


class Scan(NamedTuple):
    """The looks at the images, in order; None for those after an interruption.

    `pixels` says whether pixels were read; `interrupted` whether some images were not reached.
    """

    looks: list[Look | None]
    pixels: bool
    interrupted: bool


def scan_images(
    paths: Sequence[str], quick: bool, progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Looks at every file once, on all cores; Ctrl-C ends it with what was seen so far.

    Args:
        paths: of the images.
        quick: True reads headers only.
        progress: `progress(done, total)` is called now and then.
    """
    unique = list(dict.fromkeys(paths))
    found: dict[str, Look] = {}
    look, interrupted = (look_at_header if quick else look_at_pixels), False
    pool = ThreadPoolExecutor(cores())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd but readable files
        try:
            for start in range(0, len(unique), BLOCK):
                block = unique[start : start + BLOCK]
                found.update(zip(block, pool.map(look, block), strict=True))
                if progress is not None:
                    progress(start + len(block), len(unique))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return Scan([found.get(path) for path in paths], not quick, interrupted)


def look_at_header(path: str) -> Look:
    """Looks at the header of an image file, without its pixels."""
    from PIL import Image

    try:
        if not os.path.getsize(path):
            return Look("empty")
        with open_bytes(path) as file, Image.open(file, formats=pillow_formats()) as image:
            return _header(image)
    except FileNotFoundError:
        return Look("missing")
    except Exception as error:  # Pillow raises many kinds for damaged files
        try:
            return Look(size=read_size(path))  # larger than Pillow's own limit
        except DataError:
            return Look("unreadable", _reason(error))


def look_at_pixels(path: str) -> Look:
    """Looks at an image file: header, digest, and statistics of its pixels at a reduced size."""
    from PIL import Image

    try:
        with open_bytes(path) as file:
            contents = file.read()
    except OSError as error:
        return Look("missing", error.strerror or "")
    if not contents:
        return Look("empty")
    look = Look(digest=hashlib.blake2b(contents, digest_size=16).digest())
    try:
        with Image.open(io.BytesIO(contents), formats=pillow_formats()) as image:
            look = _header(image)._replace(digest=look.digest)
            check_pixels(image, len(contents), path, pixel_limit())
            if image.mode in ("RGB", "L"):
                image.draft(image.mode, (DRAFT_SIDE, DRAFT_SIDE))
            image.load()
            check_chunks(contents)  # after: what Pillow says of a file that is cut off is clearer
            check_filled(image, contents)
    except Exception as error:  # Pillow raises many kinds for damaged files
        look = look._replace(problem="damaged", message=_reason(error))
        return _as_training_reads(look, contents)
    if image.mode.startswith(("I", "F")):
        return _as_training_reads(look, contents)
    return _with_statistics(look, image)


def _as_training_reads(look: Look, contents: bytes) -> Look:
    """Looks at a damaged file, or one of deep pixels, with the reader that training uses."""
    from PIL import Image

    try:
        pixels = read_image(contents)
    except DataError as error:
        problem = "truncated" if "truncated" in look.message else "unreadable"
        return look._replace(problem=problem, message=look.message or _reason(error))
    if look.problem:
        look = look._replace(problem="ends-early", size=look.size or pixels.shape[:2])
    return _with_statistics(look, Image.fromarray(pixels))


def perceptual_hash(grey: "Image.Image") -> int:
    """The 64 bits of pHash: signs of low frequencies, relative to their median.

    Equal to `imagehash.phash` (http://www.hackerfactor.com/blog/index.php?/archives/432).

    Args:
        grey: image of mode "L", 32x32 pixels.
    """
    low = _COSINES @ np.asarray(grey, np.float64) @ _COSINES.T
    bits = (low > np.median(low)).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> np.ndarray:
    """The first 8 of 32 rows of the discrete cosine transform, DCT-II."""
    k, n = np.arange(8)[:, None], np.arange(HASH_SIDE)
    return np.asarray(2 * np.cos(np.pi * k * (2 * n + 1) / (2 * HASH_SIDE)))


_COSINES = _cosines()


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reason(error: Exception) -> str:
    """What a decoder says, on one line, without the path or the object it names."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "not an image" if "cannot identify image file" in text else text


def _header(image: "Image.Image") -> Look:
    orientation = 1
    if "exif" in image.info or image.format in ("TIFF", "MPO"):
        orientation = image.getexif().get(ORIENTATION, 1)
    transparent = "A" in image.getbands() or "transparency" in image.info
    return Look(
        size=(image.height, image.width),
        orientation=orientation if orientation in range(1, 9) else 1,
        format=image.format or "",
        mode=f"{image.mode}+alpha" if transparent else image.mode,
    )


def _with_statistics(look: Look, image: "Image.Image") -> Look:
    """Completes a look with the statistics of the pixels."""
    from PIL import Image

    colour = 0.0
    if image.mode not in SIMPLE_MODES:
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("L", "LA"):
        small = image.reduce(max(1, min(image.size) // COLOUR_SIDE)).convert("RGB")
        values = np.asarray(small, np.int16)
        colour = float((values.max(axis=-1) - values.min(axis=-1)).max())
    grey = image.convert("L")
    contrast = float(np.ptp(grey.getextrema()))
    grey = grey.reduce(max(1, max(grey.size) // STATISTICS_SIDE))
    even = grey.crop((0, 0, max(1, grey.width // 2 * 2), max(1, grey.height // 2 * 2)))
    half = even.reduce(2)
    square = half.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.LANCZOS)
    mean, deviation = _moments(even)
    return look._replace(
        bits=perceptual_hash(square),
        thumbnail=np.asarray(square.reduce(HASH_SIDE // THUMBNAIL_SIDE), np.uint8).reshape(-1),
        mean=mean,
        deviation=deviation,
        contrast=contrast,
        # The variance within blocks: what is lost by halving the image.
        sharpness=max(0.0, deviation**2 - _moments(half)[1] ** 2),
        colour=colour,
    )


def _moments(grey: "Image.Image") -> tuple[float, float]:
    """Mean and standard deviation of an image of mode "L"."""
    counts = np.array(grey.histogram(), np.float64)
    values = np.arange(len(counts))
    mean = float(counts @ values / counts.sum())
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
