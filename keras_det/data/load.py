"""Reads an annotated data set and finds out its format and its splits."""

import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_det.data.assemble import assemble
from keras_det.data.dataset import Dataset
from keras_det.data.formats import FORMATS
from keras_det.data.raw import Format, Layout, options_of
from keras_det.errors import DataError, suggest

SYNONYMS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


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
        near = os.listdir(path.parent) if path.parent.is_dir() else []
        raise DataError(
            f"The data set must exist. Received: {path}.{suggest(path.name, near)} Give a COCO "
            ".json file or the folder of a data set."
        )
    options = options_of(class_names, image_dir)
    found, layout = recognise(path)
    if path.is_file():
        source = layout.everything
        return assemble(found.read(source._replace(split=split or source.split), options), options)
    return assemble(found.read(_choose(layout, split), options), options)


def recognise(path: pathlib.Path) -> tuple[Format, Layout]:
    """Returns the format of a file or folder and what it holds; DataError where it has none."""
    root = _descend(path) if path.is_dir() else path
    for each in FORMATS:
        layout = each.find(root)
        if layout is not None:
            return each, layout
    known = " or ".join(f"{each.title} ({each.tree})" for each in FORMATS)
    if path.is_file():
        raise DataError(
            f"An annotation file must be COCO .json. Received: {path}. Give a .json file, or "
            f"a folder laid out as {known}."
        )
    raise DataError(
        f"A data set must be laid out as {known}. Received: {path}, which holds "
        f"{_listing(path)}. Give the folder above or below, or convert the annotations."
    )


def _choose(layout: Layout, split: str | None) -> Any:
    """The source of the split with the wanted name, or of the one that clearly is meant."""
    found, root = layout.splits, layout.root
    names = ", ".join(sorted(found))
    if split is None:
        if layout.everything is not None:
            return layout.everything
        if len(found) == 1:
            return next(iter(found.values()))
        raise DataError(
            f"`split` must name the split of {root} to read. Received: None. The splits are "
            f"{names}. Give one of them."
        )
    if split in found:
        return found[split]
    near = _near(found, split)
    if len(near) == 1:
        return found[near[0]]
    hint = " Several fit." if near else suggest(split, found)
    raise DataError(
        f"`split` must name one of the splits of {root}. Received: {split!r}. The splits are "
        f"{names}.{hint} Give one of them."
    )


def _near(found: Mapping[str, Any], split: str) -> list[str]:
    """Names of the splits that are meant: "train" finds train2017, "valid" finds val."""
    wanted = SYNONYMS.get(split, split)
    return [name for name in found if SYNONYMS.get(_bare(name), _bare(name)) == wanted]


def _bare(name: str) -> str:
    """The name of a split without its year: "train2017" -> "train"."""
    return re.sub(r"[-_]?\d+$", "", name)


def _descend(path: pathlib.Path) -> pathlib.Path:
    """Descends through folders that hold only one folder, such as VOCdevkit/VOC2012."""
    for _ in range(3):
        inside = [entry for entry in path.iterdir() if not _is_hidden(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() == "annotations":
            return path
        path = inside[0]
    return path


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _listing(path: pathlib.Path) -> str:
    names: Iterable[str] = sorted(entry.name for entry in path.iterdir())
    names = list(names)
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
