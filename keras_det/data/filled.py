"""Detects images whose last pixels are missing in the file and were filled by the decoder.

libjpeg and Pillow's PNG reader fill them silently if the file has its end marker.
"""

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from keras_det.data.orientation import PNG_START

if TYPE_CHECKING:
    import PIL.Image

TRUNCATED = "the image file is truncated: its last pixels are missing"
# Two endings for a JPEG without its end marker: the marker alone, and the marker after other bytes.
# Pixels that depend on which one is added are missing in the file.
JPEG_END = b"\xff\xd9"
JPEG_ENDS = (JPEG_END, b"\xfe" * 64 + JPEG_END)
# The colours that libjpeg gives to missing blocks, with three channels and with CMYK.
FILLED = ((128, 128, 128), (64, 64, 64))
# PNG: channels of each colour type, and (first column, row, step of columns, rows) of Adam7.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
    (0, 1, 1, 2),
)
BLOCK = 1 << 20  # bytes that are unpacked at a time


def check_filled(image: "PIL.Image.Image", contents: bytes) -> None:
    """Raises a ValueError if the last pixels of a PNG or JPEG are missing in its file.

    An image that ends in the colour of missing pixels is decoded once more; any other is complete.
    A progressive JPEG that lacks its later scans is accepted: it is only less sharp.

    Args:
        image: the opened image, its pixels loaded.
        contents: the bytes of the file.
    """
    corner = image.getpixel((image.width - 1, image.height - 1))
    values = set(corner) if isinstance(corner, tuple) else {corner}
    if image.format == "PNG":
        dark = values == {0} and not _last_row(image).any()
        filled = (contents[28] or dark) and not _has_all_rows(contents)
    elif image.format in ("JPEG", "MPO"):  # MPO: a JPEG with a second picture, as some phones write
        filled = values <= {127, 128} and not _has_all_blocks(contents)
    else:
        return
    if filled:
        raise ValueError(TRUNCATED)


def _last_row(image: "PIL.Image.Image") -> np.ndarray:
    return np.asarray(image.crop((0, image.height - 1, image.width, image.height)))


def _has_all_blocks(contents: bytes) -> bool:
    """Whether the pixels of a JPEG do not depend on what follows the compressed ones."""
    import PIL.Image

    end = contents.rfind(JPEG_END)
    kept = (contents if end < 0 else contents[:end]).removesuffix(JPEG_END[:1])
    decoded = []
    for end_of_file in JPEG_ENDS:
        with PIL.Image.open(io.BytesIO(kept + end_of_file), formats=["JPEG"]) as image:
            decoded.append(np.asarray(image))
    return np.array_equal(decoded[0], decoded[1])


def _has_all_rows(contents: bytes) -> bool:
    """Whether a PNG with sound chunks holds as many bytes of pixels as its header says."""
    missing, unpacked = _length(contents), zlib.decompressobj()
    place = len(PNG_START)
    while missing > 0 and not unpacked.eof and place + 12 <= len(contents):
        length, kind = struct.unpack_from(">I4s", contents, place)
        left = contents[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        while left and missing > 0:
            missing -= len(unpacked.decompress(left, BLOCK))
            left = unpacked.unconsumed_tail
        place += 12 + length
    return missing - len(unpacked.flush()) <= 0


def _length(contents: bytes) -> int:
    """Bytes of the unpacked pixels of a PNG: each row has one more, for its filter."""
    width, height, depth, colours = struct.unpack_from(">IIBB", contents, 16)
    bits = depth * CHANNELS[colours]
    total = 0
    for left, top, across, down in ADAM7 if contents[28] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total
