"""Files with metadata in a folder of images, as Hugging Face's `imagefolder` has them."""

import ast
import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from keras_det.data.formats.coco_layout import SPLIT
from keras_det.data.formats.plain_text import encoding_of
from keras_det.data.listing import folders_in
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords
from keras_det.errors import DataError
from keras_det.files import open_bytes, read_bytes

FILES = ("metadata.jsonl", "metadata.csv")
MANY = 40  # more folders than this are not splits
PART = 1 << 16  # bytes that tell the columns


def splits_of(path: pathlib.Path) -> dict[str | None, pathlib.Path]:
    """Returns `{split: file}`; the split is None where there is only one, without a name."""
    if path.is_file():
        has = path.suffix.lower() in (".jsonl", ".csv") and _has_objects(path)
        return {split_name(path.absolute().parent): path} if has else {}
    own = _file_in(path)
    if own is not None:
        return {None: own}
    for root in (path, path / "data"):
        try:
            inside = folders_in(root)
        except OSError:
            continue
        found: dict[str | None, pathlib.Path] = {}
        for folder in inside if len(inside) <= MANY else ():
            file = _file_in(folder)
            if file is not None:
                found[folder.name] = file
        if found:
            return found
    return {}


def split_name(folder: pathlib.Path) -> str | None:
    """The name of a folder where it is that of a split, such as "train"."""
    name = folder.absolute().name
    return name if SPLIT.fullmatch(name) else None


def _file_in(folder: pathlib.Path) -> pathlib.Path | None:
    for name in FILES:
        if (folder / name).is_file() and _has_objects(folder / name):
            return folder / name
    return None


def _has_objects(file: pathlib.Path) -> bool:
    """Whether the first line names a file and objects."""
    try:
        with open_bytes(file) as opened:
            begin = opened.read(PART)
    except OSError:
        return False
    text = begin.decode(encoding_of(begin), errors="replace").lstrip()
    if file.suffix.lower() == ".csv":
        columns = [each.strip().strip('"') for each in text.split("\n", 1)[0].split(",")]
        return "file_name" in columns and "objects" in columns
    return text.startswith("{") and '"objects"' in text and '"file_name"' in text


def metadata_rows(file: pathlib.Path) -> tuple[list[dict[str, Any]], list[int], list[Note]]:
    """Reads one file.

    Returns:
        `(rows, lines, notes)`: the rows with `file_name` and `objects`, the line of each in the
        file, and notes about lines that cannot be read.

    Raises:
        DataError: the file is no text, or too many lines cannot be read.
    """
    text = _text(file)
    bad = BadRecords("lines", os.fspath(file))
    rows, lines, total = [], [], 0
    parse = _csv_rows if file.suffix.lower() == ".csv" else _json_rows
    for line, row in parse(text, file):
        total += 1
        if isinstance(row, str):
            bad.add(f"{file}, line {line}", row)
            continue
        rows.append(row)
        lines.append(line)
    return rows, lines, bad.notes(total)


def _text(file: pathlib.Path) -> str:
    try:
        data = read_bytes(file)
        return data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "A file with metadata must be UTF-8 text. Received: "
            f"{file}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8. Save the file "
            "as UTF-8."
        ) from error
    except OSError as error:
        raise DataError(
            f"A file with metadata must be readable. Received: {file} ({error.strerror}). Restore "
            "it."
        ) from error


def _json_rows(text: str, file: pathlib.Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """`(line, row)`, or what is wrong with a line."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"it must be a JSON object. Received: {_short(line)} ({_short(error)})"
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            yield number, f"it must be a JSON object in braces. Received: {_short(line)}"


def _csv_rows(text: str, file: pathlib.Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """`(line, row)`, or what is wrong with a line. Objects are JSON or as Python prints them."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    line = 1
    try:
        for row in reader:
            line = reader.line_num
            written = row.get("objects")
            try:
                objects = _literal(written) if written else None
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                yield line, f"`objects` must be JSON. Received: {_short(written)}"
                continue
            yield line, {**row, "objects": objects}
    except csv.Error as error:
        raise DataError(
            f"A .csv file must have readable lines. Received: {file}, line {line + 1} ({error}). "
            "Write metadata.jsonl instead, with one JSON object per line."
        ) from error


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + " …"
