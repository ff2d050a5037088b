"""Reads Pascal VOC: one XML file per image, splits as lists of names."""

import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from keras_det.data.annotations import (
    RawAnnotations,
    finish,
    keep_images,
    pick_classes,
    unknown_class,
)
from keras_det.data.dataset import Dataset
from keras_det.data.image import IMAGE_SUFFIXES, read_size
from keras_det.errors import DataError, suggest

ANNOTATION_FOLDERS = ("Annotations", "annotations")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
CLASS_FILES = ("class_names.txt", "labels.txt")
# Boxes with xmax < xmin, as a share: xywh read as xyxy gives more than half.
XYWH_SHARE = 0.1


def read_voc(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads a Pascal VOC folder: `Annotations/`, `JPEGImages/`, `ImageSets/Main/{split}.txt`.

    VOC counts pixels from 1 and includes the last one, so a box over a whole image of width W is
    xmin=1, xmax=W; as in detectron2, xmin and ymin are lowered by 1 and xmax, ymax kept. A folder
    in which any xmin or ymin is below 1 counts from 0 and is read as it is. (BCCD: smallest xmin
    1, largest xmax 640 of 640: counted from 1.) A box with xmin = xmax in the file is a slip of
    the mouse, not one pixel: it is dropped and named. `difficult` objects become crowd: left out
    of training, ignored in evaluation, which is how VOC scores them.

    Args:
        path: the folder that holds `Annotations/`.
        split: name of a list in `ImageSets/Main`. None reads every annotated image.
        class_names: order of the classes. None takes `class_names.txt` or `labels.txt` in the
            folder, else the names found in all annotations, sorted, the same for every split.
        image_dir: folder of the images, if it is not `JPEGImages` or `images`.
    """
    root = pathlib.Path(path)
    folder = annotation_folder(root)
    files = sorted(folder.glob("*.xml"), key=lambda file: file.stem)
    parsed = {file.stem: _parse(file) for file in files}
    if class_names is None:
        class_names = _class_file(root) or sorted(
            {found[0] for _, _, objects in parsed.values() for found in objects}
        )
    names, ids, label_of = pick_classes({}, class_names, str(root))
    lowest = min((min(o[1:3]) for _, _, objects in parsed.values() for o in objects), default=1)
    first_pixel = 1.0 if lowest >= 1 else 0.0
    stems = list(parsed) if split is None else _read_split(root, split, set(names))
    raw = _gather(root, folder, stems, parsed, label_of, names)
    _refuse_xywh(raw)
    empty = (raw.boxes[:, :2] >= raw.boxes[:, 2:]).any(axis=1)
    raw.boxes[:, :2] -= first_pixel
    raw.boxes[empty] = 0.0  # zero area: `finish` drops and names them
    _find_images(raw, root, image_dir, parsed)
    ids = tuple(range(len(names)))
    return finish(raw, class_names=names, category_ids=ids, name=root.name, split=split)


def annotation_folder(root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of XML annotations under `root`, or None."""
    for name in ANNOTATION_FOLDERS:
        folder = root / name
        if folder.is_dir() and any(folder.glob("*.xml")):
            return folder
    return root if any(root.glob("*.xml")) else None


def split_names(root: pathlib.Path) -> list[str]:
    """Returns the names of the lists in `ImageSets/Main`."""
    return sorted(file.stem for file in (root / "ImageSets" / "Main").glob("*.txt"))


def _parse(file: pathlib.Path) -> tuple[str, tuple[int, int], list[tuple]]:
    """Returns `(file name of the image, (height, width), objects)` of one XML file.

    An object is `(name, xmin, ymin, xmax, ymax, difficult)`.
    """
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
    size = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    objects = []
    for i, item in enumerate(tree.iterfind("object")):
        try:
            corners = [float(item.find("bndbox").findtext(key)) for key in CORNERS]
            name = item.findtext("name").strip()
        except (AttributeError, TypeError, ValueError):
            raise DataError(
                "Every object must have <name> and <bndbox> with xmin, ymin, xmax, ymax as "
                f"numbers. Received: {file}, object {i} without them. Correct or remove it."
            ) from None
        difficult = (item.findtext("difficult") or "0").strip() in ("1", "true", "True")
        objects.append((name, *corners, difficult))
    return (tree.findtext("filename") or "").strip(), size, objects


def _class_file(root: pathlib.Path) -> list[str]:
    for name in CLASS_FILES:
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return []


def _read_split(root: pathlib.Path, split: str, class_names: set[str]) -> list[str]:
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


def _gather(root, folder, stems, parsed, label_of, names) -> RawAnnotations:
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
        for k, (name, *rest) in enumerate(parsed[stem][2] if stem in parsed else ()):
            if name not in label_of:
                raise unknown_class(name, f"{folder / stem}.xml, object {k}", names)
            rows.append((i, label_of[name], *rest))
            origin.append((stem, k))
    table = np.array(rows, np.float64).reshape(-1, 7)
    return RawAnnotations(
        image_paths=list(stems),
        image_ids=list(stems),
        image_sizes=np.array(
            [parsed[stem][1] if stem in parsed else (0, 0) for stem in stems], np.int64
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
    inverted = (raw.boxes[:, :2] > raw.boxes[:, 2:]).any(axis=1)
    if len(inverted) and inverted.mean() > XYWH_SHARE:
        row = int(np.flatnonzero(inverted)[0])
        values = ", ".join(f"{value:g}" for value in raw.boxes[row])
        raise DataError(
            "A box must satisfy xmin < xmax and ymin < ymax. Received: "
            f"[{values}] in {raw.where(row)}, like {inverted.sum()} of {len(inverted)} boxes: the "
            "files seem to store x, y, width, height. Write xmin + width and ymin + height into "
            "xmax and ymax."
        )


def _find_images(raw: RawAnnotations, root, image_dir, parsed) -> None:
    """Turns stems into paths: by stem in the image folders, else by the annotation's file name."""
    folders = [pathlib.Path(image_dir)] if image_dir else [root / sub for sub in IMAGE_FOLDERS]
    by_stem, by_name = {}, {}
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() in IMAGE_SUFFIXES:
                by_stem.setdefault(file.stem, str(file))
                by_name.setdefault(file.name, str(file))
    paths = [
        by_stem.get(stem) or by_name.get(parsed[stem][0] if stem in parsed else "")
        for stem in raw.image_ids
    ]
    found = np.array([path is not None for path in paths], bool)
    if len(found) and not found.any():
        raise DataError(
            f"The images of {root} must lie in JPEGImages/ or images/. Received: none for "
            f"{raw.image_ids[0]!r}. Give image_dir=, the folder that holds the images."
        )
    raw.image_paths = paths
    if not found.all():
        lost = int(np.flatnonzero(~found)[0])
        raw.notes.append(
            f"{(~found).sum()} of {len(found)} images left out: no such file (first: "
            f"{raw.image_ids[lost]})."
        )
        keep_images(raw, found)
    for i in np.flatnonzero((raw.image_sizes <= 0).any(axis=1)):
        raw.image_sizes[i] = read_size(raw.image_paths[i])
