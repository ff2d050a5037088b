"""Tries inputs, each in a process of its own with limits on time and memory, and counts outcomes.

The process is a fork of this one, so what is loaded here is loaded there; what an input does there,
even a crash of a library, ends with it.
"""

import collections
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import NamedTuple

from keras_det.errors import DataError

# sentence: a DataError in three parts. note: read, and the notes say what was left out. right: read
# with the same values as the undamaged input. silent: read with other values and without a note.
GOOD = ("sentence", "note", "right", "silent")
# internal: any other exception, a wrong result, or the end of the process. The last two: limits.
BAD = ("internal", "hang", "memory")
GIBIBYTE = 1 << 30


class Tried(NamedTuple):
    """What came of an input: one of `GOOD` or `BAD`, the message, seconds and bytes."""

    outcome: str
    text: str
    seconds: float = 0.0
    bytes: int = 0


class Limits(NamedTuple):
    """What one input may take.

    Attributes:
        seconds: of processor time.
        bytes: of memory beyond that of this process.
        wall: seconds of the clock, many because the computer may be busy.
    """

    seconds: float = 2.0
    bytes: int = 2 * GIBIBYTE
    wall: float = 30.0


READING = Limits()


def judged(read: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Calls `read`, which returns an outcome and a text; sorts what it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except DataError as error:
        parts = "Received: " in str(error)
        return ("sentence" if parts else "internal"), str(error)
    except MemoryError:
        return "memory", last_lines()
    except BaseException:
        return "internal", last_lines()


def last_lines() -> str:
    """The end of the traceback of the exception that is handled."""
    return "".join(traceback.format_exc().splitlines(keepends=True)[-9:])


def attempt(read: Callable[[], tuple[str, str]], limits: Limits = READING) -> Tried:
    """Calls `read` in a fork of this process, within the limits."""
    to_read, to_write = os.pipe()
    child = os.fork()
    if not child:
        os.close(to_read)
        _child(read, to_write, limits)
    os.close(to_write)
    answer, late = _listen(to_read, time.monotonic() + limits.wall)
    os.close(to_read)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if late or os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return Tried("hang", f"no answer after {seconds:.1f} s of processor time", seconds)
    if not answer:
        return Tried("internal", f"the process ended with status {status}", seconds)
    outcome, text, more = json.loads(answer)
    if seconds > limits.seconds:
        outcome = "hang"
    if more > limits.bytes:
        outcome = "memory"
    return Tried(outcome, text, seconds, more)


def _listen(to_read: int, deadline: float) -> tuple[bytes, bool]:
    """What the child writes until it ends, and whether it is too late."""
    answer = b""
    while select.select([to_read], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(to_read, 1 << 16)
        if not part:
            return answer, False
        answer += part
    return answer, True


def _child(read: Callable[[], tuple[str, str]], to_write: int, limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(limits.seconds) + 2, int(limits.seconds) + 9))
    before = _most_bytes()
    outcome, text = judged(read)
    answer = json.dumps([outcome, text[:4000], _most_bytes() - before])
    os.write(to_write, answer.encode())
    os._exit(0)


def _most_bytes() -> int:
    """The largest memory that this process has had."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if os.uname().sysname == "Darwin" else kibibytes * 1024


class Counts:
    """Counts outcomes by entry point, and keeps the findings.

    Attributes:
        found: `{entry point: Counter of outcomes}`.
        findings: (entry point, name of the input, `Tried`) of everything in `BAD`.
    """

    def __init__(self) -> None:
        self.found: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.findings: list[tuple[str, str, Tried]] = []

    def add(self, entry: str, name: str, tried: Tried) -> None:
        """Counts one input."""
        self.found[entry][tried.outcome] += 1
        if tried.outcome in BAD:
            self.findings.append((entry, name, tried))

    def table(self) -> str:
        """The counts as a table in Markdown, with a last row for all."""
        columns = (*GOOD, *BAD)
        rows = [*sorted(self.found.items()), ("all", sum(self.found.values(), start=_none()))]
        lines = [f"| entry point | inputs | {' | '.join(columns)} |", "|---" * 9 + "|"]
        for entry, counts in rows:
            numbers = (f"{counts[column]:,}" for column in columns)
            lines.append(f"| {entry} | {sum(counts.values()):,} | {' | '.join(numbers)} |")
        return "\n".join(lines)

    def kinds(self) -> Iterable[tuple[str, list[tuple[str, str, Tried]]]]:
        """The findings by the last line of their text, the most frequent first."""
        by_line: dict[str, list[tuple[str, str, Tried]]] = collections.defaultdict(list)
        for finding in self.findings:
            tried = finding[2]
            last = (tried.text.strip().splitlines() or [""])[-1]
            by_line[f"{tried.outcome}: {last[:150]}"].append(finding)
        return sorted(by_line.items(), key=lambda item: -len(item[1]))


def _none() -> collections.Counter[str]:
    return collections.Counter()
