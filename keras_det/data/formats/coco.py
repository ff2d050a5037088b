"""Reads COCO's JSON annotations: instances, keypoints (their boxes), image lists."""

import os
import pathlib
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.formats.coco_categories import all_categories, check_categories, dummy_classes
from keras_det.data.formats.coco_file import Columns, Key, Records, damage, open_file
from keras_det.data.formats.coco_kind import KINDS, READ_ELSEWHERE, kind_of
from keras_det.data.formats.coco_layout import (
    ANNOTATION_FOLDERS,
    coco_splits,
    image_folders,
    names_a_split,
    other_files,
    split_of,
)
from keras_det.data.formats.coco_records import read_records
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError
from keras_det.words import counted

# In pixels. No image has so many; larger numbers are damaged.
MAX_AREA = 1e12
# Of fewer images with objects it is not told whether their ids are counted from another number.
FEW = 5


def read_coco(
    path: str | os.PathLike,
    *,
    image_dir: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    split: str | None = None,
) -> Dataset:
    """Reads one COCO annotation file.

    Category ids may start anywhere and have gaps. Categories sorted by id become labels 0..K-1, and
    `Dataset.category_ids` keeps the ids. `iscrowd` becomes `crowd`. `area` is the annotation's (of
    the mask). Of a keypoint file, only the boxes are read. An image list (`image_info_*.json`)
    gives images without objects. An annotation without `bbox` gets the bounding box of its
    `segmentation`.

    Args:
        path: the `.json` file.
        image_dir: folder of the images. None looks next to the file and in COCO's layout.
        class_names: the classes in the order of their labels, e.g. `model.class_names`. None takes
            the file's.
        name: name of the data set in messages. None takes the folder's name.
        split: name of the split; stored in `Dataset.split` and used to find the images.

    Returns:
        A `Dataset`. One warning lists what was left out or clipped.

    Raises:
        DataError: the file, its content or its images are missing or wrong.
    """
    path = pathlib.Path(path)
    raw = read(Source(path, name, split), options_of(class_names, image_dir))
    return assemble(raw, options_of(class_names, image_dir))


class Source(NamedTuple):
    """One annotation file.

    Attributes:
        path: the file.
        name: of its data set; None where not known.
        split: None where not known.
        splits: the files of all splits of the data set, which share one list of classes.
    """

    path: pathlib.Path
    name: str | None
    split: str | None
    splits: tuple[pathlib.Path, ...] = ()


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one annotation file; see `read_coco`."""
    path, name, split, splits = source
    columns = _open(path)
    image_index = _join_images(columns, path)
    where = _where(path, columns)
    categories = check_categories(columns, path)
    label = {key: i for i, key in enumerate(categories)}
    labels = _lookup(columns.category_of, label)
    if (labels < 0).any():
        raise _unknown_category(columns, categories, labels, where)
    names = list(categories.values())
    ids: list[Any] = list(categories)
    if splits and options.class_names is None:
        names, ids, new = all_categories(categories, path, splits)
        labels = new[labels] if len(new) else labels
    parent = path.parent
    parent = parent.parent if parent.name.lower() in ANNOTATION_FOLDERS else parent
    raw = RawAnnotations(
        source=str(path),
        name=name or parent.name,
        split=split,
        class_names=names,
        category_ids=ids,
        image_names=columns.image_names,
        image_ids=columns.image_ids,
        image_sizes=columns.image_sizes,
        image_index=image_index,
        boxes=columns.boxes,
        labels=labels,
        crowd=columns.crowd,
        area=columns.area,
        where=where,
        folders=image_folders(path, split),
        box_format="xywh",
        notes=columns.notes,
        dummy_classes=dummy_classes(columns),
    )
    _drop_objects_of_lost_images(raw, columns)
    _check_join(raw, columns)
    return raw


def _open(path: pathlib.Path) -> Columns:
    """The columns of the file, with NaN for areas that no object has."""
    opened = open_file(path)
    try:
        columns = opened if isinstance(opened, Columns) else read_records(opened, path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        data = opened.data if isinstance(opened, Records) else b""
        raise damage(path, data, error) from error
    zero = np.flatnonzero((columns.area <= 0) | (columns.area > MAX_AREA))
    if len(zero):
        first = _where(path, columns)(int(zero[0]))
        total = len(columns.area)
        text = (
            f"{len(zero)} of {counted(total, 'area')} replaced by the area of the box: 0 or less, "
            "or too large"
        )
        columns.notes.append(Note("areas-replaced", text, len(zero), total, first))
        columns.area[zero] = np.nan
    return columns


def _where(path: pathlib.Path, columns: Columns) -> Callable[[int], str]:
    def where(row: int) -> str:
        place = row if columns.rows is None else columns.rows[row]
        number = columns.object_ids[row]
        return f"{path}, annotations[{place}]" + ("" if number is None else f" (id {number})")

    return where


def _lookup(keys: Sequence[Key], table: dict[Key, int]) -> np.ndarray:
    """The number of each key, -1 where it has none."""
    return np.fromiter(map(table.get, keys, repeat(-1)), np.int64, len(keys))


def _join_images(columns: Columns, path: pathlib.Path) -> np.ndarray:
    """Returns the image of each object; images that are listed twice become one."""
    keys = columns.image_keys
    index = {key: i for i, key in reversed(list(enumerate(keys)))}
    if len(index) < len(keys):
        _merge_images(columns, index, path)
        index = {key: i for i, key in enumerate(columns.image_keys)}
    return _lookup(columns.image_of, index)


def _merge_images(columns: Columns, index: dict[Key, int], path: pathlib.Path) -> None:
    """Keeps the first of the images with one id; DataError where they are different files."""
    keys, names, ids = columns.image_keys, columns.image_names, columns.image_ids
    twice = [i for i, key in enumerate(keys) if index[key] != i]
    for i in twice:
        first = index[keys[i]]
        if names[first].replace("\\", "/") != names[i].replace("\\", "/"):
            raise DataError(
                "Two images must not share an id (1 and '1' are the same). Received: id "
                f"{ids[first]!r} of {names[first]!r} and id {ids[i]!r} of {names[i]!r} in {path}. "
                "Give each image its own id, in `images` and in its annotations."
            )
    text = (
        f"{len(twice)} of {counted(len(names), 'image')} listed more than once, with the same id "
        "and file"
    )
    place = f"{names[twice[0]]!r}, id {ids[twice[0]]!r}"
    columns.notes.append(Note("images-listed-twice", text, len(twice), len(names), place))
    kept = sorted(index.values())
    columns.image_keys = [keys[i] for i in kept]
    columns.image_ids = [ids[i] for i in kept]
    columns.image_names = [names[i] for i in kept]
    columns.image_sizes = columns.image_sizes[kept]


def _unknown_category(
    columns: Columns,
    categories: dict[Key, str],
    labels: np.ndarray,
    where: Callable[[int], str],
) -> DataError:
    lost = np.flatnonzero(labels < 0)
    row = int(lost[0])
    key = columns.category_of[row]
    same = sum(columns.category_of[i] == key for i in lost)
    more = f", one of {same:,} annotations with it" if same > 1 else ""
    if key in categories.values():
        number = next(i for i, name in categories.items() if name == key)
        return DataError(
            f"`category_id` must be the id of a category. Received: its name {key!r} in "
            f"{where(row)}. Write the id {number!r}, or make the name the `id` in `categories`."
        )
    shift = _shift(set(columns.category_of), set(categories))
    if shift:
        return DataError(
            f"Every `category_id` must be listed in `categories`. Received: {key!r} in "
            f"{where(row)}{more}. Ids that are {abs(shift)} "
            f"{'smaller' if shift > 0 else 'larger'} are all listed, so `categories` and "
            "annotations seem to be counted from different numbers. Compare an object with its "
            "image, and correct the ids in `categories`."
        )
    return DataError(
        f"Every `category_id` must be listed in `categories`. Received: {key!r} in {where(row)}"
        f"{more}. Add the category to the file, or remove the annotations."
    )


def _shift(used: set[Key], listed: set[Key]) -> int:
    """1 or -1 where all ids in use minus this are listed, as if counted from another number."""
    if not all(isinstance(key, int) for key in used | listed):
        return 0
    for shift in (1, -1):
        if {key - shift for key in used if isinstance(key, int)} <= listed:
            return shift
    return 0


def _drop_objects_of_lost_images(raw: RawAnnotations, columns: Columns) -> None:
    if not columns.lost_images:
        return
    listed = raw.image_index >= 0
    lost = np.array([key in columns.lost_images for key in columns.image_of], bool) & ~listed
    if lost.any():
        first = raw.where(int(np.flatnonzero(lost)[0]))
        count = int(lost.sum())
        text = (
            f"{count} of {counted(len(lost), 'annotation')} left out: the entry of their image is "
            "unreadable"
        )
        raw.notes.append(Note("records-of-lost-images", text, count, len(lost), first))
        raw.keep_rows(~lost)


def _check_join(raw: RawAnnotations, columns: Columns) -> None:
    """Refuses a file in which no object belongs to a listed image, or each to its neighbour."""
    lost = np.flatnonzero(raw.image_index < 0)
    if not len(lost):
        return
    listed = ", ".join(repr(key) for key in columns.image_ids[:3]) or "none"
    rule = "`image_id` of an annotation must be the `id` of an entry of `images`. Received: "
    if len(lost) == len(raw.labels):
        raise DataError(
            f"{rule}{columns.image_of[0]!r} in {raw.where(0)}, and no annotation matches an image; "
            f"the first images have the ids {listed}. Export images and annotations together."
        )
    used, images = set(columns.image_of), set(columns.image_keys)
    many = len(used - images) == 1 and len(used) >= max(FEW, len(images) // 2)
    shift = _shift(used, images) if many else 0
    if shift:
        first = int(lost[0])
        raise DataError(
            f"{rule}{sorted(map(str, used - images))[0]} in {raw.where(first)}, which is not "
            f"listed; the first images have the ids {listed}. Ids that are 1 "
            f"{'smaller' if shift > 0 else 'larger'} are all listed, so the objects seem to belong "
            "to the image before or after. Compare an object with its image, and correct the ids "
            "of the images; or remove the annotations of this id."
        )


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder in COCO's layouts, or a COCO file as the only one."""
    if path.is_file():
        if path.suffix.lower() != ".json" or kind_of(path) in READ_ELSEWHERE:
            return None
        return Layout(path, {}, Source(path, None, split_of(path)))
    files = coco_splits(path)
    if not files:
        return None
    every = tuple(files.values()) if len(files) > 1 else ()
    found = {name: Source(file, path.name, name, every) for name, file in files.items()}
    only = next(iter(found)) if len(found) == 1 else ""
    whole = found[only] if only and not names_a_split(only) else None
    return Layout(path, found, whole)


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that is COCO's, but holds no boxes."""
    if not path.is_dir():
        return None
    for file, kind in other_files(path):
        named = file.relative_to(path).as_posix()
        if kind == "no_json":
            return f"has {named}, which is empty or not JSON"
        if kind not in READ_ELSEWHERE:
            return f"has {named}, which holds {KINDS[kind].what}; no instances_*.json with boxes"
    return None


FORMAT = Format(
    name="coco",
    title="COCO",
    tree="annotations/instances_train.json beside the folder train/, or _annotations.coco.json "
    "inside it, or a COCO .json beside its images",
    find=find,
    read=read,
    resembles=resembles,
)
