"""Damaged data sets of every format, and what reading them must come to."""

import json
import os
import pathlib
import random
import shutil
from typing import NamedTuple

import numpy as np

from keras_det.data import load
from keras_det.data.dataset import Dataset
from tests.data import every_format
from tests.fuzz import mutators, records
from tests.fuzz.harness import READING, Limits

# Something else than a regular file in the place of a file.
PIPE, FOLDER, CIRCLE, MISSING = "a named pipe", "a folder", "a link to itself", "nothing"
PLACES = (PIPE, FOLDER, CIRCLE, MISSING)


def hugging_face(pictures: tuple[every_format.Picture, ...], kind: str = "jsonl") -> dict[str, str]:
    """A folder of images with metadata.jsonl or metadata.csv."""
    lines = []
    for p in pictures:
        boxes = [[x1, y1, x2 - x1, y2 - y1] for _, x1, y1, x2, y2 in p.objects]
        objects = {"bbox": boxes, "category": [every_format.NAMES[k] for k, *_ in p.objects]}
        lines.append(
            {"file_name": p.name, "width": p.width, "height": p.height} | {"objects": objects}
        )
    if kind == "jsonl":
        return {"metadata.jsonl": "".join(json.dumps(line) + "\n" for line in lines)}
    cells = (json.dumps(line["objects"]).replace('"', '""') for line in lines)
    rows = [f'{line["file_name"]},"{cell}"' for line, cell in zip(lines, cells, strict=True)]
    return {"metadata.csv": "\n".join(["file_name,objects", *rows]) + "\n"}


TEXT_FORMATS = {**every_format.FORMATS, "hugging_face": hugging_face}
FORMATS = [*TEXT_FORMATS, *records.formats()]


class Damaged(NamedTuple):
    """A damaged data set: what each file holds, or what stands in its place."""

    format: str
    files: dict[str, bytes | str]
    name: str


def undamaged(name: str) -> dict[str, bytes]:
    """The files of a small data set in a format."""
    if name in every_format.FORMATS:
        return every_format.files_of(name)
    if name in records.formats():
        return dict(records.undamaged(name))
    pictures = every_format.PICTURES
    files = {file: text.encode() for file, text in TEXT_FORMATS[name](pictures).items()}
    return files | {p.name: every_format.image_bytes(p.width, p.height) for p in pictures}


def one(name: str, seed: int) -> Damaged:
    """A data set of a format with one or a few files damaged."""
    rng = random.Random(f"{name} {seed}")
    files: dict[str, bytes | str] = dict(undamaged(name))
    annotations = [file for file in sorted(files) if not file.endswith(".png")]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        file = rng.choice(annotations if rng.random() < 0.85 else sorted(files))
        content = files[file]
        if rng.random() < 0.04 or isinstance(content, str):
            files[file] = rng.choice(PLACES)
        else:
            way = records.damaged if name in records.formats() else mutators.damaged
            files[file] = way(file, content, rng)
    return Damaged(name, files, f"{name} {seed}")


def write(folder: pathlib.Path, case: Damaged) -> pathlib.Path:
    """Writes the files of a damaged data set into a new folder; an old one is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content == PIPE:
            os.mkfifo(path)
        elif content == FOLDER:
            path.mkdir()
        elif content == CIRCLE:
            path.symlink_to(path.name)
    return folder


def read(folder: pathlib.Path, format: str) -> tuple[str, str]:
    """Reads a data set; returns the outcome and its text.

    Raises:
        AssertionError: the data set holds what no data set may hold.
    """
    first = {"voc_first_pixel": 1} if format == "voc" else {}
    dataset = load(folder, format=format, **first)
    check(dataset)
    if every_format.objects_by_image(dataset) == every_format.expected():
        return "right", ""
    return ("note", " ".join(map(str, dataset.notes))) if dataset.notes else ("silent", "")


def limits(format: str) -> Limits:
    """What reading a data set of a format may take."""
    return records.LIMITS if format in records.formats() else READING


def preload(formats: list[str]) -> None:
    """Loads the libraries that these formats need, before the first fork."""
    if set(formats) & set(records.formats()):
        records.preload()


def check(dataset: Dataset) -> None:
    """AssertionError where boxes, labels, areas or sizes are none."""
    sizes = np.repeat(dataset.image_sizes, np.diff(dataset.row_splits), axis=0)
    assert np.isfinite(dataset.boxes).all() and np.isfinite(dataset.area).all()
    assert (dataset.area >= 0).all() and (dataset.image_sizes > 0).all()
    assert (dataset.boxes[:, :2] >= 0).all() and (dataset.boxes[:, 2:] <= sizes[:, ::-1]).all()
    assert (dataset.boxes[:, 2:] > dataset.boxes[:, :2]).all()
    assert ((dataset.labels >= 0) & (dataset.labels < len(dataset.class_names))).all()
    assert all(isinstance(name, str) and name for name in dataset.class_names)
