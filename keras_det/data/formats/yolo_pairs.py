"""Brings together the images of a YOLO split and their files of labels."""

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from keras_det.data.formats.yolo_folders import NO_LABELS, Folders, label_folders, text_files
from keras_det.data.formats.yolo_layout import Entry, Source, list_entries
from keras_det.data.notes import Note
from keras_det.words import counted


class Pairs(NamedTuple):
    """The images of a split.

    Attributes:
        names: of the images, relative to the root of the data set, with "/".
        other_names: names relative to the folder of the split, where no image was looked for.
        labels: the file of labels of each image; None where it has none.
        looked_in: folders where labels were looked for.
        found_in: folders in which labels were found.
        notes: what was left out.
    """

    names: list[str]
    other_names: list[str]
    labels: list[str | None]
    looked_in: list[str]
    found_in: list[str]
    notes: list[Note]


def pair_images(source: Source, entries: Iterable[Entry], only_labels: bool = False) -> Pairs:
    """Lists images and finds the labels of each.

    Args:
        source: its root and description.
        entries: where the images lie.
        only_labels: take the images from the files of labels; their folder is looked for later.
    """
    pairing = _Pairing(str(source.root))
    for entry in entries:
        if entry.kind == "list":
            pairing.add_list(list_entries(entry.path, source.config))
        elif entry.kind == "glob":
            files = sorted(glob.glob(entry.path, recursive=True))
            pairing.add_list(os.path.split(file) for file in files if os.path.isfile(file))
        else:
            pairing.add_folder(entry.path, only_labels)
    return pairing.result()


class _Pairing:
    """Collects images and their labels.

    Args:
        root: folder of the data set.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.label_of: dict[str, str | None] = {}
        self.other_names: dict[str, str] = {}
        self.texts: dict[str, dict[str, str]] = {}
        self.looked: dict[str, None] = {}
        self.found: dict[str, None] = {}
        self.orphans: list[str] = []
        self.respelled: list[str] = []
        self.twins: list[str] = []
        self.hidden: list[str] = []
        self.repeated = 0

    def add_list(self, files: Iterable[tuple[str, str]]) -> None:
        """Adds images by `(folder, name)`, in their order."""
        by_folder: dict[str, list[str]] = {}
        order = [(folder, name) for folder, name in files]
        for folder, name in order:
            by_folder.setdefault(folder, []).append(name)
        matched = {folder: self._match(folder, names) for folder, names in by_folder.items()}
        heads = {folder: self._head(folder) for folder in by_folder}
        for folder, name in order:
            self._add(heads[folder] + name, matched[folder].get(name))

    def add_folder(self, top: str, only_labels: bool) -> None:
        """Adds the images below a folder, or those that its labels name where it holds none."""
        below = None if only_labels else Folders(top)
        images = {} if below is None else below.images
        self.hidden += [] if below is None else below.hidden
        if not any(images.values()):
            for folder, stem, path in self._labels_below(top):
                name = self._head(folder) + stem
                inside = os.path.relpath(os.path.join(folder, stem), top)
                self.other_names.setdefault(name, inside.replace("\\", "/"))
                self._add(name, path)
            return
        for folder, names in images.items():
            if not names:
                continue
            matched = self._match(folder, names)
            head = self._head(folder)
            for name in names:
                self._add(head + name, matched.get(name))
            self._note_orphans(folder, matched)
            stems = Counter(map(_stem, names))
            if len(stems) < len(names):
                self.twins += [head + stem for stem, count in stems.items() if count > 1]

    def result(self) -> Pairs:
        """Everything that was added, with notes."""
        names, labels = list(self.label_of), list(self.label_of.values())
        others = [self.other_names.get(name, "") for name in names]
        notes = self._notes(names, labels)
        return Pairs(names, others, labels, list(self.looked), list(self.found), notes)

    def _notes(self, names: list[str], labels: list[str | None]) -> list[Note]:
        notes = []
        without = [name for name, label in zip(names, labels, strict=True) if label is None]
        if without:
            text = (
                f"{len(without)} of {counted(len(names), 'image')} without a .txt file, kept as "
                "images without objects"
            )
            notes.append(Note("images-kept-empty", text, len(without), len(names), without[0]))
        if self.hidden:
            count = len(self.hidden)
            text = f"Images left out, because their names begin with a dot: {count}"
            notes.append(Note("images-hidden", text, count, first=self.hidden[0]))
        if self.orphans:
            count = len(self.orphans)
            text = f".txt files left out, because no image has their name: {count}"
            notes.append(Note("files-left-out", text, count, first=self.orphans[0]))
        if self.respelled:
            count = len(self.respelled)
            text = f".txt files found by a name in another Unicode form or case: {count}"
            notes.append(Note("files-found-otherwise", text, count, first=self.respelled[0]))
        if self.twins:
            count = len(self.twins)
            text = (
                ".txt files that belong to several images, whose names differ only in the "
                f"suffix: {count}"
            )
            notes.append(Note("labels-of-several-images", text, count, first=self.twins[0]))
        if self.repeated:
            text = f"Images listed more than once, and read once: {self.repeated}."
            notes.append(Note("images-listed-twice", text, self.repeated))
        return notes

    def _add(self, name: str, label: str | None) -> None:
        if name in self.label_of:
            self.repeated += 1
        else:
            self.label_of[name] = label

    def _head(self, folder: str) -> str:
        """What stands before the name of an image: its folder relative to the root, with "/"."""
        try:
            path = os.path.relpath(folder or ".", self.root).replace("\\", "/")
        except ValueError:  # another drive
            return folder.replace("\\", "/") + "/"
        return "" if path == "." else path + "/"

    def _texts(self, folder: str) -> dict[str, str]:
        if folder not in self.texts:
            self.texts[folder] = text_files(folder)
        return self.texts[folder]

    def _labels_in(self, folder: str) -> dict[str, str]:
        """The .txt files of a folder, without those that usually hold no labels."""
        texts = self._texts(folder).items()
        return {stem: text for stem, text in texts if text.lower() not in NO_LABELS}

    def _match(self, folder: str, names: list[str]) -> dict[str, str]:
        """`{name of the image: path of its labels}`, from the first folder that has any."""
        for place in label_folders(folder):
            self.looked[place] = None
            texts = self._texts(place)
            if not texts:
                continue
            head = os.path.join(place, "")
            stems = ((name, texts.get(_stem(name))) for name in names)
            found = {name: head + text for name, text in stems if text is not None}
            if len(found) < len(names):
                self._match_otherwise(names, texts, head, found)
            if found:
                self.found[place] = None
                return found
        return {}

    def _match_otherwise(
        self, names: list[str], texts: dict[str, str], head: str, found: dict[str, str]
    ) -> None:
        """Adds labels whose names differ in Unicode form or case, or are `a.jpg.txt`."""
        taken = set(found.values())
        free = {_form(stem): head + text for stem, text in texts.items()}
        for name in names:
            if name not in found:
                for form in (_form(_stem(name)), _form(name)):
                    path = free.get(form)
                    if path is not None and path not in taken:
                        found[name] = path
                        taken.add(path)
                        self.respelled.append(path)
                        break

    def _note_orphans(self, folder: str, matched: dict[str, str]) -> None:
        """Finds the files in the folder of the labels that belong to no image."""
        own = {folder, *label_folders(folder, near=False)}
        places = {os.path.dirname(path) for path in list(matched.values())[:1]} & own
        used = set(matched.values())
        for place in places:
            texts = self._labels_in(place).values()
            paths = (os.path.join(place, "") + text for text in texts)
            self.orphans += sorted(path for path in paths if path not in used)

    def _labels_below(self, top: str) -> Iterator[tuple[str, str, str]]:
        """Yields `(folder of the image, stem, labels)` of the labels of a folder without images."""
        for place in label_folders(top):
            self.looked[place] = None
            files = [
                (os.path.join(top, inside) if inside != "." else top, stem, os.path.join(at, text))
                for at in sorted(Folders(place).images)
                for inside in [os.path.relpath(at, place)]
                for stem, text in sorted(self._labels_in(at).items())
            ]
            if files:
                self.found[place] = None
                yield from files
                return


def _stem(name: str) -> str:
    """The name of an image without its suffix."""
    return name.rpartition(".")[0] or name


def _form(name: str) -> str:
    """One form for names that look the same or differ in upper and lower case."""
    return unicodedata.normalize("NFC", name).casefold()
