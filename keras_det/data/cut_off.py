"""Finds image files whose end is missing, without decoding the others."""

import os
from collections.abc import Iterable

from keras_det.data.filled import JPEG_END
from keras_det.data.image import read_image
from keras_det.data.orientation import JPEG_START, PNG_START
from keras_det.errors import DataError
from keras_det.files import open_bytes

TAIL = 64  # bytes that are read at the end
PNG_END = b"IEND"


def cut_off(paths: Iterable[str]) -> list[str]:
    """Those of the files that lack the end of a JPEG or PNG, or are empty, and do not decode.

    Only files without that end are decoded: some JPEGs lack nothing else.
    """
    return [path for path in paths if not _has_end(path) and not _decodes(path)]


def _has_end(path: str) -> bool:
    try:
        with open_bytes(path) as file:
            start = file.read(len(PNG_START))
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            end = file.read()
    except OSError:
        return True  # for whoever reads it
    if start.startswith(JPEG_START):
        return end.rstrip(b"\0").endswith(JPEG_END)
    return PNG_END in end if start == PNG_START else size > 0


def _decodes(path: str) -> bool:
    try:
        read_image(path)
    except DataError:
        return False
    return True
