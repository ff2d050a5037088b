"""Finds the splits of a YOLO data set: by data.yaml, lists of images, or names of folders."""

import glob
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from keras_det.data.formats.plain_text import read_text, start_of
from keras_det.data.formats.yolo_config import (
    CLASS_FILES,
    SPLITS,
    Config,
    find_config,
    open_config,
    several_configs,
)
from keras_det.data.formats.yolo_folders import (
    Folders,
    has_images,
    image_folders,
    is_label_line,
    label_folders,
    looks_like_labels,
    text_files,
)
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import entries, folders_in, is_folder, names_in
from keras_det.data.notes import Note
from keras_det.data.raw import Layout
from keras_det.errors import DataError

# Lists of all images, which are no split.
WHOLE_LISTS = ("images", "all", "filelist", "files")
# Number of folders that are listed to recognise the format.
QUICK = 50
# Folders in one of which the images or labels of all splits lie.
INNER = {"images", "labels", "jpegimages", "annotations"}


class Entry(NamedTuple):
    """Where images of a split lie.

    Attributes:
        kind: "folder", "list" (a file of paths) or "glob" (a pattern such as `images/*.jpg`).
        path: of the folder or list, or the pattern. A folder of images may be missing where its
            folder of labels exists.
    """

    kind: str
    path: str


class Source(NamedTuple):
    """One split, or all of them.

    Attributes:
        root: folder of the data set.
        split: its name; None for all images.
        entries: where its images lie.
        all_entries: where the images of all splits lie.
        config: what data.yaml or obj.data says; None without it.
        notes: what of the description was not found.
    """

    root: pathlib.Path
    split: str | None
    entries: tuple[Entry, ...]
    all_entries: tuple[Entry, ...]
    config: Config | None
    notes: tuple[Note, ...] = ()


def find(path: pathlib.Path) -> Layout | None:
    """The splits of a folder, data.yaml or obj.data; None where it is not YOLO's.

    Raises:
        DataError: data.yaml is damaged, or none of its paths exists.
    """
    if path.is_file():
        if path.suffix.lower() not in (".yaml", ".yml", ".data"):
            return None
        config, root = open_config(path), path.parent
        return None if config is None else _layout(root, config)
    if not path.is_dir():
        return None
    config = find_config(path)
    inner = None if config is not None else _darknet(path)
    return _layout(path, config) if inner is None else _layout(inner.path.parent, inner)


def _darknet(root: pathlib.Path) -> Config | None:
    """The data/obj.data of a folder in Darknet's layout whose lists exist; None without it.

    Raises:
        DataError: several such files could be meant.
    """
    folder = root / "data"
    if not folder.is_dir():
        return None
    found = []
    for name in names_in(folder):
        if (
            not name.startswith(".")
            and name.lower().endswith(".data")
            and (folder / name).is_file()
        ):
            config = open_config(folder / name)
            if config is not None and any(
                Places(str(folder), "").resolve(text)
                for written in config.splits.values()
                for text in written
            ):
                found.append(config)
    if len(found) > 1:
        raise several_configs(folder, found)
    return found[0] if found else None


def _layout(root: pathlib.Path, config: Config | None) -> Layout | None:
    notes: list[Note] = []
    splits = _written(root, config, notes) if config is not None and config.splits else {}
    if not splits:
        splits = _lists(root) or _lists(root / "data") or _folders(root)
    whole = _whole(root, splits)
    if not whole:
        return None
    if config is None and not _has_labels(whole):
        return None
    sources = {
        name: Source(root, name, entries, whole, config, tuple(notes))
        for name, entries in splits.items()
    }
    return Layout(root, sources, Source(root, None, whole, whole, config, tuple(notes)))


def _whole(root: pathlib.Path, splits: dict[str, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """All entries once; without splits the folder of the images."""
    if splits:
        return tuple(dict.fromkeys(entry for entries in splits.values() for entry in entries))
    for name in WHOLE_LISTS:
        if _is_list(root / f"{name}.txt"):
            return (Entry("list", str(root / f"{name}.txt")),)
    for folder in image_folders(root):
        return (Entry("folder", folder),)
    if has_images(root) or any(map(looks_like_labels, (str(root), str(root / "labels")))):
        return (Entry("folder", str(root)),)
    inside = [str(folder) for folder in folders_in(root) if folder.name[:1] != "."]
    if any(has_images(folder) and looks_like_labels(folder) for folder in inside[:20]):
        return (Entry("folder", str(root)),)
    return ()


def _has_labels(entries: tuple[Entry, ...]) -> bool:
    """Whether files of labels lie where they belong to some entry."""
    folders: dict[str, None] = {}
    for entry in entries[:20]:
        if entry.kind == "list":
            lines = start_of(entry.path).splitlines()[:1]
            places = Places(os.path.dirname(entry.path), "")
            found = [places.resolve(os.path.dirname(_plain(line)) or ".") for line in lines]
            folders.update(dict.fromkeys(each for each in found if each is not None))
        else:
            folders.update(dict.fromkeys(Folders(entry.path, QUICK).with_images()[:5]))
            folders[entry.path] = None
    return any(looks_like_labels(each) for folder in folders for each in label_folders(folder))


def _written(root: pathlib.Path, config: Config, notes: list[Note]) -> dict[str, tuple[Entry, ...]]:
    """The splits as data.yaml or obj.data writes them, as far as they exist."""
    places = Places(str(config.path.parent), config.base)
    splits, lost = {}, []
    taken: dict[str, str] = {}
    for name, written in config.splits.items():
        entries = []
        for text in written:
            path = places.resolve(text)
            if path is None:
                lost.append(f"{name}: {text}")
                continue
            if taken.setdefault(path, text) != text and places.guessed & {text, taken[path]}:
                raise DataError(
                    f"The paths in {config.path} must exist here. Received: {taken[path]!r} and "
                    f"{text!r}, which do not; for both, only {path} is similar. Correct the paths."
                )
            entries.append(Entry(_kind(path), path))
        if entries:
            splits[name] = tuple(entries)
    if not splits:
        tried = " or ".join(places.bases)
        raise DataError(
            f"The paths in {config.path} must exist. Received: {', '.join(lost)}; none exists in "
            f"{tried}. Correct `path` and the paths, relative to the file."
        )
    if lost:
        text = f"Paths left out, because they do not exist: {len(lost)} in {config.path}"
        notes.append(Note("paths-missing", text, len(lost), first=lost[0]))
    return splits


def _kind(path: str) -> str:
    if os.path.isfile(path):
        return "list"
    return "glob" if glob.has_magic(path) and not os.path.exists(path) else "folder"


def _plain(text: str) -> str:
    """A path as this system writes it, without quotes."""
    return text.strip().strip("\"'").replace("\\", "/")


class Places:
    """Finds paths that were written on another machine.

    Args:
        folder: of the file that holds the paths.
        base: the folder to which they are relative, as written; "" for the file's own.

    Attributes:
        bases: folders in which paths are looked for.
        guessed: paths that were found by their end only.
    """

    def __init__(self, folder: str, base: str) -> None:
        folder = folder or "."
        base = _plain(base)
        self.bases = [folder]
        if base and os.path.isdir(os.path.join(folder, base)):
            self.bases.insert(0, os.path.normpath(os.path.join(folder, base)))
        self.guessed: set[str] = set()

    def resolve(self, written: str) -> str | None:
        """The path that exists here; None if there is none.

        `../train/images` of Roboflow means `train/images` beside data.yaml. Of a path on another
        machine, the longest end that exists is taken.
        """
        path = _plain(written)
        inside = path
        while inside.startswith(("./", "../")):
            inside = inside.partition("/")[2]
        for each in dict.fromkeys((inside, path)):
            for base in self.bases:
                found = _join(base, each or ".")
                if _exists(found):
                    return found
        parts = [part for part in inside.split("/") if part and not part.endswith(":")]
        for k in range(1, len(parts)):
            for base in self.bases:
                found = _join(base, "/".join(parts[k:]))
                if _exists(found):
                    self.guessed.add(written)
                    return found
        return None


def _join(base: str, path: str) -> str:
    """A path in a folder; of a pattern, only its own part is one."""
    whole = os.path.join(base, path)
    if glob.has_magic(path) and not os.path.exists(whole):
        whole = os.path.join(glob.escape(base), path)
    return os.path.normpath(whole)


def _exists(path: str) -> bool:
    """Whether a folder, a list or a pattern has files, or a missing folder of images has labels."""
    try:
        if os.path.exists(path):
            return True
        if glob.has_magic(path):
            return next(glob.iglob(path, recursive=True), None) is not None
    except (ValueError, OSError):
        return False
    return any(os.path.isdir(each) for each in label_folders(path, near=False))


def list_entries(path: str, config: Config | None) -> Iterator[tuple[str, str]]:
    """Yields `(folder, name)` of each image in a list; the folder may not exist.

    Args:
        path: of the list: one image a line, absolute or relative to the list or data.yaml.
        config: what describes the data set.
    """
    places = [Places(os.path.dirname(path), "")]
    if config is not None:
        places.insert(0, Places(str(config.path.parent), config.base))
    known: dict[str, str] = {}
    for line in read_text(path).splitlines():
        folder, _, name = _plain(line).rpartition("/")
        if not name:
            continue
        if folder not in known:
            found = (place.resolve(folder or ".") for place in places)
            known[folder] = next((each for each in found if each is not None), folder)
        yield known[folder], name


def _is_list(path: pathlib.Path) -> bool:
    """Whether a file is a list of images: its first line ends like the name of one."""
    if not path.is_file() or path.name in CLASS_FILES:
        return False
    lines = start_of(path).split("\n")
    first = next((line.strip().strip("\"'") for line in lines if line.strip()), "")
    return first.lower().endswith(IMAGE_SUFFIXES)


def _lists(root: pathlib.Path) -> dict[str, tuple[Entry, ...]]:
    """Splits as lists of images: train.txt, val.txt, train2017.txt."""
    names = names_in(root) if root.is_dir() else []
    files = (root / name for name in names if name.lower().endswith(".txt"))
    roles = tuple(SPLITS)
    found = [file for file in files if file.stem.lower().startswith(roles) and _is_list(file)]
    return _ordered({file.stem: (Entry("list", str(file)),) for file in found})


def _folders(root: pathlib.Path) -> dict[str, tuple[Entry, ...]]:
    """Splits as folders: images/train, train/images, or train with images and labels in it."""
    found: dict[str, tuple[Entry, ...]] = {}
    tops = [*image_folders(root), str(root), str(root / "labels")]
    for top in tops:
        inside = sorted(entries(top), key=lambda e: e.name) if os.path.isdir(top) else []
        for entry in inside:
            name = entry.name
            if name.startswith(".") or not is_folder(entry) or name.lower() in INNER:
                continue
            if not name.lower().startswith(SPLITS):
                continue
            path = os.path.join(top, name)
            if top.endswith("labels"):  # the images lie elsewhere: image_dir finds them
                path = os.path.join(str(root), "images", name)
            if Folders(path, QUICK).with_images() or _has_labels((Entry("folder", path),)):
                found.setdefault(name, (Entry("folder", path),))
        if found:
            break
    return _ordered(found)


def _ordered(splits: dict[str, tuple[Entry, ...]]) -> dict[str, tuple[Entry, ...]]:
    """The splits for training first, then those for validation, then those for tests."""

    def rank(name: str) -> tuple[int, str]:
        known = [i for i, each in enumerate(SPLITS) if name.lower().startswith(each)]
        return (known[-1] if known else len(SPLITS), name)

    return {name: splits[name] for name in sorted(splits, key=rank)}


def resembles(path: pathlib.Path) -> str | None:
    """What a folder lacks to be YOLO's."""
    if not path.is_dir():
        return None
    for folder in (path, path / "labels", path / "labels" / "train", path / "train" / "labels"):
        if folder.is_dir() and looks_like_labels(str(folder)):
            return f"{folder.name}/ holds YOLO's .txt files, but there are no images beside it"
    for images in [*image_folders(path), str(path)]:
        stems = {os.path.splitext(name)[0] for name in Folders(images, 1).images[images]}
        for place in label_folders(images) if stems else ():
            for stem, name in sorted(text_files(place).items()):
                if stem in stems:
                    return _wrong_line(os.path.join(place, name))
    return None


def _wrong_line(path: str) -> str | None:
    """What is wrong with the first line of a file that has the name of an image."""
    lines = (line.strip() for line in start_of(path).splitlines())
    line = next((line for line in lines if line), "")
    # Captions of images are .txt files of their names, too.
    if not is_label_line(f"0 {line.partition(' ')[2]}"):
        return None
    return (
        f"{path} has the name of an image, but begins with {line[:60]!r}; a line must be "
        "`class cx cy w h`, the class as a number from 0"
    )
