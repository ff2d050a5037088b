"""One process at a time in a run folder: a lock that the system frees when its owner dies."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from keras_det.errors import DataError
from keras_det.files import other_kind, read_bytes
from keras_det.names import RUN_LOCK

# Errors of file systems, mostly on a network, that have no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def run_lock(out: pathlib.Path, say: Callable[[str], object]) -> Iterator[None]:
    """Context manager: inside, no other process trains in this run folder.

    The file holds its owner: process, computer and time. The system frees the lock when the owner
    ends, however it ends; a file that is left is taken over.

    Args:
        out: the run folder; it must exist.
        say: function that gets a line if an earlier owner has left the lock behind.

    Raises:
        DataError: another process holds the lock.
    """
    path = out / RUN_LOCK
    handle = _locked(path)
    try:
        before = owner_of(path)
        if before:
            say(f"{_in_words(before)} ended without releasing this folder. Its lock is taken over.")
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        owner = {"process": os.getpid(), "computer": socket.gethostname(), "since": now}
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{json.dumps(owner)}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is freed: nobody else removes a lock that is held
        os.close(handle)


def owner_of(path: pathlib.Path) -> dict[str, Any]:
    """What a lock file says about its owner; empty if it says nothing."""
    try:
        owner = json.loads(read_bytes(path).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and isinstance(owner.get("process"), int) else {}


def in_use_by(out: pathlib.Path) -> str | None:
    """The process that seems to train in a run folder, in words; None if there is none."""
    owner = owner_of(out / RUN_LOCK)
    return _in_words(owner) if owner and _may_live(owner) else None


def _locked(path: pathlib.Path) -> int:
    """Opens the file and locks it; DataError if another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if kind := other_kind(os.fstat(handle).st_mode):
                raise DataError(
                    f"The lock of a run folder must be a regular file. Received: {path}, which is "
                    f"{kind}. Remove it if no other process trains in this folder."
                )
            if not _try(handle, path):
                raise DataError(_refusal(path))
            if _is(handle, path):  # else its owner has removed it in between: a new one is needed
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _try(handle: int, path: pathlib.Path) -> bool:
    """Locks an open file if nobody else has; where there are no locks, the owner's word counts."""
    try:
        import fcntl
    except ImportError:  # Windows
        return not _may_live(owner_of(path))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return not _may_live(owner_of(path))
    return True


def _is(handle: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _may_live(owner: dict[str, Any]) -> bool:
    """Whether an owner can still be running; for one on another computer, that is not known."""
    if not owner or owner.get("computer") != socket.gethostname():
        return bool(owner)
    if os.name == "nt":  # there, `os.kill` would end it
        return True
    try:
        os.kill(owner["process"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _in_words(owner: dict[str, Any]) -> str:
    on = f" on {owner['computer']}" if owner.get("computer") else ""
    return f"Process {owner['process']}{on}"


def _refusal(path: pathlib.Path) -> str:
    owner = owner_of(path)
    who = _in_words(owner).replace("Process", "process", 1) if owner else "another process"
    since = f" since {owner['since']}" if owner.get("since") else ""
    return (
        f"Only one process may train in a run folder. Received: {path.parent}, in use by {who}"
        f"{since}. Wait until it has ended, or choose another folder. If that process no longer "
        f"exists, remove {path}."
    )
