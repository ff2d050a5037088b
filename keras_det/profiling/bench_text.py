"""What `keras-det bench` prints: tables of at most 80 columns."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_det.profiling.verdict import Latency, duration, three

if TYPE_CHECKING:
    from keras_det.profiling.bench_input import InputBench
    from keras_det.profiling.bench_training import TrainingBench

WIDTH = 80
# Columns of the table of files beside the name: title and width.
COLUMNS = (
    ("MB", 7),
    ("median ms", 10),
    ("p95 ms", 8),
    ("images/s", 9),
    ("RAM MB", 8),
    ("AP", 6),
)
NAME = WIDTH - sum(width for _, width in COLUMNS)
UNKNOWN = "-"


def input_table(bench: "InputBench") -> str:
    """The stages of an input pipeline."""
    whole = bench.times.whole
    lines = [f"{'stage':<22}{'ms per image':>14}{'share':>8}{'images/s so far':>20}"]
    for name, seconds in bench.times.stages.items():
        rate = three(bench.rates[name])
        lines.append(f"{name:<22}{three(1e3 * seconds):>14}{seconds / whole:>8.0%}{rate:>20}")
    megabytes = bench.first_bytes / 1e6
    lines += [
        "",
        f"First reading of the files: {three(1 / bench.times.first)} images/s, "
        f"{three(megabytes)} MB/s.",
    ]
    return "\n".join(lines)


def training_table(bench: "TrainingBench") -> str:
    """Input, step and both together."""
    times = bench.times
    lines = [f"{'':<22}{'per batch':>14}{'images/s':>14}"]
    for name, seconds in (
        ("input alone", times.input),
        ("step alone", times.step),
        ("together", times.together),
    ):
        rate = three(times.batch_size / seconds)
        lines.append(f"{name:<22}{duration(seconds):>14}{rate:>14}")
    lines += ["", f"The first step, with compilation, took {duration(bench.first_step)}."]
    return "\n".join(lines)


def latency_table(rows: Mapping[str, Latency | None], sizes: Mapping[str, int]) -> str:
    """Latencies by name; "-" for those that cannot be measured.

    Args:
        rows: latency of calls, by what is called.
        sizes: images of a call, by the names for which images per second are shown.
    """
    lines = [f"{'':<24}{'median ms':>12}{'p95 ms':>12}{'images/s':>12}"]
    for name, each in rows.items():
        if each is None:
            lines.append(f"{name:<24}{UNKNOWN:>12}{UNKNOWN:>12}{'':>12}".rstrip())
            continue
        rate = three(sizes[name] / each.mean) if name in sizes else ""
        row = f"{name:<24}{three(1e3 * each.median):>12}{three(1e3 * each.p95):>12}{rate:>12}"
        lines.append(row.rstrip())
    return "\n".join(lines)


def file_table(rows: Sequence[Mapping[str, float | str | None]]) -> str:
    """One line per file.

    Args:
        rows: of `name`, `size` and `memory` in bytes, `median` and `p95` in seconds, `rate` in
            images per second, and `ap` in 0..1; None where a figure is not known.
    """
    lines = [f"{'file':<{NAME}}" + "".join(f"{title:>{width}}" for title, width in COLUMNS)]
    for row in rows:
        figures = [
            _scaled(row["size"], 1e-6),
            _scaled(row["median"], 1e3),
            _scaled(row["p95"], 1e3),
            _scaled(row["rate"], 1),
            _scaled(row["memory"], 1e-6),
            UNKNOWN if row["ap"] is None else f"{row['ap']:.3f}",
        ]
        cells = (f"{text:>{width}}" for text, (_, width) in zip(figures, COLUMNS, strict=True))
        lines.append(fitted(str(row["name"]), NAME) + "".join(cells))
    return "\n".join(lines)


def _scaled(value: float | str | None, factor: float) -> str:
    return UNKNOWN if value is None else three(float(value) * factor)


def fitted(name: str, columns: int) -> str:
    """A name in exactly so many columns of a terminal: filled up, or shortened in the middle."""
    if _columns(name) > columns - 1:
        half = (columns - 2) // 2
        name = f"{_cut(name, half)}…{_cut(name[::-1], columns - 2 - half)[::-1]}"
    return name + " " * (columns - _columns(name))


def _cut(text: str, columns: int) -> str:
    """The longest beginning that fits."""
    while _columns(text) > columns:
        text = text[:-1]
    return text


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def memory_line(size: int, memory: int | None, before: int | None) -> str:
    """A sentence about bytes on disk and in memory.

    Args:
        size: bytes on disk.
        memory: bytes of the process at the peak, or None.
        before: the same before the model was loaded, or None.
    """
    text = f"{three(size / 1e6)} MB on disk"
    if memory is not None:
        text += f", {three(memory / 1e6)} MB of memory at the peak"
    if memory is not None and before is not None:
        text += f" ({three(before / 1e6)} MB before loading)"
    return f"{text}."
