"""Reads an annotated data set and finds out its format and its splits."""

import os
import pathlib
import re
from collections.abc import Sequence

from keras_det.data.coco import read_coco
from keras_det.data.dataset import Dataset
from keras_det.data.voc import annotation_folder, read_voc
from keras_det.errors import DataError, suggest, suggest_path

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
    """Reads an annotated data set in the format of COCO (JSON) or Pascal VOC (XML).

    Args:
        path: a COCO `.json` file, or the folder of a data set. In a folder `annotations/` only
            `instances_*.json` is read, not captions and key points. For a split without instances
            `image_info_*.json` is read: images without objects.
        split: name of the split. "train" also finds `instances_train2017.json` and
            `ImageSets/Main/train.txt`. None takes the only split of a COCO data set, or every
            annotated image of a Pascal VOC data set.
        class_names: the classes in the order of their labels, e.g. `model.class_names`. None takes
            the data set's, which are the same for every split.
        image_dir: folder of the images. None searches the usual places.

    Returns:
        A `Dataset`. One warning and `.summary` list what was dropped or clipped.

    Raises:
        DataError: nothing readable lies at `path`, or an annotation is wrong.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(
            f"The data set must exist. Received: {path}.{suggest_path(path)} Give a COCO "
            ".json file or the folder of a data set."
        )
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError(
                f"An annotation file must be COCO .json. Received: {path}. Give a .json file, or "
                f"a folder laid out as {LAYOUTS}."
            )
        name = split or _split_of(path)
        return read_coco(path, split=name, class_names=class_names, image_dir=image_dir)
    root = _descend(path)
    found = coco_splits(root)
    if found:
        name, file = _choose(found, split, root)
        return read_coco(
            file, split=name, name=root.name, class_names=class_names, image_dir=image_dir
        )
    if annotation_folder(root):
        return read_voc(root, split=split, class_names=class_names, image_dir=image_dir)
    raise DataError(
        f"A data set must be laid out as {LAYOUTS}. Received: {path}, which holds "
        f"{_listing(path)}. Give the folder above or below, or convert the annotations."
    )


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


def _choose(
    found: dict[str, pathlib.Path], split: str | None, root: pathlib.Path
) -> tuple[str, pathlib.Path]:
    """The split with the wanted name, or the one that clearly is meant, and its file."""
    names = ", ".join(sorted(found))
    if split is None:
        if len(found) == 1:
            return next(iter(found.items()))
        raise DataError(
            f"`split` must name the split of {root} to read. Received: None. The splits are "
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
        f"`split` must name one of the splits of {root}. Received: {split!r}. The splits are "
        f"{names}.{hint} Give one of them."
    )


def _bare(name: str) -> str:
    """The name of a split without its year: "train2017" -> "train"."""
    return re.sub(r"[-_]?\d+$", "", name)


def _descend(path: pathlib.Path) -> pathlib.Path:
    """Descends through folders that hold only one folder, such as VOCdevkit/VOC2012."""
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
