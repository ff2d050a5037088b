"""Turns the file names of annotations into paths of images."""

import os
import pathlib

import numpy as np

from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.data.raw import RawAnnotations, ReadOptions
from keras_det.errors import DataError


def find_images(raw: RawAnnotations, options: ReadOptions) -> list[str]:
    """Finds the image of each entry, and leaves out missing ones with a note.

    A name is looked for in each folder as it is written, then by its stem with any suffix of an
    image.

    Args:
        raw: `image_names`, `other_names` and `folders` are searched; images without a file are
            removed from it.
        options: `image_dir` replaces `raw.folders`.

    Returns:
        One path per remaining image.

    Raises:
        DataError: no image was found.
    """
    folders = [options.image_dir] if options.image_dir else raw.folders
    names = [raw.image_names, *([raw.other_names] if raw.other_names else [])]
    listed = _Listing()
    paths = [listed.find(folders, entry) for entry in zip(*names, strict=True)]
    found = np.array([path is not None for path in paths], bool)
    if len(found) and not found.any():
        tried = ", ".join(str(folder) for folder in folders)
        raise DataError(
            f"The images of {raw.source} must be beside it or in `image_dir`. Received: no "
            f"{raw.image_names[0]!r} in {tried}. Give image_dir=, the folder that holds the images."
        )
    if not found.all():
        lost = np.flatnonzero(~found)
        raw.notes.append(
            f"{len(lost)} of {len(found)} images left out: no such file (first: "
            f"{os.path.join(folders[0], raw.image_names[lost[0]])})."
        )
        raw.keep_images(found)
    return [path for path in paths if path is not None]


class _Listing:
    """Folders by their files; each folder is listed once, not file by file."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = {}
        self._stems: dict[str, dict[str, str]] = {}

    def find(self, folders: list[pathlib.Path], names: tuple[str, ...]) -> str | None:
        """The first file of one of these names, in the order of the names, then of the folders."""
        for name in names:
            for stems in (False, True):
                for folder in folders:
                    path = self._lookup(os.path.join(folder, name), stems) if name else None
                    if path is not None:
                        return path
        return None

    def _lookup(self, path: str, by_stem: bool) -> str | None:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                files = sorted(os.listdir(folder))
            except OSError:
                files = []
            images = [f for f in files if f.lower().endswith(IMAGE_SUFFIXES)]
            self._names[folder] = {f: os.path.join(folder, f) for f in files}
            self._stems[folder] = {
                os.path.splitext(f)[0]: os.path.join(folder, f) for f in reversed(images)
            }
        return (self._stems if by_stem else self._names)[folder].get(name)
