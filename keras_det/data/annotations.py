"""What the readers share: gathering raw annotations, cleaning boxes, saying what was changed."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.errors import DataError, suggest

# A box may stick out by this many pixels before clipping it is worth a word: COCO's own files
# round to hundredths, and drawing tools are one pixel off at the border.
SILENT_CLIP = 1.0


@dataclass
class RawAnnotations:
    """Annotations as a file holds them, before boxes are cleaned; rows in the file's order.

    Attributes:
        image_paths, image_ids: lists, one per image.
        image_sizes: int `(num_images, 2)`, (height, width).
        image_index: int `(num_objects,)`, the image of each object.
        boxes: float `(num_objects, 4)`, xyxy pixels.
        labels, crowd, area: `(num_objects,)`; area is NaN where the file gives none.
        where: `where(row) -> str` names the file and the index of an object.
        notes: what the reader has left out so far.
    """

    image_paths: list
    image_ids: list
    image_sizes: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    where: object
    notes: list


def finish(raw: RawAnnotations, *, class_names, category_ids, name, split) -> Dataset:
    """Cleans the boxes, sorts the objects by image and says once what was changed."""
    boxes, keep, notes = clean_boxes(raw.boxes, raw.image_sizes[raw.image_index], raw.where)
    order = np.argsort(raw.image_index, kind="stable")
    order = order[keep[order]]
    box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = np.where(np.isnan(raw.area), box_areas, raw.area)
    counts = np.bincount(raw.image_index[order], minlength=len(raw.image_paths))
    notes = [*raw.notes, *notes]
    dataset = Dataset(
        image_paths=raw.image_paths,
        image_ids=raw.image_ids,
        image_sizes=raw.image_sizes,
        boxes=boxes[order],
        labels=raw.labels[order],
        crowd=raw.crowd[order],
        area=area[order],
        row_splits=np.concatenate([[0], np.cumsum(counts)]),
        class_names=class_names,
        category_ids=category_ids,
        name=name,
        split=split,
        notes=notes,
    )
    if notes:
        warnings.warn(f"{name}: {' '.join(notes)}", stacklevel=4)
    return dataset


def clean_boxes(boxes, sizes, where) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clips boxes to their image and marks those with nothing left.

    Args:
        boxes: `(n, 4)` xyxy pixels.
        sizes: `(n, 2)` (height, width) of each box's image.
        where: `where(row) -> str`, the file and index of a box, for the note.

    Returns:
        `(clipped boxes, keep mask, notes)`.
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
    """Keeps the objects of `keep`; `raw.where` still names rows of the file."""
    rows, where = np.flatnonzero(keep), raw.where
    for field in ("image_index", "boxes", "labels", "crowd", "area"):
        setattr(raw, field, getattr(raw, field)[rows])
    raw.where = lambda row: where(int(rows[row]))


def keep_images(raw: RawAnnotations, keep: np.ndarray) -> None:
    """Keeps the images of `keep` and their objects."""
    new_index = np.cumsum(keep) - 1
    keep_rows(raw, keep[raw.image_index])
    raw.image_index = new_index[raw.image_index]
    raw.image_sizes = raw.image_sizes[keep]
    raw.image_paths = [path for path, kept in zip(raw.image_paths, keep, strict=True) if kept]
    raw.image_ids = [number for number, kept in zip(raw.image_ids, keep, strict=True) if kept]


def find_files(paths: Sequence[str]) -> np.ndarray:
    """Returns which of the paths exist, reading every folder once instead of asking per file."""
    listed: dict[str, set] = {}
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


def pick_classes(found: dict[str, int], wanted: Sequence[str] | None, source: str):
    """Chooses the class order: the wanted names, else the found ones.

    Args:
        found: `{name: id}` of the classes of the file, in its order.
        wanted: names that give the order, or None.
        source: what was read, for the message.

    Returns:
        `(class_names, category_ids, label_of)`; `label_of[name]` is the label of a found name
        and lacks the names that `wanted` does not have.
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
    """The error for an annotated class that `class_names` does not hold."""
    shown = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
    return DataError(
        f"Every annotated class must be one of `class_names` ({shown}). Received: {name!r} in "
        f"{where}.{suggest(name, class_names)} Correct the annotation, or add the name to "
        "`class_names` (Pascal VOC: to class_names.txt)."
    )
