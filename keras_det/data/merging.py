"""Merges data sets: classes by name, image ids unique, images that several hold joined."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_det.data.assemble import listed
from keras_det.data.class_names import clean_name
from keras_det.data.dataset import Dataset
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.words import counted


def merge(datasets: Sequence[Dataset], name: str = "merged") -> Dataset:
    """Merges data sets into one.

    Classes are matched by their names, in the order of the data sets; spaces around a name do not
    count. Names that differ only in case are refused. The ids of the first data set's classes are
    kept; another class keeps its id where it is a whole number that is free, else it gets the next
    one. Image ids are kept where they are unique, else images are numbered from 1. An image that
    two data sets hold becomes one image with the objects of both; equal objects are kept once.

    Args:
        datasets: `Dataset`s.
        name: of the result.

    Returns:
        A `Dataset` with the split of the first. One warning lists what was changed.

    Raises:
        DataError: there is no data set, two names of classes differ only in case, or an image has
            another size in another data set.
    """
    if not datasets:
        raise DataError(
            "There must be at least one data set to merge. Received: none. Give two or more."
        )
    datasets, notes = with_same_classes(datasets)
    kept, image_of = _images(datasets, notes)
    counts = np.concatenate([np.diff(each.row_splits) for each in datasets])
    image_of_row = np.repeat(image_of, counts)
    boxes, crowd, area = (
        np.concatenate([getattr(each, field) for each in datasets])
        for field in ("boxes", "crowd", "area")
    )
    labels = np.concatenate([each.labels for each in datasets])
    keep = _first_of_equal(np.column_stack([image_of_row, labels, crowd, boxes]))
    if len(keep) < len(labels):
        left, total = len(labels) - len(keep), len(labels)
        text = (
            f"{left} of {counted(total, 'object')} left out: the same image, class and box as "
            "another."
        )
        notes.append(Note("objects-repeated", text, left, total))
    order = keep[np.argsort(image_of_row[keep], kind="stable")]
    splits = np.cumsum(np.bincount(image_of_row[order], minlength=len(kept)))
    images = _image_fields(datasets, kept, notes)
    if notes:
        warnings.warn(listed(name, notes), stacklevel=2)
    return Dataset(
        boxes=boxes[order],
        labels=labels[order],
        crowd=crowd[order],
        area=area[order],
        row_splits=np.concatenate([[0], splits]),
        class_names=datasets[0].class_names,
        category_ids=datasets[0].category_ids,
        name=name,
        split=datasets[0].split,
        notes=tuple(notes),
        **images,
    )


def _images(datasets: Sequence[Dataset], notes: list[Note]) -> tuple[np.ndarray, np.ndarray]:
    """Which images are kept, and the new index of every image."""
    paths = [path for each in datasets for path in each.image_paths]
    first_of: dict[str, int] = {}
    for i, path in enumerate(paths):
        first_of.setdefault(path, i)
    kept = np.array(list(first_of.values()), np.int64)
    place = {path: i for i, path in enumerate(first_of)}
    image_of = np.array([place[path] for path in paths], np.int64)
    sizes = np.concatenate([each.image_sizes for each in datasets])
    _check_sizes(paths, sizes, kept[image_of])
    if len(kept) < len(paths):
        count = len(paths) - len(kept)
        text = f"Images that are in several data sets: {count}. Their objects are merged."
        notes.append(Note("images-joined", text, count))
    return kept, image_of


def _image_fields(
    datasets: Sequence[Dataset], kept: np.ndarray, notes: list[Note]
) -> dict[str, Any]:
    """What `Dataset` holds of its images."""
    ids = [number for each in datasets for number in each.image_ids]
    ids = [ids[i] for i in kept]
    if len({str(number) for number in ids}) < len(ids):
        ids = list(range(1, len(ids) + 1))
        text = "Image ids are numbered from 1, because some ids occur in several data sets."
        notes.append(Note("image-ids-changed", text))
    paths = [path for each in datasets for path in each.image_paths]
    return {
        "image_paths": tuple(paths[i] for i in kept),
        "image_ids": tuple(ids),
        "image_sizes": np.concatenate([each.image_sizes for each in datasets])[kept],
        "stored_pixels": np.concatenate([np.asarray(d.stored_pixels) for d in datasets])[kept],
    }


def with_same_classes(datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[Note]]:
    """Gives all data sets the classes of all; see `merge`.

    Returns:
        `(data sets, notes)`.
    """
    label_of: dict[str, int] = {}
    from_where: dict[str, tuple[str, str]] = {}
    ids: list[int | str] = []
    new_labels = []
    changed: dict[tuple[str, str], str] = {}
    for dataset in datasets:
        new = []
        for written, number in zip(dataset.class_names, dataset.category_ids, strict=True):
            name = clean_name(written)
            if name not in label_of:
                _check_case(name, dataset, from_where)
                label_of[name] = len(ids)
                ids.append(_free_id(number, ids))
            new.append(label_of[name])
            if number not in (-1, ids[new[-1]]):
                text = f"{name!r} of {dataset.name}: {number} becomes {ids[new[-1]]}"
                changed.setdefault((dataset.name, name), text)
        new_labels.append(np.array([*new, -1], np.int64)[dataset.labels])
    names, numbers = tuple(label_of), tuple(ids)
    joined = [
        dataclasses.replace(each, labels=labels, class_names=names, category_ids=numbers)
        for each, labels in zip(datasets, new_labels, strict=True)
    ]
    first = next(iter(changed.values()), "")
    text = f"Class ids that have changed: {len(changed)}"
    note = Note("class-ids-changed", text, len(changed), first=first)
    return joined, [note] if changed else []


def _title(dataset: Dataset) -> str:
    return f"{dataset.name} {dataset.split}" if dataset.split else dataset.name


def _check_case(class_name: str, dataset: Dataset, from_where: dict[str, tuple[str, str]]) -> None:
    """DataError where another data set has the name in another case."""
    other, where = from_where.setdefault(class_name.casefold(), (class_name, _title(dataset)))
    if other != class_name and where != _title(dataset):
        raise DataError(
            "Names of classes must differ in more than upper and lower case. Received: "
            f"{other!r} in {where} and {class_name!r} in {_title(dataset)}. If they are one class, "
            "use the same name in both data sets; if not, rename one."
        )


def _free_id(number: int | str, taken: Sequence[int | str]) -> int | str:
    """The id of a new class: its own where it is free, else the next whole number."""
    if number != -1 and number not in taken:
        return number
    return max([each for each in taken if isinstance(each, int)], default=0) + 1


def _check_sizes(paths: Sequence[str], sizes: np.ndarray, first: np.ndarray) -> None:
    """DataError where an image has another size in another data set."""
    wrong = np.flatnonzero((sizes != sizes[first]).any(axis=1))
    if len(wrong):
        i = int(wrong[0])
        one, other = ("x".join(map(str, sizes[k][::-1].tolist())) for k in (first[i], i))
        raise DataError(
            "An image must have one size in all data sets. Received: "
            f"{paths[i]} as {one} and as {other} (width x height). Correct the annotation."
        )


def _first_of_equal(rows: np.ndarray) -> np.ndarray:
    """The first of equal rows, in order."""
    if not len(rows):
        return np.zeros(0, np.int64)
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])
