"""Reads the text files of annotation formats: any encoding that says what it is."""

import codecs
import json
import os
import reprlib
from collections import Counter
from typing import Any

from keras_det import files
from keras_det.errors import DataError

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the first half of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong = 2, 60, 20


def read_bytes(path: str | os.PathLike) -> bytes:
    """Returns the content of a file; DataError where it cannot be read."""
    try:
        return files.read_bytes(path)
    except FileNotFoundError:
        raise DataError(f"The file must exist. Received: {path}. Correct the path.") from None
    except (OSError, MemoryError) as error:
        raise DataError(
            f"The file must be readable. Received: {path} ({_reason(error)}). Correct the "
            "path or its permissions."
        ) from error


def _reason(error: OSError | MemoryError) -> str:
    return getattr(error, "strerror", None) or str(error)


def encoding_of(data: bytes) -> str:
    """The encoding of a text by its byte order mark; UTF-8 without one."""
    return next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")


def decode(data: bytes, path: str | os.PathLike) -> str:
    """Returns the text of a file: UTF-8, or UTF-16 and UTF-32 by their byte order mark.

    Args:
        data: the content of the file.
        path: of the file, for messages.

    Raises:
        DataError: the bytes are not text of this encoding; file and line are named.
    """
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"The file must be UTF-8 text. Received: {path}, line {line}: the byte "
            f"0x{data[error.start]:02x} is not {encoding.removesuffix('-sig').upper()}. Save the "
            "file as UTF-8."
        ) from None


def read_text(path: str | os.PathLike) -> str:
    """Reads and decodes a file; see `decode`."""
    return decode(read_bytes(path), path)


class RepeatedKeyError(Exception):
    """A key that occurs twice in a JSON object."""


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of its keys and values; Python's own reader keeps the last of repeated keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return found


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file; DataError with line and column where it is damaged."""
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_without_repeated_keys)
    except RepeatedKeyError as error:
        raise DataError(
            f"A key may occur only once in a JSON object. Received: {error.args[0]!r} twice in "
            f"{path}, so one of its values would be lost. Correct the file, or export it again."
        ) from None
    except json.JSONDecodeError as error:
        found = f"{path}, line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        found = f"{path}, whose brackets are nested too deeply"
    except (ValueError, MemoryError) as error:  # such as a number of thousands of digits
        found = f"{path} ({error})"
    raise DataError(
        f"The file must be valid JSON. Received: {found}. Correct this place, or export the file "
        "again."
    )


def short(value: Any) -> str:
    """A value for a message. Nested and long ones are cut: aliases in YAML can be enormous."""
    return _SHORT.repr(value)


def start_of(path: str | os.PathLike, size: int = 4096) -> str:
    """The first characters of a file, to recognise its format; empty where it is not text."""
    try:
        with files.open_bytes(path) as file:
            data = file.read(size)
    except OSError:
        return ""
    text = data.decode(encoding_of(data), errors="replace")
    return "" if "\0" in text else text
