"""Writes YOLO's text files: one line for each object, in normalised coordinates."""

import json
import os
import pathlib

import numpy as np

from keras_det.data.convert.plan import (
    Data,
    Plan,
    Progress,
    decimal,
    note_lost_areas,
    unique_images,
    write,
)
from keras_det.data.convert.upright import upright_boxes
from keras_det.data.formats.split_names import role_of
from keras_det.data.image_names import stem
from keras_det.errors import DataError

DIGITS = 8


def write_yolo(
    data: Data,
    folder: str | os.PathLike,
    *,
    images: str = "link",
    progress: Progress | None = None,
) -> pathlib.Path:
    """Writes `data.yaml`, `images/`, `labels/`, and a list of images for each split.

    A line is `class cx cy w h` in normalised coordinates. YOLO has no crowd objects, so these are
    left out, and no areas. YOLO reads images upright: boxes that were drawn on the stored pixels of
    an image with an EXIF orientation are rotated.

    Args:
        data, folder, images, progress: as of `write_coco`.

    Returns:
        The path of the folder. One warning lists what was changed or lost.

    Raises:
        DataError: as of `write_coco`, or an image has other objects in another split.
        ValueError: `images` is none of the three words.
    """
    return write(data, folder, images, progress, "images", _fill, one_file_per_image=True)


def _fill(plan: Plan, folder: pathlib.Path) -> None:
    turned: list[str] = []
    broken: list[str] = []
    crowd = 0
    for name, dataset, i in unique_images(plan):
        rows = dataset.rows(i)
        try:
            boxes, (height, width), is_turned = upright_boxes(dataset, i)
        except DataError:  # training names it, too
            boxes, is_turned = dataset.boxes[rows].astype(np.float64), False
            height, width = dataset.image_sizes[i].tolist()
            broken.append(dataset.image_paths[i])
        turned += [name] if is_turned else []
        keep = ~dataset.crowd[rows]
        crowd += int((~keep).sum())
        path = folder / "labels" / f"{stem(name)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        shares = boxes[keep] / [width, height, width, height]
        path.write_text(label_lines(dataset.labels[rows][keep], shares), encoding="utf-8")
    lines = _lists(plan, folder)
    lines.append("names:")
    for label, class_name in enumerate(plan.first.class_names):
        lines.append(f"  {label}: {json.dumps(class_name, ensure_ascii=False)}")
    (folder / "data.yaml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    if crowd:
        plan.notes.append(f"Crowd objects left out: {crowd}. YOLO cannot mark crowds.")
    if turned:
        plan.notes.append(
            f"Images whose boxes were drawn on the stored pixels: {len(turned)}. These boxes are "
            "rotated by the EXIF orientation, because YOLO reads images upright (first: "
            f"{turned[0]})."
        )
    if broken:
        plan.notes.append(
            f"Images that cannot be read: {len(broken)}. Their boxes are written with the "
            f"annotated size (first: {broken[0]})."
        )
    note_lost_areas(plan)


def _lists(plan: Plan, folder: pathlib.Path) -> list[str]:
    """Writes the lists of the splits; returns the lines that name them."""
    roles = [role_of(split) for split in plan.splits]
    lines = []
    for split, dataset in plan.splits.items():
        role = role_of(split)
        key = role if role is not None and roles.count(role) == 1 else split
        if not split:
            lines.append("train: images")
            continue
        names = dict.fromkeys(plan.names[path] for path in dataset.image_paths)
        text = "".join(f"./images/{name}\n" for name in names)
        (folder / f"{split}.txt").write_text(text, encoding="utf-8")
        lines.append(f"{_quoted(key)}: {_quoted(f'{split}.txt')}")
    return lines


def _quoted(text: str) -> str:
    return text if text.replace(".", "").isalnum() else json.dumps(text, ensure_ascii=False)


def label_lines(labels: np.ndarray, shares: np.ndarray) -> str:
    """The lines of one image: class, centre x and y, width, height.

    Args:
        labels: int `(n,)`.
        shares: float `(n, 4)`, corners `x1, y1, x2, y2` divided by the image's width and height.
    """
    low, high = shares[:, :2], shares[:, 2:]
    numbers = np.concatenate([(low + high) / 2, high - low], axis=1).tolist()
    return "".join(
        " ".join([str(label), *(decimal(value, DIGITS) for value in row)]) + "\n"
        for label, row in zip(labels.tolist(), numbers, strict=True)
    )
