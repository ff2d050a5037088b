"""How much memory a training step takes, how much there is, and the batch size that fits."""

import dataclasses
import math
import os
import pathlib
import re
import subprocess
from typing import Any

import keras

from keras_det.errors import DataError
from keras_det.models import Detector
from keras_det.profiling import activation_elements

MOST = 64  # images per step, at most
# Share of the available memory: the estimate is within 21% of the measured peaks.
USED = 0.8
GIGA = 1e9
# Fitted to benchmarks/batch_memory.csv: see docs/training.md.
FIXED = 0.1e9  # bytes, whatever the model
PER_VARIABLE = 0.8e6  # bytes of the graph and its buffers for each variable of the model
PER_ACTIVATION = 1.0  # numbers kept for each number that a layer outputs
PER_LOGIT = 1.0  # numbers kept in the losses for each number that the model outputs
REMAT = 0.45  # of the activations that remain with recomputed blocks
COPIES = 5.0  # of the weights: themselves, gradients, two of AdamW's averages, and the average


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """The memory of a training step in bytes: `fixed + batch_size * per_image`."""

    fixed: float
    per_image: float

    def of(self, batch_size: int) -> float:
        """Bytes of a step with this number of images."""
        return self.fixed + batch_size * self.per_image


def step_memory(model: Detector, accumulate: int = 1) -> StepMemory:
    """Estimates the peak of the memory that building and training a model add to the process.

    Activations are counted from the layers' outputs for one image, see
    `keras_det.profiling.activation_elements`. The factors were fitted to measured peaks on a CPU
    (`benchmarks/batch_memory.py`), where the estimate is within 21% of the peak. They were not
    checked on a GPU.

    Args:
        model: a detector with its final size, precision and `remat`.
        accumulate: steps per update; above 1 the optimizer keeps the gradients.
    """
    dtype = keras.backend.standardize_dtype(model.backbone.compute_dtype)
    number = 2 if dtype in ("float16", "bfloat16") else 4
    kept = REMAT if model.get_config().get("remat") else 1.0
    outputs = model.compute_output_shape((1, *model.image_size, 3))
    logits = sum(math.prod(shape) for shape in _shapes(outputs))
    per_image = number * kept * PER_ACTIVATION * activation_elements(model)
    per_image += 4 * PER_LOGIT * logits
    # What the pipeline holds: two batches ahead, and one of float images that is being made.
    per_image += 6 * 3 * math.prod(model.image_size)
    weights = 4 * sum(math.prod(variable.shape) for variable in model.weights)
    fixed = FIXED + PER_VARIABLE * len(model.weights) + weights * (COPIES + (accumulate > 1))
    return StepMemory(fixed, per_image)


def _shapes(outputs: Any) -> list[tuple[int, ...]]:
    if isinstance(outputs, dict):
        return [shape for each in outputs.values() for shape in _shapes(each)]
    return [tuple(outputs)]


def available_memory(root: str | os.PathLike = "/") -> float:
    """Bytes that a training may still take: of the smallest GPU, or of the main memory.

    A GPU's memory is what NVIDIA's driver reports, less a tenth. Main memory is what Linux
    calls available, or what the limit of the container (cgroup) leaves, if that is less.

    Args:
        root: where `/proc` and `/sys` are.

    Raises:
        DataError: it cannot be determined.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return 0.9 * _gpu_memory()
    found = [*_meminfo(pathlib.Path(root), "MemAvailable"), *_left_by_cgroups(pathlib.Path(root))]
    if not found:
        raise DataError(
            "batch_size='auto' needs a system that reports how much memory is available. Received: "
            "no /proc/meminfo. Give the number of images per step (batch_size=8, --batch-size 8)."
        )
    return min(found)


def _gpu_memory() -> float:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return min(float(line) for line in shown.stdout.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DataError(
            "batch_size='auto' on a GPU needs the program nvidia-smi, to know its memory. "
            f"Received: {error}. Give the number of images per step (batch_size=8, --batch-size 8)."
        ) from error


def main_memory(root: str | os.PathLike = "/") -> float | None:
    """Bytes of main memory that this process may use at most; None where that is not known.

    That is the memory of the machine, or the limit of the container (cgroup) if that is less.

    Args:
        root: where `/proc` and `/sys` are.
    """
    found = _meminfo(pathlib.Path(root), "MemTotal")
    found += [most for most, _ in _cgroups(pathlib.Path(root))]
    if not found:
        try:
            return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    return min(found)


def _meminfo(root: pathlib.Path, name: str) -> list[float]:
    """Bytes of an entry of Linux' table, one number or none."""
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return []
    return [1024 * float(each) for each in re.findall(rf"^{name}:\s+(\d+) kB", text, re.M)]


def _left_by_cgroups(root: pathlib.Path) -> list[float]:
    """What the cgroup limits leave this process; cached files count as free."""
    left = []
    for most, folder in _cgroups(root):
        used = "memory.current" if (folder / "memory.current").exists() else "memory.usage_in_bytes"
        try:
            now, text = float((folder / used).read_text()), (folder / "memory.stat").read_text()
        except (OSError, ValueError):
            continue
        freed = re.findall(r"^(?:total_)?inactive_file (\d+)$", text, re.M)
        left.append(most - now + max(map(float, freed), default=0.0))
    return left


def _cgroups(root: pathlib.Path) -> list[tuple[float, pathlib.Path]]:
    """The cgroup limits (versions 2 and 1) of this process in bytes, and their folders."""
    try:
        own = (root / "proc/self/cgroup").read_text()
    except OSError:
        own = ""
    places = re.findall(r"^\d+:(?:[\w,=]*memory[\w,=]*)?:/*(.*)$", own, re.M)
    found = []
    for version, limit in (
        ("sys/fs/cgroup", "memory.max"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ):
        for folder in sorted({root / version, *(root / version / place for place in places)}):
            try:
                found.append((float((folder / limit).read_text()), folder))
            except (OSError, ValueError):  # none, or "max"
                continue
    return found


def fitting_batch(memory: StepMemory, available: float, images: int) -> tuple[int, str]:
    """The largest power of two that fits, at most 64 and the number of images, and a line about it.

    Args:
        memory: of a step.
        available: bytes; four fifths of them are used.
        images: of the training set.

    Raises:
        DataError: not even one image fits.
    """
    batch = 1
    while 2 * batch <= min(MOST, images) and memory.of(2 * batch) <= USED * available:
        batch *= 2
    amounts = f"about {memory.of(batch) / GIGA:.1f} GB of {available / GIGA:.1f} GB"
    if memory.of(batch) > USED * available:
        raise DataError(
            "A training step of one image must fit in four fifths of the memory. Received: "
            f"{amounts}. Choose a smaller model or image size, or recompute activations "
            "(remat=True, --remat)."
        )
    return batch, f"Batch of {batch}: {amounts}."
