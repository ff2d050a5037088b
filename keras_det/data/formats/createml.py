"""Reads CreateML's JSON: one entry per image, boxes by their centre in pixels."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.formats.plain_text import read_json, short, start_of
from keras_det.data.formats.split_names import ROLES, read_path, role_of
from keras_det.data.listing import folders_in, names_in
from keras_det.data.notes import Note
from keras_det.data.raw import BadRecords, Format, Layout, RawAnnotations, ReadOptions, options_of
from keras_det.errors import DataError

# The key of the file name of an image: Apple's, those of its exporters.
IMAGE_KEYS = ("image", "imagefilename", "imageFilename", "filename", "file_name")
NUMBERS = ("x", "y", "width", "height")
FOLDERS = ("", "images", "data")
LOOKED_AT = 60
# Larger ones are no boxes, and their products overflow.
MAX_NUMBER = 1e9


def read_createml(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads CreateML's JSON: a list of `{"image": …, "annotations": [{"label", "coordinates"}]}`.

    `coordinates` are the centre of the box, its width and its height, in pixels.

    Args:
        path: the `.json` file, or the folder that holds it, or folders train, valid, test with one
            file each, as Roboflow writes them.
        split: name of the split. None reads all.
        class_names: the classes in the order of their labels. None takes the labels found in all
            splits, sorted.
        image_dir: folder of the images. None looks next to the file and in images/.

    Returns:
        A `Dataset`. One warning lists what was left out.

    Raises:
        DataError: the file, its content, the split or the images are missing or wrong.
    """
    rule = "A CreateML data set must hold a .json file with a list of images and annotations"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


class Source(NamedTuple):
    """One split, or everything.

    Attributes:
        root: folder of the data set.
        split: its name; None for everything.
        files: to read.
        all_files: of all splits.
    """

    root: pathlib.Path
    split: str | None
    files: tuple[pathlib.Path, ...]
    all_files: tuple[pathlib.Path, ...]


class _Object(NamedTuple):
    image: int
    label: str
    box: list[float]
    where: tuple[pathlib.Path, int, int]


class _Content(NamedTuple):
    """Images and objects of some files.

    Attributes:
        images: `{file name: its place}`.
        objects: in the order of the files.
        total: number of annotations and of images, bad ones included.
        without_box: places of annotations without a box.
        without_key: places of images without `annotations`.
    """

    images: dict[str, int]
    objects: list[_Object]
    total: int
    without_box: list[str]
    without_key: list[str]


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split; see `read_createml`."""
    title = ", ".join(map(str, source.files))
    bad = BadRecords("annotations", title)
    content = _read_files(source, source.files, bad)
    labels = {each.label for each in content.objects}
    others = tuple(file for file in source.all_files if file not in source.files)
    if others:
        rest = _read_files(source, others, BadRecords("annotations", ""))
        labels |= {each.label for each in rest.objects}
    names = sorted(labels)
    place = {name: i for i, name in enumerate(names)}
    objects = content.objects
    notes = []
    if content.without_box:
        count = len(content.without_box)
        text = f"Annotations without a box, which are left out: {count}"
        notes.append(Note("annotations-without-box", text, count, first=content.without_box[0]))
    if content.without_key:
        count = len(content.without_key)
        text = f"Images without `annotations`, which are kept as images without objects: {count}"
        notes.append(Note("images-kept-empty", text, count, first=content.without_key[0]))
    return RawAnnotations(
        source=title,
        name=source.root.absolute().name,
        split=source.split,
        class_names=names,
        category_ids=list(range(len(names))),
        image_names=list(content.images),
        image_ids=list(content.images),
        image_sizes=np.zeros((len(content.images), 2), np.int64),
        image_index=np.array([each.image for each in objects], np.int64),
        boxes=np.array([each.box for each in objects], np.float64).reshape(-1, 4),
        labels=np.array([place[each.label] for each in objects], np.int64),
        crowd=np.zeros(len(objects), bool),
        area=np.full(len(objects), np.nan),
        where=lambda row: _where(*objects[row].where),
        folders=_folders(source),
        box_format="center_xywh",
        notes=[*notes, *bad.notes(content.total)],
    )


def _where(file: pathlib.Path, image: int, number: int) -> str:
    return f"{file}, image {image}, annotations[{number}]"


def _read_files(source: Source, files: Sequence[pathlib.Path], bad: BadRecords) -> _Content:
    images: dict[str, int] = {}
    objects: list[_Object] = []
    count, without_box, without_key = 0, [], []
    for file in files:
        head = ""
        if len(source.all_files) > 1 and file.parent != source.root:
            head = file.parent.relative_to(source.root).as_posix() + "/"
        content = read_json(file)
        if not isinstance(content, list):
            raise _no_list(file, content)
        for i, entry in enumerate(content):
            name = _image_name(entry)
            count += 1
            if name is None:
                bad.add(
                    f"{file}, image {i}", f"`image` must be a file name. Received: {short(entry)}"
                )
                continue
            image = images.setdefault(head + name, len(images))
            annotations = _annotations(entry)
            if annotations is None:
                without_key.append(f"{file}, image {i}")
                continue
            if not isinstance(annotations, list):
                bad.add(
                    f"{file}, image {i}",
                    f"`annotations` must be a list. Received: {short(annotations)}",
                )
                continue
            for k, each in enumerate(annotations):
                count += 1
                found = _object(each)
                if found is None:
                    without_box.append(_where(file, i, k))
                elif isinstance(found, str):
                    bad.add(_where(file, i, k), found)
                else:
                    objects.append(_Object(image, *found, (file, i, k)))
    return _Content(images, objects, count, without_box, without_key)


def _no_list(file: pathlib.Path, content: Any) -> DataError:
    return DataError(
        "A CreateML file must hold a list of images. Received: "
        f"{short(content)} in {file}. Export the annotations as CreateML JSON."
    )


def _image_name(entry: Any) -> str | None:
    """The file name of an image; None where the entry has none."""
    if not isinstance(entry, dict):
        return None
    names = (entry[key] for key in IMAGE_KEYS if key in entry)
    name = next(names, None)
    return name if isinstance(name, str) and name.strip() else None


def _annotations(entry: dict[str, Any]) -> Any:
    """The annotations of an image; None where the entry has no such key or null."""
    for key in ("annotations", "annotation"):
        if entry.get(key) is not None:
            return entry[key]
    return None


def _object(entry: Any) -> tuple[str, list[float]] | str | None:
    """The label and the box of an annotation; what is wrong with it; None where it has no box."""
    if not isinstance(entry, dict):
        return f"an annotation must have `label` and `coordinates`. Received: {short(entry)}"
    label = entry.get("label")
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str):
        return f"`label` must be a name. Received: {short(label)}"
    coordinates = entry.get("coordinates")
    if coordinates is None or coordinates == {} or coordinates == []:
        return None
    if not isinstance(coordinates, dict):
        return f"`coordinates` must hold x, y, width, height. Received: {short(coordinates)}"
    box = []
    for key in NUMBERS:
        value = coordinates.get(key)
        try:
            number = float("nan") if isinstance(value, bool) or value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not abs(number) < MAX_NUMBER:
            return f"`coordinates.{key}` must be a number. Received: {short(value)}"
        box.append(number)
    return label, box


def _folders(source: Source) -> list[pathlib.Path]:
    """Where the images may lie: beside the files, then in the usual folders."""
    tops = [source.root] if len(source.all_files) > 1 else []
    tops += [file.parent for file in source.files]
    tops += [top.parent for top in tops if top.name.lower() in ("annotations", "labels")]
    names = [*FOLDERS, *([source.split] if source.split else [])]
    found = [top / name for top in dict.fromkeys(tops) for name in names]
    return [folder for folder in found if folder.is_dir()] or [source.root]


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder, or of one file; None where it is not CreateML's."""
    if path.is_file():
        if path.suffix.lower() != ".json" or not looks_like_createml(path):
            return None
        return Layout(path.parent, {}, Source(path.parent, role_of(path.stem), (path,), (path,)))
    if not path.is_dir():
        return None
    files = list(_files(path))
    if not files:
        return None
    splits: dict[str, list[pathlib.Path]] = {}
    for file in files:
        inside = file.relative_to(path).parts
        roles = [role for part in inside[:-1] if (role := role_of(part))]
        name = roles[0] if roles else role_of(file.name.split(".")[0])
        splits.setdefault(name or "", []).append(file)
    named = {name: each for name, each in splits.items() if name}
    for name, each in (named or splits).items():
        if len(each) > 1:
            shown = ", ".join(str(file.relative_to(path)) for file in each[:4])
            what = f"the split {name}" if name else "the data set"
            raise DataError(
                f"One CreateML file must hold {what}. Received: {shown} in {path}. Give the path "
                "of the right one, or move the others away."
            )
    ordered = {name: named[name] for name in ROLES if name in named}
    whole = tuple(each[0] for each in (ordered or splits).values())
    sources = {name: Source(path, name, (each[0],), whole) for name, each in ordered.items()}
    return Layout(path, sources, Source(path, None, whole, whole))


def _files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """CreateML's files in a folder, in `annotations/` and in the folders of splits."""
    inside = [folder for folder in folders_in(root) if not folder.name.startswith(".")]
    folders = [folder for folder in inside if role_of(folder.name)]
    folders += [folder for folder in inside if folder.name == "annotations"]
    for folder in [root, *folders]:
        names = [each for each in names_in(folder) if each.lower().endswith(".json")]
        for name in names[:LOOKED_AT]:
            file = folder / name
            if file.is_file() and looks_like_createml(file):
                yield file


def looks_like_createml(path: pathlib.Path) -> bool:
    """Whether a JSON file begins like CreateML's: a list of images with annotations."""
    start = start_of(path, 1 << 14).lstrip("\ufeff \t\r\n")
    if not start.startswith("["):
        return False
    if path.name.lower().endswith(".createml.json"):
        return True
    has_image = any(f'"{key}"' in start for key in IMAGE_KEYS)
    return (
        has_image
        and '"annotations"' in start.replace('"annotation"', '"annotations"')
        and ('"coordinates"' in start or '"annotations":[]' in start.replace(" ", ""))
    )


def resembles(path: pathlib.Path) -> str | None:
    """What a folder lacks to be CreateML's."""
    if not path.is_dir():
        return None
    names = [name for name in names_in(path) if name.lower().endswith(".createml.json")]
    return f"{names[0]} is not a list of images with annotations" if names else None


FORMAT = Format(
    name="createml",
    title="CreateML",
    tree="_annotations.createml.json beside the images",
    find=find,
    read=read,
    resembles=resembles,
)
