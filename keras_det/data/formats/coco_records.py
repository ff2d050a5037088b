"""Reads the records of a COCO file one by one, where they are not all as COCO writes them."""

import math
import pathlib
import re
from array import array
from typing import Any

import msgspec
import numpy as np

from keras_det.data.formats.coco_file import MARK, MAX_PIXELS, Columns, Key, Records, show_nan
from keras_det.data.formats.coco_masks import box_of
from keras_det.data.formats.coco_repeated import repeated_keys
from keras_det.data.notes import Note, NoteCode
from keras_det.data.raw import BadRecords
from keras_det.data.truth import truth
from keras_det.errors import DataError
from keras_det.words import counted

WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
NUMBER = re.compile(r"[-+]?(\d{1,30}(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?")
SEVERAL = re.compile(r"[-+.\deE,\s\[\]()]{1,200}")


class _Image(msgspec.Struct):
    id: Any = msgspec.UNSET
    file_name: Any = msgspec.UNSET
    height: Any = None
    width: Any = None
    coco_url: Any = None


class _Annotation(msgspec.Struct):
    id: Any = None
    image_id: Any = msgspec.UNSET
    category_id: Any = msgspec.UNSET
    bbox: Any = None
    iscrowd: Any = None
    area: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class BadRecord(Exception):
    """One record cannot be read; the text says what must hold and what was received."""


def refuse(must: str, received: Any) -> BadRecord:
    """Makes the exception for one record."""
    return BadRecord(f"{must}. Received: {shown(received)}")


def shown(value: Any) -> str:
    """A value as messages show it, cut where it is long."""
    if value is msgspec.UNSET:
        return "no such field"
    text = "null" if value is None else show_nan(repr(value).replace("\\x7f", MARK))
    return text if len(text) <= 60 else text[:60] + " …"


def number_of(value: Any) -> float | None:
    """A number, or a text that is one; None for anything else, for NaN and for infinities."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def key_of(value: Any) -> Key | None:
    """An id to compare with others: 1, 1.0 and "1" are the same. None where it is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        text = None if value.startswith(MARK) else value or None
        return int(value) if WHOLE.fullmatch(value) else text
    return value if isinstance(value, int) else None


def read_records(records: Records, path: pathlib.Path) -> Columns:
    """Decodes records leniently; those that cannot be read are left out with a note.

    Raises:
        DataError: too many records cannot be read, or no annotation has a box.
    """
    columns = Columns(categories=records.categories)
    _read_images(records, path, columns)
    _read_annotations(records, path, columns)
    return columns


def _decode(
    record: msgspec.Raw, decoder: "msgspec.json.Decoder[Any]", keys: tuple[str, ...]
) -> Any:
    """One record; raises BadRecord if it cannot be read, or one of these keys occurs twice."""
    try:
        found = decoder.decode(record)
    except msgspec.ValidationError as error:
        text = bytes(record)
        if text.startswith(b"{"):
            raise BadRecord(f"its values must be readable. Received: {error}") from None
        start = text[:60].decode(errors="replace")
        raise BadRecord(f"it must be an object in braces. Received: {start}") from None
    again = repeated_keys(bytes(record), keys) if keys else []
    if again:
        raise BadRecord(f"a key may occur only once. Received: {again[0]!r} twice")
    return found


def _read_images(records: Records, path: pathlib.Path, columns: Columns) -> None:
    bad = BadRecords("images", str(path))
    decoder = msgspec.json.Decoder(_Image)
    sizes = []
    for i, record in enumerate(records.images):
        image = None
        try:
            image = _decode(record, decoder, records.image_keys)
            key, name, size = _image_id(image), _file_name(image), _size(image)
        except BadRecord as error:
            bad.add(f"{path}, images[{i}]", str(error))
            lost = None if image is None else key_of(image.id)
            columns.lost_images |= set() if lost is None else {lost}
            continue
        columns.image_keys.append(key)
        columns.image_ids.append(key if isinstance(image.id, float) else image.id)
        columns.image_names.append(name)
        sizes.append(size)
    columns.image_sizes = np.array(sizes, np.int64).reshape(-1, 2)
    columns.notes += _notes(bad, len(records.images))


def _image_id(image: _Image) -> Key:
    key = key_of(image.id)
    if key is None:
        raise refuse("`id` must be a whole number or a string", image.id)
    return key


def _file_name(image: _Image) -> str:
    name, url = image.file_name, image.coco_url
    if (name is msgspec.UNSET or not name) and isinstance(url, str) and "/" in url:
        return "/".join(url.split("/")[-2:])  # LVIS gives no other name
    if not isinstance(name, str) or not name.strip() or "\0" in name or MARK in name:
        raise refuse("`file_name` must be the name of an image", name)
    return name


def _size(image: _Image) -> tuple[int, int]:
    """(height, width), 0 where not given."""
    sides = []
    for field in ("height", "width"):
        value = getattr(image, field)
        side = 0.0 if value is None or value == "" else number_of(value)
        if side is None or not 0 <= side < MAX_PIXELS or side != int(side):
            raise refuse(f"`{field}` must be a whole number of pixels", value)
        sides.append(int(side))
    return sides[0], sides[1]


class _Objects:
    """Gathers the columns of the objects, and the places of what is odd about them."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.boxes, self.area, self.crowd = array("d"), array("d"), array("b")
        self.rows = array("q")
        self.without: list[int] = []
        self.computed: list[int] = []
        self.bad_areas: list[int] = []

    def add(self, row: int, each: _Annotation) -> None:
        """Takes one annotation; raises BadRecord where it cannot be read."""
        image, category = _id(each, "image_id"), _id(each, "category_id")
        box, crowd, area = _box(each.bbox), _crowd(each.iscrowd), _area(each.area)
        if box is None:
            box = _box_of_segmentation(each.segmentation)
            (self.without if box is None else self.computed).append(row)
        if box is None:
            return
        if area is None:
            self.bad_areas.append(row)
        self.columns.image_of.append(image)
        self.columns.category_of.append(category)
        self.columns.object_ids.append(each.id)
        self.boxes.extend(box)
        self.crowd.append(crowd)
        self.area.append(math.nan if area is None else area)
        self.rows.append(row)

    def finish(self, path: pathlib.Path) -> None:
        """Puts the arrays and the notes into the columns."""
        columns = self.columns
        columns.boxes = np.array(self.boxes, np.float64).reshape(-1, 4)
        columns.crowd, columns.area = np.array(self.crowd, bool), np.array(self.area, np.float64)
        columns.rows = np.array(self.rows, np.int64)
        total = len(self.rows) + len(self.without)
        kinds: tuple[tuple[NoteCode, list[int], str, str], ...] = (
            (
                "annotations-without-box",
                self.without,
                counted(total, "annotation"),
                "left out: without a box",
            ),
            (
                "boxes-of-shapes",
                self.computed,
                counted(total, "box", "boxes"),
                "taken from `segmentation`, as `bbox` is empty",
            ),
            (
                "areas-replaced",
                self.bad_areas,
                counted(total, "area"),
                "replaced by the area of the box: not numbers",
            ),
        )
        for code, rows, all_of_them, text in kinds:
            if rows:
                few = f"{len(rows)} of {all_of_them} {text}"
                first = f"{path}, annotations[{rows[0]}]"
                columns.notes.append(Note(code, few, len(rows), total, first))


def _read_annotations(records: Records, path: pathlib.Path, columns: Columns) -> None:
    bad = BadRecords("annotations", str(path))
    decoder = msgspec.json.Decoder(_Annotation)
    objects = _Objects(columns)
    for i, record in enumerate(records.annotations):
        try:
            objects.add(i, _decode(record, decoder, records.object_keys))
        except BadRecord as error:
            bad.add(f"{path}, annotations[{i}]", str(error))
    columns.notes += _notes(bad, len(records.annotations))
    if objects.without and not objects.rows:
        raise _no_box(path, objects.without[0], len(records.annotations))
    objects.finish(path)


def _notes(bad: BadRecords, total: int) -> list[Note]:
    """The notes about bad records; DataError where they are too many, or no other one is left."""
    notes = bad.notes(total)
    if bad.count and bad.count == total:
        raise DataError(
            f"At least one of the {bad.what} must be readable. Received: none in {bad.source}; "
            f"{bad.reasons[0]}. Correct it, or export the annotations again."
        )
    return notes


def _no_box(path: pathlib.Path, row: int, total: int) -> DataError:
    return DataError(
        "Annotations for detection must hold boxes (`bbox`), four numbers [x, y, width, height], "
        f"or polygons (`segmentation`). Received: neither in {path}, annotations[{row}], and "
        f"none of {counted(total, 'annotation')} has a box. Export them with boxes."
    )


def _id(annotation: _Annotation, field: str) -> Key:
    value = getattr(annotation, field)
    key = key_of(value)
    if key is None:
        raise refuse(f"`{field}` must be a whole number or a string", value)
    return key


def _box(value: Any) -> list[float] | None:
    """Four numbers, also in one text such as "[1, 2, 3, 4]"; None where there is no box."""
    if isinstance(value, str) and SEVERAL.fullmatch(value):
        value = re.findall(r"[^\s,\[\]()]+", value)
    if value is None or (isinstance(value, (list, str)) and len(value) == 0):
        return None
    nested = isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)
    numbers = value[0] if nested else value
    box = [number_of(side) for side in numbers] if isinstance(numbers, list) else []
    if nested and not numbers:
        return None
    sides = [side for side in box if side is not None and abs(side) < MAX_PIXELS]
    if len(box) != 4 or len(sides) != 4:
        raise refuse("`bbox` must be four numbers [x, y, width, height]", value)
    return sides


def _box_of_segmentation(raw: msgspec.Raw) -> list[float] | None:
    try:
        box = box_of(msgspec.json.decode(raw))
    except msgspec.ValidationError:
        return None
    return box if box and all(abs(side) < MAX_PIXELS for side in box) else None


def _crowd(value: Any) -> bool:
    known = truth(value)
    if known is None or (known and isinstance(value, (int, float)) and value != 1):
        raise refuse("`iscrowd` must be 0 or 1", value)
    return known


def _area(value: Any) -> float | None:
    """Square pixels, NaN where not given; None where it is no number."""
    if value is None or value == "":
        return math.nan
    return number_of(value)
