"""The workers of a training on several machines: their addresses, and how they find each other."""

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keras_det.errors import DataError
from keras_det.words import counted

WAIT_MINUTES = 10.0
PAUSE = 0.2  # seconds between two attempts
WAIT_SECONDS = 5.0  # for an answer
THANKS = b"thanks\n"  # says that an answer has arrived
MOST_BYTES = 65_536  # of a message; whoever sends more is not a worker
HOW = 'Give all workers the same list, such as "10.0.0.1:12345,10.0.0.2:12345", and each its index'


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that train together, each on its own machine, and which of them this one is.

    Attributes:
        addresses: `host:port` of each worker, the same list in every process. The first worker is
            the chief: it writes the run folder.
        index: of this process, from 0.
        wait_minutes: longest time to wait for the others at the start.

    Raises:
        DataError: the addresses or the index are wrong.
    """

    addresses: Sequence[str]
    index: int
    wait_minutes: float = WAIT_MINUTES

    def __post_init__(self) -> None:
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise DataError(
                    "The address of a worker must be host:port, with a port from 1 to 65535. "
                    f"Received: {address!r}. {HOW}."
                )
        if len(set(self.addresses)) < len(self.addresses) or not self.addresses:
            raise DataError(
                f"Every worker must have an address of its own. Received: "
                f"{','.join(self.addresses) or 'no address'}. {HOW}."
            )
        if not 0 <= self.index < len(self.addresses):
            raise DataError(
                f"The index of a worker must be a whole number from 0 to {len(self.addresses) - 1},"
                f" the number of workers less one. Received: {self.index}. {HOW}."
            )

    @property
    def chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Such as "worker 1 (10.0.0.2:12345)"."""
        return f"worker {index} ({self.addresses[index]})"

    def unreachable(self) -> list[int]:
        """The other workers that accept no connection now: those that have ended, for example."""
        others = (i for i in range(len(self.addresses)) if i != self.index)
        return [i for i in others if not _answers(self.addresses[i])]


def from_environment(wait_minutes: float = WAIT_MINUTES) -> Workers | None:
    """The workers that the environment variable TF_CONFIG names, None for fewer than two.

    Its form is `{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}`.
    A cluster may also have one task "chief", which comes first.

    Raises:
        DataError: TF_CONFIG has another form.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        content = json.loads(text)
        cluster = content.get("cluster") or {}
        chief, others = (list(cluster.get(job) or []) for job in ("chief", "worker"))
        if len(chief) + len(others) < 2:
            return None
        task = content["task"]
        before = {"chief": 0, "worker": len(chief)}[task["type"]]
        index = before + int(task["index"])
        addresses = [str(each) for each in [*chief, *others]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["10.0.0.1:12345", '
            '"10.0.0.2:12345"]}, "task": {"type": "worker", "index": 0}}. Received: '
            f"{text[:200]}. Correct it, or remove the variable to train on this machine alone."
        ) from error
    return Workers(addresses, index, wait_minutes)


def workers_of(text: str | None, index: int | None, wait_minutes: float) -> Workers | None:
    """The workers of a command line; without them, those of TF_CONFIG.

    Args:
        text: addresses, separated by commas; None if they are not given.
        index: of this process; None if it is not given.
        wait_minutes: as in `Workers`.

    Raises:
        DataError: one of the two is missing, or wrong.
    """
    if (text is None) != (index is None):
        raise DataError(
            "--workers and --worker must be given together. Received: only "
            f"{'--worker' if text is None else '--workers'}. {HOW}."
        )
    if text is None or index is None:
        return from_environment(wait_minutes)
    addresses = [each.strip() for each in text.split(",") if each.strip()]
    return Workers(addresses, index, wait_minutes)


def meet(workers: Workers, about: Mapping[str, Any]) -> None:
    """Waits until all workers have started, and checks that they have the same settings.

    Every worker listens at its own address, and asks the others until all have answered and asked.
    The port is free again afterwards.

    Args:
        workers: the processes.
        about: what must be equal in all of them, such as versions; for JSON.

    Raises:
        DataError: the port is in use, a worker does not come in time, or one has other settings.
    """
    own = {**about, "workers": list(workers.addresses), "index": workers.index}
    others = set(range(len(workers.addresses))) - {workers.index}
    end, answered = time.monotonic() + 60 * workers.wait_minutes, set[int]()
    with _listening(workers) as listener:
        door = _Door(listener, own, others)
        try:
            while missing := sorted(others - (door.asked & answered)):
                for index in missing:
                    if (found := _ask(workers, index, own)) is not None:
                        door.seen[index] = found
                        answered.add(index)
                for index, found in list(door.seen.items()):
                    _check_same(workers, index, own, found)
                if time.monotonic() > end:
                    raise _missing(workers, missing)
                time.sleep(PAUSE)
        finally:
            door.close()


def _missing(workers: Workers, missing: Sequence[int]) -> DataError:
    names = ", ".join(workers.name(i) for i in missing)
    return DataError(
        f"All workers must start within {workers.wait_minutes:g} minutes. Received: nothing from "
        f"{names}. Check that all workers have started, that the addresses are right, and that no "
        "firewall is between the machines. --worker-minutes changes the time."
    )


class _Door(threading.Thread):
    """Answers the other workers in a thread: else two that ask each other would both wait.

    Attributes:
        asked: the workers that have asked and have got the answer.
        seen: the settings of each, by index.
    """

    def __init__(self, listener: socket.socket, own: dict[str, Any], others: set[int]) -> None:
        super().__init__(daemon=True)
        self.listener, self.own, self.others = listener, own, others
        self.asked, self.seen = set[int](), dict[int, dict[str, Any]]()
        self.open = True
        self.start()

    def run(self) -> None:
        while self.open:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                continue
            with connection, contextlib.suppress(OSError, ValueError, RecursionError):
                connection.settimeout(WAIT_SECONDS)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        question = json.loads(_received(connection))
        index = question.get("index") if isinstance(question, dict) else None
        if not isinstance(index, int) or index not in self.others:
            return
        connection.sendall(json.dumps(self.own).encode() + b"\n")
        self.seen[index] = question
        if _received(connection) == THANKS:
            self.asked.add(index)

    def close(self) -> None:
        """Ends the thread, before its socket is closed."""
        self.open = False
        self.join()


def _listening(workers: Workers) -> socket.socket:
    """A socket that listens at the port of this worker."""
    port = int(workers.addresses[workers.index].rpartition(":")[2])
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", port))
    except OSError as error:
        listener.close()
        raise DataError(
            f"The port of a worker must be free. Received: {workers.name(workers.index)}, whose "
            f"port cannot be used ({error.strerror}). End the program that uses it, or choose "
            "another port for all workers."
        ) from error
    listener.listen(len(workers.addresses) * 2)
    listener.settimeout(PAUSE)
    return listener


def _ask(workers: Workers, index: int, own: dict[str, Any]) -> dict[str, Any] | None:
    """The settings of another worker; None if it does not answer."""
    try:
        with _connected(workers.addresses[index], WAIT_SECONDS) as connection:
            connection.sendall(json.dumps(own).encode() + b"\n")
            found = json.loads(_received(connection))
            connection.sendall(THANKS)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _received(connection: socket.socket) -> bytes:
    """The bytes of a message up to its line break."""
    message = b""
    while not message.endswith(b"\n") and len(message) < MOST_BYTES:
        more = connection.recv(4096)
        if not more:
            break
        message += more
    return message


def _check_same(workers: Workers, index: int, own: dict[str, Any], found: dict[str, Any]) -> None:
    for name, value in {**own, "index": index}.items():
        if found.get(name) != value:
            raise DataError(
                f"All workers must have the same settings. Received: {name} {value!r} here, but "
                f"{found.get(name)!r} in {workers.name(index)}. Start all of them with the same "
                "command and versions; only the index differs."
            )


def _answers(address: str) -> bool:
    try:
        _connected(address, 3.0).close()
    except OSError:
        return False
    return True


def _connected(address: str, seconds: float) -> socket.socket:
    """A connection to `host:port`; OSError if there is none within so many seconds."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), seconds)


def in_words(devices: int, kind: str, workers: int) -> str:
    """Such as "2 GPUs" or "2 workers with 4 GPUs each"."""
    each = counted(devices, kind)
    return each if workers == 1 else f"{counted(workers, 'worker')} with {each} each"
