"""Chooses the precision of training by measuring steps."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.models import Detector, build_model
from keras_det.profiling.machine import has_gpu
from keras_det.training.recipe import Recipe
from keras_det.types import Logs

STEPS = 3  # the first compiles; the shortest of the others counts
GAIN = 1.1  # a lower precision must be faster by this factor, or float32 stays


class _Times(keras.callbacks.Callback):
    """The seconds from the end of each step to the end of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ends.append(time.perf_counter())


def seconds_per_step(model: Detector, batch_size: int) -> float:
    """Seconds of a training step on this machine, for random images with one object each.

    Args:
        model: a detector that is not needed afterwards: its weights change.
        batch_size: images per step.
    """
    height, width = model.image_size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * STEPS, height, width, 3), "uint8")
    box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], "float32")
    targets = {
        "boxes": np.broadcast_to(box, (len(images), 1, 4)).copy(),
        "labels": np.zeros((len(images), 1), "int32"),
    }
    times = _Times()
    model.compile()
    model.fit(images, targets, batch_size=batch_size, verbose=0, callbacks=[times])
    return float(np.diff(times.ends).min())


def candidates() -> tuple[str, ...]:
    """Precisions that are worth measuring here: float16 needs a GPU."""
    return ("float32", "mixed_bfloat16", *(["mixed_float16"] if has_gpu() else []))


def fastest_precision(
    build: Callable[[str], Detector], batch_size: int, say: Callable[[str], object]
) -> str:
    """The precision in which a training step takes the least time on this machine.

    Every candidate is built, compiled and measured for two steps, so the choice does not depend on
    the name of a processor. A lower precision must be at least a tenth faster than float32.

    Args:
        build: makes the detector in a precision.
        batch_size: images per step.
        say: function that gets one line about it.

    Returns:
        "float32", "mixed_bfloat16" or "mixed_float16".
    """
    found = {dtype: seconds_per_step(build(dtype), batch_size) for dtype in candidates()}
    best = min(found, key=lambda dtype: found[dtype] * (GAIN if dtype != "float32" else 1.0))
    others = ", ".join(f"{dtype} {found[dtype]:.3g}" for dtype in found if dtype != best)
    say(f"Precision: {best}, {found[best]:.3g} s a step ({others}).")
    return best


def precision_of_run(
    model: str,
    arguments: Mapping[str, Any],
    training_set: Dataset,
    recipe: Recipe,
    say: Callable[[str], object],
) -> str:
    """`fastest_precision` for the model of a run.

    Args:
        model: its name.
        arguments: of its constructor; `dtype` and `backbone_weights` are left out.
        training_set: the data set, for its classes.
        recipe: the recipe, for the batch size and the size of the images.
        say: function that gets lines of text.
    """
    left_out = ("dtype", "backbone_weights")
    kept = {name: value for name, value in arguments.items() if name not in left_out}
    kept |= {"class_names": training_set.class_names, **recipe.assignment}
    kept |= {"image_size": recipe.image_size} if recipe.image_size else {}
    say("The precision is chosen from measured steps. This takes a minute or two.")
    return fastest_precision(
        lambda dtype: build_model(model, dtype=dtype, **kept), recipe.batch_size, say
    )
