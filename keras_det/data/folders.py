"""Folders of images: each is listed once, and names are looked up in memory."""

import functools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator

from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.image_names import stem
from keras_det.data.listing import entries, is_file, is_folder

# A search through subfolders gives up after this number of files: about a second.
MAX_FILES = 300_000
MAX_DEPTH = 8
# Folders whose pictures are not photos of their own, although they have the same names.
OTHER_PICTURES = re.compile(
    r"(.*masks?|segment.*|annotations?|labels?|depths?|thumb.*|previews?|__macosx|\..*)", re.I
)


class Folder:
    """One folder. Files that a Mac adds to it (`._x.jpg`) are not seen.

    Args:
        path: of the folder; one that does not exist is empty.
    """

    def __init__(self, path: str) -> None:
        self.path = path or "."
        self.prefix = os.path.join(self.path, "")
        self.files: set[str] = set()
        self.sub_folders: set[str] = set()
        self._children: dict[str, Folder] = {}
        self._indices: dict[Callable[[str], str], dict[str, list[str]]] = {}
        try:
            for entry in entries(self.path):
                name = entry.name
                if is_file(entry):
                    if name[:2] != "._":
                        self.files.add(name)
                elif is_folder(entry):
                    self.sub_folders.add(name)
        except (OSError, ValueError):  # it does not exist, or no folder can have this name
            pass

    def child(self, name: str) -> "Folder | None":
        """The folder of this name in it."""
        if name not in self.sub_folders:
            return None
        if name not in self._children:
            self._children[name] = Folder(self.prefix + name)
        return self._children[name]

    def below(self, path: str) -> "Folder | None":
        """The folder at a relative path; None if it does not exist."""
        found: Folder | None = self
        for part in path.split("/"):
            if part and part != "." and found is not None:
                found = Folder(found.prefix + "..") if part == ".." else found.child(part)
        return found

    @functools.cached_property
    def images(self) -> list[str]:
        """Names of its image files, sorted."""
        return sorted(name for name in self.files if name.lower().endswith(IMAGE_SUFFIXES))

    def alike(self, form: Callable[[str], str], key: str) -> list[str]:
        """Names of its image files for which `form(name)` is `key`."""
        if form not in self._indices:
            index = defaultdict(list)
            for each in self.images:
                index[form(each)].append(each)
            self._indices[form] = dict(index)
        return self._indices[form].get(key, [])

    @functools.cached_property
    def has_twins(self) -> bool:
        """Whether two images differ in their suffix only, such as photos and their masks."""
        return len({stem(name) for name in self.images}) < len(self.images)

    def walk(self, leave_out: Callable[[str], bool]) -> Iterator[tuple[str, "Folder"]]:
        """Yields `(relative path, folder)` of each folder below it, and of itself.

        Args:
            leave_out: `leave_out(name) -> bool`, folders that are not entered.

        Raises:
            TooManyFiles: more than `MAX_FILES` files lie below it.
        """
        count, seen = 0, set()
        waiting: list[tuple[str, Folder]] = [("", self)]
        while waiting:
            path, folder = waiting.pop()
            real = os.path.realpath(folder.path)
            if real in seen:  # a link to a folder above
                continue
            seen.add(real)
            count += len(folder.files) + len(folder.sub_folders)
            if count > MAX_FILES:
                raise TooManyFiles(self.path)
            yield path, folder
            for name in sorted(folder.sub_folders, reverse=True):
                child = None if leave_out(name) else folder.child(name)
                if child is not None and path.count("/") < MAX_DEPTH:
                    waiting.append((f"{path}{name}/", child))


class TooManyFiles(Exception):
    """A folder is too large to be searched."""
