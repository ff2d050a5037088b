"""Reads boxes from CSV files: one row for each object, a header or a known order of columns."""

import functools
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.formats.csv_layout import class_ids, find, resembles
from keras_det.data.formats.csv_rows import Rows, Source, read_rows
from keras_det.data.formats.split_names import read_path
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords, Format, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError
from keras_det.words import counted

# The name of the class where a file has no column for it.
ONLY_CLASS = "object"
# Boxes count as normalised where more than this part of them lies within 0..1.
RELATIVE_SHARE = 0.5
ANNOTATIONS = {"annotations", "labels", "csv"}
FOLDERS = ("", "images", "data", "JPEGImages", "img")


def read_csv(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads boxes from CSV files with one row for each object.

    The header names the columns: the image (`filename`, `image_id`, …), the class (`class`,
    `label`, `LabelName`, …), the box (`xmin, ymin, xmax, ymax`; `x, y, width, height`;
    `cx, cy, w, h`; or `bbox` with [x, y, width, height]), the size of the image, `IsGroupOf`, and
    the split. Without a header, keras-retinanet's `path,x1,y1,x2,y2,class` and Google's
    `set,path,label,x,y,,,x,y,,` are read. A row without a box means an image without objects.

    Args:
        path: a .csv or .tsv file, or the folder of train.csv, val.csv, test.csv, or of folders
            train, valid, test with one file each.
        split: name of the split. None reads all rows.
        class_names: the classes in the order of their labels. None takes a list of classes and ids
            (`classes.csv`, `class-descriptions-boxable.csv`), else the names found, sorted.
        image_dir: folder of the images. None looks next to the files and in the usual folders.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: the columns, the rows, the split or the images are missing or wrong.
    """
    rule = "A CSV data set must hold .csv files with columns for the image, the class and the box"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split; see `read_csv`."""
    title = ", ".join(str(table.path) for table in source.tables)
    bad = BadRecords("rows", title)
    rows = read_rows(source, source.tables, source.value, bad)
    file, line = _joined(rows.file), _joined(rows.line)
    boxes = np.concatenate([np.zeros((0, 4)), *rows.boxes])
    index, label = _joined(rows.image_index), _joined(rows.label_index)

    def where(row: int) -> str:
        return f"{source.tables[file[row]].path}, line {line[row]}"

    whole = functools.cache(lambda: _all_rows(source, rows))
    names, ids, place, notes = _classes(source, rows, whole)
    known = _known(rows, place, label, bad, where)
    raw = RawAnnotations(
        source=title,
        name=source.root.absolute().name,
        split=source.split,
        class_names=names,
        category_ids=ids,
        image_names=list(rows.images),
        image_ids=list(rows.images),
        image_sizes=np.array(rows.sizes, np.int64).reshape(-1, 2),
        image_index=index,
        boxes=boxes,
        labels=place[label],
        crowd=np.concatenate([np.zeros(0, bool), *rows.crowd]),
        area=np.full(len(index), np.nan),
        where=where,
        folders=_folders(source),
        box_format=_box_format(source, boxes),
        all_names=lambda: whole().images,
        notes=[*notes, *_notes(rows), *bad.notes(rows.total)],
    )
    if not raw.image_names:
        raise DataError(
            f"A CSV file must hold rows. Received: no row of {source.split or 'any split'} in "
            f"{title}. Export the annotations again."
        )
    raw.keep_rows(known)
    return raw


def _known(
    rows: Rows, place: np.ndarray, label: np.ndarray, bad: BadRecords, where: Callable[[int], str]
) -> np.ndarray:
    """Which objects are of a class in the list of classes."""
    known = (place >= 0)[label]
    written = list(rows.labels)
    for row in np.flatnonzero(~known).tolist():
        received = written[label[row]]
        bad.add(where(row), f"the class must be in the list of classes. Received: {received!r}")
    return known


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _all_rows(source: Source, rows: Rows) -> Rows:
    """The rows of every split; those of a split, where there is no other one."""
    if source.value is None and len(source.all_tables) == len(source.tables):
        return rows
    return read_rows(source, source.all_tables, None, BadRecords("rows", ""))


def _classes(
    source: Source, rows: Rows, whole: Callable[[], Rows]
) -> tuple[list[str], list[int], np.ndarray, list[Note]]:
    """The classes of the whole data set, their ids, and the place of each written class, or -1."""
    if any(table.columns.label is None for table in source.all_tables):
        note = f"No column holds the class: all objects get one class, called {ONLY_CLASS!r}."
        return [ONLY_CLASS], [0], np.zeros(len(rows.labels), np.int64), [Note("classes-from", note)]
    written = dict.fromkeys(rows.labels)
    listed = class_ids(source)
    if listed is not None:
        id_of, name_of, path = listed
        if any(name in id_of or name in name_of for name in written) or not written:
            names = list(id_of)
            order = {name: i for i, name in enumerate(names)}
            place = [order.get(name_of.get(name, name), -1) for name in written]
            note = Note("classes-from", f"Class names are from {path}.")
            return names, list(id_of.values()), np.array(place, np.int64), [note]
    written.update(dict.fromkeys(whole().labels))
    # Numbers sort as numbers: "2" before "10".
    names = sorted(written, key=lambda name: (name.isdecimal(), len(name) * name.isdecimal(), name))
    order = {name: i for i, name in enumerate(names)}
    place = [order[name] for name in rows.labels]
    return names, list(range(len(names))), np.array(place, np.int64), []


def _box_format(source: Source, boxes: np.ndarray) -> str:
    """The format of the boxes; normalised where this kind of file is and the boxes agree."""
    columns = source.tables[0].columns
    inside = ((boxes >= -0.01) & (boxes <= 1.01)).all(axis=1)
    if columns.relative and (not len(boxes) or inside.mean() > RELATIVE_SHARE):
        return f"rel_{columns.box_format}"
    return columns.box_format


def _notes(rows: Rows) -> list[Note]:
    notes = []
    if rows.without_box:
        text = (
            f"Rows with a class but no box: {rows.without_box}. Their images are kept, without "
            "these objects"
        )
        first = rows.first_without
        notes.append(Note("annotations-without-box", text, rows.without_box, first=first))
    if rows.unclear:
        text = (
            f"{counted(rows.unclear, 'object')} read as single objects: the mark of a group of "
            "objects is neither 0 nor 1"
        )
        notes.append(Note("objects-reread", text, rows.unclear, first=rows.first_unclear))
    return notes


def _folders(source: Source) -> list[pathlib.Path]:
    """Where the images may lie: beside the files, then in the usual folders."""
    tops = list(dict.fromkeys([*(table.path.parent for table in source.tables), source.root]))
    tops += [
        table.path.parent.parent for table in source.tables if table.path.parent != source.root
    ]
    tops += [source.root.parent] if source.root.name.lower() in ANNOTATIONS else []
    found = [top / name for top in dict.fromkeys(tops) for name in FOLDERS]
    for name in _spellings(source.split):
        found += [source.root / name, source.root / name / "images", source.root / name / "data"]
        found += [source.root / "images" / name]
    if source.split is None:
        for each in ("train", "val", "valid", "test"):
            found += [source.root / each, source.root / "images" / each]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()] or [source.root]


def _spellings(split: str | None) -> list[str]:
    if split is None:
        return []
    return ["val", "valid", "validation"] if split == "val" else [split]


FORMAT = Format(
    name="csv",
    title="CSV",
    tree="train.csv with the columns filename, class, xmin, ymin, xmax, ymax",
    find=find,
    read=read,
    resembles=resembles,
)
