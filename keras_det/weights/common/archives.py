"""Unpacks downloaded archives safely and finds the checkpoint in them."""

import glob
import gzip
import os
import pathlib
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from keras_det.errors import DataError
from keras_det.words import counted

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
    ArithmeticError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,  # a header that tarfile cannot read; a DataError is caught before
)
READ_SIZE = 1 << 20  # bytes
# The largest public checkpoint has 0.8 GB and 12 files; weights hardly compress.
MAX_MEMBERS, MAX_UNPACKED = 10_000, 1 << 33
MAX_RATIO, FREE = 20, 1 << 26  # unpacked bytes: so many times the archive, and `FREE` in addition
MAX_NAME, MAX_PARTS = 255, 32  # bytes of a name, names in a path

# (path inside the archive, whether it is a plain file or folder, content of a file).
Member = tuple[str, bool, IO[bytes] | None]


class _Budget:
    """What the files of an archive may take, by the size of the archive."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self.bytes = min(MAX_UNPACKED, MAX_RATIO * self.size + FREE)

    def check(self, unpacked: int, members: int = 0) -> None:
        """DataError if the archive holds more, as it declares or in truth."""
        if unpacked > self.bytes or members > MAX_MEMBERS:
            many = unpacked <= self.bytes
            what = f"{members:,} files and folders" if many else f"{unpacked:,} bytes"
            limit = f"{MAX_MEMBERS:,} files and folders" if many else self._limit()
            raise DataError(
                f"An archive must hold at most {limit}. Received: {self.path}, with {what} or "
                "more. Nothing was kept. Download the archive from its publisher."
            )

    def _limit(self) -> str:
        if self.bytes == MAX_UNPACKED:
            return f"{MAX_UNPACKED:,} bytes"
        return (
            f"{self.bytes:,} bytes: {MAX_RATIO} times its own {counted(self.size, 'byte')}, and "
            f"{FREE:,} more"
        )


def _why_refused(name: str, is_plain: bool) -> str:
    """What is wrong with a member of an archive; "" for nothing."""
    parts = re.split(r"[/\\]", name)
    if not is_plain:
        return "a link, a device, a sparse file, or one that is compressed in a rare way"
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        return "a path out of the folder"
    if len(parts) > MAX_PARTS or any(len(os.fsencode(part)) > MAX_NAME for part in parts):
        return f"a path of more than {MAX_PARTS} names, or a name of more than {MAX_NAME} bytes"
    return "a name with control characters" if re.search(r"[\x00-\x1f\x7f]", name) else ""


def _inside(folder: pathlib.Path, path: pathlib.Path, name: str, is_plain: bool) -> pathlib.Path:
    """Where a member of an archive goes; DataError for links, devices and paths out of it."""
    if wrong := _why_refused(name, is_plain):
        raise DataError(
            "An archive must hold plain files and folders with short paths inside it, and no "
            f"links. Received: {path}, with {name[:MAX_NAME]!r}, {wrong}. Nothing was kept. "
            "Download the archive from its publisher."
        )
    return folder.joinpath(*(part for part in re.split(r"[/\\]", name) if part))


def _tar_members(path: pathlib.Path, budget: _Budget) -> Iterator[Member]:
    unpacked_size = 0
    with gzip.open(path) as stream:
        # Read to the end, where the checksum is: tarfile stops before it.
        while block := stream.read(READ_SIZE):
            unpacked_size += len(block)
            budget.check(unpacked_size)
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            # A sparse file declares any number of zeros, which are in no archive.
            is_file = member.isfile() and not member.issparse()
            budget.check(member.size)
            file = archive.extractfile(member) if is_file else None
            yield member.name, is_file or member.isdir(), file


def _zip_members(path: pathlib.Path, budget: _Budget) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        budget.check(sum(member.file_size for member in members), len(members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            # Other methods may ask for gigabytes of memory before they give a byte.
            is_plain &= member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            file = archive.open(member) if is_plain and not member.is_dir() else None
            yield member.filename, is_plain, file


def unpack(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the files of an archive below `folder`: contents only, no owners or permissions.

    Raises:
        DataError: it holds links, devices, sparse files or paths out of the folder, or too much.
    """
    members = _tar_members if path.name.endswith(TAR_SUFFIXES) else _zip_members
    budget, written = _Budget(path), 0
    for number, (name, is_plain, file) in enumerate(members(path, budget), start=1):
        budget.check(written, number)
        target = _inside(folder, path, name, is_plain)
        if file is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with file, open(target, "wb") as output:
            while block := file.read(READ_SIZE):
                written += len(block)
                budget.check(written)
                output.write(block)


def unpacked(path: pathlib.Path, digest: str) -> pathlib.Path:
    """Unpacks an archive of the cache once.

    Args:
        path: path of the archive.
        digest: its SHA-256 in hexadecimal. The first digits name the folder.

    Returns:
        The folder with the archive's files, beside the archive.

    Raises:
        DataError: the archive is damaged, holds no single checkpoint, or as for `unpack`. It is
            removed from the cache then.
    """
    folder = path.with_name(f"{path.name.partition('.')[0]}-{digest[:8]}")
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path.parent) as scratch:
        files = pathlib.Path(scratch, "files")
        files.mkdir()
        try:
            unpack(path, files)
            checkpoint_in(files, path)
        except DataError:
            path.unlink()
            raise
        except ARCHIVE_ERRORS as error:
            size = path.stat().st_size
            path.unlink()
            raise DataError(
                f"An archive must be complete. Received: {path}, {counted(size, 'byte')} "
                f"({error}). The archive was removed from the cache. Download it again."
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


def checkpoint_in(folder: pathlib.Path, archive: pathlib.Path) -> pathlib.Path:
    """The one checkpoint in a folder or in the folders below it.

    Args:
        folder: where the archive was unpacked.
        archive: its path, for the message.

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
            f"of {', '.join(WEIGHTS_SUFFIXES)}. Received: {archive}, with {names[:8]}. The archive "
            "was removed from the cache. Download and unpack it yourself, and give the path of "
            "the right file as `weights=`."
        )
    return _complete(found[0].with_suffix(""), archive) if indices else found[0]


def _complete(prefix: pathlib.Path, archive: pathlib.Path) -> pathlib.Path:
    """The prefix of a TensorFlow checkpoint, after checking that all data files are there."""
    parts = list(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????"))
    if not parts or len(parts) != int(parts[0].name[-5:]):
        raise DataError(
            f"A TensorFlow checkpoint must have all its data files beside {prefix.name}.index. "
            f"Received: {archive}, with {sorted(part.name for part in parts)}. "
            "The archive was removed from the cache. Download it from its publisher."
        )
    return prefix
