"""Reads only regular files, with clear errors; writes files completely or not at all."""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from keras_det.errors import DataError, DiskFull
from keras_det.words import counted

NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe does not wait for the other end
READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | NONBLOCK
# What is no regular file, and would be waited for or read without end.
OTHER_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# What an error that means "no room" has as its number, or in its text where a library hides that.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
# Keras puts the reason inside a text about the object that it was building or filling.
WRAPPED = re.compile(r"(?:Exception encountered: |Example error message for\s+object .*:\s*)(.+)")
FULL_IN_WORDS = tuple(os.strerror(number) for number in FULL[:2])


def other_kind(mode: int) -> str:
    """What a path of this `st_mode` is: "a named pipe" and so on; "" for a file or a folder."""
    return next((what for is_kind, what in OTHER_KINDS if is_kind(mode)), "")


def why_no_file(path: str | os.PathLike) -> str:
    """What stands in place of a regular file, such as ", which is a folder"; "" for nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        nothing = ", a broken link" if os.path.islink(path) else ""
        return nothing if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
    what = "a folder" if stat.S_ISDIR(mode) else other_kind(mode)
    return f", which is {what}" if what else ""


def open_handle(path: str | os.PathLike) -> int:
    """Opens a regular file, or a link to one, with `os.open` for reading its bytes.

    Raises:
        OSError: it cannot be opened, or is a pipe, a socket or a device, which may never end.
    """
    try:
        handle = os.open(path, READ)
    except OSError as error:
        if error.errno == errno.ENXIO and (what := other_kind(os.stat(path).st_mode)):
            raise _no_file(path, what) from None  # a socket
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise _no_file(path, other_kind(mode) or "of another kind")


def _no_file(path: str | os.PathLike, what: str) -> OSError:
    return OSError(errno.EINVAL, f"it is {what}, not a regular file", os.fspath(path))


def open_bytes(path: str | os.PathLike) -> BinaryIO:
    """As `open(path, "rb")`, for regular files only; see `open_handle`."""
    return os.fdopen(open_handle(path), "rb")


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of a regular file; see `open_handle`."""
    with open_bytes(path) as file:
        return file.read()


def holds_something(path: pathlib.Path, but: str = "") -> bool:
    """Whether a path is a file, or a folder with more in it than a file of the name `but`."""
    if path.is_dir():
        return any(each.name != but for each in path.iterdir())
    return path.exists()


@contextlib.contextmanager
def opening(path: str | os.PathLike, rule: str, cure: str) -> Iterator[None]:
    """Context manager for reading a file: an exception of a library becomes a DataError.

    A DataError, which names the file already, passes through, and so does Ctrl-C.

    Args:
        path: the file or folder, for the message.
        rule: what must hold, without a full stop: "A saved model must be complete".
        cure: what to do, a sentence: "Copy or save it again."

    Raises:
        DataError: with the reason in one line, and the path.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # libraries raise anything for a damaged file
        raise DataError(f"{rule}. Received: {path} ({reason_of(error)}). {cure}") from error


def reason_of(error: BaseException) -> str:
    """The first sentence of an error's message, at most 200 characters, on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    inside = WRAPPED.findall(text)
    text = inside[-1] if inside else text
    first = re.split(r"\.?(?:\s*\n|\. |$)", text.strip(), maxsplit=1)[0]
    if isinstance(error, MemoryError):
        first = "it needs more memory than is available"
    if isinstance(error, KeyError) or len(first) < 4:  # the bare name of what is missing
        first = f"{type(error).__name__}{': ' * bool(first)}{first}"
    return first if len(first) <= 200 else f"{first[:199]}…"


def read_object(path: str | os.PathLike, cure: str) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
        path: the file.
        cure: what to do where it is damaged, a sentence.

    Raises:
        DataError: it is missing, not a regular file, not JSON, or holds something else.
    """
    with opening(path, f"{pathlib.Path(path).name} must be a JSON file", cure):
        content = json.loads(read_bytes(path).decode())
    if not isinstance(content, dict):
        raise DataError(
            f"{pathlib.Path(path).name} must hold a JSON object. Received: {path}, which holds a "
            f"value of type {type(content).__name__}. {cure}"
        )
    return content


def write_whole(path: pathlib.Path, content: bytes, durable: bool = False) -> None:
    """Writes a file completely or not at all, even when the program is interrupted.

    A link stays a link: the file that it names is written. A device or a pipe, such as /dev/stdout,
    is written to, never replaced.

    Args:
        path: the file; an existing one is replaced. Its folder must exist.
        content: the bytes of the file.
        durable: True waits until file and folder are on the disk, so that a power failure cannot
            lose them.

    Raises:
        DiskFull: there is no room for it.
        OSError: it cannot be written; the error names `path`.
    """
    with room_for(path, len(content)):
        if _is_stream(path):
            with open(path, "ab", opener=_without_waiting) as file:
                file.write(content)
            return
        target = pathlib.Path(os.path.realpath(path))
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _write_beside(target, content, durable)
        except OSError as error:  # not the name of the hidden file beside it
            raise OSError(error.errno, error.strerror, str(path)) from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens a stream to write; OSError for a pipe from which nobody reads."""
    try:
        handle = os.open(path, flags | NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            error.strerror = "nobody reads from this named pipe"
        raise
    if NONBLOCK:
        os.set_blocking(handle, True)
    return handle


def _is_stream(path: pathlib.Path) -> bool:
    """Whether this is a device, a pipe, or the standard output under one of its names."""
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):
        return path.exists()
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_beside(path: pathlib.Path, content: bytes, durable: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        make_public(name)
        if durable:
            sync(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    if durable:
        sync(path.parent)


def make_public(path: str) -> None:
    """Gives a file of mkstemp, which makes private ones, the permissions of any other new file."""
    os.umask(umask := os.umask(0))  # it can only be read by setting it
    os.chmod(path, 0o666 & ~umask)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file, or the list of names of a folder, is on the disk.

    Folders cannot be opened everywhere, and some file systems cannot sync them: that is no error.
    """
    folder = os.path.isdir(path)
    try:
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except OSError:
        if folder:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if is_full(error):
            raise
    finally:
        os.close(handle)


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room for a file.

    Libraries report it in their own ways: `zipfile` raises another error while it closes the file,
    h5py and TensorFlow raise types of their own with the system's words in the text.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if any(words in str(seen) for words in FULL_IN_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextlib.contextmanager
def room_for(path: str | os.PathLike, wanted: int) -> Iterator[None]:
    """Context manager that turns the errors of a full disk into a `DiskFull` with the path.

    Args:
        path: what is written.
        wanted: its size in bytes.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise disk_full(path, wanted) from error


def disk_full(path: str | os.PathLike, wanted: int) -> DiskFull:
    """The error for a file that does not fit: how many bytes it needs, and how many are free."""
    folder = pathlib.Path(os.path.abspath(path))
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    error = DiskFull(
        f"There must be enough space on the disk. Received: {path}, {counted(wanted, 'byte')} "
        f"needed, {free:,} free. No part of it is kept, and earlier files are unchanged. Free some "
        "space, or write to another disk."
    )
    error.errno = errno.ENOSPC
    return error


def write_json(path: pathlib.Path, content: Any, durable: bool = False) -> None:
    """Writes indented JSON with `write_whole`. JSON has no NaN: it becomes null.

    Args:
        path: the file; an existing one is replaced.
        content: anything that `plain` converts.
        durable: as in `write_whole`.
    """
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    # File names may hold bytes that are not UTF-8; JSON writes them as \\udc80 and so on.
    write_whole(path, (text + "\n").encode(errors="backslashreplace"), durable)


def plain(value: Any) -> Any:
    """Converts a value to types that JSON has: arrays to lists, NaN and infinity to None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def file_digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Returns the hash of a file's content in hexadecimal.

    Args:
        path: the file.
        algorithm: a name that `hashlib` knows.
    """
    with open_bytes(path) as opened:
        file: Any = opened
        return hashlib.file_digest(file, algorithm).hexdigest()


def files_of(artefact: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or every file of the folder, sorted."""
    if artefact.is_file():
        return [artefact]
    return sorted(path for path in artefact.rglob("*") if path.is_file())


def tree_digest(artefact: pathlib.Path) -> str:
    """SHA-256 of a file's content; of a folder, over each file's relative name and content."""
    digest = hashlib.sha256()
    for path in files_of(artefact):
        if path != artefact:
            digest.update(path.relative_to(artefact).as_posix().encode() + b"\0")
        with open_bytes(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def staging(
    path: str | os.PathLike, rule: str, wanted: int = 0
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Context manager that yields `(final path, path to write to)`.

    The path to write to has the same name in a hidden folder beside the final path. Both lie on
    one disk, so the caller finishes with a single rename. The hidden folder is removed afterwards.

    Args:
        path: a file or folder that does not exist yet, or an empty folder.
        rule: first sentence of the error, without a full stop: "The export must not exist yet".
        wanted: about how many bytes will be written, for the error of a full disk.

    Raises:
        DataError: a file, a link or a folder with content exists at `path`.
        DiskFull: there is no room for it.
    """
    final = pathlib.Path(os.path.abspath(path))
    if final.is_symlink() or holds_something(final):
        raise DataError(
            f"{rule}. Received: {path}, which exists already. Choose another name, or move the "
            "existing one away."
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield final, folder / final.name
    except DiskFull:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        written = sum(file.stat().st_size for file in files_of(folder))
        shutil.rmtree(folder, ignore_errors=True)  # what is free is said without it
        raise disk_full(path, max(wanted, written + 1)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_staged(artefact: pathlib.Path, content: bytes, path: str | os.PathLike) -> None:
    """Writes the path to write to of `staging`; without room, the error names `path`.

    Raises:
        DiskFull: there is no room for it.
    """
    with room_for(path, len(content)):
        try:
            artefact.write_bytes(content)
        except OSError:
            artefact.unlink(missing_ok=True)
            raise
