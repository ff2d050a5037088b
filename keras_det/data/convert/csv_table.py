"""Writes CSV files: one row for each object."""

import csv
import os
import pathlib
from collections.abc import Iterator, Sequence

from keras_det.data.convert.plan import Data, Plan, Progress, decimal, note_lost_areas, write
from keras_det.data.dataset import Dataset
from keras_det.data.formats.split_names import role_of

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
DIGITS = 4


def write_csv(
    data: Data,
    folder: str | os.PathLike,
    *,
    images: str = "link",
    progress: Progress | None = None,
) -> pathlib.Path:
    """Writes `{split}.csv`, `classes.csv` and `images/`.

    The columns are filename, width, height, class, xmin, ymin, xmax, ymax, and iscrowd where there
    are crowd objects. Pixels count from 0. An image without objects has one row with an empty class
    and box. Splits of other names than train, val and test go into one file `annotations.csv` with
    a column `split`. Areas of masks are lost.

    Args:
        data, folder, images, progress: as of `write_coco`.

    Returns:
        The path of the folder. One warning lists what was changed or lost.

    Raises:
        DataError, ValueError: as of `write_coco`.
    """
    return write(data, folder, images, progress, "images", _fill)


def _fill(plan: Plan, folder: pathlib.Path) -> None:
    with_crowd = any(each.crowd.any() for each in plan.splits.values())
    roles = [role_of(split) for split in plan.splits]
    header = [*COLUMNS, *(["iscrowd"] if with_crowd else [])]
    if None not in roles and len(set(roles)) == len(roles):
        for split, dataset in plan.splits.items():
            _write(folder / f"{split}.csv", header, _rows(plan, dataset, with_crowd))
    else:
        named = any(plan.splits)
        rows = [
            [*row, *([split] if named else [])]
            for split, dataset in plan.splits.items()
            for row in _rows(plan, dataset, with_crowd)
        ]
        _write(folder / "annotations.csv", [*header, *(["split"] if named else [])], iter(rows))
    first = first_id(plan.first.class_names)
    classes = [[name, str(i)] for i, name in enumerate(plan.first.class_names, first)]
    _write(folder / "classes.csv", ["name", "id"], iter(classes))
    note_lost_areas(plan)


def first_id(class_names: Sequence[str]) -> int:
    """The id of the first class: 0, or more where names are numbers, which could be taken for ids.

    Args:
        class_names: of the data set.
    """
    numbers = [int(name) for name in class_names if name.isdecimal() and len(name) < 7]
    return max(numbers, default=-1) + 1


def _write(path: pathlib.Path, header: list[str], rows: Iterator[list[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _rows(plan: Plan, dataset: Dataset, with_crowd: bool) -> Iterator[list[str]]:
    """One row for each object, and one for each image without objects."""
    for i, path in enumerate(dataset.image_paths):
        height, width = dataset.image_sizes[i].tolist()
        start = [plan.names[path], str(width), str(height)]
        first, last = dataset.row_splits[i], dataset.row_splits[i + 1]
        if first == last:
            yield [*start, *[""] * (6 if with_crowd else 5)]
        for row in range(first, last):
            box = [decimal(value, DIGITS) for value in dataset.boxes[row].tolist()]
            crowd = [str(int(dataset.crowd[row]))] if with_crowd else []
            yield [*start, dataset.class_names[dataset.labels[row]], *box, *crowd]
