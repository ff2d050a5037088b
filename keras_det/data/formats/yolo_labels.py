"""Reads YOLO's label files: lines of a class and a box, a polygon or keypoints."""

import os
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.data.formats.plain_text import decode
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords
from keras_det.errors import DataError
from keras_det.files import open_handle
from keras_det.words import counted

# Text is parsed in parts of this size, so that 100,000 files need little memory.
PART = 1 << 23
MAX_FILE = 1 << 26
# What a part may hold to be parsed in one go.
USUAL = b"0123456789.eE+- \t\n"
DECIMAL_COMMA = re.compile(r"\d,\d")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
# Number of bad lines that a message shows.
SHOWN = 3


class Labels(NamedTuple):
    """The lines of label files.

    Attributes:
        file: int `(n,)`, the file of each line.
        line: int `(n,)`, counted from 1.
        classes: int `(n,)`, the class id.
        boxes: float `(n, 4)`, as written; of an outline [center x, center y, width, height].
        corners: int `(n,)`, points of the outline that the box was made from; 0 without one.
        total: number of lines, bad ones included.
        notes: how lines were understood.
    """

    file: np.ndarray
    line: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    corners: np.ndarray
    total: int
    notes: list[Note]

    @property
    def outlines(self) -> np.ndarray:
        """bool `(n,)`, whether the box was made from an outline."""
        return np.asarray(self.corners > 0)

    def select(self, keep: np.ndarray) -> "Labels":
        """The lines where the mask is True."""
        return self._replace(
            file=self.file[keep],
            line=self.line[keep],
            classes=self.classes[keep],
            boxes=self.boxes[keep],
            corners=self.corners[keep],
        )


class _Part(NamedTuple):
    """The lines of some files: their numbers as one array, and where each line begins in it."""

    values: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    file: np.ndarray
    line: np.ndarray
    texts: list[bytes]

    def table(self, rows: np.ndarray, start: int, stop: int) -> np.ndarray:
        """The numbers from `start` to `stop` of some lines, `(len(rows), stop - start)`."""
        return self.values[self.first[rows][:, None] + np.arange(start, stop)]


def read_labels(
    paths: Sequence[str], bad: BadRecords, key_points: tuple[int, int] | None = None
) -> Labels:
    """Reads label files.

    A line is `class cx cy w h`, perhaps with a confidence or a track number; or a class and the
    outline of three points or more; or `class cx cy w h` and key points.

    Args:
        paths: the files.
        bad: takes the lines that cannot be read.
        key_points: number of key points and of numbers for each (2 or 3); None where not known.
    """
    found, notes, total, texts, size = [], [], 0, [], 0
    for i, path in enumerate(paths):
        texts.append(read_file(path))
        size += len(texts[-1])
        if size < PART and i + 1 < len(paths):
            continue
        names = paths[i + 1 - len(texts) : i + 1]
        part = _split(texts, names, bad)
        labels = _understand(part, names, bad, key_points)
        found.append(labels._replace(file=labels.file + i + 1 - len(texts)))
        notes += [note for note in labels.notes if note not in notes]
        total += labels.total
        texts, size = [], 0
    if not found:
        none = np.zeros(0, np.int64)
        return Labels(none, none, none, np.zeros((0, 4)), none, 0, [])
    return Labels(
        file=np.concatenate([each.file for each in found]),
        line=np.concatenate([each.line for each in found]),
        classes=np.concatenate([each.classes for each in found]),
        boxes=np.concatenate([each.boxes for each in found]),
        corners=np.concatenate([each.corners for each in found]),
        total=total,
        notes=notes,
    )


def read_file(path: str) -> bytes:
    """The bytes of a small file; faster than `open`."""
    try:
        handle = open_handle(path)
        try:
            data = os.read(handle, 1 << 14)
            while len(data) >= 1 << 14 and (more := os.read(handle, 1 << 22)):
                data += more
                if len(data) > MAX_FILE:
                    raise DataError(
                        f"A label file must be smaller than {MAX_FILE >> 20} MB. Received: {path}. "
                        "Remove it if it holds no labels of one image."
                    )
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(
            f"A label file must be readable. Received: {path} ({error.strerror}). Correct its "
            "permissions or remove it."
        ) from error
    return data


def _split(texts: list[bytes], paths: Sequence[str], bad: BadRecords) -> _Part:
    """Splits files into lines and numbers; what is not a number becomes NaN."""
    joined = b"\n".join(texts) + b"\n"
    if joined.translate(None, USUAL):
        texts = [
            _usual(text, path, bad) if text.translate(None, USUAL) else text
            for text, path in zip(texts, paths, strict=True)
        ]
        joined = b"\n".join(texts) + b"\n"
    starts = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    codes = np.frombuffer(joined, np.uint8)
    blank = codes <= 32
    begins = ~blank
    begins[1:] &= blank[:-1]
    places = np.flatnonzero(begins)
    ends = np.flatnonzero(codes == 10)
    line_of = np.searchsorted(ends, places)
    first = np.flatnonzero(np.diff(line_of, prepend=-1))
    file = np.searchsorted(starts, places[first], "right") - 1
    return _Part(
        values=_numbers(joined, len(places)),
        first=first,
        counts=np.diff(first, append=len(places)),
        file=file,
        line=line_of[first] - np.searchsorted(ends, starts)[file] + 1,
        texts=texts,
    )


def _usual(data: bytes, path: str, bad: BadRecords) -> bytes:
    """The same lines in ASCII with spaces between numbers, from any encoding and separator."""
    try:
        text = decode(data, path)
    except DataError as error:
        bad.add(path, str(error).split("Received: ")[-1].split(": ", 1)[-1].split(". Save")[0])
        return b""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(map(_usual_line, text.split("\n"))).encode("ascii", "replace")


def _usual_line(line: str) -> str:
    if "," in line:
        decimal = len(line.split()) > 1 and "." not in line and DECIMAL_COMMA.search(line)
        line = line.replace(",", "." if decimal else " ")
    return " ".join(CONTROL.sub("?", line.replace("\ufeff", "")).split())


def _numbers(text: bytes, count: int) -> np.ndarray:
    """All numbers of a text, in one go where every word of it is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            values = np.fromstring(text, sep=" ")
            if len(values) == count:
                return values
        except (ValueError, DeprecationWarning):
            pass
    return np.array([_number(word) for word in text.split()], np.float64)


def _number(word: bytes) -> float:
    try:
        return float("nan") if b"_" in word else float(word)
    except ValueError:
        return float("nan")


def _understand(
    part: _Part, paths: Sequence[str], bad: BadRecords, key_points: tuple[int, int] | None
) -> Labels:
    """The class and the box of each line."""
    counts, total = part.counts, len(part.counts)
    good = counts >= 5
    if total:
        good &= np.logical_and.reduceat(np.isfinite(part.values), part.first)
        classes = part.values[part.first]
        with np.errstate(invalid="ignore"):
            good &= (classes >= 0) & (classes % 1 == 0) & (classes < 1e9)
    posed, notes = _with_key_points(part, good, key_points)
    outlines = good & ~posed & (counts >= 7)
    boxes, corners = np.zeros((total, 4)), np.zeros(total, np.int64)
    plain = np.flatnonzero(good & ~outlines)
    boxes[plain] = part.table(plain, 1, 5)
    for count in np.unique(counts[outlines]):
        rows = np.flatnonzero(outlines & (counts == count))
        points = part.table(rows, 1, count - (count % 2 == 0)).reshape(len(rows), -1, 2)
        low, high = points.min(axis=1), points.max(axis=1)
        corners[rows] = points.shape[1]
        boxes[rows] = np.concatenate([(low + high) / 2, high - low], axis=1)
    for row in np.flatnonzero(~good).tolist():
        where = f"{paths[part.file[row]]}, line {part.line[row]}"
        bad.add(where, _reason(part, row) if len(bad.reasons) < SHOWN else "")
    keep = np.flatnonzero(good)
    columns = (part.file[keep], part.line[keep], part.values[part.first[keep]].astype(np.int64))
    return Labels(*columns, boxes[keep], corners[keep], total, notes)


def _with_key_points(
    part: _Part, good: np.ndarray, key_points: tuple[int, int] | None
) -> tuple[np.ndarray, list[Note]]:
    """Which lines are a box with keypoints, and notes where this was decided by the numbers."""
    none = np.zeros(len(good), bool)
    if key_points is not None:
        length = 5 + key_points[0] * key_points[1]
        return good & (part.counts >= length) & (part.counts <= length + 1), []
    rows = np.flatnonzero(good & (part.counts >= 8))
    counts = part.counts[rows]
    if not len(rows) or (counts != counts[0]).any():
        return none, []
    count = int(counts[0])
    if (count - 5) % 3 == 0:
        visible = part.table(rows, 7, count)[:, ::3]
        if np.isin(visible, (0, 1, 2)).all():
            none[rows] = True
            number = (count - 5) // 3
            text = (
                f"Lines of {count} numbers were read as a box and {counted(number, 'keypoint')} "
                "(only the box is used)."
            )
            return none, [Note("objects-reread", text)]
    return none, []


def _reason(part: _Part, row: int) -> str:
    """What is wrong with a line."""
    first, count = part.first[row], part.counts[row]
    values = part.values[first : first + count]
    line = _text_of(part, row)
    if not np.isfinite(values).all():
        return f"a line must be numbers, `class cx cy w h`. Received: {line!r}"
    if count < 5:
        return f"a line must be five numbers or more, `class cx cy w h`. Received: {line!r}"
    return f"the class must be a whole number from 0. Received: {values[0]:g} in {line!r}"


def _text_of(part: _Part, row: int) -> str:
    line = part.texts[part.file[row]].split(b"\n")[part.line[row] - 1]
    text = line.decode("ascii", "replace").strip()
    return text if len(text) <= 60 else text[:60] + " …"
