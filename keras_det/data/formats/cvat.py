"""Reads CVAT's own XML: "CVAT for images 1.1", and "CVAT for video 1.1" with its frames."""

import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import NamedTuple

from keras_det.data.dataset import Dataset
from keras_det.data.formats.cvat_file import DEFAULT, elements, is_cvat, labels_of, subsets
from keras_det.data.formats.cvat_shapes import add_shapes
from keras_det.data.formats.cvat_video import Video
from keras_det.data.formats.split_names import read_path, role_of
from keras_det.data.formats.tool_shapes import Shapes, side
from keras_det.data.listing import folders_in, names_in
from keras_det.data.notes import Note
from keras_det.data.raw import Format, Layout, RawAnnotations, ReadOptions, options_of

FOLDERS = ("annotations", "Annotations", "labels")
IMAGE_FOLDERS = ("images", "Images", "data", "img", "frames", "")
TRIED = 50  # files of a folder, that are looked at


def read_cvat(
    path: str | os.PathLike,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    image_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Reads CVAT's annotations.xml, of a task, a job or a project.

    Boxes are objects. So are polygons, ellipses, masks, cuboids and rotated boxes: the bounding box
    of each is taken, with a note. Polygons and masks of one label with the same group are parts of
    one object. Points, lines, skeletons and tags are left out. The subsets of a project are its
    splits. In "CVAT for video", every frame is an image: `frame_000000.png`, …

    Args:
        path: the file, or the folder that holds annotations.xml and images/.
        split: name of a subset. None reads every image.
        class_names: the classes in the order of their labels. None takes the labels of the task in
            their order, including those that were not used.
        image_dir: folder of the images. None searches `images/` next to the file, and in it the
            folders of the subsets.

    Returns:
        A `Dataset`. One warning lists what was left out or decided.

    Raises:
        DataError: the file, the subset or the images are missing or wrong.
    """
    rule = "CVAT's annotations must be an .xml file that starts with <annotations>"
    return read_path(FORMAT, path, rule, split, options_of(class_names, image_dir))


class Part(NamedTuple):
    """One file; `split` is that of all its images, or None where their subsets tell."""

    file: pathlib.Path
    split: str | None


class Source(NamedTuple):
    """The files of a data set, and the split to read; None reads every image."""

    root: pathlib.Path
    split: str | None
    parts: tuple[Part, ...]


class _Classes:
    """The labels of all files, in the order of the files."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.others: list[str] = []

    def add(self, meta: ElementTree.Element) -> None:
        names, others = labels_of(meta)
        self.names += [name for name in names if name not in self.names]
        self.others += [name for name in others if name not in self.others]


def read(source: Source, options: ReadOptions) -> RawAnnotations:
    """Reads one split of a data set; see `read_cvat`."""
    root, split, parts = source
    one = parts[0].file if len(parts) == 1 else root
    wanted, others, classes = Shapes(one, root.name), Shapes(one, root.name), _Classes()
    for part in parts:
        prefix = _prefix(part.file.parent, root, options) if len(parts) > 1 else ""
        _read_file(part, split, prefix, (wanted, others), classes, options)
    names = [*classes.names, *sorted((wanted.labels | others.labels) - set(classes.names))]
    left = [name for name in classes.others if name not in names]
    if left:
        text = (
            "Labels that are only for tags, points or lines, and so are not classes of boxes "
            f"({len(left)}): {', '.join(left[:5])}{', …' if len(left) > 5 else ''}."
        )
        wanted.notes.append(Note("classes-from", text, len(left)))
    folders = [root] if len(parts) > 1 else _image_folders(parts[0].file.parent, options)
    return wanted.raw(names, split, folders)


def _image_folders(folder: pathlib.Path, options: ReadOptions) -> list[pathlib.Path]:
    """Where the images of a file in `folder` may lie."""
    if options.image_dir is not None:
        return [options.image_dir]
    places = [folder, folder.parent] if folder.name in FOLDERS else [folder]
    found = [place / name if name else place for place in places for name in IMAGE_FOLDERS]
    return [at for at in dict.fromkeys(found) if at.is_dir()]


def _prefix(folder: pathlib.Path, root: pathlib.Path, options: ReadOptions) -> str:
    """The folder of the images of one of several files, from the root on."""
    if options.image_dir is not None:
        return folder.name if (options.image_dir / folder.name).is_dir() else ""
    prefix = os.path.relpath(_image_folders(folder, options)[0], root)
    return "" if prefix == "." else prefix


def _read_file(
    part: Part,
    split: str | None,
    prefix: str,
    shapes: tuple[Shapes, Shapes],
    classes: _Classes,
    options: ReadOptions,
) -> None:
    """Adds the images of one file to the first of `shapes`, those of other splits to the second."""
    video = Video(part.file)
    names = [part.split] if part.split else subsets(part.file)
    rest = DEFAULT if DEFAULT in names else (names or [split or DEFAULT])[0]
    for element in elements(part.file):
        subset = element.get("subset") or ""
        wanted = split is None or split == (part.split or subset or rest)
        if element.tag == "meta":
            classes.add(element)
            video.read_meta(element)
        elif element.tag == "image":
            _add_image(element, part.file, prefix, subset, shapes[not wanted])
        elif element.tag == "track":
            video.add_track(element, wanted)
    if video.tracks:
        video.add_frames(prefix, _image_folders(part.file.parent, options), shapes)


def _add_image(
    element: ElementTree.Element, file: pathlib.Path, prefix: str, subset: str, shapes: Shapes
) -> None:
    name = element.get("name")
    if not name:
        shapes.bad_files.add(
            f"{file}, image {element.get('id')}", "an image must have a `name`. Received: none"
        )
        return
    whole = os.path.join(prefix, name)
    in_subset = os.path.join(prefix, subset, name) if subset else ""
    number = element.get("id") or ""
    size = (side(element.get("height")), side(element.get("width")))
    # A project's images lie in folders of their subsets; their names may be the same in two.
    names = (in_subset, whole) if in_subset else (whole, "")
    image = shapes.add_image(*names, int(number) if number.isdecimal() else name, size)
    add_shapes(element, image, f"{file}, image {name!r}", shapes)


def find(path: pathlib.Path) -> Layout | None:
    """The subsets of a file or of the files of a folder."""
    if path.is_file():
        if path.suffix.lower() != ".xml" or not is_cvat(path):
            return None
        return _layout(path, path.parent, (Part(path, None),))
    parts: list[Part] = []
    for folder in (path, *(path / name for name in FOLDERS)):
        if not parts and folder.is_dir():
            parts = [Part(file, None) for file in _files(folder)]
    if not parts:
        for folder in folders_in(path):
            split = folder.name if role_of(folder.name) else None
            parts += [Part(file, split) for file in _files(folder)]
    return _layout(path, path, tuple(parts)) if parts else None


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    files = [folder / name for name in names_in(folder) if name.lower().endswith(".xml")]
    if not any(is_cvat(file) for file in files[:TRIED]):
        return []
    return [file for file in files if is_cvat(file)]


def _layout(path: pathlib.Path, root: pathlib.Path, parts: tuple[Part, ...]) -> Layout:
    names: list[str] = []
    for part in parts:
        names += [part.split] if part.split else subsets(part.file)
    names = sorted(set(names) - {DEFAULT}) + [DEFAULT] * (DEFAULT in names)
    return Layout(
        path, {name: Source(root, name, parts) for name in names}, Source(root, None, parts)
    )


def resembles(path: pathlib.Path) -> str | None:
    """What a folder has that is nearly CVAT's."""
    file = path / "annotations.xml"
    if file.is_file() and not is_cvat(file):
        return "has annotations.xml, which does not start with <annotations>"
    return None


FORMAT = Format(
    name="cvat",
    title="CVAT XML",
    tree="annotations.xml beside images/",
    find=find,
    read=read,
    resembles=resembles,
)
