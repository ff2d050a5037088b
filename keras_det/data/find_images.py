"""Turns the file names of annotations into paths of images."""

import difflib
import os
import pathlib
from collections import Counter

import numpy as np

from keras_det.data.folders import TooManyFiles
from keras_det.data.foreign_files import what_is_at
from keras_det.data.image_names import clean_path, same_letters, same_stem, shown
from keras_det.data.image_search import Search, outermost
from keras_det.data.notes import Note
from keras_det.data.raw import MAX_BAD, RawAnnotations, ReadOptions
from keras_det.errors import DataError, suggest
from keras_det.words import counted

OPTION = "image_dir= (--image-dir)"
# Suffixes of pictures and films that are not read.
FOREIGN = (".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".mp4", ".mov", ".avi", ".mkv", ".pdf")
# Number of file names among which an error looks for the one nearest to a missing name.
NEAREST_OF = 2000


def find_images(raw: RawAnnotations, options: ReadOptions) -> list[str]:
    """Finds the image of each entry, and leaves out missing ones with a note.

    A name is looked for in each folder as it is written; a name without suffix with any suffix of
    an image. Only what is not found so is looked for in other ways: as a path of another system or
    a URL, by the end of the path down to the base name, in other upper or lower case, in another
    Unicode form, with another suffix, without Label Studio's prefix, and by the base name in all
    subfolders. One note says which images were found in these ways.

    Args:
        raw: `image_names`, `other_names` and `folders` are searched; images without a file are
            removed from it.
        options: `image_dir` replaces `raw.folders`.

    Returns:
        One path per remaining image.

    Raises:
        DataError: no image was found, many names match several files, or `image_dir` is no folder.
    """
    if options.image_dir is not None:
        _check_folder(options.image_dir)
    folders = raw.folders if options.image_dir is None else [options.image_dir]
    search = Search(map(os.fspath, folders), options.image_dir is not None, raw.split)
    search.run(raw.image_names, raw.other_names)
    found = np.array([path is not None for path in search.paths], bool)
    _note_unclear(raw, search)
    if len(found) and not found.any():
        raise _no_image(raw, search)
    _note_missing(raw, search, found)
    _note_how(raw, search)
    _note_unlisted(raw, search)
    if not found.all():
        raw.keep_images(found)
    return [path for path in search.paths if path is not None]


def _check_folder(folder: pathlib.Path) -> None:
    if not folder.is_dir():
        near = os.listdir(folder.parent) if folder.parent.is_dir() else []
        what = "which is a file" if folder.exists() else "which does not exist"
        raise DataError(
            f"{OPTION} must be an existing folder. Received: {folder}, {what}."
            f"{suggest(folder.name, near)} Correct the path."
        )


def _note_unclear(raw: RawAnnotations, search: Search) -> None:
    """A note on names that fit several files; DataError where they are many."""
    count, total = len(search.unclear), len(raw.image_names)
    if not count:
        return
    first = search.unclear[min(search.unclear)]
    if count > max(1, MAX_BAD * total) or count == total:
        raise DataError(
            "The name of an image must match exactly one file, and each file only one image. "
            f"Received: {count} of {total} ambiguous names in {raw.source}; first: {first}. Give "
            f"{OPTION}, the folder of the right images, or write their paths relative to this "
            "folder into the annotations."
        )
    text = f"{count} of {counted(total, 'image')} left out: ambiguous names"
    raw.notes.append(Note("images-missing", text, count, total, first))


def _note_missing(raw: RawAnnotations, search: Search, found: np.ndarray) -> None:
    lost = [int(i) for i in np.flatnonzero(~found) if i not in search.unclear]
    if not lost:
        return
    place = os.path.dirname(next(path for path in search.paths if path is not None))
    more = []
    if 2 * len(lost) > len(found):
        more.append(f"This is more than half: copy the missing images, or check {OPTION}.")
    if search.too_large:
        more.append(_too_large(search))
    text = f"{len(lost)} of {counted(len(found), 'image')} left out: no such file"
    first = f"{shown(raw.image_names[lost[0]])}; the first one found is in {place}"
    raw.notes.append(
        Note("images-missing", text, len(lost), len(found), first, more=" ".join(more))
    )


def _note_how(raw: RawAnnotations, search: Search) -> None:
    """One note about all images that were not found by their exact names."""
    if search.how:
        (most, count), *others = Counter(search.how.values()).most_common()
        ways = "; ".join([f"Images found {most}: {count}", *(f"{how}: {n}" for how, n in others)])
        first = min(search.how)
        place = f"{shown(raw.image_names[first])} is {search.paths[first]}"
        raw.notes.append(Note("images-found-otherwise", ways, len(search.how), first=place))


def _note_unlisted(raw: RawAnnotations, search: Search) -> None:
    """A note on images beside the found ones that the rows of a table do not name."""
    if raw.all_names is None:
        return
    taken = {path for path in search.paths if path is not None}
    lost = [
        (folder.prefix, name)
        for folder in search.folders_with_images()
        for name in folder.images
        if name[0] != "." and folder.prefix + name not in taken
    ]
    if lost:  # also a mask of the same name is no image of its own
        named = {same_stem(clean_path(name).rpartition("/")[2]) for name in raw.all_names()}
        named |= {same_stem(os.path.basename(path)) for path in taken}
        lost = [(folder, name) for folder, name in lost if same_stem(name) not in named]
    if lost:
        text = f"Images that are not read, because no row names them: {len(lost)}"
        more = (
            "To keep one as an image without objects, add a row with its name and empty cells for "
            "the box."
        )
        first = "".join(lost[0])
        raw.notes.append(Note("images-without-file", text, len(lost), first=first, more=more))


def _no_image(raw: RawAnnotations, search: Search) -> DataError:
    folders = [folder for folder in search.folders if os.path.isdir(folder.path)]
    tried = ", ".join(folder.path for folder in (folders or search.folders)[:4])
    tried += ", …" if len(folders or search.folders) > 4 else ""
    if not folders:
        tried += " (no such folders)"
    name = raw.image_names[0]
    near = _nearest(clean_path(name).rpartition("/")[2], search)
    there = f"; the most similar image file is {near}" if near else _instead(search)
    large = f" {_too_large(search)}" if search.too_large else ""
    return DataError(
        f"The images of {raw.source} must be next to it or in {OPTION}. Received: none of "
        f"{counted(len(raw.image_names), 'image')} found; no {shown(name)} in "
        f"{tried}{there if folders else ''}.{large} Give the folder of the images as {OPTION}, or "
        "correct the names in the annotations."
    )


def _instead(search: Search) -> str:
    """What folders without images hold: files of cameras or films, or nothing of the kind."""
    for folder in search.folders:
        for name in sorted(folder.files):
            if name.lower().endswith(FOREIGN):
                path = folder.prefix + name
                return f" (no images there that can be read; {path} is {what_is_at(path)})"
    return " (no images there)"


def _nearest(name: str, search: Search) -> str | None:
    """The image file whose name is most like `name`, for a message; None without any image."""
    files: dict[str, str] = {}
    try:
        for top in outermost(search.folders):
            for _, folder in top.walk(lambda name: name.startswith(".")):
                for each in folder.images:
                    files.setdefault(same_letters(each), folder.prefix + each)
                    if len(files) >= NEAREST_OF:
                        raise TooManyFiles(top.path)
    except TooManyFiles:
        pass
    near = difflib.get_close_matches(same_letters(name), files, n=1, cutoff=0.0)
    return shown(files[near[0]]) if near else None


def _too_large(search: Search) -> str:
    return f"{search.too_large} contains too many files: its subfolders were not searched."
