"""Writes COCO's JSON annotations."""

import itertools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_det.data.convert.plan import Data, Plan, Progress, write
from keras_det.data.dataset import Dataset, image_of_objects

# Name of the file of a data set without splits, as CVAT calls it.
WHOLE = "default"
DIGITS = 4


def write_coco(
    data: Data,
    folder: str | os.PathLike,
    *,
    images: str = "link",
    progress: Progress | None = None,
) -> pathlib.Path:
    """Writes `annotations/instances_{split}.json` and `images/`.

    Category ids and image ids are kept where they are whole numbers, else they count from 1. Crowd
    objects and areas are kept. Boxes are rounded to 0.0001 pixels. An image in several splits is
    stored once.

    Args:
        data: `Dataset`, or `{split: Dataset}`.
        folder: a folder that does not exist or is empty.
        images: "link" makes hard links, which take no disk space, and copies where that is not
            possible; an image that is changed in place then changes in both folders. "copy" copies.
            "none" writes annotations only.
        progress: called with 1 after each image.

    Returns:
        The path of the folder. One warning lists what was changed or lost.

    Raises:
        DataError: the folder is not empty, splits have different classes, or an image cannot be
            read.
        ValueError: `images` is none of the three words.
    """
    return write(data, folder, images, progress, "images", _fill)


def _fill(plan: Plan, folder: pathlib.Path) -> None:
    (folder / "annotations").mkdir()
    ids, kept = category_ids(plan.first)
    if not kept:
        plan.notes.append(
            "Category ids are numbered from 1, because the ids of the source are not whole numbers."
        )
    numbers = image_numbers(plan)
    next_id = itertools.count(1)
    for split, dataset in plan.splits.items():
        path = folder / "annotations" / f"instances_{split or WHOLE}.json"
        names = [plan.names[each] for each in dataset.image_paths]
        content = coco_content(dataset, names, numbers[split], ids, next_id)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def category_ids(dataset: Dataset) -> tuple[list[int], bool]:
    """The ids of the classes as COCO needs them, and whether they are the source's."""
    ids = [each for each in dataset.category_ids if isinstance(each, int) and each >= 0]
    if len(set(ids)) == len(dataset.class_names):
        return ids, True
    return list(range(1, len(dataset.class_names) + 1)), False


def image_numbers(plan: Plan) -> dict[str, list[int]]:
    """The ids of the images of each split: the source's where each means one file, else from 1."""
    found: dict[int, str] = {}
    every = [
        (number, path)
        for each in plan.splits.values()
        for number, path in zip(each.image_ids, each.image_paths, strict=True)
    ]
    kept = all(
        isinstance(number, int) and number >= 0 and found.setdefault(number, path) == path
        for number, path in every
    )
    if kept:
        return {k: [int(number) for number in v.image_ids] for k, v in plan.splits.items()}
    order = {path: i for i, path in enumerate(plan.names, 1)}
    return {k: [order[path] for path in v.image_paths] for k, v in plan.splits.items()}


def coco_content(
    dataset: Dataset,
    names: list[str],
    numbers: list[int],
    ids: list[int],
    next_id: Iterator[int],
) -> dict[str, Any]:
    """The content of one COCO file.

    Args:
        dataset: the split.
        names: file name of each image.
        numbers: id of each image.
        ids: id of each class.
        next_id: gives the ids of the annotations.
    """
    sizes = dataset.image_sizes.tolist()
    images = [
        {"id": number, "file_name": name, "height": height, "width": width}
        for number, name, (height, width) in zip(numbers, names, sizes, strict=True)
    ]
    boxes = dataset.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    image_of_row = image_of_objects(dataset).tolist()
    rows = zip(
        image_of_row,
        dataset.labels.tolist(),
        boxes.round(DIGITS).tolist(),
        dataset.area.astype(np.float64).round(DIGITS).tolist(),
        dataset.crowd.astype(int).tolist(),
        strict=True,
    )
    annotations = [
        {
            "id": next(next_id),
            "image_id": numbers[image],
            "category_id": ids[label],
            "bbox": box,
            "area": area,
            "iscrowd": crowd,
        }
        for image, label, box, area, crowd in rows
    ]
    categories = [
        {"id": number, "name": name} for number, name in zip(ids, dataset.class_names, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}
