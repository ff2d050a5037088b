"""Lists of Pascal VOC: the images of a split, and the names of the classes."""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from keras_det.data.formats.plain_text import encoding_of
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.notes import Note
from keras_det.errors import DataError, suggest
from keras_det.files import open_bytes
from keras_det.words import counted

# In the order in which they are looked for.
CLASS_FILES = ("class_names.txt", "classes.txt", "labels.txt", "label_list.txt", "labelmap.txt")
# The last column of lists of one class: 1 the image shows it, -1 it does not, 0 only difficult.
COLUMN = re.compile(r"^(.*\S)\s+(?:-1|\+?1|0)$")


class Listed(NamedTuple):
    """What a list names.

    Attributes:
        keys: the annotations it names, each once, in the list's order.
        missing: names without an annotation.
        notes: what was changed or left out.
    """

    keys: list[str]
    missing: list[str]
    notes: list[Note]


def read_lines(path: str) -> list[str]:
    """The lines of a text file that are not blank; DataError where it is no text."""
    try:
        with open_bytes(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(
            f"A list must be a readable file. Received: {path} ({error.strerror or error}). "
            "Correct its name or its permissions."
        ) from None
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
        if "\0" in text:
            raise UnicodeDecodeError(encoding, data, text.index("\0"), text.index("\0") + 1, "zero")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"A list must be UTF-8 text, or UTF-16 with a byte order mark. Received: {path}, line "
            f"{line} ({error.reason}). Save the file again as UTF-8."
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_list(path: str, keys: Collection[str], broken: Collection[str] = ()) -> Listed:
    """Reads the list of a split.

    A line is the name of an annotation or of its image: with or without suffix, spaces, folders.
    Behind it may stand the path of the annotation, in whose end it is then found, or, in all lines,
    the column of a list of one class.

    Args:
        path: the list.
        keys: names of the annotations without suffix, with "/" behind their folders.
        broken: names of annotations that exist and cannot be read; they are passed over.
    """
    lines = read_lines(path)
    if not lines:
        raise DataError(
            f"A list must name at least one image. Received: {path}, which is empty. Write the "
            "names of its images into it, or remove it."
        )
    columns = all(COLUMN.match(line) for line in lines)
    found: dict[str, int] = {}
    missing: list[str] = []
    loose: dict[str, str | None] = {}
    for line in lines:
        names = list(_forms(line, columns))
        key = next((name for name in names if name in keys or name in broken), None)
        if key is None:
            loose = loose or _loose([*keys, *broken])
            known = (loose.get(alike) for name in names for alike in _alike(name))
            key = next((each for each in known if each is not None), None)
        if key is None:
            missing.append(next(_stems(COLUMN.sub(r"\1", line) if columns else line)))
        elif key not in broken:
            found[key] = found.get(key, 0) + 1
    twice = [key for key, count in found.items() if count > 1]
    notes = []
    if twice:
        text = (
            f"{len(twice)} of {counted(len(found), 'image')} listed more than once in {path}, and "
            "read once"
        )
        notes.append(Note("images-listed-twice", text, len(twice), len(found), twice[0]))
    if not found:
        raise _useless(path, lines, missing, keys)
    return Listed(list(found), list(dict.fromkeys(missing)), notes)


def _useless(path: str, lines: list[str], missing: list[str], keys: Collection[str]) -> DataError:
    """Makes the error for a list that names no annotation that can be read."""
    if missing:
        return DataError(
            f"A list must name images that have an annotation. Received: {path}, where none of "
            f"{counted(len(lines), 'name')} has a readable one; first: {lines[0]!r}."
            f"{suggest(missing[0], list(keys))} Write the names of the XML files into it, or "
            "remove the list: then every annotated image is read."
        )
    return DataError(
        f"A list must name at least one readable annotation. Received: {path}, where all "
        f"{len(lines)} are unreadable; first: {lines[0]!r}. Correct these XML files, or list "
        "others."
    )


def _forms(line: str, columns: bool) -> Iterator[str]:
    """The names that a line may mean, the most literal first."""
    yield from _stems(line)
    if columns:
        yield from _stems(COLUMN.sub(r"\1", line))


def _stems(text: str) -> Iterator[str]:
    """The name as a key: as written, without suffix, without quotes, decoded from a URL."""
    name = text.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    stem = without_suffix(name)
    yield stem
    yield name
    if len(stem) > 2 and name[0] == name[-1] and name[0] in "\"'":
        yield without_suffix(name[1:-1])
    if "%" in name:
        yield unquote(stem)


def without_suffix(name: str) -> str:
    """The name without the suffix of an image or of XML: "a.b.jpg" -> "a.b"."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*IMAGE_SUFFIXES, ".jfif", ".xml") else name


def _loose(keys: Collection[str]) -> dict[str, str | None]:
    """Simplified names to keys; None where a simplified name fits several keys."""
    found: dict[str, str | None] = {}
    for key in keys:
        whole = fold(without_suffix(key))
        # "/name" stands for a name without its folder.
        for simple in {whole, "/" + whole.rpartition("/")[2]}:
            found[simple] = key if found.get(simple, key) == key else None
    return found


def _alike(form: str) -> Iterator[str]:
    """Simplified names under which a line's name may be found."""
    name = fold(form)
    yield name
    while "/" in name:  # /home/me/VOC2007/JPEGImages/a means a
        name = name.partition("/")[2]
        yield name
    if "/" not in form:
        yield "/" + name


def fold(name: str) -> str:
    """A name without its upper case and with its accents encoded in one way."""
    return unicodedata.normalize("NFC", name).casefold()


def is_class_list(path: str, names: Collection[str]) -> bool:
    """Whether a list shows one class only: `aeroplane_train.txt` beside `train.txt`.

    Args:
        path: the list.
        names: some of the annotated classes.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    if "_" not in stem:
        return False
    if stem.rpartition("_")[0] in names:
        return True
    try:
        lines = read_lines(path)
    except DataError:
        return False
    return bool(lines) and all(COLUMN.match(line) for line in lines)


def read_class_names(
    root: str, files: Mapping[str, str], annotated: Mapping[str, str]
) -> tuple[list[str], list[Note]]:
    """The classes of the data set in order.

    Args:
        root: the data set's folder, for messages.
        files: `{name in lower case: name}` of the files in it.
        annotated: `{class: where it is annotated first}`.

    Returns:
        `(class names, notes)`: those of the first of `CLASS_FILES`, else the annotated, sorted.
    """
    file = next((files[name] for name in CLASS_FILES if name in files), None)
    if file is None:
        return sorted(annotated), []
    path = os.path.join(root, file)
    names = _names(path, annotated)
    others = [name for name in annotated if name not in names]
    if file.lower() != CLASS_FILES[0] and len(others) == len(annotated):
        if not annotated:
            return names, []
        note = f"{path} is not used: it names none of the annotated classes, such as {others[0]!r}."
        return sorted(annotated), [Note("classes-from", note)]
    if others:
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise DataError(
            f"Every annotated class must be listed in {path} ({shown}). Received: {others[0]!r} in "
            f"{annotated[others[0]]}.{suggest(others[0], names)} Correct the annotation, or add "
            "the name to the list."
        )
    return names, []


def _names(path: str, annotated: Collection[str]) -> list[str]:
    """The names of a class file, one a line; of CVAT's `labelmap.txt` the first column."""
    lines = read_lines(path)
    if os.path.basename(path).lower() != "labelmap.txt":
        return lines
    names = [line.partition(":")[0].strip() for line in lines if not line.startswith("#")]
    return [name for name in names if name != "background" or name in annotated]
