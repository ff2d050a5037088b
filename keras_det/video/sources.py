"""Finds images, videos and cameras: in files, folders, patterns and numbers."""

import glob
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from keras_det.data.image import IMAGE_SUFFIXES
from keras_det.errors import DataError, suggest_path
from keras_det.files import other_kind
from keras_det.video.libraries import is_installed
from keras_det.words import counted

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"),
    *(".ogv", ".mts", ".m2ts"),
)
WILD = "*?["  # characters of a pattern

# A path, a pattern such as "photos/*.jpg", or the index of a camera; or several of these.
OneSource = str | os.PathLike | int


class Source(NamedTuple):
    """One image, video or camera.

    `kind`: "image", "video" or "camera". `path`: of the file; "camera 0" for a camera.
    """

    kind: str
    path: str
    camera: int = -1


def find_sources(given: OneSource | Sequence[OneSource]) -> list[Source]:
    """The images, videos and cameras that are meant.

    Args:
        given: a file, a folder, a pattern or the index of a camera; or a list of these. A folder is
            searched with its subfolders, in sorted order. Its videos are left out, with a warning,
            if the package that reads them is missing. A pattern may hold `*`, `?`, `[…]`, and `**`
            for any number of folders.

    Raises:
        DataError: nothing is there, or it is neither a regular file nor a folder.
        TypeError: a source is of another type.
    """
    single = isinstance(given, str | os.PathLike | int)
    sources: list[Source] = []
    for each in [given] if single else given:  # type: ignore[union-attr]
        if isinstance(each, bool) or not isinstance(each, str | os.PathLike | int):
            raise TypeError(
                "A source must be a path, a pattern, or the index of a camera. Received: "
                f"{each!r:.80}. For arrays, use `detect`."
            )
        if isinstance(each, int):
            sources.append(camera(each))
        else:
            sources += [_source(path) for path in _files(os.fspath(each), with_videos=True)]
    if not sources:
        raise DataError("There must be at least one source. Received: none. Give a file or folder.")
    return sources


def find_images(given: Iterable[str]) -> list[pathlib.Path]:
    """As `find_sources`, for images only: videos in folders are passed over."""
    return [path for each in given for path in _files(each, with_videos=False)]


def camera(index: int) -> Source:
    """A camera by its index."""
    if index < 0:
        raise DataError(
            f"The index of a camera must be 0 or more. Received: {index}. 0 is the first camera."
        )
    return Source("camera", f"camera {index}", index)


def _source(path: pathlib.Path) -> Source:
    return Source("video" if path.suffix.lower() in VIDEO_SUFFIXES else "image", str(path))


def _files(given: str, with_videos: bool) -> list[pathlib.Path]:
    path = pathlib.Path(given)
    if path.is_dir():
        return _inside(path, with_videos)
    if path.exists():
        if kind := other_kind(path.stat().st_mode):
            raise DataError(
                f"A source must be a regular file or a folder. Received: {path}, which is {kind}. "
                "Leave it out."
            )
        return [path]
    if any(character in given for character in WILD):
        found = sorted(pathlib.Path(each) for each in glob.iglob(given, recursive=True))
        known = [each for each in found if _is_one(each, with_videos)]
        if known:
            return known
        raise DataError(
            "A pattern must match images or videos. Received: "
            f"{given}, which matches {counted(len(found), 'other file') if found else 'nothing'}. "
            "Check the pattern."
        )
    raise DataError(f"A source must exist. Received: {path}.{suggest_path(path)} Check the path.")


def _inside(folder: pathlib.Path, with_videos: bool) -> list[pathlib.Path]:
    inside = sorted(path for path in _walk(folder) if _is_one(path, with_videos))
    videos = [path for path in inside if _source(path).kind == "video"]
    if videos and not is_installed("av"):
        inside = [path for path in inside if path not in set(videos)]
        warnings.warn(
            f"Left out: {counted(len(videos), 'video')} in {folder}. Reading videos needs the "
            "extra `video`.",
            stacklevel=2,
        )
    if not inside:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise DataError(
            f"A folder must hold images ({suffixes}){' or videos' * with_videos}. Received: "
            f"{folder}, which holds none. Check the folder."
        )
    return inside


def _is_one(path: pathlib.Path, with_videos: bool) -> bool:
    """Whether a path is a regular file with the suffix of an image or a video; see `other_kind`."""
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) if with_videos else IMAGE_SUFFIXES
    return (
        path.suffix.lower() in suffixes
        and not path.is_dir()
        and not (path.exists() and other_kind(path.stat().st_mode))
    )


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files in a folder and below it. Warns of a folder that cannot be read."""

    def left_out(error: OSError) -> None:
        text = f"A folder cannot be read and is left out: {error.filename} ({error.strerror})."
        warnings.warn(text, stacklevel=2)

    for place, _, names in os.walk(folder, onerror=left_out):
        yield from (pathlib.Path(place, name) for name in names)
