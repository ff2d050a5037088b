"""Searches the files of images by their names, the exact form first."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from keras_det.data.folders import OTHER_PICTURES, Folder, TooManyFiles
from keras_det.data.image_names import (
    clean_path,
    has_prefix,
    is_relative,
    same_inside,
    same_letters,
    same_stem,
    same_text,
    shown,
    stem,
    without_prefix,
)

# How an image was found, if not by its exact name, as notes say it.
PATH = "by their path, written in another way (such as \\ or %20)"
BASE_NAME = "by their base name"
SUB_FOLDER = "by their base name in a subfolder"
FORMS: tuple[tuple[Callable[[str], str], str], ...] = (
    (same_text, "by their name in another Unicode form"),
    (same_inside, "by their name with or without spaces around it"),
    (same_letters, "by their name in another case"),
    (same_stem, "by their name with another suffix"),
    (without_prefix, "by their name without Label Studio's prefix"),
)
SPLIT = re.compile(r"(train|val|test)(ing|id|idation)?[-_]?\d*$", re.I)


class Search:
    """Finds the files of images. A file that one image names exactly is never taken for another.

    Args:
        folders: where images may lie, the most likely first.
        only_here: do not follow absolute paths out of these folders.
        split: name of the split. Folders of other splits are not searched for base names.

    Attributes:
        paths: one path per image, None where none was found.
        how: `{image: how it was found}`, for images that were not found by their exact name.
        unclear: `{image: why}`, for names that fit several files, or share one file with others.
    """

    def __init__(self, folders: Iterable[str], only_here: bool, split: str | None) -> None:
        self.folders = [Folder(path) for path in dict.fromkeys(folders)]
        self.only_here, self.split = only_here, split
        self.paths: list[str | None] = []
        self.how: dict[int, str] = {}
        self.unclear: dict[int, str] = {}
        self.too_large: str | None = None
        self._taken: set[str] = set()
        self._at_head: dict[str, list[Folder]] = {}
        self._tails: dict[str, list[tuple[bool, Folder]]] = {}

    def run(self, names: Sequence[str], other_names: Sequence[str] | None) -> None:
        """Searches all images.

        Args:
            names: one per image.
            other_names: a second name per image, tried after the first one.
        """
        self.paths = [self._as_written(name) for name in names]
        several = {}
        for i in [i for i, path in enumerate(self.paths) if path is None]:
            found = self._by_stem(names[i])
            if len(found) == 1:
                self.paths[i] = found[0]
            elif found:
                several[i] = found
        self._taken = {path for path in self.paths if path is not None}
        guessed = [i for i, path in enumerate(self.paths) if path is None]
        for i in guessed:
            self._other(i, names[i], other_names[i] if other_names else "", several.get(i))
        lost = [i for i in guessed if self.paths[i] is None and i not in self.unclear]
        if lost:
            self._search_sub_folders(lost, names, other_names)
        self._refuse_shared(guessed, names)

    def _as_written(self, name: str) -> str | None:
        """The file with exactly this name; called for every image."""
        cut = name.rfind("/") + 1
        base = name[cut:]
        for folder in self._at_head.get(name[:cut]) or self._at(name[:cut]):
            if base in folder.files:
                return folder.prefix + base
        return None

    def folders_with_images(self) -> list[Folder]:
        """The folders in which images were found."""
        known = {folder.prefix: folder for found in self._at_head.values() for folder in found}
        prefixes = {os.path.join(os.path.dirname(path) or ".", "") for path in self.paths if path}
        return [known.get(prefix) or Folder(prefix) for prefix in sorted(prefixes)]

    def _by_stem(self, name: str) -> list[str]:
        """The images that a name without suffix means, in the first folder that has any."""
        cut = name.rfind("/") + 1
        base = name[cut:]
        if base and stem(base) == base:
            for folder in self._at(name[:cut]):
                if found := folder.alike(stem, base):
                    return [folder.prefix + each for each in found]
        return []

    def _at(self, head: str) -> list[Folder]:
        """The folders that a path such as "images/" means."""
        if head not in self._at_head:
            if os.path.isabs(head):
                far = self.only_here and not any(_is_in(head, f.path) for f in self.folders)
                found = [] if far else [Folder(head)]
            else:
                found = [at for folder in self.folders if (at := folder.below(head)) is not None]
            self._at_head[head] = found
        return self._at_head[head]

    def _other(self, i: int, name: str, other: str, several: list[str] | None) -> None:
        """Takes the second name of an image, else a file whose name is nearly the first or second.

        Args:
            i: the image.
            name: its name.
            other: its second name, or "".
            several: files that fit the name equally.
        """
        whole = self._as_written(other) if other else None
        found = [whole] if whole else self._by_stem(other)
        found = [path for path in found if path not in self._taken]
        if several:
            found = [path for path in several if path in found] or several
            self._take(i, name, found, None)
        elif len(found) == 1:
            self.paths[i] = found[0]
        else:
            for each in (name, other):
                found, how = self._nearly(each, each is name and is_relative(name))
                if found:
                    self._take(i, each, found, how)
                    return

    def _take(self, i: int, name: str, found: Sequence[str], how: str | None) -> None:
        if len(found) > 1:
            self.unclear[i] = f"{shown(name)} matches {found[0]} and {found[1]}"
        else:
            self.paths[i] = found[0]
            if how:
                self.how[i] = how

    def _nearly(self, name: str, sure: bool) -> tuple[list[str], str]:
        """Files with nearly this name in the listed folders, and how they were found.

        Args:
            name: as it is written.
            sure: whether the whole path means its file for certain, in whatever way it is written.
        """
        path = clean_path(name)
        base = path.rpartition("/")[2]
        if not base:
            return [], ""
        folders = self._folders_of(path[: -len(base)])
        for whole, folder in folders:
            file = folder.prefix + base
            if base in folder.files and (whole and sure or file not in self._taken):
                return [file], PATH if whole and sure else BASE_NAME
        for form, how in FORMS:
            key = form(base)
            for _, folder in folders:
                if form is same_stem and folder.has_twins:
                    continue
                alike = folder.alike(form, key)
                if form is without_prefix:  # one of both names has it, not another one
                    alike = [each for each in alike if has_prefix(each) != has_prefix(base)]
                files = [folder.prefix + each for each in alike]
                if free := [file for file in files if file not in self._taken]:
                    return free, how
        return [], ""

    def _folders_of(self, head: str) -> list[tuple[bool, Folder]]:
        """The folders of a path, then of its tails: "a/b/", "b/", "". True: of the whole path."""
        if head not in self._tails:
            parts = head.split("/")
            found: dict[str, tuple[bool, Folder]] = {}
            for k in range(len(parts)):
                for folder in self._at("/".join(parts[k:])):
                    found.setdefault(folder.path, (k == 0, folder))
            self._tails[head] = list(found.values())
        return self._tails[head]

    def _search_sub_folders(
        self, lost: list[int], names: Sequence[str], other_names: Sequence[str] | None
    ) -> None:
        """Looks for base names in all folders below the listed ones."""
        wanted = {
            i: [
                (path, key)
                for path in map(clean_path, (names[i], other_names[i] if other_names else ""))
                for key in _keys(path.rpartition("/")[2])
            ]
            for i in lost
        }
        files = self._below({key for choices in wanted.values() for _, key in choices})
        for i, choices in wanted.items():
            for path, key in choices:
                near = files.get(key, [])
                if is_relative(names[i]):  # train/a.jpg is never valid/a.jpg
                    near = [each for each in near if not _of_other_split(path, each[0])]
                if found := self._best(near, path):
                    self._take(i, path, found, SUB_FOLDER)
                    break

    def _below(self, wanted: set[str]) -> dict[str, list[tuple[str, str]]]:
        """Image files below the folders by the form of their names: `(relative, whole path)`."""
        files: dict[str, list[tuple[str, str]]] = defaultdict(list)
        by_stem = any(key.startswith("//") for key in wanted)
        for top in outermost(self.folders):
            try:
                for path, folder in top.walk(self._leave_out):
                    for name in folder.images:
                        key = same_letters(name)
                        if key in wanted:
                            files[key].append((path + name, folder.prefix + name))
                        if has_prefix(key) and (key := "/" + without_prefix(key)) in wanted:
                            files[key].append((path + name, folder.prefix + name))
                        if by_stem and (key := "//" + same_stem(name)) in wanted:
                            files[key].append((path + name, folder.prefix + name))
            except TooManyFiles:
                self.too_large = top.path
                return {}
        return files

    def _leave_out(self, folder: str) -> bool:
        """Whether a folder holds other pictures, such as masks, or the images of other splits."""
        if OTHER_PICTURES.fullmatch(folder):
            return True
        own, other = SPLIT.match(self.split or ""), SPLIT.match(folder)
        return bool(own and other and own[1].lower() != other[1].lower())

    def _best(self, files: Sequence[tuple[str, str]], name: str) -> list[str]:
        """The free files whose path has the longest end in common with `name`."""
        if len(files) == 1:
            return [path for _, path in files if path not in self._taken]
        wanted = same_letters(name).split("/")[-2::-1]
        ranked: dict[tuple[int, bool], list[str]] = defaultdict(list)
        for relative, path in files:
            if path not in self._taken:
                parts = same_letters(relative).split("/")[-2::-1]
                pairs = zip(wanted, parts, strict=False)
                common = next((k for k, (a, b) in enumerate(pairs) if a != b), None)
                common = min(len(wanted), len(parts)) if common is None else common
                exact = relative.rpartition("/")[2] == name.rpartition("/")[2]
                ranked[common, exact].append(path)
        return ranked[max(ranked)] if ranked else []

    def _refuse_shared(self, guessed: Iterable[int], names: Sequence[str]) -> None:
        """Images with different names that were led to one file are not known."""
        users = defaultdict(list)
        for i in guessed:
            if (path := self.paths[i]) is not None and self.how.get(i) != PATH:
                users[path].append(i)
        for path, images in users.items():
            if len(images) > 1 and len({clean_path(names[i]) for i in images}) > 1:
                both = " and ".join(shown(names[i]) for i in images[:2])
                for i in images:
                    self.paths[i] = None
                    self.how.pop(i, None)
                    self.unclear[i] = f"{both} match {path}"


def _keys(base: str) -> list[str]:
    """What to look up for a base name.

    "/" in front means a file with Label Studio's prefix, "//" one with any suffix.
    """
    name = same_letters(base)
    if base and stem(base) == base:
        return [f"//{name}"]
    return [name, without_prefix(name) if has_prefix(name) else f"/{name}"]


def _of_other_split(path: str, other: str) -> bool:
    """Whether two relative paths lie in folders of different splits."""
    one, two = (
        {match[1].lower() for part in each.split("/")[:-1] if (match := SPLIT.match(part))}
        for each in (path, other)
    )
    return bool(one and two and one.isdisjoint(two))


def _is_in(path: str, folder: str) -> bool:
    return os.path.join(os.path.abspath(path), "").startswith(
        os.path.join(os.path.abspath(folder), "")
    )


def outermost(folders: Iterable[Folder]) -> list[Folder]:
    """The existing folders that lie in none of the others; never the root of all files."""
    found: dict[str, Folder] = {}
    pairs = [(os.path.join(os.path.realpath(f.path), ""), f) for f in folders]
    for real, folder in sorted(pairs, key=lambda pair: len(pair[0])):
        is_root = os.path.dirname(os.path.realpath(folder.path)) == os.path.realpath(folder.path)
        if not is_root and not real.startswith(tuple(found)) and os.path.isdir(real):
            found[real] = folder
    return list(found.values())
