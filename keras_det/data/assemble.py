"""From raw annotations to a checked `Dataset`: the same steps for every format."""

import warnings

import numpy as np

from keras_det.data.box_formats import to_pixels
from keras_det.data.class_names import map_classes
from keras_det.data.cleaning import clean_boxes
from keras_det.data.dataset import Dataset
from keras_det.data.find_images import find_images
from keras_det.data.image_sizes import check_sizes
from keras_det.data.raw import RawAnnotations, ReadOptions


def assemble(raw: RawAnnotations, options: ReadOptions) -> Dataset:
    """Checks and completes the annotations of one split, and warns once about all changes.

    Args:
        raw: what a reader found; it is changed.
        options: the caller's wishes.

    Returns:
        A `Dataset`.

    Raises:
        DataError: a class is unknown, the images are missing, sizes or boxes contradict them.
    """
    _drop_unknown_images(raw)
    names, ids = map_classes(raw, options)
    paths = find_images(raw, options)
    check_sizes(raw, options, paths)
    to_pixels(raw, options)
    boxes, keep, notes = clean_boxes(raw.boxes, raw.image_sizes[raw.image_index], raw.where)
    order = np.argsort(raw.image_index, kind="stable")
    order = order[keep[order]]
    box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = np.where(np.isnan(raw.area), box_areas, raw.area)
    counts = np.bincount(raw.image_index[order], minlength=len(paths))
    notes = [*raw.notes, *notes]
    dataset = Dataset(
        image_paths=tuple(paths),
        image_ids=tuple(raw.image_ids),
        image_sizes=raw.image_sizes,
        boxes=boxes[order],
        labels=raw.labels[order],
        crowd=raw.crowd[order],
        area=area[order],
        row_splits=np.concatenate([[0], np.cumsum(counts)]),
        class_names=names,
        category_ids=ids,
        name=raw.name,
        split=raw.split,
        notes=tuple(notes),
        stored_pixels=raw.stored_pixels,
    )
    if notes:
        warnings.warn(f"{raw.name}: {' '.join(notes)}", stacklevel=4)
    return dataset


def _drop_unknown_images(raw: RawAnnotations) -> None:
    lost = np.flatnonzero(raw.image_index < 0)
    if len(lost):
        raw.notes.append(
            f"{len(lost)} annotations left out: their image is not listed (first: "
            f"{raw.where(int(lost[0]))})."
        )
        raw.keep_rows(raw.image_index >= 0)
