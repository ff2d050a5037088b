"""Finds LabelMe's files and the folders in which their images may lie."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from keras_det.data.formats.plain_text import start_of
from keras_det.data.formats.split_names import role_of
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import entries, is_folder, names_in

ANNOTATIONS = (
    *("annotations", "annotation", "anns", "ann", "labels", "label", "json", "jsons"),
    *("labelme", "labelme_json", "jsonfiles", "json_files"),
)
IMAGES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data")
MAX_DEPTH = 2
# How much of a file is looked at, and how many files of a folder.
START, TRIED = 1 << 16, 3
KEYS = re.compile(r'"(shapes"\s*:\s*\[|imagePath"\s*:)')


class Part(NamedTuple):
    """A folder with LabelMe's files.

    Attributes:
        folder: the folder.
        split: of all its files; None where its name tells none.
        files: names of the files to read; None: every .json file.
    """

    folder: str
    split: str | None
    files: tuple[str, ...] | None = None


def is_labelme(path: str | os.PathLike) -> bool:
    """Whether a JSON file starts as those of LabelMe."""
    text = start_of(path, START)
    return text.lstrip("\ufeff \t\r\n").startswith("{") and KEYS.search(text) is not None


def find_parts(root: str) -> list[Part]:
    """The folders with LabelMe's files: `root`, train/, annotations/, labels/train/, …"""
    parts = []
    for folder, words in _walk(root, ()):
        names = json_files(folder)
        tried = [*names[:TRIED], *names[len(names) // 2 : len(names) // 2 + 1]]
        if any(is_labelme(os.path.join(folder, name)) for name in tried):
            split = next((word for word in reversed(words) if role_of(word)), None)
            parts.append(Part(folder, split))
    return parts


def json_files(folder: str) -> list[str]:
    """The names of the JSON files in a folder, sorted."""
    try:
        names = [name for name in names_in(folder) if name[0] != "."]  # "._a.json" of a Mac
        return [name for name in names if name.lower().endswith(".json")]
    except OSError:
        return []


def _walk(folder: str, words: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A folder, and those below it that are named as annotations, images or splits."""
    yield folder, words
    if len(words) == MAX_DEPTH:
        return
    try:
        names = sorted(e.name for e in entries(folder) if is_folder(e) and e.name[0] != ".")
    except OSError:
        return
    for name in names:
        if name.lower() in (*ANNOTATIONS, *IMAGES) or role_of(name):
            yield from _walk(os.path.join(folder, name), (*words, name))


def image_folders(root: str, folder: str) -> list[str]:
    """The folders in which the images of one folder of annotations may lie, the likeliest first."""
    rest = os.path.relpath(folder, root).split(os.sep) if folder != root else []
    found = [folder]
    for i, word in enumerate(rest):
        if word.lower() in ANNOTATIONS:
            above = os.path.join(root, *rest[:i])
            found += [os.path.join(at, *rest[i + 1 :]) for at in _image_folders_in(above)]
            found.append(os.path.join(above, *rest[i + 1 :]))
    above = os.path.dirname(folder)
    for place in dict.fromkeys((folder, above, root)):
        for at in _image_folders_in(place):
            found += [os.path.join(at, os.path.basename(folder)), at]
    found += [above, root]
    return [at for at in dict.fromkeys(found) if at == folder or os.path.isdir(at)]


def _image_folders_in(folder: str) -> list[str]:
    try:
        found = (e for e in entries(folder) if e.name.lower() in IMAGES and is_folder(e))
        return sorted(e.path for e in found)
    except OSError:
        return []


def image_stems(folder: str) -> set[str]:
    """The names without suffix of the images in a folder."""
    try:
        names = [name for name in names_in(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
    except OSError:
        return set()
    return {os.path.splitext(name)[0] for name in names}


def what_is_missing(root: pathlib.Path) -> str | None:
    """What a folder has that is nearly LabelMe's."""
    for folder, _ in _walk(str(root), ()):
        for name in json_files(folder)[:TRIED]:
            text = start_of(os.path.join(folder, name), START)
            if '"imageData"' in text or '"shape_type"' in text:
                return f"has {name}, which does not start as a file of LabelMe"
    return None
