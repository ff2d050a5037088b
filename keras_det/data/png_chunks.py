"""Refuses PNG files that libpng refuses, and with it TensorFlow; Pillow reads some of them."""

import struct
import zlib

from keras_det.data.orientation import PNG_START

# The critical chunks of PNG 1.2 (https://www.w3.org/TR/png/): no decoder may skip another one.
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PALETTE = 3  # colour type


def check_chunks(contents: bytes) -> None:
    """Raises a ValueError for a PNG with damaged, unknown or missing critical chunks.

    What follows after the end, and damage in other chunks, are not looked at.

    Args:
        contents: the bytes of a file. Those of another format are allowed.
    """
    if not contents.startswith(PNG_START):
        return
    seen: set[bytes] = set()
    place, view = len(PNG_START), memoryview(contents)
    while b"IEND" not in seen:
        if place + 12 > len(contents):
            raise ValueError("its end (the chunk IEND) is missing")
        length, kind = struct.unpack_from(">I4s", contents, place)
        end = place + 12 + length
        if not kind[0] & 32:  # critical
            if end > len(contents):
                raise ValueError(f"its chunk {kind!r} is cut off")
            _check(kind, view[place + 4 : end], seen, contents)
        seen.add(kind)
        place = end


def _check(kind: bytes, chunk: memoryview, seen: set[bytes], contents: bytes) -> None:
    """ValueError for a critical chunk, given with its name and its checksum."""
    if kind not in CRITICAL:
        raise ValueError(f"it has a chunk {kind!r}, which no decoder knows")
    if zlib.crc32(chunk[:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
    if kind == b"IDAT" and contents[25] == PALETTE and b"PLTE" not in seen:
        raise ValueError("its palette (the chunk PLTE) is missing")
