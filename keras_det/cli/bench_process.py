"""Times model files in turn, each in a separate process."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from keras_det.cli.command import echo
from keras_det.errors import DataError
from keras_det.files import files_of
from keras_det.profiling.bench_detection import calls_within
from keras_det.profiling.machine import Cores, Peak
from keras_det.profiling.verdict import Latency

CALLS = 50  # of a file; fewer where they take longer than LONGEST seconds
LONGEST = 20.0
ROUNDS = 5  # in each, all files are called in turn
BATCHES = 20
LONGEST_BATCHES = 10.0  # seconds

# Several processes share a GPU: none may take all of its memory at the start.
SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

Say = Callable[[str], object]


@dataclasses.dataclass
class Measured:
    """A model file, measured.

    Attributes:
        path: as it was given.
        opened: what the process said about the model and its images.
        size: bytes on disk.
        seconds: of single calls.
        memory: bytes at the peak, of the process that loaded the file and detected; None: unknown.
        parts: seconds of its parts by name, in single calls.
        batches: seconds of batches; None if images go one by one, or were not measured.
        batch_size: of the batches.
        peak: of this machine, if it was measured.
        others: the largest share of the cores that other programs used in a round.
    """

    path: str
    opened: dict[str, Any]
    size: int
    seconds: list[float] = dataclasses.field(default_factory=list)
    memory: int | None = None
    parts: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    batches: list[float] | None = None
    batch_size: int = 1
    peak: Peak | None = None
    others: float = 0.0

    @property
    def latency(self) -> Latency:
        """Of single calls."""
        return Latency.of(self.seconds)

    def part(self, name: str) -> float | None:
        """Median seconds of a part; None where it cannot be separated."""
        return Latency.of(self.parts[name]).median if self.parts.get(name) else None

    @property
    def read(self) -> float | None:
        """Median seconds of reading an image; None for synthetic images."""
        return Latency.of(self.opened["read"]).median if self.opened["read"] else None

    def as_json(self) -> dict[str, Any]:
        """All figures, for machines: bytes, milliseconds, images per second."""
        batch = None
        if self.batches:
            each = Latency.of(self.batches)
            batch = {"size": self.batch_size, **_milliseconds(each)}
            batch["images_per_second"] = round(self.batch_size / each.mean, 3)
        parts = {name: self.part(name) for name in ("prepare", "network", "finish")}
        return {
            "file": self.path,
            "engine": self.opened["engine"],
            "image_size": self.opened["image_size"],
            "size_bytes": self.size,
            "peak_memory_bytes": self.memory,
            "memory_before_loading_bytes": self.opened["memory_before"],
            "latency": {
                **_milliseconds(self.latency),
                "calls": self.latency.calls,
                "images_per_second": round(1 / self.latency.mean, 3),
                "parts_ms": {k: v and round(1e3 * v, 3) for k, v in parts.items()},
                "reading_ms": self.read and round(1e3 * self.read, 3),
            },
            "batch": batch,
            "images": self.opened["images"] if self.opened["read"] else "drawn",
            "loading_seconds": round(self.opened["loading"], 3),
            "cores": len(Cores().cores),
            "used_by_other_programs": round(self.others, 3),
        }


def _milliseconds(latency: Latency) -> dict[str, float]:
    return {
        "median_ms": round(1e3 * latency.median, 3),
        "p95_ms": round(1e3 * latency.p95, 3),
    }


class Worker:
    """The process of one model; see `bench_worker`.

    Args:
        path: of the model.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        code = f"import sys; sys.path[:] = {sys.path!r}; from keras_det.cli import bench_worker; "
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + "bench_worker.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            encoding="utf-8",
            env={**os.environ, **SHARED_GPU},
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Returns the answer of the process.

        Raises:
            DataError: it found something wrong with what the user gave, or it ended early.
            RuntimeError: any other error; the message is its traceback.
        """
        requests: Any = self.process.stdin
        answers: Any = self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"do": do, **arguments}), file=requests, flush=True)
        line = answers.readline()
        if not line:
            raise DataError(
                f"The process that runs a model must not end early. Received: {self.path}, whose "
                f"process ended with code {self.process.wait()}. If memory ran out, measure "
                "fewer files at a time."
            )
        answer = json.loads(line)
        if isinstance(answer, dict) and "data_error" in answer:
            raise DataError(answer["data_error"])
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def end(self) -> list[str]:
        """Ends the process. Returns what the libraries printed, without lines that only inform."""
        self.process.kill()
        self.process.communicate()
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()
        self.log.close()
        return [line for line in lines if line.strip() and not line.startswith("INFO:")]


@contextlib.contextmanager
def workers(paths: Sequence[str]) -> Iterator[list[Worker]]:
    """Processes for these models, which end with this context."""
    started: list[Worker] = []
    try:
        for path in paths:
            started.append(Worker(path))
        yield started
    finally:
        for line in [line for each in started for line in each.end()]:
            echo(line, err=True)


def measure_files(
    paths: Sequence[str],
    images: Sequence[str],
    calls: int | None = None,
    say: Say = lambda _: None,
    max_pixels: int | None = None,
    parts: bool = False,
    batch_size: int = 1,
) -> list[Measured]:
    """Times model files in turn, so that other work on the machine slows all of them alike.

    Args:
        paths: of the models.
        images: paths of images. None given: synthetic images.
        calls: of each file. None: 50, or as many as 20 seconds allow, at least 10.
        say: function called with a few words about what is measured now.
        max_pixels: limit of the images, or None.
        parts: whether the parts of the calls, and the machine's peak, are measured too.
        batch_size: images of the batches that are measured too; 1: none.

    Raises:
        DataError: a model or the images cannot be read.
    """
    with workers(paths) as started:
        found, wanted = [], []
        for worker in started:
            say(f"loading {_name(worker)}")
            given = {"images": list(images), "max_pixels": max_pixels}
            opened = worker.ask("open", model=worker.path, **given)
            found.append(Measured(worker.path, opened, size_on_disk(worker.path)))
            seconds = worker.ask("warm")
            wanted.append(calls or calls_within(seconds, CALLS, LONGEST))
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            for worker, each, count in zip(started, found, wanted, strict=True):
                _add_round(worker, each, len(range(number, count, ROUNDS)), parts)
        for worker, each in zip(started, found, strict=True):
            if batch_size > 1:
                say(f"{_name(worker)}, batches of {batch_size}")
                _add_batches(worker, each, batch_size)
            if parts and each.opened["multiply_adds"]:
                say("the peak of this machine")
                each.peak = Peak(**worker.ask("peak", dtype="float32"))
    return found


def _name(worker: Worker) -> str:
    return pathlib.Path(worker.path).name


def _add_round(worker: Worker, each: Measured, calls: int, parts: bool) -> None:
    """Adds so many calls, and as many of the parts."""
    if not calls:
        return
    answer = worker.ask("whole", calls=calls)
    each.seconds += answer["seconds"]
    each.others = max(each.others, answer["others"])
    if each.memory is None:  # the parts are compiled once more, which takes memory
        each.memory = worker.ask("memory")
    if parts:
        for name, seconds in worker.ask("each", calls=calls).items():
            each.parts.setdefault(name, []).extend(seconds)


def _add_batches(worker: Worker, each: Measured, size: int) -> None:
    count = calls_within(each.latency.median * size, BATCHES, LONGEST_BATCHES, 3)
    each.batch_size = size
    each.batches = worker.ask("batches", size=size, calls=count)


def size_on_disk(path: str | os.PathLike) -> int:
    """Bytes of a model: of its file, of both files of a split export, or of its folder."""
    from keras_det.cli.files import find_model
    from keras_det.runtime.lite_model import tail_of

    found = find_model(os.fspath(path))
    tail = tail_of(found)
    both = [*files_of(found), *([tail] if found.suffix == ".tflite" and tail.exists() else [])]
    return sum(file.stat().st_size for file in both)
