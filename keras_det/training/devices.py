"""The devices of a run: one, several of this machine, or those of several machines."""

import contextlib
import dataclasses
import functools
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_det import __version__
from keras_det.errors import DISTRIBUTION, DataError
from keras_det.layers.replicas import strategy_of, sum_over_workers, worker_of
from keras_det.models import Detector
from keras_det.models.shared_stream import check_shared
from keras_det.training.workers import Workers, from_environment, in_words, meet
from keras_det.words import counted

LOST_SECONDS = 20.0  # within which the port of a worker that has ended closes
TASK = re.compile(r"/job:worker/replica:\d+/task:(\d+)")


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a run is trained on.

    Attributes:
        strategy: a `tf.distribute.Strategy`, a `keras.distribution.DataParallel`, or None for one
            device.
        workers: the processes, where there are several.
        number: of devices that share each batch.
        sentence: what is used, for the user; "" for one device.
    """

    strategy: Any = None
    workers: Workers | None = None
    number: int = 1
    sentence: str = ""

    @property
    def chief(self) -> bool:
        """Whether this process writes the run folder."""
        return worker_of(self._tensorflow)[0] == 0

    @property
    def several_workers(self) -> bool:
        """Whether other processes take part."""
        return worker_of(self._tensorflow)[1] > 1

    @property
    def _tensorflow(self) -> Any:
        """The strategy of TensorFlow, if it is one."""
        return self.strategy if hasattr(self.strategy, "num_replicas_in_sync") else None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Context of a run: if another worker ends early, the error names that worker."""
        before = keras.distribution.distribution()
        if self.strategy is not None and self._tensorflow is None:
            keras.distribution.set_distribution(self.strategy)
        try:
            yield
        except Exception as error:
            if lost := self._lost(error):
                raise DataError(
                    f"All workers must run until the end. Received: no answer from {lost}, which "
                    "has ended or cannot be reached. Its own output says why. Start all workers "
                    "again, with --resume if the run has begun."
                ) from error
            raise
        finally:
            keras.distribution.set_distribution(before)

    def scope(self) -> contextlib.AbstractContextManager:
        """Context in which the variables of a model are made on all devices."""
        strategy = self._tensorflow
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def check_batch(self, batch_size: int) -> None:
        """Raises a DataError unless every device gets the same number of images of a batch."""
        if batch_size % self.number:
            raise DataError(
                "The batch size must be a multiple of the number of devices. Received: "
                f"--batch-size {batch_size} for {counted(self.number, 'device')}. Take "
                f"--batch-size {-(-batch_size // self.number) * self.number}."
            )

    def check_step(self, accumulate: int, dtype: str) -> None:
        """Raises a DataError for a step that the devices cannot share; see `check_shared`."""
        if self._tensorflow is not None:
            check_shared(self.number, accumulate, dtype == "mixed_float16")

    def refuse_measured(self, **asked: bool) -> None:
        """Raises a DataError for an "auto" setting that can be measured on one device only.

        Args:
            **asked: for each setting by name, whether it is "auto".
        """
        for name in asked:
            if asked[name] and self.number > 1:
                raise DataError(
                    f'`{name}` must not be "auto" on several devices. Received: "auto" for '
                    f"{counted(self.number, 'device')}. Measure on one device, and give the value "
                    "that was chosen there."
                )

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Waits for the other workers, and checks that all of them have the same values.

        Args:
            values: names for the message, and anything with a `repr` or arrays in a list.

        Raises:
            DataError: a worker has a different value.
        """
        index, number = worker_of(self._tensorflow)
        if number == 1:
            return
        table = np.zeros((number, len(values)))
        table[index] = [_digest(value) for value in values.values()]
        table = sum_over_workers(self.strategy, table.ravel()).reshape(table.shape)
        for name, column in zip(values, table.T, strict=True):
            if len(set(column)) > 1:
                other = int(np.flatnonzero(column != column[0])[0])
                raise DataError(
                    "All workers must train with the same settings. Received: a difference in "
                    f"{name} between worker 0 and worker {other}. Give all workers the same "
                    "command, data and weights, and a run folder that all of them can read."
                )

    def wait(self) -> None:
        """Returns when all workers have called it."""
        sum_over_workers(self._tensorflow, [0.0])

    def _lost(self, error: Exception) -> str:
        """The names of the workers whose end has caused an error; "" if it has another cause."""
        if self.workers is None or keras.backend.backend() != "tensorflow":
            return ""
        import tensorflow as tf

        if not isinstance(error, tf.errors.OpError):
            return ""
        end = time.monotonic() + LOST_SECONDS
        while not (lost := self.workers.unreachable()) and time.monotonic() < end:
            time.sleep(0.5)
        if not lost:  # a supervisor may have started it again
            named = {int(task) for task in TASK.findall(str(error))} - {self.workers.index}
            lost = sorted(i for i in named if i < len(self.workers.addresses))
        return ", ".join(self.workers.name(i) for i in lost)


def _digest(value: Any) -> float:
    """A whole number below 2**48 that stands for a value."""
    state = hashlib.sha256()
    for each in value if isinstance(value, list) else [value]:
        state.update(each.tobytes() if isinstance(each, np.ndarray) else repr(each).encode())
    return float(int(state.hexdigest()[:12], 16))


def devices_for(
    model: str | Detector,
    devices: int | None,
    workers: Workers | None,
    alike: Mapping[str, Any] | None = None,
) -> Devices:
    """The devices of a run. Waits for the other workers, if there are any.

    Args:
        model: as in `training.run.train`.
        devices: number of devices of this machine; None for one, or, with several workers, for all
            GPUs.
        workers: the processes; None for those of TF_CONFIG, if it names several.
        alike: other values that must be equal in all workers, for JSON.

    Raises:
        DataError: there are fewer devices, the backend cannot do it, TensorFlow was used before, or
            a worker does not come.
    """
    if not isinstance(model, str):
        return _of_model(model, devices, workers)
    workers = from_environment() if workers is None else workers
    if workers is not None and len(workers.addresses) == 1:
        workers = None
    if devices is not None and devices < 1:
        raise DataError(f"`devices` must be at least 1. Received: {devices}. Leave it out for one.")
    if workers is None and devices in (None, 1):
        return Devices()
    backend = keras.backend.backend()
    if backend == "jax" and workers is None:
        return _on_jax(devices or 1)
    if backend != "tensorflow":
        wanted = "Several workers need" if workers else "Several devices need"
        also = "" if workers else " or JAX"
        raise DataError(
            f"{wanted} TensorFlow{also}. Received: the backend {backend}. Set the environment "
            "variable KERAS_BACKEND=tensorflow, or train on one device."
        )
    if workers is None:
        return _local(devices or 1)
    return _on_workers(devices, workers, dict(alike or {}))


def _of_model(model: Detector, devices: int | None, workers: Workers | None) -> Devices:
    """The devices that the user's own detector was built for."""
    if devices is not None or workers is not None:
        raise DataError(
            "A detector of your own is trained on the devices that it was built for. Received: a "
            f"{type(model).__name__} with devices={devices}, workers={workers}. Build it inside "
            "`with strategy.scope():`, or give the name of a model."
        )
    strategy = strategy_of(model)
    return Devices() if strategy is None else Devices(strategy, None, strategy.num_replicas_in_sync)


def _too_few(number: int, found: int, kind: str) -> DataError:
    return DataError(
        f"`devices` must be at most the number of {kind}s. Received: {number}, but this machine "
        f"has {counted(found, kind)}. Take --devices {found}."
    )


def _too_late(what: str) -> DataError:
    return DataError(
        f"{what} must be chosen before TensorFlow computes anything. Received: a Python process in "
        "which it has already done so. Call train first, or use keras-det train."
    )


def _local(number: int) -> Devices:
    """Several devices of this machine, under TensorFlow."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus and number > len(gpus):
        raise _too_few(number, len(gpus), "GPU")
    kind = "GPU" if gpus else "CPU"
    if not gpus:
        _split_cpu(number)
    return Devices(_mirrored(kind, number), None, number, _sentence(number, bool(gpus)))


@functools.cache
def _mirrored(kind: str, number: int) -> Any:
    """One strategy per process for the same devices.

    TensorFlow numbers the exchanges of every strategy from the same number on: those of a second
    one would meet the first one's, of other shapes.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(number)])


def _sentence(number: int, gpus: bool) -> str:
    if gpus:
        return f"Devices: {in_words(number, 'GPU', 1)}."
    return (
        f"Devices: {counted(number, 'logical device')} on one CPU. They share its cores: this is a "
        "test, and no faster than one device."
    )


def _split_cpu(number: int) -> None:
    """Makes logical devices of the CPU, as many as are asked for."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        parts = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < number:
            raise _too_late("The number of devices") from error


def _on_workers(devices: int | None, workers: Workers, alike: dict[str, Any]) -> Devices:
    """The devices of several machines, under TensorFlow."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if devices is not None and devices > max(1, len(gpus)):
        raise _too_few(devices, max(1, len(gpus)), "GPU" if gpus else "CPU")
    number = devices or max(1, len(gpus))
    about = {DISTRIBUTION: __version__, "keras": keras.__version__}
    about |= {"tensorflow": tf.__version__, **alike}
    meet(workers, {**about, "devices": number, "kind": "GPU" if gpus else "CPU"})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(workers.addresses)}),
        task_type="worker",
        task_id=workers.index,
        rpc_layer="grpc",
        num_accelerators={"GPU": number} if gpus else {},
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        raise _too_late("Workers") from error
    count = len(workers.addresses)
    words = in_words(number, "GPU" if gpus else "CPU", count)
    sentence = f"Devices: {words}. This is {workers.name(workers.index)}."
    return Devices(strategy, workers, number * count, sentence)


def _on_jax(number: int) -> Devices:
    """Several devices of this machine, under JAX."""
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:
        pass  # JAX has already started: the number of its devices is fixed
    found = keras.distribution.list_devices()
    if number > len(found):
        kind = "GPU" if found[0].startswith("gpu") else "JAX device"
        raise _too_few(number, len(found), kind)
    strategy = keras.distribution.DataParallel(devices=found[:number])
    return Devices(strategy, None, number, _sentence(number, not found[0].startswith("cpu")))
