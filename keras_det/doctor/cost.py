"""Time and memory of a training, measured on its first steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_det.data.augment import Augment
from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.doctor.finding import Finding
from keras_det.errors import DataError
from keras_det.models import Detector
from keras_det.profiling.machine import peak_memory
from keras_det.training.memory import main_memory
from keras_det.training.progress import clock as as_clock
from keras_det.training.recipe import choose_recipe
from keras_det.training.recipes import adamw
from keras_det.words import counted

# The first step compiles and the second may still allocate. Steps are timed after these, at least
# so many, and until they took so long.
UNTIMED_STEPS, LEAST_STEPS, MOST_STEPS = 2, 2, 30
LEAST_SECONDS = 3.0
OUT_OF_MEMORY = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "MemoryError")
# A larger share of the machine's memory is nearly all of it.
RESERVE = 0.9


@dataclass(frozen=True)
class Cost:
    """What a training costs, estimated from a few steps.

    Attributes:
        first_seconds: the first step, which compiles the model.
        step_seconds: one later step, with reading and augmentation.
        steps_per_epoch: steps in which each image is shown once.
        steps: steps of the whole training.
        memory: bytes at the peak: of this process on a CPU, of the device on a GPU. None: unknown.
        device: "CPU" or "GPU".
    """

    first_seconds: float
    step_seconds: float
    steps_per_epoch: int
    steps: int
    memory: int | None
    device: str

    @property
    def total_seconds(self) -> float:
        """All steps, the first one with compiling; without measuring on the validation set."""
        return self.first_seconds + self.step_seconds * self.steps


class StepTimer(keras.callbacks.Callback):
    """Notes when steps end, and stops the training when enough of them are timed.

    Args:
        clock: function that returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.times: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.times = [self.clock()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(self.clock())
        timed = len(self.times) - 1 - UNTIMED_STEPS
        long = timed > 0 and self.times[-1] - self.times[UNTIMED_STEPS] >= LEAST_SECONDS
        if timed >= MOST_STEPS or (timed >= LEAST_STEPS and long):
            self.model.stop_training = True

    @property
    def first_seconds(self) -> float:
        """Duration of the first step."""
        return self.times[1] - self.times[0]

    @property
    def step_seconds(self) -> float:
        """Mean duration of the timed steps; of all but the first where they are fewer."""
        start = UNTIMED_STEPS if len(self.times) > UNTIMED_STEPS + 1 else 1
        steps = len(self.times) - 1 - start
        return (self.times[-1] - self.times[start]) / steps if steps else self.first_seconds


def measure_cost(
    dataset: Dataset,
    model: Detector,
    augment: str | Augment = "ssj",
    batch_size: int = 8,
    epochs: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Cost:
    """Runs a few training steps of a copy of the model on the real pipeline.

    Args:
        dataset: the training set.
        model: the detector. It is not changed.
        augment: the augmentation.
        batch_size: images per step.
        epochs: passes over the images. None: as many steps as the recipe "auto" takes from trained
            weights.
        clock: function that returns seconds.

    Raises:
        DataError: too many images cannot be read.
    """
    copy = model.with_changes()
    pipeline = Pipeline(dataset, copy, batch_size, augment=augment, training=True)
    pipeline.warned = True
    steps = steps_of(dataset, batch_size, epochs)
    copy.compile(adamw(copy, batch_size, max(steps, 1)))
    timer = StepTimer(clock)
    reset_device_memory()
    # The stream has no end, so small data sets give enough steps too.
    copy.fit(
        pipeline,
        steps_per_epoch=UNTIMED_STEPS + MOST_STEPS,
        epochs=1,
        verbose=0,
        callbacks=[timer],
    )
    device = device_memory()
    return Cost(
        timer.first_seconds,
        timer.step_seconds,
        pipeline.steps_per_epoch,
        steps,
        peak_memory() if device is None else device,
        "CPU" if device is None else "GPU",
    )


def steps_of(dataset: Dataset, batch_size: int, epochs: int | None) -> int:
    """Steps of a training: of so many epochs, or of the recipe "auto" from trained weights."""
    name = "auto" if epochs is None else "adamw"
    images, objects = len(dataset), len(dataset.labels)
    recipe = choose_recipe(name, images, objects, "backbone", batch_size=batch_size, epochs=epochs)
    return recipe.steps


def device_memory() -> int | None:
    """The largest memory that the backend has used on the first GPU, in bytes; None without one."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    elif backend == "jax":
        import jax

        numbers = jax.local_devices()[0].memory_stats() or {}
        return numbers.get("peak_bytes_in_use")
    elif backend == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
    return None


def reset_device_memory() -> None:
    """Forgets the peak of the first GPU, where the backend can."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.reset_memory_stats("GPU:0")
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


def check_cost(
    dataset: Dataset,
    model: Detector,
    augment: str | Augment,
    batch_size: int,
    epochs: int | None = None,
) -> list[Finding]:
    """What the training will cost; an error where its first steps do not fit into memory.

    Args:
        dataset, model, augment, batch_size, epochs: as of `measure_cost`.
    """
    try:
        cost = measure_cost(dataset, model, augment, batch_size, epochs)
    except DataError as error:
        return [
            Finding(
                "cost-unknown",
                "warning",
                "The cost of training cannot be measured: the images cannot be read.",
                str(error),
                doc="cost",
            )
        ]
    except Exception as error:
        what = f"{type(error).__name__}: {error}"  # JAX has one type for all
        if not any(word in what for word in OUT_OF_MEMORY):
            raise
        return [_too_large(model, batch_size)]
    return [finding_of(cost, model, batch_size, main_memory())]


def finding_of(cost: Cost, model: Detector, batch_size: int, available: float | None) -> Finding:
    """Says what a training costs.

    Args:
        cost: the estimate.
        model: the detector.
        batch_size: images per step.
        available: bytes of main memory, or None.
    """
    height, width = model.image_size
    memory = "" if cost.memory is None else f" and {cost.memory / 2**30:.1f} GiB of memory"
    full = (
        cost.device == "CPU"
        and None not in (cost.memory, available)
        and (cost.memory or 0) > RESERVE * (available or 0)
    )
    cure = (
        "That is nearly all the memory of this machine. Use a smaller batch (--batch-size)."
        if full
        else (
            "To train faster, use a smaller image size or model, or fewer epochs. Evaluation "
            "on a validation set takes additional time, and training from random weights takes "
            "twice as many steps by default."
        )
    )
    return Finding(
        "training-cost",
        "warning" if full else "note",
        f"A step of {counted(batch_size, 'image')} at {height}x{width} takes "
        f"{_duration(cost.step_seconds)}{memory} on this {cost.device}. Training for "
        f"{counted(cost.steps, 'step')} takes {_duration(cost.total_seconds)}.",
        cure,
        facts={
            "first_step_seconds": cost.first_seconds,
            "step_seconds": cost.step_seconds,
            "steps_per_epoch": cost.steps_per_epoch,
            "steps": cost.steps,
            "total_seconds": cost.total_seconds,
            "memory_bytes": cost.memory,
            "device": cost.device,
        },
        doc="cost",
    )


def _too_large(model: Detector, batch_size: int) -> Finding:
    height, width = model.image_size
    return Finding(
        "training-too-large",
        "error",
        f"A step of {counted(batch_size, 'image')} at {height}x{width} does not fit into memory.",
        "Use a smaller batch (--batch-size), a smaller image size or a smaller model.",
        doc="cost",
    )


def _duration(seconds: float) -> str:
    """Seconds in words: "0.8 s", "3:20 min", "2:05 h"."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    text = as_clock(seconds)
    return f"{text.rsplit(':', 1)[0]} h" if seconds >= 3600 else f"{text} min"
