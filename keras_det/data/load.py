"""Finds out what a path holds and reads it."""

import os
import pathlib
import re
from collections.abc import Sequence

from keras_det.data.coco import read_coco
from keras_det.data.dataset import Dataset
from keras_det.data.voc import annotation_folder, read_voc
from keras_det.errors import DataError, suggest

SYNONYMS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}
LAYOUTS = (
    "COCO (annotations/instances_train.json beside the folder train/, or _annotations.coco.json "
    "inside it) or Pascal VOC (Annotations/*.xml, JPEGImages/, ImageSets/Main/train.txt)"
)


def load(
    path: str | os.PathLike,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads an annotated data set: COCO JSON or Pascal VOC, whichever lies at `path`.

    Args:
        path: a COCO `.json` file, or the folder of a data set. In a folder `annotations/` only
            `instances_*.json` is taken; captions and key points are not. `image_info_*.json`
            serves a split that has no instances: images without objects.
        split: "train", "val", … finds `instances_train2017.json` and `ImageSets/Main/train.txt`.
            None takes the only split there is; Pascal VOC: every annotated image.
        class_names: order of the classes, e.g. `model.class_names`. None takes the source's, which
            is the same for every split.
        image_dir: folder of the images, where it is not found by itself.

    Returns:
        A `Dataset`. What was dropped or clipped is said in one warning and in `.summary`.
    """
    path = pathlib.Path(path)
    if not path.exists():
        near = os.listdir(path.parent) if path.parent.is_dir() else []
        raise DataError(
            f"The data set must exist. Received: {path}.{suggest(path.name, near)} Give a COCO "
            ".json file or the folder of a data set."
        )
    options = {"class_names": class_names, "image_dir": image_dir}
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError(
                f"An annotation file must be COCO .json. Received: {path}. Give a .json file, or "
                f"a folder laid out as {LAYOUTS}."
            )
        return read_coco(path, split=split or _split_of(path), **options)
    root = _descend(path)
    found = coco_splits(root)
    if found:
        name, file = _choose(found, split, root)
        return read_coco(file, split=name, name=root.name, **options)
    if annotation_folder(root):
        return read_voc(root, split=split, **options)
    raise DataError(
        f"A data set must be laid out as {LAYOUTS}. Received: {path}, which holds "
        f"{_listing(path)}. Give the folder above or below, or convert the annotations."
    )


def coco_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns `{split: annotation file}` of a folder in COCO's layout; empty where it is none."""
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


def _refuse_others(root, files) -> None:
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise DataError(
            f"{root / 'annotations'} must hold instances_*.json. Received: {names}. Captions and "
            "panoptic files hold no boxes; rename a file of boxes to instances_<split>.json, or "
            "give its path itself."
        )


def _split_of(file: pathlib.Path) -> str | None:
    """The split that a file's name says: `instances_val2017.json` -> "val2017"."""
    if file.name == "_annotations.coco.json":
        return file.parent.name
    match = re.match(r"(?:instances|image_info|person_keypoints|captions)_(.+)$", file.stem)
    return match.group(1) if match else None


def _choose(found: dict[str, pathlib.Path], split: str | None, root) -> tuple[str, pathlib.Path]:
    names = ", ".join(sorted(found))
    if split is None:
        if len(found) == 1:
            return next(iter(found.items()))
        raise DataError(
            f"`split` must say which part of {root} to read. Received: None; there are the splits "
            f"{names}. Give one of them."
        )
    if split in found:
        return split, found[split]
    wanted = SYNONYMS.get(split, split)
    # "train" finds train2017; "valid" finds val.
    near = [
        name for name in found if SYNONYMS.get(_bare(name), _bare(name)) == wanted and name != split
    ]
    if len(near) == 1:
        return near[0], found[near[0]]
    hint = " Several fit." if near else suggest(split, found)
    raise DataError(
        f"`split` must name one of the splits of {root}. Received: {split!r}; there are the "
        f"splits {names}.{hint} Give one of them."
    )


def _bare(name: str) -> str:
    return re.sub(r"[-_]?\d+$", "", name)


def _descend(path: pathlib.Path) -> pathlib.Path:
    """Goes down through folders that hold nothing but one folder (VOCdevkit/VOC2012)."""
    for _ in range(3):
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if len(inside) != 1 or not inside[0].is_dir() or annotation_folder(path):
            return path
        if inside[0].name == "annotations":
            return path
        path = inside[0]
    return path


def _listing(path: pathlib.Path) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
