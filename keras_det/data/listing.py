"""Lists folders. While a format is looked for, each folder is listed only once for all formats."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from contextvars import ContextVar

_known: ContextVar[dict[str, tuple[os.DirEntry[str], ...]] | None] = ContextVar(
    "known", default=None
)


@contextlib.contextmanager
def listed_once() -> Iterator[None]:
    """Inside this block, each folder is listed once; later changes in it are not noticed."""
    token = _known.set(_known.get() or {})
    try:
        yield
    finally:
        _known.reset(token)


def entries(folder: str | os.PathLike[str]) -> tuple[os.DirEntry[str], ...]:
    """Returns what is in a folder, in no order; raises OSError where it cannot be listed."""
    key = os.fspath(folder) or "."
    known = _known.get()
    if known is not None and key in known:
        return known[key]
    with os.scandir(key) as found:
        listed = tuple(found)
    if known is not None:
        known[key] = listed
    return listed


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the names in a folder, sorted; raises OSError as `entries`."""
    return sorted(entry.name for entry in entries(folder))


def folders_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in a folder, sorted; raises OSError as `entries`."""
    return [folder / name for name in sorted(e.name for e in entries(folder) if is_folder(e))]


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder; False for a link that leads in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry) -> bool:
    """Whether an entry is a file; False for a link that leads in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False
