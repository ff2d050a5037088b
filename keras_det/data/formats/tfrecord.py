"""Reads TFRecord files with the keys of the TensorFlow Object Detection API."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.formats.label_map import find_label_map
from keras_det.data.formats.tfrecord_classes import Where, by_label_map, by_text
from keras_det.data.formats.tfrecord_examples import (
    CROWDS,
    Examples,
    classes_in,
    finite,
    read_examples,
)
from keras_det.data.formats.tfrecord_shards import Group, group_of, groups_in, missing_shards
from keras_det.data.notes import Note
from keras_det.data.raw import (
    BadRecords,
    Format,
    Layout,
    RawAnnotations,
    ReadOptions,
    options_of,
)
from keras_det.data.unpacking import FOLDER, UnpackedImages
from keras_det.errors import DataError, suggest
from keras_det.words import counted


def read_tfrecord(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads TFRecord files of the TensorFlow Object Detection API.

    The images inside the records are written once, unchanged, into a folder: a `Dataset` names
    files. Boxes are normalised (0 to 1). `is_crowd`, `difficult` and `group_of` become `crowd`:
    training leaves these objects out and evaluation ignores them.

    Args:
        path: a TFRecord file, or the folder of the shards. Its label map (`*.pbtxt`) lies in the
            same folder or the one above. Without one the texts of the objects are the classes.
        split: name of the split, as in the names of the files or their folders. None takes the
            only one.
        class_names: the classes in the order of their labels. None takes the label map's.
        image_dir: folder in which the images are unpacked, and searched. None takes
            `unpacked_images` beside the files.

    Returns:
        A `Dataset`. One warning lists what was left out or changed.

    Raises:
        DataError: a file is damaged, has other keys, or its annotations are wrong.
    """
    path, options = pathlib.Path(path), options_of(class_names, image_dir)
    layout = find(path)
    if layout is None:
        there = "which does not exist" if not path.exists() else "without such files"
        raise DataError(
            "TFRecord files must have names such as train.tfrecord or train-00000-of-00010. "
            f"Received: {path}, {there}. Give the folder of the shards."
        )
    source = layout.splits.get(split, layout.everything) if split else layout.everything
    if source is None and split is None and len(layout.splits) == 1:
        source = next(iter(layout.splits.values()))
    if source is None or (split is not None and split not in (source.split, *layout.splits)):
        names = ", ".join(layout.splits) or "none"
        raise DataError(
            f"`split` must name one of the splits of {path}. Received: {split!r}. The splits are: "
            f"{names}.{suggest(split or '', layout.splits)} Give one of them."
        )
    return assemble(read(source, options), options)


class Source(NamedTuple):
    """The files of one split.

    Attributes:
        root: the folder or file of the data set.
        split: its name, or None.
        files: of the split.
        every: the files of all splits, which share one list of classes.
    """

    root: pathlib.Path
    split: str | None
    files: tuple[pathlib.Path, ...]
    every: tuple[pathlib.Path, ...]


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split; see `read_tfrecord`."""
    root, split, files, every = source
    folder = root if root.is_dir() else root.absolute().parent
    images = UnpackedImages(options.image_dir or folder / FOLDER)
    found = read_examples(files, images)
    notes = found.notes
    missing = missing_shards(files)
    if missing:
        text = f"Read without its missing shards: {len(missing)}"
        notes.append(Note("shards-missing", text, len(missing), first=missing[0]))

    def where(row: int) -> str:
        shard, record = found.places[found.image_of[row]]
        return f"{files[shard]}, record {record}, object {found.numbers[row]}"

    names, ids, labels = _classes(found, source, folder, options, where)
    raw = RawAnnotations(
        source=os.fspath(folder if len(files) > 1 else files[0]),
        name=folder.absolute().name,
        split=split,
        class_names=names,
        category_ids=ids,
        image_names=found.names,
        image_ids=_image_ids(found),
        image_sizes=np.array(found.sizes, np.int64).reshape(-1, 2),
        image_index=np.array(found.image_of, np.int64),
        boxes=np.array(found.boxes, np.float64).reshape(-1, 4),
        labels=labels,
        crowd=np.array(found.crowd, np.int64) > 0,
        area=_areas(found),
        where=where,
        folders=[images.folder, files[0].parent, folder],
        box_format="rel_xyxy",
        notes=[*images.notes(), *notes],
    )
    _drop_not_finite(raw, found)
    _note_crowds(raw, found)
    return raw


def _classes(
    found: Examples, source: Source, folder: pathlib.Path, options: ReadOptions, where: Where
) -> tuple[list[str], list[int | str], np.ndarray]:
    labels = np.array(found.labels, np.int64)
    parents = [file.parent for file in source.every]
    label_map, files = find_label_map([*parents, folder, folder / "annotations"])
    if not files and (folder.parent / "label_map.pbtxt").is_file():
        label_map, files = find_label_map([folder.parent])
    if label_map:
        return by_label_map(labels, found.texts, label_map, where, found.notes)
    others = [file for file in source.every if file not in source.files]
    if options.class_names is not None:
        others = []
    return by_text(labels, found.texts, lambda: classes_in(others), where, found.notes, parents[0])


def _image_ids(found: Examples) -> list[int | str]:
    """`image/source_id` where all images have one of their own, else the names of the files."""
    ids: list[int | str] = list(found.ids)
    if "" in ids or len(set(ids)) < len(ids):
        ids = list(found.names)
        if any(found.ids):
            text = (
                "`image/source_id` is missing or the same for several images: the file names are "
                "used as ids."
            )
            found.notes.append(Note("image-ids-changed", text))
    elif all(id.isdecimal() and str(int(id)) == id and len(id) < 19 for id in found.ids):
        ids = [int(id) for id in found.ids]
    return ids


def _areas(found: Examples) -> np.ndarray:
    area = np.array(found.area, np.float64)
    with np.errstate(invalid="ignore"):
        wrong = ~np.isnan(area) & ~((area > 0) & np.isfinite(area))
    if wrong.any():
        count = int(wrong.sum())
        text = (
            f"{count} of {counted(len(area), 'area')} replaced by the area of the box: 0 or less, "
            "or not finite."
        )
        found.notes.append(Note("areas-replaced", text, count, len(area)))
    return np.where(wrong, np.nan, area)


def _drop_not_finite(raw: RawAnnotations, found: Examples) -> None:
    keep = finite(found)
    if keep.all():
        return
    bad = BadRecords("boxes", raw.source, "box")
    for row in np.flatnonzero(~keep):
        values = ", ".join(f"{value:g}" for value in raw.boxes[row])
        bad.add(raw.where(int(row)), f"a box must be four finite numbers. Received: [{values}]")
    raw.notes += bad.notes(len(keep))
    raw.keep_rows(keep)


def _note_crowds(raw: RawAnnotations, found: Examples) -> None:
    crowd = np.array(found.crowd, np.int64)
    for bit, key in list(enumerate(CROWDS))[1:]:
        count = int((crowd >> bit & 1).sum())
        if count:
            text = (
                f"Objects with `{key}`: {count}. Training leaves them out, and evaluation ignores "
                "them."
            )
            raw.notes.append(Note("objects-crowd", text, count))


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder of shards, or one file as the only one."""
    if path.is_file():
        group = group_of(path)
        if group is None:
            return None
        return Layout(path, {}, Source(path, group.split, group.files, group.files))
    groups = groups_in(path)
    if not groups:
        return None
    every = tuple(file for group in groups for file in group.files)
    if all(group.split is None for group in groups):
        return Layout(path, {}, Source(path, None, every, every))
    splits: dict[str, Source] = {}
    for group in groups:
        name = _split_name(group, groups)
        splits[name] = Source(path, name, group.files, every)
    return Layout(path, splits)


def _split_name(group: Group, groups: Sequence[Group]) -> str:
    """The name of the split, with that of the data set where several data sets have one."""
    if group.split is None:
        return group.name
    alike = [each for each in groups if each.split == group.split]
    return group.split if len(alike) == 1 else group.name


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that belongs to TFRecord files."""
    if not path.is_dir():
        return None
    for file in sorted(path.glob("*label*map*.pbtxt"))[:1]:
        return f"has {file.name}, but no files such as train-00000-of-00010 or train.tfrecord"
    return None


FORMAT = Format(
    name="tfrecord",
    title="TFRecord",
    tree="train-00000-of-00010 or train.tfrecord, and label_map.pbtxt",
    find=find,
    read=read,
    resembles=resembles,
)
