"""From raw annotations to a checked `Dataset`: the same steps for every format."""

import pathlib
import sys
import warnings
from collections.abc import Sequence

import numpy as np

from keras_det.data.box_corners import note_unused_part, sort_corners
from keras_det.data.box_formats import to_pixels
from keras_det.data.class_names import map_classes
from keras_det.data.cleaning import clean_boxes
from keras_det.data.dataset import Dataset
from keras_det.data.duplicates import drop_repeated_objects, join_images
from keras_det.data.find_images import find_images
from keras_det.data.image_sizes import check_sizes
from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError
from keras_det.words import counted


def assemble(raw: RawAnnotations, options: ReadOptions) -> Dataset:
    """Checks and completes the annotations of one split, and warns once about all changes.

    Args:
        raw: what a reader found; it is changed.
        options: the caller's wishes.

    Returns:
        A `Dataset`.

    Raises:
        DataError: a class is unknown, the images are missing, sizes or boxes contradict them, or
            no object of several is usable.
    """
    annotated = len(raw.labels)
    _drop_unknown_images(raw)
    names, ids = map_classes(raw, options)
    paths = join_images(raw, find_images(raw, options))
    check_sizes(raw, options, paths)
    sort_corners(raw, options)
    shares = (options.box_format or raw.box_format).startswith("rel_")
    to_pixels(raw, options)
    note_unused_part(raw, shares)
    _clean(raw)
    drop_repeated_objects(raw, names)
    _note_nothing_to_learn(raw, annotated)
    order = np.argsort(raw.image_index, kind="stable")
    counts = np.bincount(raw.image_index, minlength=len(paths))
    dataset = Dataset(
        image_paths=tuple(paths),
        image_ids=tuple(raw.image_ids),
        image_sizes=raw.image_sizes,
        boxes=raw.boxes[order],
        labels=raw.labels[order],
        crowd=raw.crowd[order],
        area=raw.area[order],
        row_splits=np.concatenate([[0], np.cumsum(counts)]),
        class_names=names,
        category_ids=ids,
        name=raw.name,
        split=raw.split,
        notes=tuple(raw.notes),
        stored_pixels=raw.stored_pixels,
    )
    if raw.notes:
        title = f"{raw.name} {raw.split}" if raw.split else raw.name
        warnings.warn(listed(title, raw.notes), stacklevel=_level_of_user())
    return dataset


def listed(title: str, notes: Sequence[str]) -> str:
    """One note after its title; several on lines that start with "- "."""
    if len(notes) == 1:
        return f"{title}: {notes[0]}"
    return "\n- ".join([f"{title}:", *notes])


def _level_of_user() -> int:
    """The `stacklevel` that names the line outside the package which asked for the data set."""
    package = str(pathlib.Path(__file__).parents[1])
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def _drop_unknown_images(raw: RawAnnotations) -> None:
    lost = np.flatnonzero(raw.image_index < 0)
    if not len(lost):
        return
    first = raw.where(int(lost[0]))
    if len(lost) == len(raw.image_index):
        known = f"the first image is {raw.image_ids[0]!r}" if raw.image_ids else "none is listed"
        raise DataError(
            f"Annotations must refer to images that are listed. Received: {raw.source}, where none "
            f"of {counted(len(lost), 'annotation')} does; {known}, the first annotation is "
            f"{first}. Export annotations and images together, with the same ids or names."
        )
    total = len(raw.image_index)
    text = f"{len(lost)} of {counted(total, 'annotation')} left out: their image is not listed"
    raw.notes.append(Note("annotations-unlisted", text, len(lost), total, first))
    raw.keep_rows(raw.image_index >= 0)


def _clean(raw: RawAnnotations) -> None:
    """Clips boxes, leaves out those without area, and completes `raw.area`."""
    sizes = raw.image_sizes[raw.image_index]
    raw.boxes, keep, notes = clean_boxes(raw.boxes, sizes, raw.where)
    if len(keep) and not keep.any():
        raise DataError(
            f"A box must have an area inside its image. Received: {raw.source}, where none of "
            f"{counted(len(keep), 'box', 'boxes')} has one; first: {raw.where(0)}. Correct the "
            "boxes, or export the annotations again with boxes."
        )
    raw.notes += notes
    if not keep.all():
        raw.keep_rows(keep)
    box_areas = (raw.boxes[:, 2] - raw.boxes[:, 0]) * (raw.boxes[:, 3] - raw.boxes[:, 1])
    raw.area = np.where(np.isnan(raw.area), box_areas, raw.area)


def _note_nothing_to_learn(raw: RawAnnotations, annotated: int) -> None:
    """A note where training on this split would teach nothing, although it would run."""
    count = len(raw.labels)
    if not count:
        why = "is left" if annotated else "is annotated"
        text = f"No object {why}: a model learns nothing from these images."
        raw.notes.append(Note("no-object", text))
    elif raw.crowd.all():
        text = (
            f"Every object ({count}) is marked as crowd (COCO: `iscrowd`, Pascal VOC: "
            "`difficult`): training leaves such objects out, so nothing is learned. CVAT marks "
            "masks this way. If these are single objects, write 0 there."
        )
        raw.notes.append(Note("all-crowd", text, count, count))
