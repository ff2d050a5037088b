"""All XML files of a Pascal VOC data set as one table."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.data.formats.voc_file import (
    NO_BOX,
    ONE_OF_SEVERAL,
    POLYGON,
    ROTATED,
    UnreadableError,
    VocFile,
    read_file,
    short,
)
from keras_det.data.formats.voc_layout import xml_files
from keras_det.data.notes import Note, NoteCode
from keras_det.data.raw import BadRecords
from keras_det.errors import DataError
from keras_det.words import counted

# The code of the note, what is counted in singular and plural, and the rest of the sentence.
FORMS: dict[int, tuple[NoteCode, tuple[str, str], str]] = {
    NO_BOX: (
        "annotations-without-box",
        ("object", "objects"),
        "left out: without <bndbox>",
    ),
    POLYGON: (
        "boxes-of-shapes",
        ("object", "objects"),
        "without <bndbox>: the box around the <polygon> is used",
    ),
    ROTATED: (
        "boxes-of-shapes",
        ("object with a rotated box", "objects with rotated boxes"),
        "(<robndbox>): the upright box around it is used",
    ),
    ONE_OF_SEVERAL: (
        "boxes-of-parts",
        ("box", "boxes"),
        "from an <object> with several <bndbox>: each becomes one object",
    ),
}


class Entry(NamedTuple):
    """One annotated image.

    Attributes:
        row: its row in the table.
        part: index of the part it lies in.
        prefix: of the part.
        key: name of the XML file in the part, without suffix, with "/" behind folders.
        image_name: the image's name as the file gives it.
    """

    row: int
    part: int
    prefix: str
    key: str
    image_name: str


class Table:
    """The annotations of a data set as columns.

    Attributes:
        entries: one per readable annotation.
        broken: per part, the keys of unreadable annotations.
        sizes: `(num_entries, 2)`, (height, width); 0 where not given.
        image_index: `(num_objects,)`, the entry of each object.
        boxes: `(num_objects, 4)` as written.
        labels: `(num_objects,)`, indices into `annotated`.
        difficult: `(num_objects,)` bool.
        annotated: `{class: where it occurs first}`.
        notes: what was left out or decided.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.broken: list[set[str]] = []
        self.notes: list[Note] = []
        self.annotated: dict[str, str] = {}
        self.sizes = np.zeros((0, 2), np.int64)
        self.image_index = self.labels = np.zeros(0, np.int64)
        self.boxes = np.zeros((0, 4), np.float64)
        self.difficult = np.zeros(0, bool)
        self._paths: list[str] = []
        self._numbers = np.zeros(0, np.int64)

    def where(self, row: int) -> str:
        """The file and index of an object."""
        return f"{self._paths[self.image_index[row]]}, object {self._numbers[row]}"

    def fill(self, files: Sequence[VocFile], paths: list[str], source: str) -> None:
        """Makes the columns from the files; DataError where objects are too bad."""
        self._paths = paths
        self.sizes = np.array([file[1:3] for file in files], np.int64).reshape(-1, 2)
        counts = [len(file.objects) for file in files]
        rows = [each for file in files for each in file.objects]
        table = np.array([each[1:] for each in rows], np.float64).reshape(-1, 7)
        self.image_index = np.repeat(np.arange(len(files)), counts)
        self.boxes, self.difficult = table[:, :4], table[:, 4] > 0
        self._numbers, form = table[:, 5].astype(np.int64), table[:, 6].astype(np.int64)
        written = [each.name for each in rows]
        self._count_bad(files, len(rows), source)
        for kind, (code, nouns, text) in FORMS.items():
            found = np.flatnonzero(form == kind)
            if len(found):
                few, first = f"{counted(len(found), *nouns)} {text}", self.where(int(found[0]))
                self.notes.append(Note(code, few, len(found), first=first))
        kept = np.flatnonzero(form != NO_BOX)
        if len(rows) and not len(kept):
            raise DataError(
                f"Objects must have a <bndbox>. Received: none of {counted(len(rows), 'object')} "
                f"in {source} has one; first: {self.where(0)}. Export the annotations again, with "
                "boxes."
            )
        for name in ("image_index", "boxes", "difficult", "_numbers"):
            setattr(self, name, getattr(self, name)[kept])
        self._name_classes([written[row] for row in kept])

    def _count_bad(self, files: Sequence[VocFile], good: int, source: str) -> None:
        bad = BadRecords("objects", source)
        unclear = []
        for path, file in zip(self._paths, files, strict=True):
            for number, reason in file.bad:
                bad.add(f"{path}, object {number}", reason)
            unclear += [(path, *item) for item in file.unclear]
        if bad.count and not good:
            raise DataError(
                f"Objects must be readable. Received: none of {bad.count} in {source}; first: "
                f"{bad.reasons[0]}. Correct or remove them, or export the annotations again."
            )
        self.notes += bad.notes(good + bad.count)
        if unclear:
            path, number, text = unclear[0]
            total = good + bad.count
            note = (
                f"{len(unclear)} of {counted(total, 'object')} read as not difficult: <difficult> "
                f"is neither 0 nor 1 but {short(text)}"
            )
            first = f"{path}, object {number}"
            self.notes.append(Note("objects-reread", note, len(unclear), total, first))

    def _name_classes(self, written: list[str]) -> None:
        """Numbers the classes; spaces around a name are indentation, not part of it."""
        index_of: dict[str, int] = {}
        labels = np.array([index_of.setdefault(n, len(index_of)) for n in written], np.int64)
        first = np.full(len(index_of), len(written), np.int64)
        np.minimum.at(first, labels, np.arange(len(written)))
        empty = [i for name, i in index_of.items() if not name.strip()]
        if empty:
            row, count = int(first[empty].min()), int(np.isin(labels, empty).sum())
            raise DataError(
                "Every object must have the name of its class in <name>. Received: "
                f"<name>{written[row].strip()}</name> in {self.where(row)} "
                f"({counted(count, 'object')} {'has' if count == 1 else 'have'} none). Write the "
                "class into <name>, or remove the object."
            )
        merged: dict[str, int] = {}
        new = np.array([merged.setdefault(n.strip(), len(merged)) for n in index_of], np.int64)
        self.labels = new[labels] if len(new) else labels
        if len(merged) < len(index_of):
            padded = [i for name, i in index_of.items() if name != name.strip()]
            count, place = int(np.isin(labels, padded).sum()), self.where(int(first[padded].min()))
            text = (
                f"{count} of {counted(len(labels), 'class name')} with spaces at their ends, which "
                "are left out"
            )
            self.notes.append(Note("classes-from", text, count, len(labels), place))
        for name, i in index_of.items():
            self.annotated.setdefault(name.strip(), self.where(int(first[i])))


def read_table(source: str, folders: Sequence[tuple[str, str]]) -> Table:
    """Reads every XML file of a data set.

    Args:
        source: the data set's folder, for messages.
        folders: (folder, prefix) of each part.

    Raises:
        DataError: too many files or objects are unreadable, or an object has no class.
    """
    table = Table()
    bad = BadRecords("annotation files", source)
    files: list[VocFile] = []
    paths: list[str] = []
    total = 0
    for part, (folder, prefix) in enumerate(folders):
        table.broken.append(set())
        last = None
        for key, path in xml_files(folder):
            total += 1
            try:
                if key == last:
                    raise UnreadableError(
                        "The file must be the only one of its name. Received: two"
                    )
                file = read_file(path)
            except UnreadableError as error:
                bad.add(path, str(error))
                table.broken[part].add(key)
                continue
            last = key
            table.entries.append(Entry(len(files), part, prefix, key, file.image_name))
            files.append(file)
            paths.append(path)
    if not files:
        first = f"; first: {bad.reasons[0]}" if bad.reasons else ""
        raise DataError(
            "Pascal VOC annotations must be readable XML. Received: none of "
            f"{counted(total, 'file')} in {source}{first}. Correct them, or export the annotations "
            "again."
        )
    table.notes += bad.notes(total)
    table.fill(files, paths, source)
    return table
