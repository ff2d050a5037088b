"""Reads Pascal VOC: one XML file per image, and lists of file names as splits."""

import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_det.data.annotations import (
    RawAnnotations,
    finish,
    keep_found,
    pick_classes,
    unknown_class,
)
from keras_det.data.dataset import Dataset
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.errors import DataError, suggest
from keras_det.types import Size

ANNOTATION_FOLDERS = ("Annotations", "annotations")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
CLASS_FILES = ("class_names.txt", "labels.txt")
# Files are refused where more than this share of their boxes has xmax < xmin or ymax < ymin. In
# files that store xywh it is more than half.
XYWH_SHARE = 0.1


class _Object(NamedTuple):
    """One `<object>` of an XML file, in pixels as the file counts them."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool


class _File(NamedTuple):
    """One XML file: the image's file name, its (height, width), 0 where not given, and objects."""

    image_name: str
    size: Size
    objects: list[_Object]


def read_voc(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads a Pascal VOC folder: `Annotations/`, `JPEGImages/`, `ImageSets/Main/{split}.txt`.

    VOC counts pixels from 1 and includes the last one: a box over a whole image of width W has
    xmin=1, xmax=W. As in detectron2, xmin and ymin are lowered by 1; xmax and ymax are kept. A
    folder with any xmin or ymin below 1 counts from 0 and is read unchanged. (BCCD counts from 1:
    its smallest xmin is 1, its largest xmax 640 of 640.) A box with xmin = xmax in the file is an
    accidental click, not one pixel: it is dropped with a note. `difficult` objects become crowd:
    training leaves them out and evaluation ignores them, which is how VOC scores them.

    Args:
        path: the folder that holds `Annotations/`.
        split: name of a list in `ImageSets/Main`. None reads every annotated image.
        class_names: the classes in the order of their labels. None takes `class_names.txt` or
            `labels.txt` in the folder, else the names found in all annotations, sorted. Both are
            the same for every split.
        image_dir: folder of the images. None searches `JPEGImages`, `images`, `Images` and the
            folder itself.

    Returns:
        A `Dataset`. One warning lists what was left out or clipped.

    Raises:
        DataError: the folder, an annotation, the split or the images are missing or wrong.
    """
    root = pathlib.Path(path)
    folder = annotation_folder(root)
    if folder is None:
        raise DataError(
            "A Pascal VOC folder must hold Annotations/*.xml. Received: "
            f"{root} without XML files. Give the folder that holds Annotations/."
        )
    files = sorted(folder.glob("*.xml"), key=lambda file: file.stem)
    parsed = {file.stem: _parse(file) for file in files}
    if class_names is None:
        class_names = _class_file(root) or sorted(
            {found.name for file in parsed.values() for found in file.objects}
        )
    names, _, label_of = pick_classes({}, class_names, str(root))
    lowest = min((min(o.xmin, o.ymin) for file in parsed.values() for o in file.objects), default=1)
    first_pixel = 1.0 if lowest >= 1 else 0.0
    stems = list(parsed) if split is None else _read_split(root, split, set(names))
    raw = _gather(folder, stems, parsed, label_of, names)
    _refuse_xywh(raw)
    empty = (raw.boxes[:, :2] >= raw.boxes[:, 2:]).any(axis=1)
    raw.boxes[:, :2] -= first_pixel
    raw.boxes[empty] = 0.0  # no area: `finish` drops them with a note
    _find_images(raw, root, image_dir, parsed)
    ids = tuple(range(len(names)))
    return finish(raw, class_names=names, category_ids=ids, name=root.name, split=split)


def annotation_folder(root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder with the XML annotations, `root` or one in it; None if there is none."""
    for name in ANNOTATION_FOLDERS:
        folder = root / name
        if folder.is_dir() and any(folder.glob("*.xml")):
            return folder
    return root if any(root.glob("*.xml")) else None


def split_names(root: pathlib.Path) -> list[str]:
    """Returns the names of the lists in `ImageSets/Main`."""
    return sorted(file.stem for file in (root / "ImageSets" / "Main").glob("*.txt"))


def _parse(file: pathlib.Path) -> _File:
    try:
        tree = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise DataError(
            f"A Pascal VOC annotation must be valid XML. Received: {file} ({error}). Correct the "
            "file or remove it."
        ) from error
    if tree.tag != "annotation":
        raise DataError(
            f"A Pascal VOC annotation must start with <annotation>. Received: <{tree.tag}> in "
            f"{file}. Remove the file or export the annotations as Pascal VOC."
        )
    sides = [tree.findtext(f"size/{key}") or "0" for key in ("height", "width")]
    try:
        height, width = (int(float(side)) for side in sides)
    except (ValueError, OverflowError):
        raise DataError(
            "<size> must hold <height> and <width> in pixels. Received: "
            f"height={sides[0]!r}, width={sides[1]!r} in {file}. Correct them, or remove <size>: "
            "the image's own size is then used."
        ) from None
    objects = [_object(item, file, i) for i, item in enumerate(tree.iterfind("object"))]
    return _File((tree.findtext("filename") or "").strip(), (height, width), objects)


def _object(item: ElementTree.Element, file: pathlib.Path, index: int) -> _Object:
    name = item.findtext("name")
    try:
        xmin, ymin, xmax, ymax = (float(item.findtext(f"bndbox/{key}") or "") for key in CORNERS)
    except ValueError:
        name = None
    if name is None:
        raise DataError(
            "Every object must have <name> and <bndbox> with xmin, ymin, xmax, ymax as "
            f"numbers. Received: {file}, object {index} without them. Correct or remove it."
        )
    difficult = (item.findtext("difficult") or "0").strip() in ("1", "true", "True")
    return _Object(name.strip(), xmin, ymin, xmax, ymax, difficult)


def _class_file(root: pathlib.Path) -> list[str]:
    """The class names of a file beside the annotations, one per line; empty without such a file."""
    for name in CLASS_FILES:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return []


def _read_split(root: pathlib.Path, split: str, class_names: set[str]) -> list[str]:
    """The file stems of a split. VOC's lists of one class are not suggested as splits."""
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    if not file.is_file():
        known = [name for name in split_names(root) if name.rpartition("_")[0] not in class_names]
        there = f"the splits {', '.join(known)}" if known else "no ImageSets/Main/*.txt"
        raise DataError(
            f"`split` must name a list in {root / 'ImageSets' / 'Main'}. Received: "
            f"{split!r}; there are {there}.{suggest(split, known)} Give one of them, or "
            "split=None for every annotated image."
        )
    return [line.split()[0] for line in file.read_text().splitlines() if line.strip()]


def _gather(
    folder: pathlib.Path,
    stems: list[str],
    parsed: Mapping[str, _File],
    label_of: Mapping[str, int],
    names: Sequence[str],
) -> RawAnnotations:
    """The objects of the split as arrays, with file stems for paths."""
    missing = [stem for stem in stems if stem not in parsed]
    notes = []
    if missing and len(missing) < len(stems):
        stems = [stem for stem in stems if stem in parsed]
        notes.append(
            f"{len(missing)} images of the split left out: no annotation (first: "
            f"{folder / missing[0]}.xml)."
        )
    rows, origin = [], []
    for i, stem in enumerate(stems):
        for k, (name, *rest) in enumerate(parsed[stem].objects if stem in parsed else ()):
            if name not in label_of:
                raise unknown_class(name, f"{folder / stem}.xml, object {k}", names)
            rows.append((i, label_of[name], *rest))
            origin.append((stem, k))
    table = np.array(rows, np.float64).reshape(-1, 7)
    return RawAnnotations(
        image_paths=list(stems),
        image_ids=list(stems),
        image_sizes=np.array(
            [parsed[stem].size if stem in parsed else (0, 0) for stem in stems], np.int64
        ).reshape(-1, 2),
        image_index=table[:, 0].astype(np.int64),
        boxes=table[:, 2:6].copy(),
        labels=table[:, 1].astype(np.int64),
        crowd=table[:, 6] > 0,
        area=np.full(len(table), np.nan),
        where=lambda row: f"{folder / origin[row][0]}.xml, object {origin[row][1]}",
        notes=notes,
    )


def _refuse_xywh(raw: RawAnnotations) -> None:
    """Raises DataError if too many boxes are inverted, as they are if xywh is read as xyxy."""
    inverted = np.asarray((raw.boxes[:, :2] > raw.boxes[:, 2:]).any(axis=1))
    if len(inverted) and inverted.mean() > XYWH_SHARE:
        row = int(np.flatnonzero(inverted)[0])
        values = ", ".join(f"{value:g}" for value in raw.boxes[row])
        raise DataError(
            f"A box must satisfy xmin < xmax and ymin < ymax. Received: [{values}] in "
            f"{raw.where(row)}. {inverted.sum()} of {len(inverted)} boxes are like this: the files "
            "seem to store x, y, width, height. Write xmin + width and ymin + height into xmax "
            "and ymax."
        )


def _find_images(
    raw: RawAnnotations,
    root: pathlib.Path,
    image_dir: str | os.PathLike | None,
    parsed: Mapping[str, _File],
) -> None:
    """Turns stems into paths: by stem in the image folders, else by the annotation's file name."""
    folders = [pathlib.Path(image_dir)] if image_dir else [root / sub for sub in IMAGE_FOLDERS]
    by_stem: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() in IMAGE_SUFFIXES:
                by_stem.setdefault(file.stem, str(file))
                by_name.setdefault(file.name, str(file))
    paths = [
        by_stem.get(stem) or by_name.get(parsed[stem].image_name if stem in parsed else "")
        for stem in raw.image_paths
    ]
    found = np.array([path is not None for path in paths], bool)
    if len(found) and not found.any():
        raise DataError(
            f"The images of {root} must be in JPEGImages/ or images/. Received: none for "
            f"{raw.image_ids[0]!r}. Give image_dir=, the folder that holds the images."
        )
    raw.image_paths = [path or "" for path in paths]  # those without a path are left out below
    keep_found(raw, found, raw.image_ids)
