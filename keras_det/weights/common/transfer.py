"""Copies a file from the network, continues an interrupted copy, and never waits forever.

The connection is made in a thread. The caller waits for its bytes, but never longer than
`STALL_SECONDS`. A name that does not resolve, a connection that is not accepted and a server that
stops sending thus all give the same error.
"""

import contextlib
import json
import os
import pathlib
import queue
import shutil
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from keras_det.files import open_bytes, write_json

STALL_SECONDS = 15.0
CHUNK = 1 << 14  # bytes: small, so that a slow connection is not taken for a dead one
QUEUE_CHUNKS = 64
MAX_BYTES = 1 << 33  # the largest public checkpoint has 0.8 GB


class TransferError(Exception):
    """Why a file could not be copied, in a few words."""


class Silence(TransferError):
    """No data arrived for `STALL_SECONDS`."""


class _Head(NamedTuple):
    """What a server says first.

    Attributes:
        resumed: whether it sends only what is missing.
        total: bytes of the whole file; None where it does not say.
        validator: ETag or date of the file; "" where it says none.
    """

    resumed: bool
    total: int | None
    validator: str


def is_local(address: str) -> bool:
    """Whether an address is a file of this computer."""
    return address.startswith("file://")


def _local_path(address: str) -> pathlib.Path:
    return pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path))


def reason_of(error: BaseException) -> str:
    """What went wrong on the network, in a few words, without addresses and objects."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"{status} {error.response.reason}"  # type: ignore[attr-defined]
    inner: BaseException | None = error
    words = ""
    while inner is not None:
        words = getattr(inner, "strerror", None) or words
        inner = inner.__cause__ or inner.__context__
    return words or "the connection broke"


class _Pump:
    """The thread that talks to the server and puts its head, its bytes and a None into a queue."""

    def __init__(self, address: str, start: int, validator: str) -> None:
        self.arrived: queue.Queue[Any] = queue.Queue(QUEUE_CHUNKS)
        self._address, self._start, self._validator = address, start, validator
        self._stop = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Lets the thread end when it wakes up."""
        self._stop.set()

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self.arrived.put(item, timeout=0.5)
                return

    def _run(self) -> None:
        try:
            self._talk()
        except Exception as error:  # whatever speaks HTTP has errors of its own
            self._put(TransferError(reason_of(error)))

    def _talk(self) -> None:
        import requests  # takes 0.2 s; comes with TensorFlow

        headers = {"Accept-Encoding": "identity"}
        if self._start:
            headers |= {"Range": f"bytes={self._start}-", "If-Range": self._validator}
        with requests.get(
            self._address, headers=headers, stream=True, timeout=2 * STALL_SECONDS
        ) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            resumed = response.status_code == requests.codes.partial_content
            before = self._start if resumed else 0
            etag = response.headers.get("ETag", "")
            weak = etag.startswith("W/") or not etag  # cannot say that bytes are the same
            self._put(
                _Head(
                    resumed,
                    before + int(length) if length.isdigit() else None,
                    response.headers.get("Last-Modified", "") if weak else etag,
                )
            )
            for chunk in response.iter_content(CHUNK):
                self._put(chunk)
                if self._stop.is_set():
                    return
            self._put(None)


@contextlib.contextmanager
def part_of(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the path to copy to before `target` gets its name.

    It is the same for every process, so that one can complete what another left; while one is at
    work, others get a path of their own, which is removed afterwards.
    """
    part = target.with_name(f".fetching-{target.name}")
    with open(part, "ab") as lock:
        alone = _locked(lock)
        if not alone:
            part = part.with_name(f"{part.name}-{os.getpid()}")
        try:
            yield part
        finally:
            empty = part.is_file() and not part.stat().st_size
            if empty or not alone:
                forget(part)


def forget(part: pathlib.Path) -> None:
    """Removes a part and the notes about it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _locked(file: IO[bytes]) -> bool:
    """Whether this process is the first to lock the file; True where files cannot be locked."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        file.close()  # Windows, where an open file cannot be renamed
        return True
    except OSError:
        return False
    return True


def _notes(part: pathlib.Path) -> pathlib.Path:
    return part.with_name(f"{part.name}.json")


def _start_of(part: pathlib.Path, address: str) -> tuple[int, str]:
    """Bytes that are there already, and the validator of their file; (0, "") to begin anew."""
    try:
        known = json.loads(_notes(part).read_text(encoding="utf-8"))
        if known["address"] == address and known["validator"]:
            return part.stat().st_size, known["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _next(pump: _Pump) -> Any:
    try:
        item = pump.arrived.get(timeout=STALL_SECONDS)
    except queue.Empty:
        raise Silence(f"no data arrived for {STALL_SECONDS:g} seconds") from None
    if isinstance(item, TransferError):
        raise item
    return item


def _show(name: str, done: int, total: int | None, last: bool = False) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        of = f" of {total / 1e6:.1f}" if total else ""
        end = "\n" if last else ""
        sys.stderr.write(f"\rFetching {name}: {done / 1e6:.1f}{of} MB{end}")
        sys.stderr.flush()


def _append(pump: _Pump, file: IO[bytes], part: pathlib.Path, address: str, name: str) -> bool:
    """Writes what comes; returns whether it completed an earlier part."""
    head = _next(pump)
    if not head.resumed:
        file.truncate(0)
    write_json(_notes(part), {"address": address, "validator": head.validator})
    done = file.seek(0, 2)
    while (chunk := _next(pump)) is not None:
        _check_size(max(done + len(chunk), head.total or 0), part)
        done += file.write(chunk)
        _show(name, done, head.total)
    _show(name, done, head.total, last=True)
    if head.total is not None and done != head.total:
        raise TransferError(f"the connection ended after {done} of {head.total} bytes")
    return head.resumed


def _check_size(size: int, part: pathlib.Path) -> None:
    """A server that sends, or announces, more than any checkpoint has is not listened to."""
    if size > MAX_BYTES:
        forget(part)
        raise TransferError(f"it has {size} bytes or more, and the limit is {MAX_BYTES}")


def transfer(address: str, part: pathlib.Path, name: str) -> bool:
    """Copies a whole file to `part`.

    What an interrupted copy left in `part` is completed if the server says that the file is still
    the same, and copied anew otherwise. `part` and its notes stay where the copy is interrupted
    and can be continued; else nothing stays.

    Args:
        address: URL, also `file://…`.
        part: the file to write, from `part_of`.
        name: what the progress calls the file.

    Returns:
        Whether an earlier part was completed.

    Raises:
        TransferError: the file cannot be reached, or the connection broke or stalled.
    """
    if is_local(address):
        try:
            with open_bytes(_local_path(address)) as source, open(part, "wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            forget(part)
            raise TransferError(error.strerror or type(error).__name__) from error
        return False
    pump = _Pump(address, *_start_of(part, address))
    try:
        with open(part, "ab") as file:
            return _append(pump, file, part, address, name)
    except TransferError:
        if not any(_start_of(part, address)):
            forget(part)  # it cannot be continued
        raise
    finally:
        pump.stop()
