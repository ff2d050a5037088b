"""Reads data sets of Hugging Face: in Python, or folders of images with metadata.jsonl."""

import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.formats.hugging_face_files import FILES, metadata_rows, split_name, splits_of
from keras_det.data.formats.object_rows import LABELS, Columns, Rows, index_of, raw_of, read_rows
from keras_det.data.image import read_size
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.data.unpacking import UnpackedImages
from keras_det.errors import DataError, install_hint, suggest
from keras_det.files import read_bytes
from keras_det.names import BOX_FORMATS

# A reading is taken where this share of the boxes fits their images …
FITTING = 0.98
MARGIN = 0.02  # … leaving them by no more than this share of a side, or a pixel


def from_hugging_face(
    dataset: Any,
    *,
    image_column: str = "image",
    objects_column: str = "objects",
    bounding_box_format: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads one split of a Hugging Face data set with a column of objects.

    The objects are a dictionary of lists or a list of dictionaries, with a box (`bbox`, `boxes`)
    and a class (`category`, `label`, …). Images that are not files are written once into
    `image_dir`: encoded bytes unchanged, pixels as PNG.

    Args:
        dataset: a `datasets.Dataset`, or any rows: `{"image": …, "objects": …}`.
        image_column: column of the images.
        objects_column: column of the objects.
        bounding_box_format: how the boxes are written, such as "xywh" or "xyxy". None compares both
            with the images, and refuses boxes that could be either.
        class_names: the classes in the order of their labels. None takes the names of the column's
            `ClassLabel`, else the texts of the objects in this split. Numbers without names count
            from 0 in this list.
        image_dir: folder into which the images are written. Needed if they are not files.

    Returns:
        A `Dataset`. One warning lists what was left out, changed or decided.

    Raises:
        DataError: a column is missing, its values cannot be read, or the format of the boxes or the
            names of the classes are unknown.
    """
    if bounding_box_format is not None and bounding_box_format not in BOX_FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {', '.join(BOX_FORMATS)}. Received: "
            f"{bounding_box_format!r}.{suggest(bounding_box_format, BOX_FORMATS)} Leave it out to "
            "have it found by the images."
        )
    columns = Columns(image_column, objects_column)
    _check_columns(dataset, columns)
    options = options_of(class_names, image_dir, box_format=bounding_box_format)
    images = None if image_dir is None else UnpackedImages(pathlib.Path(image_dir))
    features = getattr(dataset, "features", None) or {}
    dataset = _undecoded(dataset, features.get(image_column), image_column)

    def place(row: int) -> str:
        return f"row {row}"

    split = getattr(dataset, "split", None)
    info = getattr(dataset, "info", None)
    name = getattr(info, "dataset_name", None) or "dataset"
    found = read_rows(dataset, columns, images, place, name)
    known = _class_label(features.get(objects_column))
    names, labels = _classes(found, known, options, place, (), name)
    found.notes[:0] = images.notes() if images else []
    folders = [*([images.folder] if images else []), pathlib.Path()]
    raw = raw_of(
        found,
        names,
        labels,
        place,
        source=name,
        name=name,
        split=str(split) if split else None,
        folders=folders,
    )
    _choose_format(raw, options, folders)
    try:
        return assemble(raw, options._replace(image_dir=None))
    except DataError as error:
        raise DataError(_own_argument(str(error))) from error


def _undecoded(dataset: Any, feature: Any, column: str) -> Any:
    """The data set with the encoded bytes of its images instead of pixels."""
    if type(feature).__name__ != "Image":
        return dataset
    return dataset.cast_column(column, type(feature)(decode=False))


def _own_argument(message: str) -> str:
    """The advice of a message with the name that `from_hugging_face` gives to `box_format`."""
    return re.sub(r"\bbox_format=( ?\S*) \(--box-format[^)]*\)", r"bounding_box_format=\1", message)


def _check_columns(dataset: Any, columns: Columns) -> None:
    if isinstance(dataset, (str, os.PathLike)):
        raise TypeError(
            "`dataset` must be a loaded data set. Received: the text "
            f"{os.fspath(dataset)!r}. Load it first: datasets.load_dataset({os.fspath(dataset)!r}, "
            f'split="train"). The package is installed with {install_hint("hf-datasets")}.'
        )
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset))
        raise DataError(
            "`dataset` must be one split of a data set. Received: a dictionary of the splits "
            f'{splits}. Give one of them, such as dataset["{next(iter(dataset), "train")}"].'
        )
    names = getattr(dataset, "column_names", None)
    for argument, column in (("image_column", columns.image), ("objects_column", columns.objects)):
        if names is not None and column not in names:
            raise DataError(
                f"`{argument}` must be a column of the data set. Received: {column!r}; the columns "
                f"are {', '.join(names)}.{suggest(column, names)} Give the right one."
            )


def _class_label(feature: Any) -> list[str]:
    """The names of the `ClassLabel` of objects, in any of the ways to declare them."""
    for _ in range(4):
        if isinstance(feature, (list, tuple)) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, Mapping):
            feature = next((feature[key] for key in LABELS if key in feature), None)
        elif hasattr(feature, "feature"):
            feature = feature.feature
    return list(getattr(feature, "names", None) or ())


def _classes(
    found: Rows,
    known: Sequence[str],
    options: ReadOptions,
    place: Any,
    other_labels: Iterable[int | str],
    source: str,
) -> tuple[list[str], np.ndarray]:
    """The names of the classes and the index of each object's."""
    names = list(known)
    texts = {label for label in (*found.labels, *other_labels) if isinstance(label, str)}
    numbers = [label for label in found.labels if isinstance(label, int)]
    if not names and numbers and options.class_names is None:
        raise DataError(
            "The classes of objects must have names. Received: numbers up to "
            f"{max(numbers)} without names in {source}; first: {place(found.where[0][0])}. Give "
            "class_names= (--classes), in the order of these numbers from 0."
        )
    if not names and numbers and texts:
        raise DataError(
            "The classes of objects must be all numbers or all names. Received: both in "
            f"{source}. Write them in one way."
        )
    if not names and numbers:
        names = list(options.class_names or ())
        text = (
            f"Classes are numbers without names: 0 is {names[0]!r}, as the first class name given."
        )
        found.notes.append(Note("classes-from", text))
    elif not names:
        names = sorted(texts)
        if names and options.class_names is None:
            text = "The classes are the texts of the objects, in alphabetical order."
            found.notes.append(Note("classes-from", text))
    return names, index_of(found, names, place, "Correct it, or give all class names.")


def _choose_format(
    raw: RawAnnotations, options: ReadOptions, folders: Sequence[pathlib.Path]
) -> None:
    """Decides between xywh and xyxy by the images, with a note."""
    raw.box_format = "xywh"  # as Hugging Face's documents have it
    if options.box_format is not None or not len(raw.boxes):
        return
    sizes = _sizes(raw, folders)[raw.image_index]
    used = (sizes > 0).all(axis=1)
    boxes, sides = raw.boxes[used], np.tile(sizes[used][:, ::-1], 2)
    if not len(boxes):
        return
    margin = np.maximum(1.0, MARGIN * sides[:, 2:])
    ends = {"xywh": boxes[:, :2] + boxes[:, 2:], "xyxy": boxes[:, 2:]}
    shares = {}
    for form, end in ends.items():
        begin = boxes[:, :2]
        fits = (begin >= -margin) & (end > begin) & (end <= sides[:, 2:] + margin)
        shares[form] = float(fits.all(axis=1).mean())
    fitting = [form for form, share in shares.items() if share >= FITTING]
    row = int(np.flatnonzero(used)[0])
    if len(fitting) > 1 and (np.abs(boxes) <= 1 + MARGIN).mean() < FITTING:
        values = ", ".join(f"{value:g}" for value in raw.boxes[row])
        raise DataError(
            "The format of the boxes must be known. Received: "
            f"[{values}] in {raw.where(row)}; all boxes fit their images both as xywh [x, y, "
            "width, height] and as xyxy [x1, y1, x2, y2]. Compare one box with its image, and give "
            'bounding_box_format="xywh" or "xyxy" (--box-format).'
        )
    if len(fitting) == 1:
        raw.box_format = fitting[0]
        text = (
            f"Boxes are read as {fitting[0]}: {shares[fitting[0]]:.0%} fit their images, "
            + ", ".join(f"{s:.0%} as {form}" for form, s in shares.items() if form != fitting[0])
            + "."
        )
        raw.notes.append(Note("boxes-format-chosen", text))


def _sizes(raw: RawAnnotations, folders: Sequence[pathlib.Path]) -> np.ndarray:
    """(height, width) of the images with objects, 0 where unknown."""
    sizes = raw.image_sizes.copy()
    for i in np.unique(raw.image_index):
        if (sizes[i] > 0).all():
            continue
        for folder in folders:
            path = folder / raw.image_names[i]
            if path.is_file():
                try:
                    sizes[i] = read_size(path)
                except DataError:  # a broken image is judged with all others
                    pass
                break
    return sizes


class Source(NamedTuple):
    """The file with metadata of one split.

    Attributes:
        file: `metadata.jsonl` or `metadata.csv`.
        root: the folder of the data set.
        split: its name, or None.
        every: the files of all splits, which share one list of classes.
    """

    file: pathlib.Path
    root: pathlib.Path
    split: str | None
    every: tuple[pathlib.Path, ...]


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split of a folder of images with metadata.jsonl or metadata.csv."""
    file, root, split, every = source
    columns = Columns("file_name", "objects")
    rows, lines, unreadable = metadata_rows(file)

    def place(row: int) -> str:
        return f"{file}, line {lines[row]}"

    found = read_rows(rows, columns, None, place, os.fspath(file))
    found.notes[:0] = unreadable
    others: list[int | str] = []
    if options.class_names is None:
        for other in every:
            if other != file:
                other_rows, _, _ = metadata_rows(other)
                others += read_rows(other_rows, columns, None, str, os.fspath(other)).labels
    names, labels = _classes(found, _class_file(root), options, place, others, os.fspath(file))
    raw = raw_of(
        found,
        names,
        labels,
        place,
        source=os.fspath(file),
        name=root.absolute().name,
        split=split,
        folders=[file.parent],
    )
    _choose_format(raw, options, raw.folders if options.image_dir is None else [options.image_dir])
    return raw


def _class_file(root: pathlib.Path) -> list[str]:
    """The names in a file beside the metadata, one per line."""
    for name in ("class_names.txt", "classes.txt", "labels.txt"):
        try:
            lines = read_bytes(root / name).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        return [line.strip() for line in lines if line.strip()]
    return []


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder with metadata.jsonl or metadata.csv, or one such file."""
    splits = splits_of(path)
    if not splits:
        return None
    root = path if path.is_dir() else path.absolute().parent
    every = tuple(splits.values())
    found = {
        name: Source(file, root, name or split_name(root), every) for name, file in splits.items()
    }
    if path.is_file() or None in found:
        return Layout(path, {}, next(iter(found.values())))
    return Layout(path, {str(name): source for name, source in found.items()})


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that is Hugging Face's, but holds no boxes."""
    for name in FILES:
        if (path / name).is_file():
            return f"has {name}, but without `file_name` and `objects` with boxes"
    return None


FORMAT = Format(
    name="hugging_face",
    title="Hugging Face image folder",
    tree="metadata.jsonl with `file_name` and `objects` beside the images, or in train/",
    find=find,
    read=read,
    resembles=resembles,
)
