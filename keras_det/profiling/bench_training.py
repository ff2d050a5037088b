"""Measures training: the input alone, the step alone, and both together."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_det.data.pipeline import Pipeline
from keras_det.profiling.machine import Cores, Gpu, has_gpu, keras_product, matmul_peak
from keras_det.profiling.operations import multiply_adds
from keras_det.profiling.verdict import TrainingTimes
from keras_det.types import Logs

ROUNDS = 2
STEPS = 20  # of the step alone, and of both together
# Unless the number is given, a round of steps stops after this many seconds.
LONGEST = 20.0
LEAST_STEPS = 2  # in a round
READY = 2  # batches that the pipeline prepares before they are asked for
BACKWARD = 2  # the backward pass computes about twice as much as the forward pass


@dataclasses.dataclass(frozen=True)
class TrainingBench:
    """A training, measured.

    Attributes:
        times: seconds per batch.
        first_step: seconds of the first step, which compiles.
        steps: that were timed, alone and together each.
        device: "CPU" or "GPU".
        others: share of the cores that other programs used.
    """

    times: TrainingTimes
    first_step: float
    steps: int
    device: str
    others: float


class _Ends(keras.callbacks.Callback):
    """Notes the start of a training and the ends of its steps; stops when they took too long."""

    def __init__(self, clock: Callable[[], float], most: int, longest: float | None) -> None:
        super().__init__()
        self.clock, self.most, self.longest = clock, most, longest
        self.times: list[float] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.times = [self.clock()]

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.times.append(self.clock())
        timed = len(self.times) - 2
        late = self.longest is not None and self.times[-1] - self.times[1] > self.longest
        if timed >= self.most or (timed >= LEAST_STEPS + READY and late):
            self.model.stop_training = True


def measure_training(
    model: Any,
    pipeline: Pipeline,
    steps: int | None = None,
    say: Callable[[str], object] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingBench:
    """Runs training steps of a compiled detector, and measures the parts alone and together.

    In each of two rounds the input is measured alone, then the step on one batch that is always the
    same, then the training from the pipeline. The faster round of each counts.

    Args:
        model: a compiled detector. Its weights change.
        pipeline: for training.
        steps: steps that are timed, alone and together each, at least 2. None: 20, or as many as
            40 seconds allow.
        say: function called with a few words about what is measured now.
        clock: function that returns seconds.

    Raises:
        DataError: too many images cannot be read.
    """
    pipeline.warned = True
    say("the peak of this machine")
    dtype = keras.backend.standardize_dtype(model.backbone.compute_dtype)
    peak = matmul_peak(keras_product, dtype)
    stream = pipeline.as_tf_dataset(training=True)
    fixed = stream.take(1).cache().repeat()
    say("the first step, with compilation")
    first = _fit(model, fixed, clock, 1, None)[0]
    running = iter(stream)
    per_round = max(LEAST_STEPS, (STEPS if steps is None else steps) // ROUNDS)
    longest = LONGEST if steps is None else None
    inputs, alone, together, uses, timed = list[float](), list[float](), list[float](), [], 0
    for number in range(ROUNDS):
        say(f"the input alone, round {number + 1} of {ROUNDS}")
        inputs.append(_taken(running, pipeline, per_round, longest, clock))
        say(f"the step alone, round {number + 1} of {ROUNDS}")
        with busy() as found:
            each = _fit(model, fixed, clock, per_round, longest)[1:]
        alone.append(float(np.median(each)))
        timed += len(each)
        uses.append(found)
        say(f"both together, round {number + 1} of {ROUNDS}")
        each = _fit(model, pipeline, clock, per_round + READY, longest)[1 + READY :]
        together.append(float(np.mean(each)))  # batches may arrive in groups
    shares = [use["busy"] for use in uses if use["busy"] is not None]
    times = TrainingTimes(
        min(inputs),
        min(alone),
        min(together),
        pipeline.batch_size,
        float(np.mean(shares)) if shares else None,
        (1 + BACKWARD) * pipeline.batch_size * multiply_adds(model),
        peak,
    )
    device = "GPU" if has_gpu() else "CPU"
    others = float(np.mean([use["others"] for use in uses]))
    return TrainingBench(times, first, timed, device, others)


def _fit(
    model: Any, data: Any, clock: Callable[[], float], steps: int, longest: float | None
) -> list[float]:
    """Seconds of the first step, and of `steps` more or of fewer long ones."""
    ends = _Ends(clock, steps, longest)
    model.fit(data, steps_per_epoch=1 + steps, epochs=1, verbose=0, callbacks=[ends])
    return np.diff(ends.times).tolist()


def _taken(
    batches: Any,
    pipeline: Pipeline,
    steps: int,
    longest: float | None,
    clock: Callable[[], float],
) -> float:
    """Mean seconds from batch to batch, after three that may be ready already.

    Batches that are decoded at the same time arrive at the same time: only the mean says how many
    seconds a batch takes.
    """
    try:
        for _ in itertools.islice(batches, 1 + READY):
            pass
        begun, taken = clock(), 0
        for _ in itertools.islice(batches, steps):
            taken += 1
            if taken >= LEAST_STEPS and longest is not None and clock() - begun > longest:
                break
    except Exception:
        pipeline.check()
        raise
    return (clock() - begun) / taken


@contextlib.contextmanager
def busy() -> Any:
    """A dict whose `busy` and `others` are set at the end: how busy the device was, 0..1 or None,
    and what other programs used of the cores.
    """
    found: dict[str, Any] = {"busy": None, "others": 0.0}
    cores = Cores()
    if has_gpu():
        with Gpu() as gpu:
            yield found
        found["busy"] = gpu.busy
        return
    yield found
    use = cores.use()
    found |= {"busy": use.busy, "others": use.others}
