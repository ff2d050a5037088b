"""Reads COCO's JSON annotations: instances, key points (their boxes), image lists."""

import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError

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
    raw = read(Source(path, name, split), options_of(class_names, image_dir))
    return assemble(raw, options_of(class_names, image_dir))


class Source(NamedTuple):
    """One annotation file, the name of its data set and of its split; None where not known."""

    path: pathlib.Path
    name: str | None
    split: str | None


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one annotation file; see `read_coco`."""
    path, name, split = source
    content = _load_json(path)
    images, annotations = content["images"], content.get("annotations") or []
    categories = _check_categories(content.get("categories") or [], path)
    raw = _gather(path, images, annotations, categories)
    category = _column(annotations, "category_id", raw.where)
    label = {number: i for i, number in enumerate(categories)}
    raw.labels = np.array([label.get(i, -1) for i in category], np.int64)
    if (raw.labels < 0).any():
        row = int(np.flatnonzero(raw.labels < 0)[0])
        raise DataError(
            f"Every `category_id` must be listed in `categories`. Received: {category[row]} in "
            f"{raw.where(row)}. Add the category to the file or remove the annotation."
        )
    parent = path.parent.parent if path.parent.name == "annotations" else path.parent
    raw.name, raw.split = name or parent.name, split
    raw.folders = _image_folders(path, split)
    return raw


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
    """The boxes of all annotations, `(n, 4)` xywh pixels."""
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
    return boxes


def _gather(
    path: pathlib.Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    categories: dict[int, str],
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
        source=str(path),
        name="",
        split=None,
        class_names=list(categories.values()),
        category_ids=list(categories),
        folders=[],
        box_format="xywh",
        image_names=file_names,
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
    )


def _is_box(box: Any) -> bool:
    try:
        return np.array(box, np.float64).shape == (4,)
    except (ValueError, TypeError):
        return False


def _image_folders(path: pathlib.Path, split: str | None) -> list[pathlib.Path]:
    """Folders in which the images of `path` may lie, the most likely first."""
    stem = path.stem.split("_")[-1]
    parts = [part for part in dict.fromkeys((stem, split)) if part]
    roots = [path.parent.parent, path.parent] if path.parent.name == "annotations" else []
    roots = list(dict.fromkeys([*roots, path.parent]))
    folders = [root / sub for root in roots for part in parts for sub in (part, f"images/{part}")]
    folders += [root / sub for root in roots for sub in ("images", "")]
    return folders


def coco_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns `{split: annotation file}` of a folder in COCO's layout, else an empty dict.

    Raises:
        DataError: `annotations/` holds only files of other kinds, such as captions.
    """
    found = {}
    for folder in (root / "annotations", root):
        for prefix in ("image_info_", "instances_"):
            for file in sorted(folder.glob(f"{prefix}*.json")):
                found[file.stem.removeprefix(prefix)] = file
    for file in sorted(root.glob("*/_annotations.coco.json")):
        found.setdefault(file.parent.name, file)
    if not found:
        files = [file for file in sorted(root.glob("*.json")) if not _is_other(file.name)]
        found = {_split_of(file) or file.stem: file for file in files}
    if not found and (root / "annotations").is_dir():
        files = sorted((root / "annotations").glob("*.json"))
        _refuse_others(root, files)
    return found


def _is_other(name: str) -> bool:
    return name.startswith(("captions_", "person_keypoints_", "panoptic_", "stuff_"))


def _refuse_others(root: pathlib.Path, files: Sequence[pathlib.Path]) -> None:
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise DataError(
            f"{root / 'annotations'} must hold instances_*.json. Received: {names}. Rename the "
            "file with the boxes to instances_<split>.json, or give its path. Captions and "
            "panoptic files hold no boxes."
        )


def _split_of(file: pathlib.Path) -> str | None:
    """The split in the name of a file: `instances_val2017.json` -> "val2017"."""
    if file.name == "_annotations.coco.json":
        return file.parent.name
    match = re.match(r"(?:instances|image_info|person_keypoints|captions)_(.+)$", file.stem)
    return match.group(1) if match else None


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder in COCO's layout, or a COCO file as the only one."""
    if path.is_file():
        if path.suffix.lower() != ".json":
            return None
        return Layout(path, {}, Source(path, None, _split_of(path)))
    found = {name: Source(file, path.name, name) for name, file in coco_splits(path).items()}
    return Layout(path, found) if found else None


def resembles(path: pathlib.Path) -> str | None:
    """What a folder lacks to be COCO's."""
    return None


FORMAT = Format(
    name="coco",
    title="COCO",
    tree="annotations/instances_train.json beside the folder train/, or _annotations.coco.json "
    "inside it",
    find=find,
    read=read,
    resembles=resembles,
)
