"""Finds out which format a folder or file is in, or says what is missing."""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from keras_det.data.foreign_formats import other_tool, without_boxes
from keras_det.data.formats import FORMATS
from keras_det.data.formats.coco_kind import kind_of
from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.listing import entries, is_folder, listed_once
from keras_det.data.raw import Format, Layout
from keras_det.errors import DataError, suggest

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
# What may lie beside the only folder of a data set.
BESIDE = ("readme", "licen", "copying", "thumbs.db", "desktop.ini")
TEXTS = (".txt", ".md", ".pdf", ".html", ".rtf", ".docx")
MAX_DEPTH = 5
# Folders that lie inside a data set: the folder above may be meant.
INNER = re.compile(
    r"(train|val|valid|validation|test|images?|jpegimages|labels?|annotations?|xmls?|imagesets|main"
    r"|data)([-_]?\d{4})?$",
    re.I,
)
# Kinds of JSON files that may be of a tool whose files are not read.
OTHER_KINDS = ("other", "via", "datumaro")
# The files of the first format include those of the others, so both are found in one folder.
CONTAINS = {"tfds": ("tfrecord",), "hugging_face": ("csv",)}
DOCS = "docs/data.md shows how each format is laid out."


@listed_once()
def recognise(path: pathlib.Path, name: str | None = None) -> tuple[Format, Layout]:
    """Returns the format of a file or folder and what it holds; each folder is listed once.

    A folder that is in no format, but holds one folder only, stands for that folder. What begins
    with a dot, `__MACOSX`, a README, a licence, texts and archives beside it do not count.

    Args:
        path: exists.
        name: of the only format to try; None tries all.

    Raises:
        DataError: no format fits, or several do.
    """
    formats = FORMATS if name is None else (_format(name),)
    refusal = None
    if name is None and path.is_file() and kind_of(path) in OTHER_KINDS and other_tool(path):
        raise DataError(_nothing_in(path, formats))
    levels = list(_levels(path))
    # The deepest folder first, except those that lie inside a data set, such as train/.
    inner = [root for root in levels[1:] if INNER.match(root.name)]
    for root in [*(root for root in levels[::-1] if root not in inner), *inner]:
        found = []
        for each in formats:
            try:
                layout = each.find(root)
            except DataError as error:  # it is this format, but holds nothing that can be used
                refusal = refusal or error
                continue
            except OSError as error:
                refusal = refusal or unreadable(path, error)
                continue
            if layout is not None:
                found.append((each, layout))
        if found:
            return _only_one(found, root)
    if refusal is not None:
        raise refusal
    raise DataError(_nothing_in(path, formats))


def unreadable(path: pathlib.Path, error: OSError) -> DataError:
    """The error for a file or folder that the system does not open."""
    return DataError(
        f"A data set must be readable. Received: {str(path)[:200]} ({error.strerror}: "
        f"{str(error.filename)[:200]}). Correct the path, its permissions or the link."
    )


def _format(name: str) -> Format:
    names = [each.name for each in FORMATS]
    if name not in names:
        raise DataError(
            f"`format` must be one of {', '.join(names)}. Received: {name!r}."
            f"{suggest(name, names)} Leave it out to have the format recognised."
        )
    return FORMATS[names.index(name)]


def _levels(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The path, the only folder in it, the only folder in that, …"""
    yield path
    for _ in range(MAX_DEPTH if path.is_dir() else 0):
        inside = [entry for entry in entries(path) if not _is_beside(entry)]
        if len(inside) != 1 or not is_folder(inside[0]):
            return
        path = path / inside[0].name
        yield path


def _is_beside(entry: pathlib.Path | os.DirEntry) -> bool:
    name = entry.name.lower()
    if name.startswith(".") or name == "__macosx":
        return True
    return (name.startswith(BESIDE) or name.endswith((*TEXTS, *ARCHIVES))) and entry.is_file()


def _only_one(found: Sequence[tuple[Format, Layout]], root: pathlib.Path) -> tuple[Format, Layout]:
    """The only format found, or the one that includes the others; DataError if several remain."""
    parts = {part for each, _ in found for part in CONTAINS.get(each.name, ())}
    left = [(each, layout) for each, layout in found if each.name not in parts]
    if len(left) == 1:
        return left[0]
    what = ", ".join(f"{each.title} ({_content(layout)})" for each, layout in left)
    names = [each.name for each, _ in left]
    choices = " or ".join(f'format="{name}" (--format {name})' for name in names)
    raise DataError(
        f"A data set must be in one format. Received: {root}, which holds several: {what}. Give "
        f"{choices}, or move the annotations that you do not want to another folder."
    )


def _content(layout: Layout) -> str:
    names = list(layout.splits)
    if not names:
        return "without splits"
    return f"split{'s' if len(names) > 1 else ''} {', '.join(names[:4])}" + "…" * (len(names) > 4)


def _nothing_in(path: pathlib.Path, formats: Sequence[Format]) -> str:
    """The message for a path that is in no format: what it holds, resembles, and what to do."""
    if len(formats) == 1:
        rule = f"A data set in the format {formats[0].title} must hold {formats[0].tree}."
        other = f"leave out format= (--format {formats[0].name})"
    else:
        rule = f"A data set must be in one of the formats {', '.join(f.title for f in formats)}."
        other = "convert the annotations"
    name = path.name.lower()
    if path.is_file():
        if name.endswith(ARCHIVES):
            return f"{rule} Received: {path}, an archive. Unpack it first, and give the folder."
        what = ", an image" if name.endswith(IMAGE_SUFFIXES) else ""
        advice = other_tool(path) or (
            f"Give the folder of the data set or its annotation file, or {other}."
        )
        return f"{rule} Received: {path}{what}. {advice} {DOCS}"
    root = list(_levels(path))[-1]
    advice = " ".join(_hints(path, root, formats)) or f"Check the folder, or {other}."
    return f"{rule} Received: {path}, which holds {_listing(root)}. {advice} {DOCS}"


def _hints(path: pathlib.Path, root: pathlib.Path, formats: Sequence[Format]) -> Iterator[str]:
    """What a folder in no format resembles, and whether one beside it is meant.

    Args:
        path: of the folder.
        root: the folder in it that stands for it.
        formats: those that were tried.
    """
    beside = _beside(root, formats)
    tool = None if beside else other_tool(path)
    if tool is not None:
        yield tool
        return
    missing = [(each, each.resembles(root)) for each in formats]
    resembled = [f"It resembles {each.title}: {t.rstrip('.')}." for each, t in missing if t]
    yield from resembled
    yield from beside
    packed = [e.name for e in sorted(root.iterdir()) if e.name.lower().endswith(ARCHIVES)]
    if packed and not beside:
        yield f"Unpack {packed[0]} first."
    elif (
        len(formats) > 1
        and not resembled
        and not beside
        and (lack := without_boxes(path)) is not None
    ):
        yield lack


def _beside(root: pathlib.Path, formats: Sequence[Format]) -> list[str]:
    """Which folder in this one, or above it, is a data set; empty where none is."""
    below = [e for e in sorted(root.iterdir())[:20] if e.is_dir() and not _is_beside(e)]
    for each in formats:
        found = [entry for entry in below if _is_found(each, entry)]
        if len(found) == 1:
            folder = found[0]
            return [
                f"The folder {folder.name}/ in it is in the format {each.title}: give {folder}."
            ]
        if found:
            names = ", ".join(f"{entry.name}/" for entry in found)
            return [
                f"The folders {names} in it are data sets in the format {each.title}: give one of "
                "them, and another one for validation with --val-data. Or merge them first: "
                "`keras-det data merge`."
            ]
    for each in formats if INNER.match(root.absolute().name) else ():
        if _is_found(each, root.absolute().parent):
            above = root.absolute().parent
            return [f"The folder that contains it is in the format {each.title}: give {above}."]
    return []


def _is_found(each: Format, folder: pathlib.Path) -> bool:
    try:
        return each.find(folder) is not None
    except (DataError, OSError):
        return False


def _listing(path: pathlib.Path) -> str:
    names = sorted(entry.name + "/" * is_folder(entry) for entry in entries(path))
    if not names:
        return "nothing"
    return ", ".join(names[:6]) + (f", … ({len(names)} in all)" if len(names) > 6 else "")
