"""Shared by the readers: raw annotations, cleaning of boxes, notes about what was changed."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.image import read_size
from keras_det.errors import DataError, suggest

# In pixels. A box that leaves its image by no more than this is clipped without a note: COCO's own
# files round to hundredths, and drawing tools are one pixel off at the border.
SILENT_CLIP = 1.0


@dataclass
class RawAnnotations:
    """Annotations of a file before their boxes are cleaned; objects in the order of the file.

    Attributes:
        image_paths, image_ids: lists, one entry per image.
        image_sizes: int `(num_images, 2)`, (height, width) in pixels.
        image_index: int `(num_objects,)`, the image of each object.
        boxes: float `(num_objects, 4)`, xyxy pixels.
        labels, crowd, area: `(num_objects,)`; area is NaN where the file gives none.
        where: `where(row) -> str` names the file and the index of an object.
        notes: what the reader has left out so far.
    """

    image_paths: list[str]
    image_ids: list[int | str]
    image_sizes: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    where: Callable[[int], str]
    notes: list[str]


def finish(
    raw: RawAnnotations,
    *,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    name: str,
    split: str | None,
) -> Dataset:
    """Cleans the boxes, sorts the objects by image, and warns once about all changes.

    Args:
        raw: annotations with all fields set.
        class_names, category_ids, name, split: as of `Dataset`.
    """
    boxes, keep, notes = clean_boxes(raw.boxes, raw.image_sizes[raw.image_index], raw.where)
    order = np.argsort(raw.image_index, kind="stable")
    order = order[keep[order]]
    box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = np.where(np.isnan(raw.area), box_areas, raw.area)
    counts = np.bincount(raw.image_index[order], minlength=len(raw.image_paths))
    notes = [*raw.notes, *notes]
    dataset = Dataset(
        image_paths=tuple(raw.image_paths),
        image_ids=tuple(raw.image_ids),
        image_sizes=raw.image_sizes,
        boxes=boxes[order],
        labels=raw.labels[order],
        crowd=raw.crowd[order],
        area=area[order],
        row_splits=np.concatenate([[0], np.cumsum(counts)]),
        class_names=tuple(class_names),
        category_ids=tuple(category_ids),
        name=name,
        split=split,
        notes=tuple(notes),
    )
    if notes:
        warnings.warn(f"{name}: {' '.join(notes)}", stacklevel=4)
    return dataset


def clean_boxes(
    boxes: np.ndarray, sizes: np.ndarray, where: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clips boxes to their images and marks those with an area left.

    Args:
        boxes: `(n, 4)` xyxy pixels.
        sizes: `(n, 2)`, (height, width) of each box's image in pixels.
        where: `where(row) -> str`, the file and index of a box, for the notes.

    Returns:
        `(clipped boxes (n, 4), mask of boxes to keep (n,), notes)`; boxes not kept are 0.
    """
    limit = np.asarray(sizes, np.float64).reshape(-1, 2)[:, [1, 0, 1, 0]]
    clipped = np.clip(boxes, 0.0, limit)
    with np.errstate(invalid="ignore"):
        keep = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        moved = keep & (np.abs(clipped - boxes).max(axis=1, initial=0.0) > SILENT_CLIP)
    notes = []
    for mask, text in (
        (~keep, "dropped: zero area or outside the image"),
        (moved, "clipped to the image"),
    ):
        rows = np.flatnonzero(mask)
        if len(rows):
            few = f"{len(rows)} of {len(boxes)} boxes {text}"
            notes.append(f"{few} (first: {where(int(rows[0]))}).")
    return np.where(keep[:, None], clipped, 0.0), keep, notes


def keep_rows(raw: RawAnnotations, keep: np.ndarray) -> None:
    """Keeps the objects where the mask `keep` is True; `raw.where` still names rows of the file."""
    rows, where = np.flatnonzero(keep), raw.where
    for field in ("image_index", "boxes", "labels", "crowd", "area"):
        setattr(raw, field, getattr(raw, field)[rows])
    raw.where = lambda row: where(int(rows[row]))


def keep_images(raw: RawAnnotations, keep: np.ndarray) -> None:
    """Keeps the images where the mask `keep` is True, and their objects."""
    new_index = np.cumsum(keep) - 1
    keep_rows(raw, keep[raw.image_index])
    raw.image_index = new_index[raw.image_index]
    raw.image_sizes = raw.image_sizes[keep]
    raw.image_paths = [path for path, kept in zip(raw.image_paths, keep, strict=True) if kept]
    raw.image_ids = [number for number, kept in zip(raw.image_ids, keep, strict=True) if kept]


def keep_found(raw: RawAnnotations, found: np.ndarray, names: Sequence[object]) -> None:
    """Leaves out missing images with a note, and reads the sizes that the annotations do not give.

    Args:
        raw: annotations with the paths of the images.
        found: bool mask of the images that exist.
        names: of all images, for the note.
    """
    if not found.all():
        lost = np.flatnonzero(~found)
        raw.notes.append(
            f"{len(lost)} of {len(found)} images left out: no such file (first: {names[lost[0]]})."
        )
        keep_images(raw, found)
    for i in np.flatnonzero((raw.image_sizes <= 0).any(axis=1)):
        raw.image_sizes[i] = read_size(raw.image_paths[i])


def find_files(paths: Sequence[str]) -> np.ndarray:
    """Returns a bool mask of the paths that exist. Lists each folder once, not file by file."""
    listed: dict[str, set[str]] = {}
    found = np.zeros(len(paths), bool)
    for i, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                listed[folder] = set(os.listdir(folder))
            except OSError:
                listed[folder] = set()
        found[i] = name in listed[folder]
    return found


def pick_classes(
    found: dict[str, int], wanted: Sequence[str] | None, source: str
) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, int]]:
    """Chooses the class order: the wanted names, else the found ones.

    Args:
        found: `{name: id}` of the classes of the file, in the order of the file.
        wanted: class names in the order of the labels, or None.
        source: what was read, for the message.

    Returns:
        `(class_names, category_ids, label_of)`. `label_of` maps a class name to its label. A class
        that the file does not have gets the id -1.

    Raises:
        DataError: a name occurs twice.
    """
    names = tuple(found) if wanted is None else tuple(str(name) for name in wanted)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"`class_names` must differ from each other. Received: {repeated[0]!r} more than once "
            f"for {source}. Rename one of them."
        )
    label_of = {name: label for label, name in enumerate(names)}
    return names, tuple(found.get(name, -1) for name in names), label_of


def unknown_class(name: str, where: str, class_names: Sequence[str]) -> DataError:
    """Makes the error for an annotated class that is not in `class_names`."""
    shown = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
    return DataError(
        f"Every annotated class must be one of `class_names` ({shown}). Received: {name!r} in "
        f"{where}.{suggest(name, class_names)} Correct the annotation, or add the name to "
        "`class_names` (Pascal VOC: to class_names.txt)."
    )
