"""What this machine can do, and what a process uses of it: arithmetic, cores and memory."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Sides of the matrices. Larger ones are left out once a product takes longer than LONGEST seconds.
SIZES = (512, 1024, 2048, 4096, 8192)
LONGEST = 0.1
REPEATS = 5
SAMPLE_EVERY = 0.25  # seconds between two questions to NVIDIA's driver

# Function from (side, dtype) to a function that multiplies two square matrices once.
Product = Callable[[int, str], Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Peak:
    """The most multiply-adds per second that products of square matrices have reached.

    `size` is the side of the matrices that reached it, `dtype` the type of their numbers.
    """

    per_second: float
    size: int
    dtype: str


def matmul_peak(
    product: Product,
    dtype: str = "float32",
    sizes: Sequence[int] = SIZES,
    clock: Callable[[], float] = time.perf_counter,
) -> Peak:
    """Measures the peak: the best of five products of each size. One product is size^3.

    Args:
        product: makes the function that is timed, `numpy_product` or `keras_product`.
        dtype: of the matrices, such as "float32" or "bfloat16".
        sizes: sides of the matrices, small ones first.
        clock: function that returns seconds.
    """
    found = []
    for size in sizes:
        run = product(size, dtype)
        run()
        times = []
        for _ in range(REPEATS):
            begun = clock()
            run()
            times.append(clock() - begun)
        found.append(Peak(size**3 / max(min(times), 1e-9), size, dtype))
        if min(times) > LONGEST:
            break
    return max(found, key=lambda peak: peak.per_second)


def numpy_product(size: int, dtype: str) -> Callable[[], object]:
    """A product in NumPy, on all cores that its library uses. See `matmul_peak`."""
    rng = np.random.default_rng(0)
    left, right = (rng.random((size, size), "float32").astype(dtype) for _ in range(2))
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def keras_product(size: int, dtype: str) -> Callable[[], object]:
    """A product on the device and in the library of Keras' backend. See `matmul_peak`."""
    import keras

    rng = np.random.default_rng(0)
    left, right = (
        keras.ops.cast(keras.ops.convert_to_tensor(rng.random((size, size), "float32")), dtype)
        for _ in range(2)
    )
    multiply: Callable[[Any, Any], Any] = keras.ops.matmul
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        multiply = tf.function(tf.matmul)
    elif keras.backend.backend() == "jax":
        import jax

        multiply = jax.jit(keras.ops.matmul)
    # One number is fetched, so that a device that computes in the background has ended.
    return lambda: float(keras.ops.convert_to_numpy(multiply(left, right)[0, 0]))


def has_gpu() -> bool:
    """Whether Keras' backend sees a GPU."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return bool(keras.distribution.list_devices("gpu"))


def allowed_cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))


@dataclasses.dataclass(frozen=True)
class Use:
    """How much of the cores was used, 0..1; None where the system does not say.

    Attributes:
        busy: by all programs.
        own: by this process.
    """

    busy: float | None
    own: float | None

    @property
    def others(self) -> float:
        """What other programs used, 0 where it is not known."""
        return max(0.0, (self.busy or 0.0) - (self.own or 0.0)) if self.own is not None else 0.0


class Cores:
    """How busy the cores are that this process may use, from now on.

    On Linux, the idle time of each core is read from `/proc/stat`. Time that other programs use
    counts as busy, so that it is not mistaken for idle time. In a container with a limit (cgroup
    `cpu.max`), and on other systems, only the share of this process is known.

    Args:
        root: where `/proc` and `/sys` are.
        cores: numbers of the cores.
        clock, used: functions that return seconds: the time, and this process's processor time.
    """

    def __init__(
        self,
        root: str | os.PathLike = "/",
        cores: set[int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self.root = pathlib.Path(root)
        self.cores = allowed_cores() if cores is None else cores
        self.clock, self.used = clock, used
        self.begun, self.own, self.counts = clock(), used(), self._counts()

    def use(self) -> Use:
        """The use since this object was made."""
        seconds = max(self.clock() - self.begun, 1e-9)
        limit = _limit_of_container(self.root)
        cores = float(len(self.cores)) if limit is None else min(limit, len(self.cores))
        own = min(1.0, (self.used() - self.own) / (seconds * cores))
        idle, total = (now - then for now, then in zip(self._counts(), self.counts, strict=True))
        if limit is not None and limit < len(self.cores):
            return Use(own, own)
        return Use(1 - idle / total, own) if total > 0 else Use(own or None, own)

    def _counts(self) -> tuple[int, int]:
        """Ticks of the clock that the cores were idle, and all; 0 where that is not known."""
        try:
            text = (self.root / "proc/stat").read_text()
        except OSError:
            return 0, 0
        idle = total = 0
        for number, ticks in re.findall(r"^cpu(\d+) ([\d ]+)$", text, re.M):
            if int(number) in self.cores:
                each = [int(tick) for tick in ticks.split()[:8]]  # the rest is in these already
                idle, total = idle + sum(each[3:5]), total + sum(each)
        return idle, total


def _limit_of_container(root: pathlib.Path) -> float | None:
    """Cores' worth of time that the cgroup allows; None without a limit."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # none, or "max"
        return None


class Gpu:
    """How busy the GPUs are while this context is open: what `nvidia-smi` says, several times a
    second.

    Args:
        command: the program and its arguments. It prints one percentage per line.
    """

    COMMAND = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self.command, self.found = list(command), list[float]()
        self._stop = threading.Event()

    def __enter__(self) -> "Gpu":
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def busy(self) -> float | None:
        """The share of the time in which the busiest GPU computed, 0..1; None if it is unknown."""
        return sum(self.found) / len(self.found) if self.found else None

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY):
            try:
                shown = subprocess.run(
                    self.command, check=True, capture_output=True, text=True, timeout=10
                )
                self.found.append(max(float(line) for line in shown.stdout.split()) / 100)
            except (OSError, subprocess.SubprocessError, ValueError):
                return


def peak_memory(root: str | os.PathLike = "/") -> int | None:
    """The largest main memory that this process has had, in bytes; None where it is not known.

    Linux counts what a process had before it became this program for `ru_maxrss`, so that a small
    program started by a large one seems large. `VmHWM` counts this program alone.

    Args:
        root: where `/proc` is.
    """
    try:
        status = (pathlib.Path(root) / "proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.M):
            return 1024 * int(found[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
