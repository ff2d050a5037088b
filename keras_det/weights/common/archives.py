"""Unpacks downloaded archives safely and finds the checkpoint in them."""

import glob
import gzip
import os
import pathlib
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from keras_det.errors import DataError

TAR_SUFFIXES, ZIP_SUFFIXES = (".tar.gz", ".tgz"), (".zip",)
ARCHIVE_SUFFIXES = TAR_SUFFIXES + ZIP_SUFFIXES
WEIGHTS_SUFFIXES = (".h5", ".pth", ".safetensors", ".keras")
# What a damaged or odd archive raises. Other OSErrors, such as a full disk, have other causes.
ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an encrypted zip
    FileExistsError,  # one path as a file and as a folder
    NotADirectoryError,
    IsADirectoryError,
)
READ_SIZE = 1 << 20  # bytes

# (path inside the archive, whether it is a plain file or folder, content of a file).
Member = tuple[str, bool, IO[bytes] | None]


def _inside(folder: pathlib.Path, name: str, is_plain: bool) -> pathlib.Path:
    """Where an archive's member goes; DataError for links, devices and paths out of the folder."""
    parts = re.split(r"[/\\]", name)
    if not is_plain or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise DataError(
            "An archive must hold plain files and folders with paths inside it, no links. "
            f"Received: {name!r}. Nothing was unpacked. Download the archive from its publisher."
        )
    return folder.joinpath(*(part for part in parts if part))


def _tar_members(path: pathlib.Path) -> Iterator[Member]:
    with gzip.open(path) as stream:
        # Read to the end, where the checksum is: tarfile stops before it.
        while stream.read(READ_SIZE):
            pass
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            yield member.name, member.isfile() or member.isdir(), file


def _zip_members(path: pathlib.Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            file = archive.open(member) if is_plain and not member.is_dir() else None
            yield member.filename, is_plain, file


def unpack(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the files of an archive below `folder`: contents only, no owners or permissions."""
    members = _tar_members if path.name.endswith(TAR_SUFFIXES) else _zip_members
    for name, is_plain, file in members(path):
        target = _inside(folder, name, is_plain)
        if file is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with file, open(target, "wb") as output:
            shutil.copyfileobj(file, output)


def unpacked(path: pathlib.Path, digest: str) -> pathlib.Path:
    """Unpacks an archive of the cache once.

    Args:
        path: path of the archive.
        digest: its SHA-256 in hexadecimal. The first digits name the folder.

    Returns:
        The folder with the archive's files, beside the archive.

    Raises:
        DataError: the archive is damaged, holds links or paths out of its folder, or holds no
            single checkpoint. It is removed from the cache then.
    """
    folder = path.with_name(f"{path.name.partition('.')[0]}-{digest[:8]}")
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path.parent) as scratch:
        files = pathlib.Path(scratch, "files")
        files.mkdir()
        try:
            unpack(path, files)
            checkpoint_in(files)
        except DataError:
            path.unlink()
            raise
        except ARCHIVE_ERRORS as error:
            size = path.stat().st_size
            path.unlink()
            raise DataError(
                f"An archive must be complete. Received: {path.name}, {size} bytes ({error}). The "
                "archive was removed from the cache. Download it again."
            ) from error
        try:
            os.rename(files, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _is_newest(index: pathlib.Path) -> bool:
    """Whether TensorFlow's `checkpoint` file beside it names this checkpoint as the newest."""
    state = index.with_name("checkpoint")
    text = state.read_text() if state.is_file() else ""
    newest = re.search(r'^model_checkpoint_path: "(?:.*/)?([^"/]+)"', text, re.MULTILINE)
    return newest is not None and newest[1] == index.name.removesuffix(".index")


def checkpoint_in(folder: pathlib.Path) -> pathlib.Path:
    """The one checkpoint in a folder or in the folders below it.

    Returns:
        The prefix of a TensorFlow checkpoint, or the path of the only file of weights.

    Raises:
        DataError: there is none, there are several, or data files are missing.
    """
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    indices = [path for path in files if path.suffix == ".index"]
    found = indices if len(indices) < 2 else [path for path in indices if _is_newest(path)]
    found = found or [path for path in files if path.suffix in WEIGHTS_SUFFIXES and not indices]
    if len(found) != 1:
        names = [str(path.relative_to(folder)) for path in files if path.is_file()]
        raise DataError(
            "An archive must hold one checkpoint: a TensorFlow checkpoint's .index, or one file "
            f"of {', '.join(WEIGHTS_SUFFIXES)}. Received: {names[:8]}. The archive was removed "
            "from the cache. Download and unpack it yourself, and give the path of the right file "
            "as `weights=`."
        )
    return _complete(found[0].with_suffix("")) if indices else found[0]


def _complete(prefix: pathlib.Path) -> pathlib.Path:
    """The prefix of a TensorFlow checkpoint, after checking that all data files are there."""
    parts = list(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????"))
    if not parts or len(parts) != int(parts[0].name[-5:]):
        raise DataError(
            f"A TensorFlow checkpoint must have all its data files beside {prefix.name}.index. "
            f"Received: {sorted(part.name for part in parts)}. The archive was removed from the "
            "cache. Download it from its publisher."
        )
    return prefix
