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

# In pixels, how much larger than xmin a written xmax must be: where both are equal, the box counts
# as a click. Counted from 1, a box of one pixel has equal ones.
LEAST_SIDE = 0.01
DIGITS = 3


def write_voc(
    data: Data,
    folder: str | os.PathLike,
    *,
    images: str = "link",
    progress: Progress | None = None,
) -> pathlib.Path:
    """Writes `Annotations/`, `JPEGImages/`, `ImageSets/Main/{split}.txt` and `class_names.txt`.

    Pixels count from 1, as in Pascal VOC: xmin and ymin are raised by 1. Only where the boxes would
    then be read as counted from 0 (see `voc_boxes.first_pixel`), they are counted from 0, with a
    note. Boxes that do not lie on whole pixels are written with up to three decimals; some other
    programs read whole numbers only. Crowd objects become `difficult`. Areas of masks are lost.

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
    images = list(unique_images(plan))
    first = _first_pixel(plan, [(dataset, i) for _, dataset, i in images])
    thin = 0
    for name, dataset, i in images:
        rows = dataset.rows(i)
        boxes, changed = written_corners(dataset.boxes[rows], first)
        thin += changed
        path = top / f"{stem(name)}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_xml(name, dataset, i, boxes), encoding="utf-8")
    for split, dataset in plan.splits.items():
        if split:
            lists.mkdir(parents=True, exist_ok=True)
            names = dict.fromkeys(stem(plan.names[path]) for path in dataset.image_paths)
            (lists / f"{split}.txt").write_text("".join(f"{n}\n" for n in names), "utf-8")
    names_of_classes = "".join(f"{name}\n" for name in plan.first.class_names)
    (folder / "class_names.txt").write_text(names_of_classes, encoding="utf-8")
    note_lost_areas(plan)
    if thin:
        plan.notes.append(
            f"Boxes of at most one pixel in width or height: {thin}. They are written slightly "
            "larger, because readers of Pascal VOC treat thinner boxes as accidental clicks."
        )


def _first_pixel(plan: Plan, images: list[tuple[Dataset, int]]) -> int:
    """How pixels are counted: from 1, unless that would be read as from 0; with a note then."""
    found = [dataset.boxes[dataset.rows(i)] for dataset, i in images]
    boxes = np.concatenate([np.zeros((0, 4)), *found])
    sizes = np.array([dataset.image_sizes[i] for dataset, i in images]).reshape(-1, 2)
    sizes = np.repeat(sizes, [len(each) for each in found], axis=0)
    for first in (1, 0):
        if first_pixel(written_corners(boxes, first)[0], sizes, lambda row: "")[0] == first:
            break
    else:
        plan.notes.append(
            "These files count pixels from 1, but their boxes look as if pixels were counted "
            "from 0. Read the files with voc_first_pixel=1 (--voc-first-pixel 1)."
        )
        return 1
    if first == 0:
        plan.notes.append(
            "These files count pixels from 0, not from 1 as usual in Pascal VOC. keras_det will "
            "read them correctly, because it sees from the boxes how pixels are counted."
        )
    return first


def written_corners(boxes: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    """Corners as they are written, and how many boxes had to be made larger.

    Args:
        boxes: `(n, 4)` xyxy.
        first: 1 or 0, how pixels are counted.
    """
    boxes = boxes.astype(np.float64)
    low, high, least = boxes[:, :2], boxes[:, 2:], first + LEAST_SIDE
    thin = high - low < least
    start = np.where(thin, np.maximum(0.0, np.minimum(low, high - least)), low)
    end = np.where(thin, np.maximum(high, start + least), high)
    return np.concatenate([start + first, end], axis=1), int(thin.any(axis=1).sum())


def _xml(name: str, dataset: Dataset, index: int, boxes: np.ndarray) -> str:
    """The annotation of one image."""
    rows = dataset.rows(index)
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
