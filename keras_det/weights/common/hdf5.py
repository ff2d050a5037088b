"""Opens HDF5 files that hold all their numbers themselves.

An HDF5 file may name other files: links to objects in them, data sets stored in them, and filters
that HDF5 loads as libraries. Reading such a file reads, or runs, something else on this computer.
The files of Keras have none of these, so files that do are refused before a value is read.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from keras_det.errors import DataError

if TYPE_CHECKING:
    import h5py

# Filters that are part of HDF5 or of h5py: deflate, shuffle, fletcher32, LZF. Others are libraries.
FILTERS = (1, 2, 3, 32000)
MAX_OBJECTS = 200_000
# Data sets together may declare this many times the bytes of the file, and `FREE` bytes more.
MAX_GROWTH, FREE = 20, 1 << 26

# What h5py raises on a damaged file. Not ValueError: a DataError is one.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, MemoryError, OverflowError)


@contextlib.contextmanager
def without_plugins() -> Iterator[None]:
    """Inside the context, HDF5 has no folders to load filters from. Those it has loaded stay."""
    from h5py import h5pl

    paths = [h5pl.get(i) for i in range(h5pl.size())]
    for _ in paths:
        h5pl.remove(0)
    try:
        yield
    finally:
        for path in paths:
            h5pl.append(path)


@contextlib.contextmanager
def open_hdf5(source: str | os.PathLike | BinaryIO, name: object = None) -> Iterator["h5py.File"]:
    """Opens an HDF5 file for reading, after checking that it holds all its numbers itself.

    Args:
        source: path of the file, or an open one.
        name: what errors call it. Default: `source`.

    Raises:
        DataError: the file links to other files, stores data in them, needs filters that are
            loaded, or declares much more data than it has.
        Exception: it is damaged; one of `DAMAGE`.
    """
    import h5py

    size = os.path.getsize(source) if isinstance(source, str | os.PathLike) else source.seek(0, 2)
    with without_plugins(), h5py.File(source, "r") as file:
        root = file["/"].id
        try:
            found = root.links.visit(_other_link, info=True) or _other_data(root, size)
        except ValueError as error:  # h5py's word for some damage
            raise OSError(str(error)) from error
        if found:
            raise DataError(
                "An HDF5 file of weights must contain all its data itself, as Keras writes it. "
                f"Received: {source if name is None else name}, with {found}. Get the file from "
                "its publisher, or save the weights again with model.save_weights."
            )
        yield file


def check_hdf5(
    source: str | os.PathLike | BinaryIO,
    name: object = None,
    rule: str = "Weights must be a complete HDF5 file",
    advice: str = "Copy or download it again.",
) -> None:
    """Raises a DataError if `open_hdf5` refuses a file, or if the file is damaged.

    Args:
        source, name: as for `open_hdf5`.
        rule, advice: the first and the last sentence of the error for a damaged file.
    """
    try:
        with open_hdf5(source, name):
            pass
    except DAMAGE as error:
        received = source if name is None else name
        raise DataError(f"{rule}. Received: {received} ({error}). {advice}") from error


def _other_link(name: bytes, info: Any) -> str | None:
    """What is wrong with a link: it must belong to an object in the file."""
    from h5py import h5l

    if info.type == h5l.TYPE_HARD:
        return None
    kinds = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
    return f"{kinds.get(info.type, 'a link of another kind')} at {_text(name)}"


def _other_data(root: Any, size: int) -> str | None:
    """What is wrong with a data set: its numbers must lie in the file."""
    from h5py import h5d, h5o

    declared = objects = 0

    def look(name: bytes, info: Any) -> str | None:
        nonlocal declared, objects
        objects += 1
        if objects > MAX_OBJECTS:
            return f"more than {MAX_OBJECTS:,} objects"
        if info.type != h5o.TYPE_DATASET:
            return None
        dataset = h5d.open(root, name)
        if found := _outside(dataset.get_create_plist()):
            return f"{found} at {_text(name)}"
        declared += math.prod(dataset.shape or ()) * dataset.get_type().get_size()
        if declared > MAX_GROWTH * size + FREE:
            return f"data sets of {declared} bytes in a file of {size} bytes, at {_text(name)}"
        return None

    return h5o.visit(root, look, info=True)


def _outside(settings: Any) -> str | None:
    """What a data set needs beside the file, by the settings that it was created with."""
    from h5py import h5d

    if settings.get_layout() == h5d.VIRTUAL:
        return "a virtual data set"
    if settings.get_layout() == h5d.CONTIGUOUS and settings.get_external_count():
        return "a data set in another file"
    for i in range(settings.get_nfilters()):
        number = settings.get_filter(i)[0]
        if number not in FILTERS:
            return f"a data set with the filter {number}"
    return None


def _text(name: bytes) -> str:
    return repr(name.decode("utf-8", "replace")[:100])
