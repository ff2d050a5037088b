"""Opens a COCO file: its columns where every record is as COCO writes it, else its raw records."""

import json
import pathlib
import re
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from keras_det.data.formats.coco_kind import KINDS, NO_BOXES, PART, kind_of
from keras_det.data.formats.coco_repeated import (
    doubtful_keys,
    keys_to_check,
    may_repeat_a_list,
    refuse_repeated_lists,
    repeated_keys,
)
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.files import read_bytes
from keras_det.words import counted

# No box or image reaches this number of pixels; it keeps sums of coordinates exact.
MAX_PIXELS = 1e9
Key = int | str


@dataclass
class Columns:
    """The content of a COCO file, one entry per readable image and object.

    Attributes:
        image_keys: the id of each image; a text that is a whole number has become a number.
        image_ids: as the file writes them.
        image_names: the file name of each image.
        image_sizes: int `(num_images, 2)`, (height, width); 0 where not given.
        image_of: the image id of each object.
        category_of: the category id of each object.
        boxes: float `(num_objects, 4)`, [x, y, width, height].
        crowd: bool `(num_objects,)`.
        area: float `(num_objects,)`, NaN where not given.
        object_ids: the id of each object, None where it has none.
        rows: the place of each object in `annotations`; None: as counted.
        categories: `categories` as the file holds it.
        lost_images: ids of images whose entry cannot be read.
        notes: what was left out.
    """

    image_keys: list[Key] = field(default_factory=list)
    image_ids: list[Key] = field(default_factory=list)
    image_names: list[str] = field(default_factory=list)
    image_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    image_of: list[Key] = field(default_factory=list)
    category_of: list[Key] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    area: np.ndarray = field(default_factory=lambda: np.zeros(0))
    object_ids: list[Any] = field(default_factory=list)
    rows: np.ndarray | None = None
    categories: Any = None
    lost_images: set[Key] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)


class Records(NamedTuple):
    """The undecoded records of a COCO file, its categories and all of its bytes.

    `image_keys` and `object_keys` are those that may occur twice in a record.
    """

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: Any
    data: bytes | bytearray
    image_keys: tuple[str, ...]
    object_keys: tuple[str, ...]


class _Box(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    x: float
    y: float
    width: float
    height: float


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: _Box
    iscrowd: bool | int | None = 0
    area: float | None = None
    id: int | str | None = None


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    height: int | None = 0
    width: int | None = 0


class _Content(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation] | None = None
    categories: Any = None


class _Categories(msgspec.Struct):
    categories: Any = None


def open_file(path: pathlib.Path) -> Columns | Records:
    """Reads a COCO file; polygons and other keys are skipped without being built.

    Raises:
        DataError: the file is damaged or of another kind.
    """
    data: bytes | bytearray = _read(path)
    columns = None
    try:
        try:
            columns = _columns(msgspec.json.decode(data, type=_Content))
        except msgspec.ValidationError:
            pass
        except msgspec.DecodeError:
            data = _mark_nan(data)
        if columns is not None and _is_whole(columns, data, path):
            return columns
        try:
            return _records(data, path)
        except msgspec.DecodeError:
            data = _mark_nan(data)
        return _records(data, path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise damage(path, data, error) from error


def _is_whole(columns: Columns, data: bytes | bytearray, path: pathlib.Path) -> bool:
    """Whether no record holds a key twice; DataError if the file holds a list twice."""
    of_images, of_objects = doubtful_keys(data, len(columns.image_names), len(columns.boxes))
    if of_images or of_objects or may_repeat_a_list(data):
        refuse_repeated_lists(data, path)
    if not of_images and not of_objects:
        return True
    records = _records(data, path)
    pairs = ((records.images, of_images), (records.annotations, of_objects))
    return not any(
        keys and repeated_keys(bytes(record), keys) for each, keys in pairs for record in each
    )


def read_categories(path: pathlib.Path) -> Any:
    """Reads only the categories of a COCO file; None where it holds none or is damaged."""
    try:
        data = _read(path)
        try:
            return msgspec.json.decode(data, type=_Categories).categories
        except msgspec.DecodeError:
            return msgspec.json.decode(_mark_nan(data), type=_Categories).categories
    except (DataError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return None


def _read(path: pathlib.Path) -> bytes:
    """The file as UTF-8 without byte order mark."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise DataError(
            f"The annotation file must exist. Received: {path}. Correct the path."
        ) from None
    except OSError as error:
        raise DataError(
            f"The annotation file must be readable. Received: {path} ({error.strerror}). Correct "
            "the path or its permissions."
        ) from error
    encoding = json.detect_encoding(data[:4])
    if encoding == "utf-8":
        return data
    if encoding == "utf-8-sig":
        return data[3:]
    try:
        return data.decode(encoding).encode()
    except UnicodeError as error:
        raise DataError(
            f"A COCO annotation file must be UTF-8 or UTF-16 text. Received: {path} ({error}). "
            "Save it as UTF-8."
        ) from error


def _columns(content: _Content) -> Columns | None:
    """The columns of a file whose records have COCO's types; None where a value is unusual."""
    images, objects = content.images, content.annotations or []
    n = len(objects)
    keys = [image.id for image in images]
    sides = (map(attrgetter(side), images) for side in ("height", "width"))
    numbers = map(attrgetter("x", "y", "width", "height"), map(attrgetter("bbox"), objects))
    try:
        sizes = [np.array([side or 0 for side in column], np.int64) for column in sides]
        crowd = np.array([each.iscrowd or 0 for each in objects], np.int64)
        boxes = np.fromiter(chain.from_iterable(numbers), np.float64, 4 * n).reshape(-1, 4)
        area = np.array([each.area for each in objects], np.float64)
    except OverflowError:
        return None
    usual = all(image.file_name for image in images)
    usual &= all(((side >= 0) & (side < MAX_PIXELS)).all() for side in sizes)
    usual &= bool(((crowd == 0) | (crowd == 1)).all() and (np.abs(boxes) < MAX_PIXELS).all())
    if not usual:
        return None
    return Columns(
        image_keys=list(keys),
        image_ids=list(keys),
        image_names=[image.file_name for image in images],
        image_sizes=np.stack(sizes, axis=1),
        image_of=[each.image_id for each in objects],
        category_of=[each.category_id for each in objects],
        boxes=boxes,
        crowd=crowd.astype(bool),
        area=area,
        object_ids=[each.id for each in objects],
        categories=content.categories,
    )


def _records(data: bytes | bytearray, path: pathlib.Path) -> Records:
    """The records of a file, each to be decoded alone; DataError if a list occurs twice."""
    refuse_repeated_lists(data, path)
    try:
        content = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise other_kind(path, data) from None
    if kind_of(path) in NO_BOXES:
        raise other_kind(path, data)
    parts = {}
    for key in ("images", "annotations"):
        part = bytes(content.get(key, b"null")).strip()
        if key == "images" and part == b"null":
            raise other_kind(path, data)
        try:
            parts[key] = msgspec.json.decode(part, type=list[msgspec.Raw] | None) or []
        except msgspec.ValidationError:
            raise DataError(
                f"`{key}` of a COCO annotation file must be a list. Received: "
                f"{_start(part)} in {path}. Export the annotations as COCO JSON."
            ) from None
    try:
        categories = msgspec.json.decode(content.get("categories", b"null"))
    except msgspec.ValidationError as error:
        raise DataError(
            f"`categories` of a COCO annotation file must be readable. Received: {path} ({error}). "
            "Correct the categories."
        ) from error
    images, objects = parts["images"], parts["annotations"]
    return Records(
        images, objects, categories, data, *keys_to_check(data, len(images), len(objects))
    )


def _start(part: bytes | bytearray) -> str:
    text = show_nan(part[:60].decode(errors="replace").replace('"', "'"))
    return text + " …" if len(part) > 60 else text


def other_kind(path: pathlib.Path, data: bytes | bytearray) -> DataError:
    """Makes the error for JSON that is not COCO's: it says what the file holds instead."""
    kind = KINDS.get(kind_of(path))
    if kind is not None:
        return DataError(
            "A COCO annotation file must hold `images`, `annotations` with boxes and `categories`. "
            f"Received: {path}, which holds {kind.what}. {kind.instead}"
        )
    try:
        content = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw] | None)
    except msgspec.ValidationError:
        content = None
    if isinstance(content, dict):
        names = ", ".join(repr(name) for name in list(content)[:8]) or "none"
        found = f"an object with the keys {names}{', …' if len(content) > 8 else ''}"
    elif isinstance(content, list):
        found = f"a list of {counted(len(content), 'entry', 'entries')}"
    else:
        found = f"only {_start(data.strip())}"
    return DataError(
        "A COCO annotation file must be an object with `images`, `annotations` and `categories`. "
        f"Received: {path}, which is {found}. Export the annotations as COCO JSON."
    )


# JSON has no NaN and no infinities, but Python and pandas write them. They are turned into texts of
# the same length, so that places in the file stay, with a character that no name has.
NAN = re.compile(rb"(?<=[\s:,\[])(?:NaN|-?Infinity)(?=[\s,\]}])")
MARK = "\x7f"
MARKS = {b"NaN": b'"\x7f"', b"Infinity": b'"\x7f+"    ', b"-Infinity": b'"\x7f-"     '}
SHOWN = {f"'{MARK}'": "NaN", f"'{MARK}+'": "Infinity", f"'{MARK}-'": "-Infinity"}


def show_nan(text: str) -> str:
    """Shows marked values as the file writes them."""
    for mark, value in SHOWN.items():
        text = text.replace(mark, value)
    return text


def _mark_nan(data: bytes | bytearray) -> bytes | bytearray:
    """Turns NaN, Infinity and -Infinity into texts that begin with `MARK`."""
    if b"NaN" not in data and b"Infinity" not in data:
        return data
    marked = bytearray(data)
    for match in NAN.finditer(data):
        marked[match.start() : match.end()] = MARKS[match[0]]
    return marked


LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
# How files begin that are not JSON at all.
BEGINNINGS = {
    b"version https://git-lfs": (
        "a pointer of Git LFS instead of the file",
        "Fetch the file with `git lfs pull`.",
    ),
    b"<": ("a web page or XML", "Download the file itself, or give the folder of the data set."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it."),
    b"PK": ("a zip archive", "Unpack it."),
}


def damage(path: pathlib.Path, data: bytes | bytearray, error: Exception) -> DataError:
    """Makes the error for a file that is not valid JSON, with line and column where known."""
    begin = data[:PART].lstrip()
    for magic, (what, instead) in BEGINNINGS.items():
        if begin.startswith(magic):
            return _invalid(f"{path}, {what}", instead)
    if not begin.strip(b"\0"):
        return _invalid(f"{path}, which is empty", "Download or export it again.")
    if isinstance(error, RecursionError):
        return _invalid(f"{path}, whose brackets are nested too deeply", "Export it again.")
    if isinstance(error, MemoryError):
        return _invalid(f"{path}, which does not fit into memory", "Split the file.")
    if isinstance(error, UnicodeDecodeError) or "UTF-8" in str(error):
        return _undecodable(path, data)
    unclear = b"\\u" in data and any(
        word in str(error) for word in ("truncated", "hex", "surrogate", "utf-16")
    )
    surrogate = LONE_SURROGATE.search(data) if unclear else None
    if surrogate:
        found = f"half a character, {surrogate[0][:6].decode()}"
        return _invalid(f"{_place(path, data, surrogate.start())}: {found}", "Correct this text.")
    position = re.search(r"\(byte (\d+)\)", str(error))
    if position is None:
        return _invalid(
            f"{_place(path, data, len(data))}: the file ends too early",
            "Download or export it again.",
        )
    reason = str(error).removeprefix("JSON is malformed: ").split(" (byte")[0]
    place = _place(path, data, int(position[1]))
    return _invalid(f"{place}: {reason}", "Correct this place, or export the file again.")


def _undecodable(path: pathlib.Path, data: bytes | bytearray) -> DataError:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        place = _place(path, data, error.start)
        found = f"{place}: the byte 0x{data[error.start]:02x} is not UTF-8"
    else:
        found = f"{path}, which is not UTF-8"
    return DataError(
        f"A COCO annotation file must be UTF-8 text. Received: {found}. Save the file as UTF-8."
    )


def _invalid(found: str, advice: str) -> DataError:
    return DataError(f"A COCO annotation file must be valid JSON. Received: {found}. {advice}")


def _place(path: pathlib.Path, data: bytes | bytearray, position: int) -> str:
    line = data.count(b"\n", 0, position) + 1
    start = data.rfind(b"\n", 0, position) + 1
    column = len(data[start:position].decode(errors="replace")) + 1
    return f"{path}, line {line}, column {column}"
