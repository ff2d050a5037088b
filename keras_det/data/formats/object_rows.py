"""Rows of a data set with a column of images and one of objects: Hugging Face, TFDS."""

import math
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords, RawAnnotations
from keras_det.data.truth import truth
from keras_det.data.unpacking import UnpackedImages, png_of, suffixes_of
from keras_det.errors import DataError
from keras_det.words import counted

BOXES = ("bbox", "bboxes", "boxes", "box")
LABELS = (
    *("category", "categories", "label", "labels", "category_id", "category_ids"),
    *("class", "classes", "class_id", "class_label", "class_labels", "name"),
)
CROWDS = ("is_crowd", "iscrowd", "crowd", "is_difficult", "difficult", "is_group_of")
AREAS = ("area", "areas")
NAMES = ("image/filename", "file_name", "filename", "image_name", "image/id", "image_id")
IDS = ("image/id", "image_id", "id")
MAX_SIDE = 1 << 24  # pixels


class Columns(NamedTuple):
    """The names of the columns of images and of objects."""

    image: str
    objects: str


class BadRow(Exception):
    """One row cannot be read; the text says what must hold and what was received."""


class Object(NamedTuple):
    """One object: its box as written, its class as number or text, crowd, and area or NaN."""

    box: list[float] | None
    label: int | str
    crowd: bool
    area: float


@dataclass
class Rows:
    """What the rows say: one entry per image, or per object.

    Attributes:
        names: file name or path of each image.
        ids: of each image; its number where the row has none.
        sizes: (height, width), 0 where not given.
        image_of: the image of each object.
        where: the place of each object, for messages: (number of its row, number in the row).
        boxes: four numbers of each object, one after the other.
        labels: numbers or texts.
        crowd: of each object.
        area: square pixels, NaN where not given.
        notes: what was left out.
    """

    names: list[str] = field(default_factory=list)
    ids: list[int | str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    image_of: "array[int]" = field(default_factory=lambda: array("q"))
    where: list[tuple[int, int]] = field(default_factory=list)
    boxes: "array[float]" = field(default_factory=lambda: array("d"))
    labels: list[int | str] = field(default_factory=list)
    crowd: "array[int]" = field(default_factory=lambda: array("b"))
    area: "array[float]" = field(default_factory=lambda: array("d"))
    notes: list[Note] = field(default_factory=list)


def read_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Columns,
    images: UnpackedImages | None,
    place: Callable[[int], str],
    source: str,
) -> Rows:
    """Reads all rows, and unpacks images that are no files.

    Args:
        rows: `{column: value}` of each image. The objects are a dictionary of lists or a list of
            dictionaries, with a box and a class each.
        columns: the names of the two columns.
        images: the folder for images that are no files; None where every image must be a file.
        place: `place(row) -> str` names a row.
        source: what is read, for messages.

    Raises:
        DataError: there is no row, or too many cannot be read.
    """
    found = Rows()
    bad = BadRecords("rows", source)
    without: list[tuple[int, int]] = []
    pixels = count = 0
    for i, row in enumerate(rows):
        count += 1
        try:
            objects = objects_of(row.get(columns.objects))
            size = _size(row)
            name, encoded = _image(row, columns.image, images, i)
        except BadRow as error:
            bad.add(place(i), str(error))
            continue
        pixels += encoded
        for k, each in enumerate(objects):
            if each.box is None:
                without.append((i, k))
                continue
            found.image_of.append(len(found.names))
            found.where.append((i, k))
            found.boxes.extend(each.box)
            found.labels.append(each.label)
            found.crowd.append(each.crowd)
            found.area.append(each.area)
        found.names.append(name)
        found.ids.append(_first(row, IDS, i))
        found.sizes.append(size)
    _finish(found, bad, count, without, pixels, place)
    return found


def raw_of(
    found: Rows,
    class_names: list[str],
    labels: np.ndarray,
    place: Callable[[int], str],
    **fields: Any,
) -> RawAnnotations:
    """Makes raw annotations of rows, whose labels are now indices into `class_names`.

    Args:
        found: the rows.
        class_names: of the data set.
        labels: int, one per object.
        place: names a row.
        **fields: `source`, `name`, `split`, `folders`, `box_format` and others of `RawAnnotations`.
    """

    def where(row: int) -> str:
        i, k = found.where[row]
        return f"{place(i)}, object {k}"

    given: dict[str, Any] = {"category_ids": list(range(len(class_names))), **fields}
    return RawAnnotations(
        class_names=class_names,
        image_names=found.names,
        image_ids=found.ids,
        image_sizes=np.array(found.sizes, np.int64).reshape(-1, 2),
        image_index=np.array(found.image_of, np.int64),
        boxes=np.array(found.boxes, np.float64).reshape(-1, 4),
        labels=labels,
        crowd=np.array(found.crowd, bool),
        area=np.array(found.area, np.float64),
        where=where,
        notes=found.notes,
        **given,
    )


def index_of(
    found: Rows,
    names: Sequence[str],
    place: Callable[[int], str],
    advice: str,
) -> np.ndarray:
    """Returns the index into `names` of each object: numbers count from 0, texts are looked up.

    Raises:
        DataError: a number is no index of a name, or a text is none of them.
    """
    table: dict[int | str, int] = {name: i for i, name in reversed(list(enumerate(names)))}
    table.update({i: i for i in range(len(names))})
    labels = np.fromiter((table.get(label, -1) for label in found.labels), np.int64)
    lost = np.flatnonzero(labels < 0)
    if len(lost):
        row = int(lost[0])
        i, k = found.where[row]
        raise DataError(
            f"The class of an object must be a number from 0 to {len(names) - 1} or one of the "
            f"class names. Received: {found.labels[row]!r} in {place(i)}, object {k} "
            f"(objects like it: {len(lost):,}; names: {len(names):,}). {advice}"
        )
    return labels


def _finish(
    found: Rows,
    bad: BadRecords,
    count: int,
    without: Sequence[tuple[int, int]],
    pixels: int,
    place: Callable[[int], str],
) -> None:
    if not count:
        raise DataError(
            f"A data set must hold rows. Received: none in {bad.source}. Give the split with the "
            "annotated images."
        )
    found.notes += bad.notes(count)
    if bad.count == count:
        raise DataError(
            f"At least one of the rows must be readable. Received: none in {bad.source}; "
            f"{bad.reasons[0]}. Correct the rows."
        )
    if without:
        row, k = without[0]
        what = f"{counted(len(without), 'object')} left out: without a box"
        if not found.labels:
            raise DataError(
                "Objects for detection must have a box. Received: none of "
                f"{counted(len(without), 'object')} has one in {bad.source}; first: {place(row)}, "
                f"object {k}. Give data with boxes."
            )
        found.notes.append(
            Note("annotations-without-box", what, len(without), first=f"{place(row)}, object {k}")
        )
    if pixels:
        text = f"Images given as pixels, which are written as PNG: {pixels}."
        found.notes.append(Note("pixels-changed", text, pixels))
    if len(set(found.ids)) < len(found.ids):
        found.ids = list(range(len(found.ids)))
        text = "Several images have the same id: images are numbered from 0 instead."
        found.notes.append(Note("image-ids-changed", text))


def objects_of(value: Any) -> list[Object]:
    """Reads the objects of one row; raises BadRow where they cannot be read."""
    columns = _columns(value)
    if not columns:
        return []
    boxes, _ = _column(columns, BOXES, "a box")
    labels, key = _column(columns, LABELS, "a class")
    count = len(boxes)
    others = [(name, _optional(columns, name, count)) for name in CROWDS if name in columns]
    area = next((_optional(columns, name, count) for name in AREAS if name in columns), None)
    if len(labels) != count:
        raise BadRow(
            f"`{key}` must hold one class for each box. Received: {len(labels)} for {count}"
        )
    return [
        Object(
            _box(boxes[i]),
            _label(labels[i], key),
            any(_mark(other[i], name) for name, other in others),
            _area(area[i]) if area else math.nan,
        )
        for i in range(count)
    ]


def _columns(value: Any) -> dict[str, list[Any]]:
    """Objects as a dictionary of lists."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {key: _list(each, key) for key, each in value.items() if each is not None}
    value = _list(value, "objects")
    if not all(isinstance(each, Mapping) for each in value):
        raise BadRow(
            "the objects must be a dictionary of lists or a list of dictionaries. Received: "
            f"{_shown(value)}"
        )
    keys = dict.fromkeys(key for each in value for key in each)
    return {key: [each.get(key) for each in value] for key in keys}


def _list(value: Any, key: str) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise BadRow(f"`{key}` must be a list. Received: {_shown(value)}")
    return list(value)


def _column(
    columns: Mapping[str, list[Any]], names: Sequence[str], what: str
) -> tuple[list[Any], str]:
    for name in names:
        if name in columns:
            return columns[name], name
    keys = ", ".join(columns)
    raise BadRow(f"the objects must have {what} (`{names[0]}`). Received: the keys {keys}")


def _optional(columns: Mapping[str, list[Any]], name: str, count: int) -> list[Any]:
    values = columns[name]
    if len(values) != count:
        raise BadRow(
            f"`{name}` must hold one value for each box. Received: {len(values)} for {count}"
        )
    return values


def _box(value: Any) -> list[float] | None:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or (isinstance(value, (list, tuple)) and not value):
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 4 or not all(map(_is_number, value)):
        raise BadRow(f"a box must be four finite numbers. Received: {_shown(value)}")
    return [float(each) for each in value]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return False
    return bool(-MAX_SIDE < value < MAX_SIDE)  # False for NaN


def _label(value: Any, key: str) -> int | str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value
    if _is_number(value) and value == int(value):
        return int(value)
    raise BadRow(f"`{key}` must be a whole number or a string. Received: {_shown(value)}")


def _mark(value: Any, name: str) -> bool:
    known = truth(value)
    if known is None:
        raise BadRow(f"`{name}` must be true or false. Received: {_shown(value)}")
    return known


def _area(value: Any) -> float:
    return float(value) if _is_number(value) and value > 0 else math.nan


def _first(row: Mapping[str, Any], names: Sequence[str], otherwise: int | str) -> int | str:
    """The first of these columns that holds a whole number or a text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, (int, str)) and not isinstance(value, bool) and value != "":
            return value
    return otherwise


def _size(row: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of the columns of these names, 0 where not given."""
    sides = [_first(row, (name, f"image/{name}"), 0) for name in ("height", "width")]
    height, width = (side if isinstance(side, int) and 0 < side < MAX_SIDE else 0 for side in sides)
    return (height, width) if height and width else (0, 0)


def _image(
    row: Mapping[str, Any], column: str, images: UnpackedImages | None, number: int
) -> tuple[str, bool]:
    """The path of the image or its name among `images`, and whether it had to be encoded."""
    value = row.get(column)
    name = str(_first(row, NAMES, f"{number:06d}"))
    if isinstance(value, Mapping):
        path, content = value.get("path"), value.get("bytes")
        name = os.path.basename(path) if path else name
        value = content if content is not None else path
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return os.fspath(value), False
    content = value if isinstance(value, bytes) else _png(value, column)
    if not suffixes_of(content):
        raise BadRow(f"`{column}` must be a JPEG, PNG, BMP, GIF, WebP or TIFF image")
    if images is None:
        raise DataError(
            "`image_dir` must name a folder: the images of this data set are no files, and must be "
            "written once. Received: image_dir=None. Give a folder with enough space."
        )
    if not name.lower().endswith(IMAGE_SUFFIXES):
        name += suffixes_of(content)[0]
    return images.add(name, content), content is not value


def _png(value: Any, column: str) -> bytes:
    try:
        return png_of(value)
    except (OSError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise BadRow(f"`{column}` must be an image. Received: {_shown(value)}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + " …"
