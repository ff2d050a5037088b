"""Images that are listed twice, and objects that are annotated twice."""

from collections.abc import Sequence

import numpy as np

from keras_det.data.notes import Note
from keras_det.data.raw import RawAnnotations
from keras_det.errors import DataError
from keras_det.words import counted

# Odd numbers that spread the bits of a column over the key of its row (64 bits).
FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93]
    + [0xA0761D6478BD642F, 0xE7037ED1A0B428DB],
    np.uint64,
)


def join_images(raw: RawAnnotations, paths: list[str]) -> list[str]:
    """Joins entries of one image file into the first of them, with a note.

    Args:
        raw: its images are changed; their objects are kept.
        paths: the file of each image.

    Returns:
        The path of each remaining image.

    Raises:
        DataError: two entries give different sizes for one file.
    """
    first_of: dict[str, int] = {}
    target = np.array([first_of.setdefault(path, i) for i, path in enumerate(paths)], np.int64)
    again = np.flatnonzero(target != np.arange(len(paths)))
    if not len(again):
        return paths
    sizes, first_sizes = raw.image_sizes[again], raw.image_sizes[target[again]]
    differ = (sizes != first_sizes).any(axis=1) & (sizes > 0).all(1) & (first_sizes > 0).all(1)
    if differ.any():
        k = int(np.flatnonzero(differ)[0])
        i, first = int(again[k]), int(target[again[k]])
        (height, width), (other_height, other_width) = first_sizes[k], sizes[k]
        raise DataError(
            f"An image may be listed twice only with the same size. Received: {paths[i]} as "
            f"{width}x{height} (image {raw.image_ids[first]!r}) and as {other_width}x"
            f"{other_height} (image {raw.image_ids[i]!r}) in {raw.source}. Correct the file name "
            "or the size of one of them."
        )
    for i in again[(first_sizes <= 0).any(axis=1)]:
        raw.image_sizes[target[i]] = np.maximum(raw.image_sizes[target[i]], raw.image_sizes[i])
    i = int(again[0])
    text = f"{len(again)} of {counted(len(paths), 'image')} listed again: their objects are merged"
    ids = f"images {raw.image_ids[int(target[i])]!r} and {raw.image_ids[i]!r}"
    raw.notes.append(
        Note("images-listed-again", text, len(again), len(paths), f"{paths[i]}, {ids}")
    )
    raw.image_index = target[raw.image_index]
    keep = np.ones(len(paths), bool)
    keep[again] = False
    raw.keep_images(keep)
    return [paths[i] for i in np.flatnonzero(keep)]


def drop_repeated_objects(raw: RawAnnotations, class_names: tuple[str, ...]) -> None:
    """Leaves out objects whose image, class and box equal another's, with a note.

    Boxes that two classes share are kept, with a note.

    Args:
        raw: its objects are changed; its boxes are pixels.
        class_names: label k means `class_names[k]`.
    """
    pairs = _pairs_of_equal_boxes(raw)
    same_class = raw.labels[pairs[0]] == raw.labels[pairs[1]]
    _note_two_classes(raw, pairs[:, ~same_class], class_names)
    again = pairs[:, same_class]
    if again.shape[1]:
        one, other = again[:, again[1].argmin()].tolist()
        where, same = raw.where(other), raw.where(one)
        same = same.removeprefix(where.rpartition(", ")[0] + ", ")  # the file is named once
        count, total = again.shape[1], len(raw.labels)
        text = (
            f"{count} of {counted(total, 'object')} left out: the same image, class and box as "
            "another"
        )
        raw.notes.append(Note("objects-repeated", text, count, total, f"{where}, as {same}"))
        keep = np.ones(len(raw.labels), bool)
        keep[again[1]] = False
        raw.keep_rows(keep)


def _pairs_of_equal_boxes(raw: RawAnnotations) -> np.ndarray:
    """Neighbours in each group of objects with one image and box, sorted by label: `(2, pairs)`."""
    columns = [*(raw.boxes.T + 0.0), raw.image_index, raw.crowd]  # -0.0 becomes 0.0
    keys = _keys(columns)
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return np.zeros((2, 0), np.int64)
    rows = np.flatnonzero(np.isin(keys, np.unique(repeated)))
    keys, columns = keys[rows], [column[rows] for column in columns]
    order = np.lexsort((raw.labels[rows], keys))
    same_key = keys[order][1:] == keys[order][:-1]
    same_box = _equal_neighbours(columns, order)
    if (same_key & ~same_box).any():  # two different boxes have one key
        order = np.lexsort((raw.labels[rows], *columns))
        same_box = _equal_neighbours(columns, order)
    return np.stack([rows[order][:-1], rows[order][1:]])[:, same_box]


def _keys(columns: Sequence[np.ndarray]) -> np.ndarray:
    """One number per row, the same for equal rows and hardly ever for others."""
    keys: np.ndarray = np.zeros(len(columns[0]), np.uint64)
    for column, factor in zip(columns, FACTORS, strict=True):
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        keys = (keys ^ (keys >> np.uint64(29)) ^ bits) * factor
    return keys


def _equal_neighbours(columns: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    equal = np.ones(max(0, len(order) - 1), bool)
    for column in columns:
        column = column[order]
        equal &= column[1:] == column[:-1]
    return equal


def _note_two_classes(raw: RawAnnotations, pairs: np.ndarray, class_names: tuple[str, ...]) -> None:
    if pairs.shape[1]:
        one, other = pairs[:, pairs.max(axis=0).argmin()].tolist()
        first, second = (class_names[raw.labels[row]] for row in (one, other))
        place = f"{first!r} and {second!r}, {raw.where(max(one, other))}"
        count = pairs.shape[1]
        text = f"Boxes with two classes: {count}"
        raw.notes.append(Note("boxes-two-classes", text, count, first=place))
