"""Reads LabelMe: one JSON file per image, with boxes, polygons, circles and masks."""

import itertools
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_det.data.dataset import Dataset
from keras_det.data.formats.labelme_layout import (
    Part,
    find_parts,
    image_folders,
    image_stems,
    is_labelme,
    json_files,
    what_is_missing,
)
from keras_det.data.formats.plain_text import read_json, read_text
from keras_det.data.formats.split_names import read_path
from keras_det.data.formats.tool_shapes import BOX, MASK, POLYGON, ShapeError, Shapes, around, side
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.data.truth import truth
from keras_det.errors import DataError
from keras_det.words import counted

CLASS_FILES = ("labels.txt", "classes.txt", "class_names.txt")
# Lines of LabelMe's labels.txt, and labels, that name no class of objects.
NO_CLASSES = ("__ignore__", "_background_")
ROTATED = ("rotation", "oriented_rectangle", "quadrilateral")
NO_BOX = ("point", "points", "line", "linestrip")
EXPORT = "export them with LabelMe's `labelme_export_json FILE.json -o FOLDER`"


def read_labelme(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads LabelMe's files, and those of X-AnyLabeling: one JSON file per image.

    They lie next to the images, in `annotations/`, `labels/` or `json/`, or in folders of splits
    such as `train/`. A rectangle is an object. So are a polygon, a circle, a mask and a rotated
    rectangle: the bounding box is taken, with a note. Polygons and masks of one class with the
    same `group_id` are parts of one object. Points and lines have no box and are left out. Shapes
    that X-AnyLabeling marks as `difficult` become crowd, as Pascal VOC's.

    Args:
        path: the folder, or one file.
        split: name of a folder such as "train". None reads every file.
        class_names: the classes in the order of their labels. None takes `labels.txt` in the folder
            without `__ignore__` and `_background_`, else the labels found in all files, sorted.
        image_dir: folder of the images. None searches next to the files and in `images/`.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: the files, the split or the images are missing or wrong.
    """
    rule = "A LabelMe data set must hold .json files with `shapes` and `imagePath`"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


class Source(NamedTuple):
    """The folders of a data set, and the split to read; None reads every file."""

    root: pathlib.Path
    split: str | None
    parts: tuple[Part, ...]


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split of a data set; see `read_labelme`."""
    root, split, parts = source
    one = parts[0].files[0] if parts[0].files else ""
    wanted, others = (Shapes(root / one, root.name) for _ in range(2))
    several = len(parts) > 1
    for part in parts:
        mine = split is None or part.split == split or not several
        if mine or options.class_names is None:
            _read_part(part, source, options, wanted if mine else others)
    names, note = _class_names(
        [str(root), *(part.folder for part in parts)], wanted.labels | others.labels
    )
    wanted.notes += note
    folders = [str(root)] if several else image_folders(str(root), parts[0].folder)
    return wanted.raw(names, split, [pathlib.Path(folder) for folder in folders])


def _read_part(part: Part, source: Source, options: ReadOptions, shapes: Shapes) -> None:
    """Reads the files of one folder."""
    prefix, known = _images_of(part, source, options)
    renamed, embedded, foreign = [], [], []
    for name in json_files(part.folder) if part.files is None else part.files:
        path = os.path.join(part.folder, name)
        content = _content(path, shapes)
        if content is None:
            continue
        if not isinstance(content.get("shapes"), list):
            if "shapes" in content or "imagePath" in content:
                shapes.bad_files.add(
                    path, f"`shapes` must be a list. Received: {content.get('shapes')!r:.40}"
                )
            else:
                foreign.append(path)
            continue
        stem = os.path.splitext(name)[0]
        image_name = content.get("imagePath")
        image_name = image_name if isinstance(image_name, str) and image_name else stem
        own = os.path.splitext(image_name.replace("\\", "/").rpartition("/")[2])[0]
        if own != stem:
            renamed.append((path, image_name))
        if content.get("imageData") and not known & {own, stem}:
            embedded.append(path)
        _read_content(content, path, (prefix, image_name, stem), shapes)
    _tell(shapes, renamed, embedded, foreign)


def _images_of(part: Part, source: Source, options: ReadOptions) -> tuple[str, set[str]]:
    """The folder of the images of one folder of files, and the stems of all images near it.

    With one folder of files, "": all places are searched for their images.
    """
    if options.image_dir is None:
        base, folders = str(source.root), image_folders(str(source.root), part.folder)
    else:
        base = str(options.image_dir)
        folders = [os.path.join(base, part.split or ""), base]
    stems = {folder: image_stems(folder) for folder in folders}
    home = next((folder for folder in folders if stems[folder]), folders[0])
    prefix = os.path.relpath(home, base) if len(source.parts) > 1 else "."
    return "" if prefix == "." else prefix, set().union(*stems.values())


def _content(path: str, shapes: Shapes) -> dict[str, Any] | None:
    """The object of one file; None where it is unreadable."""
    try:
        content = read_json(path)
    except DataError as error:
        shapes.bad_files.add(path, str(error).partition(". Correct")[0])
        return None
    return content if isinstance(content, dict) else {}


def _tell(
    shapes: Shapes, renamed: list[tuple[str, str]], embedded: list[str], foreign: list[str]
) -> None:
    """Notes on files that are unlike what LabelMe writes; DataError without any image file."""
    if embedded and len(embedded) == len(shapes.names):
        raise DataError(
            "The images must be files beside LabelMe's files, or in image_dir= (--image-dir). "
            f"Received: {counted(len(embedded), 'image')} only inside their JSON file "
            f"(`imageData`), first: {embedded[0]}. Give the folder of the images. If there is "
            f"none, {EXPORT}."
        )
    if embedded:
        text = (
            "Images that are only inside their JSON file (`imageData`), and so are not read: "
            f"{len(embedded)}"
        )
        more = f"To use them, {EXPORT}."
        shapes.notes.append(
            Note("images-embedded", text, len(embedded), first=embedded[0], more=more)
        )
    if renamed:
        path, image_name = renamed[0]
        text = (
            f"JSON files that are not named like the image in their `imagePath`: {len(renamed)}. "
            "The image in `imagePath` is used"
        )
        first = f"{path} names {image_name!r}"
        shapes.notes.append(Note("images-found-otherwise", text, len(renamed), first=first))
    if foreign:
        text = (
            "JSON files that were not read, because they have no `shapes` and `imagePath`: "
            f"{len(foreign)}"
        )
        shapes.notes.append(Note("files-left-out", text, len(foreign), first=foreign[0]))


def _read_content(
    content: dict[str, Any], path: str, names: tuple[str, str, str], shapes: Shapes
) -> None:
    """Adds the image of one file and its shapes.

    Args:
        content: of the file.
        path: of the file.
        names: folder of the image, its name in `imagePath`, and the stem of the JSON file.
        shapes: gets them.
    """
    prefix, name, stem = names
    if prefix:  # several folders of annotations: the images are named from the root on
        name, stem = os.path.join(prefix, name.replace("\\", "/")), os.path.join(prefix, stem)
        name = os.path.normpath(name)
    size = (side(content.get("imageHeight")), side(content.get("imageWidth")))
    image = shapes.add_image(name, stem, os.path.splitext(os.path.basename(path))[0], size)
    grouped = set()
    for k, shape in enumerate(content["shapes"]):
        place = (f"{path}, shapes", k)
        try:
            group = _add_shape(shape, image, place, shapes)
        except ShapeError as error:
            shapes.bad.add(f"{place[0]}[{k}]", str(error))
            continue
        if group in grouped:
            shapes.twins.append(place)
        if group is not None:
            grouped.add(group)


def _add_shape(shape: Any, image: int, place: tuple[str, int], shapes: Shapes) -> Any:
    """Adds one shape; returns (label, group) of a rectangle with a `group_id`."""
    if not isinstance(shape, dict):
        raise ShapeError(f"a shape must be an object. Received: {shape!r:.40}")
    kind = shape.get("shape_type") or POLYGON
    label = shape.get("label")
    if kind in NO_BOX:
        shapes.leave_out(kind, place)
        return None
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str):
        raise ShapeError(f"`label` must be a string. Received: {label!r:.40}")
    if label in NO_CLASSES:
        shapes.leave_out(f"region {label}", place)
        return None
    points = list(_points(shape.get("points")))
    if kind == POLYGON and len(points) < 3:
        shapes.leave_out("polygon of fewer than 3 points", place)
        return None
    box, drawn = _box(kind, points)
    group = shape.get("group_id")
    group = group if isinstance(group, int | str) else None
    crowd = truth(shape.get("difficult")) is True
    shapes.add(image, label, box, place, kind=drawn, group=group, crowd=crowd)
    return (label, group) if group is not None and drawn == BOX else None


def _points(value: Any) -> Iterator[tuple[float, float]]:
    """The points of a shape, checked."""
    if not isinstance(value, list) or not value:
        raise ShapeError(f"`points` must be a list of [x, y]. Received: {value!r:.40}")
    for point in value:
        good = isinstance(point, list) and len(point) == 2
        if not good or not all(type(v) in (int, float) and abs(v) < 1e9 for v in point):
            raise ShapeError(f"`points` must hold [x, y] as numbers. Received: {point!r:.40}")
        yield point[0], point[1]


def _box(kind: str, points: list[tuple[float, float]]) -> tuple[tuple[Any, ...], str]:
    """The box of a shape, and how it was drawn."""
    if kind == "circle":
        if len(points) != 2:
            raise ShapeError(f"a circle must have 2 points. Received: {len(points)}")
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return (x - radius, y - radius, x + radius, y + radius), "circle"
    if kind == "rectangle" and len(points) < 2:
        raise ShapeError(f"a rectangle must have 2 corners. Received: {len(points)} point")
    box = around(points)
    if kind == "rectangle":
        return box, BOX
    if kind == MASK:  # the last row and column belong to it
        return (*box[:2], box[2] + 1, box[3] + 1), MASK
    if kind in ROTATED:
        return box, "rotated box"
    if kind != POLYGON:
        raise ShapeError(f"`shape_type` must be one of LabelMe's. Received: {kind!r:.40}")
    return box, POLYGON


def _class_names(folders: list[str], found: set[str]) -> tuple[list[str], list[Note]]:
    """The classes of the whole data set, and a note on those that labels.txt lacks."""
    for folder, name in itertools.product(folders, CLASS_FILES):
        file = os.path.join(folder, name)
        if os.path.isfile(file):
            lines = [line.strip() for line in read_text(file).splitlines()]
            listed = [line for line in lines if line and line not in NO_CLASSES]
            new = sorted(found - set(listed))
            text = f"Classes that come after the listed ones: {len(new)} not in {file}: "
            note = Note("classes-from", f"{text}{', '.join(new[:5])}.", len(new))
            return [*listed, *new], [note] if new else []
    return sorted(found), []


def find(path: pathlib.Path) -> Layout | None:
    """The folders of LabelMe's files, and the splits that their names tell."""
    if path.is_file():
        if path.suffix.lower() != ".json" or not is_labelme(path):
            return None
        part = Part(str(path.parent), None, (path.name,))
        return Layout(path, {}, Source(path.parent, None, (part,)))
    parts = tuple(find_parts(str(path)))
    if not parts:
        return None
    splits = dict.fromkeys(part.split for part in parts if part.split)
    return Layout(
        path, {name: Source(path, name, parts) for name in splits}, Source(path, None, parts)
    )


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that is nearly LabelMe's."""
    return what_is_missing(path) if path.is_dir() else None


FORMAT = Format(
    name="labelme",
    title="LabelMe",
    tree="one .json file per image with `shapes` and `imagePath`, beside the images or in "
    "annotations/",
    find=find,
    read=read,
    resembles=resembles,
)
