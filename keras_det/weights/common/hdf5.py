"""Opens HDF5 files that hold all their numbers themselves.

An HDF5 file may name other files: links to objects in them, data sets stored in them, and filters
that HDF5 loads as libraries. Reading such a file reads, or runs, something else on this computer.
The files of Keras have none of these, so files that do are refused before a value is read.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from keras_det.errors import DataError

if TYPE_CHECKING:
    import h5py

# Filters that are part of HDF5 or of h5py: deflate, shuffle, fletcher32, LZF. Others are libraries.
FILTERS = (1, 2, 3, 32000)
MAX_OBJECTS = 200_000
# Data sets together may declare this many times the bytes of the file, and `FREE` bytes more. So
# may one chunk, which is read whole.
MAX_GROWTH, FREE = 20, 1 << 26

# What h5py raises on a damaged file. Not ValueError: a DataError is one.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, MemoryError, OverflowError)


class Held(NamedTuple):
    """What an HDF5 file holds.

    Attributes:
        datasets: number of its data sets.
        bytes: total size of their numbers.
        flags: number of the data sets that hold True and False.
    """

    datasets: int
    bytes: int
    flags: int = 0


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
            loaded, declares much more data than it has, or holds values without a fixed size.
        Exception: it is damaged; one of `DAMAGE`.
    """
    with _examined(source, name) as (file, _):
        yield file


@contextlib.contextmanager
def _examined(
    source: str | os.PathLike | BinaryIO, name: object
) -> Iterator[tuple["h5py.File", Held]]:
    """`open_hdf5` that also says what the file holds."""
    import h5py

    size = os.path.getsize(source) if isinstance(source, str | os.PathLike) else source.seek(0, 2)
    with without_plugins(), h5py.File(source, "r") as file:
        yield file, _examine(file, size, source if name is None else name)


def _examine(file: "h5py.File", size: int, name: object) -> Held:
    """What an open file of `size` bytes holds; a DataError as for `open_hdf5`."""
    root = file["/"].id
    look = _DataSets(root, size)
    try:
        from h5py import h5o

        found = root.links.visit(_other_link, info=True) or h5o.visit(root, look, info=True)
    except ValueError as error:  # h5py's word for some damage
        raise OSError(str(error)) from error
    if found:
        raise DataError(
            "An HDF5 file of weights must contain all its data itself, as numbers, as Keras "
            f"writes it. Received: {name}, with {found}. Get the file from its publisher, or save "
            "the weights again with model.save_weights."
        )
    return Held(look.datasets, look.declared, look.flags)


def check_hdf5(
    source: str | os.PathLike | BinaryIO,
    name: object = None,
    rule: str = "Weights must be a complete HDF5 file",
    advice: str = "Copy or download it again.",
) -> Held:
    """Raises a DataError if `open_hdf5` refuses a file, or if the file is damaged.

    Args:
        source, name: as for `open_hdf5`.
        rule, advice: the first and the last sentence of the error for a damaged file.

    Returns:
        What the file holds.
    """
    try:
        with _examined(source, name) as (_, held):
            return held
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


class _DataSets:
    """Looks at every object of a file, until one is found that is wrong: says what is wrong."""

    def __init__(self, root: Any, size: int) -> None:
        self.root, self.size, self.allowed = root, size, MAX_GROWTH * size + FREE
        self.objects = self.datasets = self.declared = self.flags = 0

    def __call__(self, name: bytes, info: Any) -> str | None:
        from h5py import h5d, h5o, h5t

        self.objects += 1
        if self.objects > MAX_OBJECTS:
            return f"more than {MAX_OBJECTS:,} objects"
        if info.type != h5o.TYPE_DATASET:
            return None
        dataset = h5d.open(self.root, name)
        settings, kind = dataset.get_create_plist(), dataset.get_type()
        if found := _outside(settings) or _no_numbers(kind):
            return f"{found} at {_text(name)}"
        self.datasets += 1
        self.flags += isinstance(kind, h5t.TypeEnumID)
        self.declared += math.prod(dataset.shape or ()) * kind.get_size()
        if self.declared > self.allowed:
            return self._too_much(f"data sets of {self.declared}", name)
        if settings.get_layout() == h5d.CHUNKED:
            chunk = math.prod(settings.get_chunk()) * kind.get_size()
            if chunk > self.allowed:
                return self._too_much(f"a chunk of {chunk}", name)
        return None

    def _too_much(self, what: str, name: bytes) -> str:
        return (
            f"{what} bytes in a file of {self.size} bytes, which may hold {self.allowed}, at "
            f"{_text(name)}"
        )


def _no_numbers(kind: Any) -> str | None:
    """What is wrong with the type of values; None for numbers, and for True and False.

    Text and references may be as long as they like: many may be one and the same. Complex numbers
    would lose a part. bfloat16 is opaque in HDF5.
    """
    from h5py import h5t

    if isinstance(kind, h5t.TypeCompoundID):
        return "a data set of complex numbers or records"
    if not isinstance(
        kind, h5t.TypeIntegerID | h5t.TypeFloatID | h5t.TypeEnumID | h5t.TypeOpaqueID
    ):
        return "a data set of values that are no numbers"
    return None


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
