"""The EXIF orientation of an image file, and which way up an image is used.

Cameras often store a picture as the sensor saw it, with a number that says how to turn it: the
EXIF orientation. 1 means upright, 3 upside down, 6 and 8 a quarter turn, the others are mirrored.
It is read from the EXIF block of JPEG, PNG and WebP files. XMP blocks are not searched: browsers do
not either. `orientation_graph` does the same in TensorFlow, step by step.
"""

import struct
from typing import BinaryIO

import numpy as np

ORIENTATION_TAG = 0x0112
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_PREFIX = b"Exif\0\0"
# Types of a TIFF field that may hold the number, and how to unpack it.
SHORT, LONG = 3, 4
VALUE_TYPES = {SHORT: "H", LONG: "I"}
# Where rows and columns are exchanged, and then where columns and rows are reversed.
TRANSPOSED = (5, 6, 7, 8)
COLUMNS_REVERSED = (2, 3, 6, 7)
ROWS_REVERSED = (3, 4, 7, 8)


def exif_orientation(file: BinaryIO) -> int:
    """Returns the orientation 1..8 of a JPEG, PNG or WebP; 1 where there is none, and for others.

    Args:
        file: an open file, which may be read from any place.
    """
    file.seek(0)
    start = file.read(12)
    place = -1
    if start.startswith(JPEG_START):
        place = _jpeg_exif(file)
    elif start.startswith(PNG_START):
        place = _png_exif(file)
    elif start[:4] == b"RIFF" and start[8:] == b"WEBP":
        place = _webp_exif(file)
    return 1 if place < 0 else tiff_orientation(file, place)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns stored pixels `(height, width, …)` upright, as a view."""
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in COLUMNS_REVERSED:
        pixels = pixels[:, ::-1]
    if orientation in ROWS_REVERSED:
        pixels = pixels[::-1]
    return pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns upright pixels as they are stored, as a view."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def upright_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Returns (height, width) of the upright image."""
    return (stored[1], stored[0]) if orientation in TRANSPOSED else stored


def stays_stored(
    stored: tuple[int, int],
    orientation: int,
    annotated: tuple[int, int],
    undecided: bool,
) -> bool:
    """Whether an image stays as it is stored, because its labels were drawn on the stored pixels.

    Args:
        stored: (height, width) of the stored pixels.
        orientation: 1..8.
        annotated: (height, width) of the annotation.
        undecided: the answer where both ways up have the same size.
    """
    if orientation == 1 or stored == upright_size(stored, orientation):
        return undecided
    return annotated == stored


def _jpeg_exif(file: BinaryIO) -> int:
    """Place of the EXIF block in a JPEG: in an APP1 segment before the tables. -1: none.

    Markers from 0xFFE0 on are those of applications and comments; tables and pixels follow them.
    """
    place = 2
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[0] != 0xFF or head[1] < 0xE0:
            return -1
        if head[1] == 0xE1 and head[4:] == EXIF_PREFIX:
            return place + 4
        # 0xFF may be repeated before the marker.
        place += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:4], "big")


def _png_exif(file: BinaryIO) -> int:
    """Place of the EXIF block in a PNG, a chunk that may follow the pixels. -1: none."""
    place = 8
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[4:8] == b"IEND":
            return -1
        if head[4:8] == b"eXIf":
            return place + 8
        place += 12 + int.from_bytes(head[:4], "big")


def _webp_exif(file: BinaryIO) -> int:
    """Place of the EXIF block in a WebP, a chunk that may follow the pixels. -1: none."""
    place = 12
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10:
            return -1
        if head[:4] == b"EXIF":
            return place + 8
        length = int.from_bytes(head[4:8], "little")
        place += 8 + length + length % 2


def tiff_orientation(file: BinaryIO, place: int) -> int:
    """The orientation in an EXIF block, which is built like a TIFF file."""
    file.seek(place)
    if file.read(6) == EXIF_PREFIX:
        place += 6
    file.seek(place)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return 1
    file.seek(place + struct.unpack(f"{order}I", head[4:])[0])
    count = file.read(2)
    if len(count) < 2:
        return 1
    rows = file.read(12 * struct.unpack(f"{order}H", count)[0])
    for i in range(0, len(rows) - 11, 12):
        tag, kind = struct.unpack_from(f"{order}HH", rows, i)
        if tag == ORIENTATION_TAG:
            letter = VALUE_TYPES.get(kind)
            value = struct.unpack_from(order + letter, rows, i + 8)[0] if letter else 1
            return value if 1 <= value <= 8 else 1
    return 1
