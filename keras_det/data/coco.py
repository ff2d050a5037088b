"""Reads COCO's JSON annotations: instances, key points (their boxes), image lists."""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from keras_det.data.annotations import (
    RawAnnotations,
    find_files,
    finish,
    keep_found,
    keep_rows,
    pick_classes,
    unknown_class,
)
from keras_det.data.dataset import Dataset
from keras_det.errors import DataError

# A file is refused where more than this share of its boxes leaves the image at the right or the
# bottom. In a file that stores xyxy instead of xywh it is about 0.7.
XYXY_SHARE = 0.3
SLACK = 1.0  # pixels; files round to hundredths or to whole pixels
KINDS = {
    "caption": ("captions of images", "instances_*.json of the same split"),
    "segments_info": ("a panoptic segmentation", "instances_*.json of the same split"),
    "question": ("questions about images", "instances_*.json of the same split"),
}


def read_coco(
    path: str | os.PathLike,
    *,
    image_dir: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    split: str | None = None,
) -> Dataset:
    """Reads one COCO annotation file.

    Category ids may start anywhere and have gaps. Categories sorted by id become labels 0..K-1, and
    `Dataset.category_ids` keeps the ids. `iscrowd` becomes `crowd`. `area` is the annotation's (of
    the mask). Of a key-point file only the boxes are read. An image list (`image_info_*.json`)
    gives images without objects.

    Args:
        path: the `.json` file.
        image_dir: folder of the images. None looks beside the file and in COCO's layout.
        class_names: the classes in the order of their labels, e.g. `model.class_names`. None takes
            the file's.
        name: name of the data set in messages. None takes the folder's name.
        split: name of the split; stored in `Dataset.split` and used to find the images.

    Returns:
        A `Dataset`. One warning lists what was left out or clipped.

    Raises:
        DataError: the file, its content or its images are missing or wrong.
    """
    path = pathlib.Path(path)
    content = _load_json(path)
    images, annotations = content["images"], content.get("annotations") or []
    categories = _check_categories(content.get("categories") or [], path)
    found = {category: number for number, category in categories.items()}
    names, ids, label_of = pick_classes(found, class_names, str(path))
    raw = _gather(path, images, annotations)
    category = _column(annotations, "category_id", raw.where)
    label = {i: label_of.get(c, -1) for i, c in categories.items()}
    raw.labels = np.array([label.get(i, -2) for i in category], np.int64)
    if (raw.labels < 0).any():
        row = int(np.flatnonzero(raw.labels < 0)[0])
        if raw.labels[row] == -1:
            raise unknown_class(categories[category[row]], raw.where(row), names)
        raise DataError(
            f"Every `category_id` must be listed in `categories`. Received: {category[row]} in "
            f"{raw.where(row)}. Add the category to the file or remove the annotation."
        )
    _drop_unknown_images(raw)
    _find_images(raw, images, path, image_dir, split)
    _refuse_xyxy(raw)
    name = name or (path.parent.parent if path.parent.name == "annotations" else path.parent).name
    return finish(raw, class_names=names, category_ids=ids, name=name, split=split)


def _load_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads the file and refuses what is not a COCO file with boxes."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise DataError(
            f"The annotation file must exist. Received: {path}. Correct the path."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"A COCO annotation file must be valid JSON. Received: {path} ({error}). Download or "
            "export it again."
        ) from error
    if isinstance(content, list):
        raise DataError(
            "A COCO annotation file must be an object with `images`, `annotations` and "
            f"`categories`. Received: {path}, a list of {len(content)} entries, which is the form "
            "of detection results. Give the file of annotations, such as instances_val2017.json."
        )
    annotations = (content.get("annotations") or []) if isinstance(content, dict) else []
    first = annotations[0] if isinstance(annotations, list) and annotations else {}
    for key, (what, instead) in KINDS.items():
        if key in first and "bbox" not in first:
            raise DataError(
                "Annotations for detection must hold boxes (`bbox`). Received: "
                f"{path}, which holds {what}. Give {instead}."
            )
    keys = sorted(content) if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(
            "A COCO annotation file must be an object with `images`, `annotations` and "
            f"`categories`. Received: {path} with {keys}. Export the annotations as COCO JSON."
        )
    return content


def _check_categories(categories: list[dict[str, Any]], path: pathlib.Path) -> dict[int, str]:
    """Returns `{id: name}` sorted by id."""
    found: dict[int, str] = {}
    for i, category in enumerate(categories):
        if "id" not in category or "name" not in category:
            raise DataError(
                f"`categories[{i}]` must have `id` and `name`. Received: {category} in {path}. "
                "Add what is missing, or export the file again."
            )
        if category["id"] in found or category["name"] in found.values():
            raise DataError(
                "Categories must differ in id and name. Received: "
                f"categories[{i}]={category} a second time in {path}. Rename or remove it."
            )
        found[category["id"]] = str(category["name"])
    return dict(sorted(found.items()))


def _column(
    annotations: Sequence[dict[str, Any]], key: str, where: Callable[[int], str]
) -> list[Any]:
    """The value of `key` of every annotation."""
    try:
        return [annotation[key] for annotation in annotations]
    except KeyError:
        row = next(i for i, annotation in enumerate(annotations) if key not in annotation)
        raise DataError(
            f"Every annotation must have `{key}`. Received: none in {where(row)}. Add it, or "
            "remove this annotation."
        ) from None


def _boxes(annotations: Sequence[dict[str, Any]], where: Callable[[int], str]) -> np.ndarray:
    """The boxes of all annotations, `(n, 4)` xyxy pixels."""
    column = _column(annotations, "bbox", where)
    try:
        boxes = np.array(column, np.float64).reshape(-1, 4)
        if len(boxes) != len(annotations):
            raise ValueError
    except (ValueError, TypeError):
        row = next(i for i, box in enumerate(column) if not _is_box(box))
        raise DataError(
            "`bbox` must be four numbers [x, y, width, height]. Received: "
            f"{column[row]} in {where(row)}. Correct or remove the annotation."
        ) from None
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _gather(
    path: pathlib.Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> RawAnnotations:
    """The columns of the file as arrays, with file names for paths and all labels 0."""

    def where(row: int) -> str:
        number = annotations[row].get("id")
        return f"{path}, annotations[{row}]" + ("" if number is None else f" (id {number})")

    boxes = _boxes(annotations, where)
    try:
        index_of = {image["id"]: i for i, image in enumerate(images)}
        file_names = [image["file_name"] for image in images]
    except (KeyError, TypeError):
        raise DataError(
            f"Every entry of `images` must have `id` and `file_name`. Received: {path}, where one "
            "entry lacks them. Add what is missing, or export the file again."
        ) from None
    image_ids = _column(annotations, "image_id", where)
    return RawAnnotations(
        image_paths=file_names,
        image_ids=[image["id"] for image in images],
        image_sizes=np.array(
            [(image.get("height") or 0, image.get("width") or 0) for image in images], np.int64
        ).reshape(-1, 2),
        image_index=np.array([index_of.get(i, -1) for i in image_ids], np.int64),
        boxes=boxes,
        labels=np.zeros(len(annotations), np.int64),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool),
        area=np.array([a.get("area") for a in annotations], np.float64),
        where=where,
        notes=[],
    )


def _is_box(box: Any) -> bool:
    try:
        return np.array(box, np.float64).shape == (4,)
    except (ValueError, TypeError):
        return False


def _drop_unknown_images(raw: RawAnnotations) -> None:
    lost = np.flatnonzero(raw.image_index < 0)
    if len(lost):
        raw.notes.append(
            f"{len(lost)} annotations left out: their image_id is not in `images` (first: "
            f"{raw.where(int(lost[0]))})."
        )
        keep_rows(raw, raw.image_index >= 0)


def _find_images(
    raw: RawAnnotations,
    images: list[dict[str, Any]],
    path: pathlib.Path,
    image_dir: str | os.PathLike | None,
    split: str | None,
) -> None:
    """Turns file names into paths, and leaves out missing images with a note."""
    folders = [pathlib.Path(image_dir)] if image_dir else _image_folders(path, split)
    first = [str(image["file_name"]) for image in islice(images, 20)]
    hits = [sum((folder / name).is_file() for name in first) for folder in folders]
    if images and not max(hits):
        tried = ", ".join(str(folder) for folder in folders)
        raise DataError(
            f"The images of {path} must be beside it or in `image_dir`. Received: no {first[0]!r} "
            f"in {tried}. Give image_dir=, the folder that holds the images."
        )
    folder = folders[int(np.argmax(hits))]
    raw.image_paths = [os.path.join(folder, name) for name in raw.image_paths]
    keep_found(raw, find_files(raw.image_paths), raw.image_paths)


def _image_folders(path: pathlib.Path, split: str | None) -> list[pathlib.Path]:
    """Folders in which the images of `path` may lie, the most likely first."""
    stem = path.stem.split("_")[-1]
    parts = [part for part in dict.fromkeys((stem, split)) if part]
    roots = [path.parent.parent, path.parent] if path.parent.name == "annotations" else []
    roots = list(dict.fromkeys([*roots, path.parent]))
    folders = [root / sub for root in roots for part in parts for sub in (part, f"images/{part}")]
    folders += [root / sub for root in roots for sub in ("images", "")]
    return folders


def _refuse_xyxy(raw: RawAnnotations) -> None:
    """Raises DataError if too many boxes leave their image, as they do if xyxy is read as xywh."""
    limit = raw.image_sizes[raw.image_index][:, ::-1]
    outside = (raw.boxes[:, 2:] > limit + SLACK).any(axis=1)
    if len(outside) and outside.mean() > XYXY_SHARE:
        row = int(np.flatnonzero(outside)[0])
        x1, y1, x2, y2 = raw.boxes[row]
        raise DataError(
            f"`bbox` must be [x, y, width, height] in pixels. Received: [{x1:g}, {y1:g}, "
            f"{x2 - x1:g}, {y2 - y1:g}] in {raw.where(row)}, which ends at ({x2:g}, {y2:g}) in an "
            f"image of {limit[row][0]}x{limit[row][1]}. {outside.sum()} of {len(outside)} boxes "
            "leave their image: the file seems to store xyxy. Subtract x1 from x2 and y1 from y2, "
            "and save the file again."
        )
