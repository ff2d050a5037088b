"""Reads the rows of a CSV file of boxes, part by part."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from keras_det.data.formats.csv_columns import Columns, understand
from keras_det.data.formats.plain_text import encoding_of, read_bytes
from keras_det.data.raw import BadRecords
from keras_det.data.truth import truth
from keras_det.errors import DataError
from keras_det.files import open_bytes

DELIMITERS = (",", ";", "\t", "|")
# Rows that are turned into arrays at a time.
PART = 10_000
# Rows that are looked at to understand a file.
LOOKED_AT = 20
FOUR_NUMBERS = re.compile(r"^[\[(\s]*([^\[\]()]*)[\])\s]*$")
NOTHING = {"", "nan", "null", "none", "na"}
NO_CLASS = {*NOTHING, "background", "negative"}


@dataclass
class Table:
    """A CSV file of boxes.

    Attributes:
        path: of the file.
        delimiter: between columns.
        columns: what they hold.
    """

    path: Path
    delimiter: str
    columns: Columns


@dataclass
class Rows:
    """The objects of some CSV files.

    Attributes:
        images: `{file name: (height, width)}`, 0 where not given.
        labels: names of the classes as written.
        image_index, label_index: int, place in `images` and `labels` of each object.
        boxes: float `(n, 4)`.
        crowd: bool.
        file, line: place of each object.
        total: number of rows, bad ones included.
        without_box: rows with a class and without a box; the first one in `first_without`.
        unclear: objects whose mark of a group is no yes or no; the first one in `first_unclear`.
    """

    images: dict[str, int] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    image_index: list[np.ndarray] = field(default_factory=list)
    label_index: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    crowd: list[np.ndarray] = field(default_factory=list)
    file: list[np.ndarray] = field(default_factory=list)
    line: list[np.ndarray] = field(default_factory=list)
    total: int = 0
    without_box: int = 0
    first_without: str = ""
    unclear: int = 0
    first_unclear: str = ""


def open_table(path: Path) -> Table | None:
    """Understands a CSV file; None where it does not hold images and boxes."""
    best = None
    for delimiter in DELIMITERS:
        rows = first_rows(path, delimiter)
        columns = understand(rows)
        if columns is not None and (best is None or len(rows[0]) > best[0]):
            best = (len(rows[0]), Table(path, delimiter, columns))
    return None if best is None else best[1]


def first_rows(path: Path, delimiter: str, count: int = LOOKED_AT) -> list[list[str]]:
    """The first rows of a file; none where it is no CSV file."""
    try:
        with _open(path, errors="replace") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            rows = []
            for row in reader:
                if not (_is_blank(row) or (reader.line_num == 1 and _is_sep(row))):
                    rows.append(row)
                if len(rows) >= count:
                    break
            return rows
    except (csv.Error, UnicodeError, OSError):
        return []


def _is_blank(row: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _is_sep(row: Sequence[str]) -> bool:
    """Whether a first line only names the sign between columns for Excel: "sep=;"."""
    return "".join(row).strip().lower() in ("sep=", *(f"sep={sign}" for sign in DELIMITERS))


def _open(path: Path, errors: str = "strict") -> TextIO:
    file = open_bytes(path)
    try:
        encoding = encoding_of(file.read(4))
        file.seek(0)
    except OSError:
        file.close()
        raise
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")


class Part(NamedTuple):
    """Some rows of a file, all of one length.

    Attributes:
        rows: the cells.
        lines: the line of each row.
        total: number of rows, bad ones included.
    """

    rows: list[list[str]]
    lines: list[int]
    total: int


def parts(table: Table, bad: BadRecords) -> Iterator[Part]:
    """Yields the rows of a file; rows of another length are bad."""
    width, total = 0, 0
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in _rows(table):
        if _is_blank(row) or (line == 1 and _is_sep(row)):
            continue
        if not width:
            width = len(row)
            if table.columns.has_header:
                continue
        total += 1
        if len(row) != width:
            cut = _of_length(row, width, table.columns)
            if cut is None:
                reason = f"a row must have {width} columns. Received: {len(row)}"
                bad.add(f"{table.path}, line {line}", reason)
                continue
            row = cut
        rows.append(row)
        lines.append(line)
        if len(rows) == PART:
            yield Part(rows, lines, total)
            rows, lines, total = [], [], 0
    if total:
        yield Part(rows, lines, total)


def _of_length(row: list[str], width: int, columns: Columns) -> list[str] | None:
    """A row without empty cells too many, or with those that are missing; None where it is bad."""
    if len(row) > width:
        return None if any(row[width:]) else row[:width]
    row = row + [""] * (width - len(row))
    needed = (columns.image, *columns.box, *(() if columns.label is None else (columns.label,)))
    return row if all(row[place].strip() for place in needed) else None


def _rows(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Yields line numbers and rows; DataError where the file is damaged."""
    with _open(table.path) as file:
        options = {"delimiter": table.delimiter, "skipinitialspace": True, "strict": True}
        reader = csv.reader(file, **options)  # type: ignore[arg-type]
        line = 0
        try:
            for row in reader:
                first, line = line + 1, reader.line_num
                if first == 1 and any("\0" in cell for cell in row):
                    raise UnicodeError
                if line != first and len(row) == 1 and not row[0].strip():
                    continue
                yield first, row
        except csv.Error as error:
            raise DataError(
                "Every opening quote in a CSV file must have a closing quote. Received: "
                f"{table.path}, from line {line + 1}: {error}. Correct this line."
            ) from None
        except UnicodeError:
            line = _undecodable(table.path)
            raise DataError(
                f"The file must be UTF-8 text. Received: {table.path}, line {line}. Save the file "
                "as UTF-8."
            ) from None


def _undecodable(path: Path) -> int:
    data = read_bytes(path)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1


class Source(NamedTuple):
    """One split, or all rows.

    Attributes:
        root: folder of the data set.
        split: its name; None for all rows.
        tables: files to read.
        all_tables: files of all splits.
        split_of: the split that each value of the split column means.
        value: rows of this split are read; None: all rows of the files.
    """

    root: Path
    split: str | None
    tables: tuple[Table, ...]
    all_tables: tuple[Table, ...]
    split_of: dict[str, str]
    value: str | None = None


def read_rows(source: Source, tables: Sequence[Table], split: str | None, bad: BadRecords) -> Rows:
    """Reads the objects of files.

    Args:
        source: of the files.
        tables: the files to read.
        split: read only rows of this split, where the file has such a column; None reads all.
        bad: takes rows that cannot be read.
    """
    found = Rows()
    for number, table in enumerate(tables):
        for rows, lines, total in parts(table, bad):
            found.total += total
            place = table.columns.split
            if split is not None and place is not None:
                keep = [source.split_of.get(row[place].strip()) == split for row in rows]
                lines = [line for line, kept in zip(lines, keep, strict=True) if kept]
                rows = [row for row, kept in zip(rows, keep, strict=True) if kept]
            if rows:
                head = _head(source, table, rows[0][table.columns.image].strip())
                _add(found, table, rows, np.array(lines), number, bad, head)
    return found


def _head(source: Source, table: Table, name: str) -> str:
    """What stands before the names of images beside a file that lies deeper than the root."""
    folder = table.path.parent
    if len(source.all_tables) < 2 or folder == source.root or not (folder / name).is_file():
        return ""
    return folder.relative_to(source.root).as_posix() + "/"


def _add(
    found: Rows,
    table: Table,
    rows: list[list[str]],
    lines: np.ndarray,
    number: int,
    bad: BadRecords,
    head: str,
) -> None:
    """Adds a part of a file to the columns."""
    columns = table.columns
    cells = list(zip(*rows, strict=True))
    boxes, empty = _boxes(cells, columns)
    names = [name.strip() for name in cells[columns.image]]
    labels = [""] * len(rows)
    if columns.label is not None:
        labels = [label.strip() for label in cells[columns.label]]
    unlabelled = np.array([not label for label in labels]) & (columns.label is not None)
    wrong = ~np.isfinite(boxes).all(axis=1) & ~empty
    nameless = np.array([not name for name in names])
    lost = np.flatnonzero(nameless | ((unlabelled | wrong) & ~empty))
    for row in lost:
        bad.add(f"{table.path}, line {lines[row]}", _reason(rows[row], columns))
    dropped = set(lost.tolist())
    index = np.array([
        -1 if i in dropped else found.images.setdefault(head + name, len(found.images))
        for i, name in enumerate(names)
    ])  # fmt: skip
    _add_sizes(found, cells, columns, index)
    for row in np.flatnonzero(empty & (index >= 0)):
        if labels[row].lower() not in NO_CLASS:
            found.first_without = found.first_without or f"{table.path}, line {lines[row]}"
            found.without_box += 1
    keep = np.flatnonzero((index >= 0) & ~empty)
    found.image_index.append(index[keep])
    found.boxes.append(boxes[keep])
    kept = [found.labels.setdefault(labels[row], len(found.labels)) for row in keep.tolist()]
    found.label_index.append(np.array(kept, np.int64))
    found.crowd.append(_crowd(found, table, cells, lines, keep))
    found.file.append(np.full(len(keep), number))
    found.line.append(lines[keep])


def _crowd(
    found: Rows,
    table: Table,
    cells: Sequence[Sequence[str]],
    lines: np.ndarray,
    keep: np.ndarray,
) -> np.ndarray:
    """Whether each kept row is a group; counts cells that do not say."""
    if table.columns.crowd is None:
        return np.zeros(len(keep), bool)
    column = cells[table.columns.crowd]
    marks = {cell: truth(cell) for cell in set(column)}
    unclear = [row for row in keep.tolist() if marks[column[row]] is None]
    if unclear and not found.unclear:
        first = unclear[0]
        found.first_unclear = f"{column[first].strip()[:40]!r} in {table.path}, line {lines[first]}"
    found.unclear += len(unclear)
    return np.array([marks[column[row]] is True for row in keep.tolist()], bool)


def _reason(row: Sequence[str], columns: Columns) -> str:
    if not row[columns.image].strip():
        return "the image must be named. Received: an empty cell"
    if columns.label is not None and not row[columns.label].strip():
        return "the class must be named. Received: an empty cell"
    box = ", ".join(row[place].strip() for place in columns.box)
    return f"the box must be four numbers. Received: [{box[:60]}]"


def _boxes(cells: Sequence[Sequence[str]], columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of rows, NaN where a cell is no number, and whether all of its cells are empty."""
    if len(columns.box) == 1:
        texts = cells[columns.box[0]]
        split = [re.split(r"[,;\s]+", FOUR_NUMBERS.sub(r"\1", text).strip()) for text in texts]
        four = [each if len(each) == 4 else ["x"] * 4 for each in split]
        empty = np.array([text.strip(" []()").lower() in NOTHING for text in texts])
        return numbers([cell for row in four for cell in row]).reshape(-1, 4), empty
    values = np.stack([numbers(cells[place]) for place in columns.box], axis=1)
    empty = np.ones(len(values), bool)
    for place in columns.box:
        if not empty.any():
            break
        empty &= np.array([not cell or cell.strip().lower() in NOTHING for cell in cells[place]])
    if len(columns.box) == 4:
        return values, empty
    with np.errstate(invalid="ignore"):
        xs, ys = values[:, 0::2], values[:, 1::2]
        corners = [np.fmin.reduce(xs, 1), np.fmin.reduce(ys, 1)]
        corners += [np.fmax.reduce(xs, 1), np.fmax.reduce(ys, 1)]
    return np.stack(corners, axis=1), empty


def numbers(cells: Sequence[str]) -> np.ndarray:
    """Cells as numbers, with a comma or a point; NaN where a cell is none."""
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return np.array([_number(cell) for cell in cells], np.float64)


def _number(cell: str) -> float:
    try:
        return float(cell.strip().strip("'\"").replace(",", "."))
    except ValueError:
        return float("nan")


def _add_sizes(
    found: Rows, cells: Sequence[Sequence[str]], columns: Columns, index: np.ndarray
) -> None:
    """Adds the sizes of images that are new; the first row of an image counts."""
    first = len(found.sizes)
    found.sizes += [(0, 0)] * (len(found.images) - first)
    if columns.width is None or columns.height is None:
        return
    sides = np.stack([numbers(cells[columns.height]), numbers(cells[columns.width])], axis=1)
    good = (np.isfinite(sides) & (sides > 0) & (sides < 1e6)).all(axis=1)
    _, rows = np.unique(index, return_index=True)
    for row in rows:
        if index[row] >= first and good[row]:
            found.sizes[index[row]] = (int(sides[row, 0]), int(sides[row, 1]))
