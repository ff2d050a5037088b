"""Writes Pascal VOC: one XML file per image, and lists of file names as splits."""

import os
import pathlib
from xml.sax.saxutils import escape

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
from keras_det.data.dataset import Dataset
from keras_det.data.formats.voc_boxes import first_pixel
from keras_det.data.image_names import stem

# A side of a box, in pixels, that Pascal VOC still tells from a click: counted from 1, a side of 1
# has its first pixel equal to its last.
LEAST_SIDE = 1.01
DIGITS = 3


def write_voc(
    data: Data,
    folder: str | os.PathLike,
    *,
    images: str = "link",
    progress: Progress | None = None,
) -> pathlib.Path:
    """Writes `Annotations/`, `JPEGImages/`, `ImageSets/Main/{split}.txt` and `class_names.txt`.

    Pixels count from 1, as in Pascal VOC: xmin and ymin are raised by 1. Boxes that are no whole
    pixels are written with up to three decimals; some other programs read whole numbers only. Crowd
    objects become `difficult`. Areas of masks are lost.

    Args:
        data, folder, images, progress: as of `write_coco`.

    Returns:
        The path of the folder. One warning lists what was changed or lost.

    Raises:
        DataError: as of `write_coco`, or an image has other objects in another split.
        ValueError: `images` is none of the three words.
    """
    return write(data, folder, images, progress, "JPEGImages", _fill, one_file_per_image=True)


def _fill(plan: Plan, folder: pathlib.Path) -> None:
    top, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    top.mkdir()
    boxes, sizes, thin = [], [], 0
    for name, dataset, i in unique_images(plan):
        rows = slice(dataset.row_splits[i], dataset.row_splits[i + 1])
        written, changed = corners_from_1(dataset.boxes[rows])
        thin += changed
        boxes.append(written)
        sizes.append(np.repeat(dataset.image_sizes[i : i + 1], len(written), axis=0))
        path = top / f"{stem(name)}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_xml(name, dataset, i, written), encoding="utf-8")
    for split, dataset in plan.splits.items():
        if split:
            lists.mkdir(parents=True, exist_ok=True)
            names = dict.fromkeys(stem(plan.names[path]) for path in dataset.image_paths)
            (lists / f"{split}.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")
    names_of_classes = "".join(f"{name}\n" for name in plan.first.class_names)
    (folder / "class_names.txt").write_text(names_of_classes, encoding="utf-8")
    note_lost_areas(plan)
    _notes(plan, np.concatenate([np.zeros((0, 4)), *boxes]), sizes, thin)


def _notes(plan: Plan, boxes: np.ndarray, sizes: list[np.ndarray], thin: int) -> None:
    if thin:
        plan.notes.append(
            f"{thin} boxes of at most one pixel in width or height are written {LEAST_SIDE} pixels "
            "wide or high: in Pascal VOC thinner ones count as clicks."
        )
    all_sizes = np.concatenate([np.zeros((0, 2), np.int64), *sizes])
    if first_pixel(boxes, all_sizes, lambda row: "")[0] != 1:
        plan.notes.append(
            "Pixels count from 1 in these files, but the boxes look as if they counted from 0. "
            "Read them with voc_first_pixel=1 (--voc-first-pixel 1)."
        )


def corners_from_1(boxes: np.ndarray) -> tuple[np.ndarray, int]:
    """Corners as Pascal VOC counts them, and how many boxes had to be made larger.

    Args:
        boxes: `(n, 4)` xyxy.
    """
    boxes = boxes.astype(np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    thin = high - low < LEAST_SIDE
    start = np.where(thin, np.maximum(0.0, np.minimum(low, high - LEAST_SIDE)), low)
    end = np.where(thin, np.maximum(high, start + LEAST_SIDE), high)
    return np.concatenate([start + 1.0, end], axis=1), int(thin.any(axis=1).sum())


def _xml(name: str, dataset: Dataset, index: int, boxes: np.ndarray) -> str:
    """The annotation of one image."""
    rows = slice(dataset.row_splits[index], dataset.row_splits[index + 1])
    height, width = dataset.image_sizes[index].tolist()
    lines = [
        "<annotation>",
        "  <folder>JPEGImages</folder>",
        f"  <filename>{escape(name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    for box, label, crowd in zip(
        boxes.tolist(), dataset.labels[rows].tolist(), dataset.crowd[rows].tolist(), strict=True
    ):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        lines += [
            "  <object>",
            f"    <name>{escape(dataset.class_names[label])}</name>",
            f"    <difficult>{int(crowd)}</difficult>",
            "    <bndbox>"
            + "".join(f"<{key}>{decimal(value, DIGITS)}</{key}>" for key, value in corners)
            + "</bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])
