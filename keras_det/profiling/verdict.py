"""Which of input, host and device limits the speed, and how close that is to the machine's limit.

Input is what prepares images: files, decoding, resizing, augmentation. Host is the processor, as
far as it drives the device or does other work than the network. Device is what computes the
network: a GPU, or the cores of the processor.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from keras_det.profiling.machine import Peak

# Below this share of busy time, the device waits for the host most of the time.
IDLE = 0.5
# Input and step slow each other down if together they take this many times as long as the slower.
HINDERED = 1.15
# If other programs use at least this share of the cores, the figures are not reliable.
DISTURBED = 0.15

# The stages of the input that every pipeline needs.
READING, DECODING = "reading", "decoding"

Limit = Literal["input", "host", "device"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What limits the speed.

    Attributes:
        limit: "input", "host" or "device".
        line: which of them limits and by what, at most 80 columns.
        reach: how close that is to the machine's own limit; empty if it is not known.
    """

    limit: Limit
    line: str
    reach: str

    def lines(self) -> list[str]:
        """Both sentences, as lines of text."""
        return [self.line, self.reach] if self.reach else [self.line]


@dataclasses.dataclass(frozen=True)
class Latency:
    """Seconds of single calls: how many calls, the median, the 95th percentile and the mean."""

    calls: int
    median: float
    p95: float
    mean: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """The latency of at least one call."""
        high = float(np.percentile(seconds, 95))
        return cls(len(seconds), float(np.median(seconds)), high, float(np.mean(seconds)))


@dataclasses.dataclass(frozen=True)
class TrainingTimes:
    """Seconds per batch: of the input alone, of the step alone on one batch, and of both together.

    Attributes:
        busy: share of the time of the step alone in which the device was busy, or None.
        multiply_adds: of one step, or None.
        peak: of the machine, or None.
    """

    input: float
    step: float
    together: float
    batch_size: int
    busy: float | None = None
    multiply_adds: float | None = None
    peak: Peak | None = None


def training_verdict(times: TrainingTimes) -> Verdict:
    """What limits a training.

    The input limits it if a batch takes longer to prepare than a step. Otherwise the host does if
    the device is busy less than half of the time, and the device if it is busy.
    """
    reach = of_peak(times.multiply_adds, times.step, times.peak)
    if times.input > times.step:
        faster = times.together / times.step
        line = (
            f"Limited by the input: a batch takes {duration(times.input)}, "
            f"a step {duration(times.step)}."
        )
        reach = (
            f"If the input kept up, training would be {faster:.1f} times as fast: "
            f"{three(times.batch_size / times.step)} images/s."
        )
        return Verdict("input", line, reach)
    if times.busy is not None and times.busy < IDLE:
        line = (
            f"Limited by the host: a step takes {duration(times.step)}; the device is idle for "
            f"{1 - times.busy:.0%} of it."
        )
        return Verdict("host", line, reach)
    line = (
        f"Limited by the device: a step takes {duration(times.step)}, the input "
        f"{duration(times.input)} per batch."
    )
    return Verdict("device", line, reach)


def hindered(times: TrainingTimes) -> str:
    """A sentence if input and step slow each other down, as on shared cores; else empty."""
    slower = max(times.input, times.step)
    if times.together < HINDERED * slower:
        return ""
    return (
        f"Input and step together take {times.together / slower:.1f} times as long as the slower "
        "one alone: they share the cores."
    )


def disturbed(others: float) -> str:
    """A sentence if other programs used the cores meanwhile; else empty.

    Args:
        others: their share of the cores, 0..1.
    """
    if others < DISTURBED:
        return ""
    return f"Other programs used {others:.0%} of the processor. An idle machine would be faster."


@dataclasses.dataclass(frozen=True)
class DetectionTimes:
    """Seconds per image; a part that cannot be separated is None.

    Attributes:
        whole: from the pixels of an image to its detections.
        read: reading and decoding the file, before `whole`.
        prepare: resizing.
        network: of a file that decodes by itself, with decoding.
        finish: post-processing.
        multiply_adds: of the network, or None.
        peak: of the machine, or None.
    """

    whole: float
    read: float | None = None
    prepare: float | None = None
    network: float | None = None
    finish: float | None = None
    multiply_adds: float | None = None
    peak: Peak | None = None


def detection_verdict(times: DetectionTimes) -> Verdict:
    """What limits detection: the largest of input (reading, resizing), device (the network) and
    host (the rest).

    Where the network cannot be separated, all but the input counts as device.
    """
    total = (times.read or 0.0) + times.whole
    given = (times.read or 0.0) + (times.prepare or 0.0)
    device = total - given if times.network is None else min(times.network, total)
    parts: dict[Limit, float] = {
        "device": device,
        "input": given,
        "host": max(0.0, total - given - device),
    }
    limit = max(parts, key=lambda name: parts[name])
    what = {
        "input": "reading and resizing take" if times.read else "resizing takes",
        "host": "post-processing takes",
        "device": "the network takes",
    }[limit]
    line = f"Limited by the {limit}: {what} {duration(parts[limit])} of {duration(total)} an image."
    if limit == "device" and times.network is not None:
        reach = of_peak(times.multiply_adds, times.network, times.peak)
        if reach:
            return Verdict(limit, line, reach)
    alone = max(parts["device"], 1e-9)
    reach = (
        f"The network alone would reach {three(1 / alone)} images/s; all parts reach "
        f"{alone / total:.0%} of that."
    )
    return Verdict(limit, line, reach)


@dataclasses.dataclass(frozen=True)
class InputTimes:
    """Seconds per image of an input pipeline.

    Attributes:
        stages: what each stage adds, by name; "reading" is the first, "decoding" the second.
        whole: of all stages.
        first: of reading the files for the first time, when the system may not have them in
            memory.
        busy: share of the time in which the cores were busy, or None.
        cores: their number.
    """

    stages: Mapping[str, float]
    whole: float
    first: float
    busy: float | None
    cores: int


def input_verdict(times: InputTimes) -> Verdict:
    """What limits an input pipeline: the files ("input"), or the processor ("host").

    The files limit it if they are read for the first time more slowly than all stages take later,
    or if reading is the largest stage. The machine's own limit is then reading, and else decoding
    the files without anything else.
    """
    largest = max(times.stages, key=lambda name: times.stages[name])
    if times.first > times.whole or largest == READING:
        slowest = max(times.first, times.stages.get(READING, 0.0))
        line = (
            f"Limited by the input: the files are read at {three(1 / max(slowest, 1e-9))} images/s."
        )
        reach = f"With the files in memory, the pipeline reaches {three(1 / times.whole)} images/s."
        return Verdict("input", line, reach)
    line = (
        f"Limited by the host: {largest} takes {times.stages[largest] / times.whole:.0%} of "
        f"{duration(times.whole)} per image."
    )
    least = sum(times.stages.get(name, 0.0) for name in (READING, DECODING))
    reach = (
        f"Reading and decoding alone reach {three(1 / max(least, 1e-9))} images/s; all stages "
        f"reach {min(1.0, least / times.whole):.0%} of that."
    )
    if times.busy is not None and times.busy < IDLE:
        reach += f" The cores are idle for {1 - times.busy:.0%} of the time: try more --workers."
    return Verdict("host", line, reach)


def of_peak(multiply_adds: float | None, seconds: float, peak: Peak | None) -> str:
    """How much of the machine's peak is reached, as a sentence; empty if it is not known."""
    if not multiply_adds or peak is None:
        return ""
    share = multiply_adds / max(seconds, 1e-9) / peak.per_second
    return (
        f"This uses {percent(share)} of the machine's peak ({three(peak.per_second / 1e9)} billion "
        f"multiply-adds/s in {peak.dtype})."
    )


def duration(seconds: float) -> str:
    """Seconds in three digits: "4.2 ms", "0.82 s" is "820 ms", "12.3 s"."""
    return f"{three(1e3 * seconds)} ms" if seconds < 0.9995 else f"{three(seconds)} s"


def percent(share: float) -> str:
    """A share with two digits below a tenth: "4.2%", "14%"."""
    return f"{100 * share:.1f}%" if share < 0.0995 else f"{share:.0%}"


def three(number: float) -> str:
    """A number with three digits, without an exponent: "4.2", "0.0521", "1,234"."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"
