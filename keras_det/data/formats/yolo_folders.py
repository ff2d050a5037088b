"""Folders of a YOLO data set: images, and the labels that belong to them."""

import os
import pathlib

from keras_det.data.formats.plain_text import start_of
from keras_det.data.formats.yolo_config import CLASS_FILES
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import entries, is_folder

# Folders of images beside which YOLO looks for a folder `labels`.
IMAGE_FOLDERS = ("images", "JPEGImages", "Images", "image", "imgs", "img")
LABEL_FOLDERS = ("labels", "Labels", "label")
OTHER_FOLDERS = ("annotations", "Annotations", "txt")
# Text files beside images that hold no labels.
NO_LABELS = {name.lower() for name in CLASS_FILES} | {
    *(f"{stem}.txt" for stem in ("train", "val", "valid", "test", "trainval", "images", "readme")),
    *(f"{stem}.txt" for stem in ("readme.dataset", "readme.roboflow", "license", "notes")),
}
# Number of files that are looked at to recognise labels, and the depth of folders.
LOOKED_AT, MAX_DEPTH = 20, 8
# Shares of the image may be a little above 1; pixels are far above it.
MAX_SHARE = 2


class Folders:
    """The images below a folder, each folder listed once.

    Args:
        top: the folder. What begins with a dot and `__MACOSX` is left out.
        limit: number of folders that are listed; None lists all.

    Attributes:
        images: `{folder: sorted names of the images in it}`.
        hidden: paths of images whose names begin with a dot, without a Mac's `._x.jpg`.
    """

    def __init__(self, top: str, limit: int | None = None) -> None:
        self.images: dict[str, list[str]] = {}
        self.hidden: list[str] = []
        seen: set[str] = set()
        waiting = [(top, 0)]
        while waiting and (limit is None or len(seen) < limit):
            folder, depth = waiting.pop()
            real = os.path.realpath(folder)
            if real in seen:  # a link to a folder above
                continue
            seen.add(real)
            names, inside, hidden = _list(folder)
            self.images[folder] = sorted(names)
            self.hidden += sorted(os.path.join(folder, name) for name in hidden)
            if depth < MAX_DEPTH:
                waiting += [
                    (os.path.join(folder, name), depth + 1) for name in sorted(inside)[::-1]
                ]

    def with_images(self) -> list[str]:
        """The folders that hold images."""
        return [folder for folder, names in self.images.items() if names]


def _list(folder: str) -> tuple[list[str], list[str], list[str]]:
    """Names of images, folders and hidden images in a folder; none where it does not exist."""
    images, folders, hidden = [], [], []
    try:
        for entry in entries(folder):
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                if name[:2] != "._" and name.lower().endswith(IMAGE_SUFFIXES):
                    hidden.append(name)
                continue
            if name.lower().endswith(IMAGE_SUFFIXES):
                images.append(name)
            elif not name.lower().endswith(".txt") and is_folder(entry):
                folders.append(name)
    except OSError:
        pass
    return images, folders, hidden


def text_files(folder: str) -> dict[str, str]:
    """`{stem: name}` of the .txt files in a folder, also of those that hold no labels."""
    found = {}
    try:
        for entry in entries(folder):
            name = entry.name
            if name[-4:].lower() == ".txt" and not name.startswith("."):
                found[name[:-4]] = name
    except OSError:
        return {}
    return found


def label_folders(folder: str, near: bool = True) -> list[str]:
    """Where the labels of a folder of images may lie, the most likely first.

    Args:
        folder: of images.
        near: also the folder itself and those in and above it; False: only where `images` in its
            path is replaced by `labels`.
    """
    found = []
    parts = folder.replace("\\", "/").split("/")
    for i in reversed(range(len(parts))):
        if parts[i] in IMAGE_FOLDERS:
            found += ["/".join([*parts[:i], name, *parts[i + 1 :]]) for name in LABEL_FOLDERS]
            break
    if near:
        above, name = os.path.split(folder)
        found += [folder]
        for each in (*LABEL_FOLDERS, *OTHER_FOLDERS):
            found += [os.path.join(folder, each), os.path.join(above, each, name)]
            found += [os.path.join(above, each)]
    return list(dict.fromkeys(found))


def image_folders(root: pathlib.Path) -> list[str]:
    """Folders in `root` with the usual names of folders of images."""
    names = [name for name in (*IMAGE_FOLDERS, "obj_train_data", "data") if (root / name).is_dir()]
    return [str(root / name) for name in names]


def has_images(folder: str | pathlib.Path) -> bool:
    """Whether images lie in a folder, not below it."""
    return bool(_list(str(folder))[0])


def looks_like_labels(folder: str) -> bool:
    """Whether a folder holds .txt files with lines of YOLO. In `labels` they may be empty."""
    names = [name for name in text_files(folder).values() if name.lower() not in NO_LABELS]
    names = sorted(names)[:LOOKED_AT]
    empty = 0
    for name in names:
        lines = start_of(os.path.join(folder, name)).split("\n")
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            empty += 1
        elif is_label_line(first):
            return True
    inside = any(part in LABEL_FOLDERS for part in folder.replace("\\", "/").split("/"))
    return bool(names) and empty == len(names) and inside


def is_label_line(line: str) -> bool:
    """Whether a line is a class id and four numbers or more.

    Between commas the numbers must be shares of the image: in pixels, they are the lines of another
    format, such as VisDrone's `left,top,width,height,…` or MOT's `frame,track,…`.
    """
    words = line.replace(",", " ").strip("\ufeff \t\r").split()
    if len(words) < 5:
        return False
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    if "," in line and max(numbers[1:5]) > MAX_SHARE:
        return False
    return numbers[0] >= 0 and numbers[0] % 1 == 0
