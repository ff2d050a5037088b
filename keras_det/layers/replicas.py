"""Helpers for training steps that several devices share under `tf.distribute`.

A replica is the copy of a model on one device. A worker is a process with one or more of them.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.types import Tensor, TFTensor


def num_replicas() -> int:
    """Number of devices that share the current step.

    It is 1 outside `tf.distribute` and on other backends than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value: Tensor) -> Tensor:
    """Sums a scalar over the devices that share the step.

    Meant for counts: do not send gradients through it.

    Args:
        value: scalar.

    Returns:
        Scalar; `value` itself where there is only one device.
    """
    if num_replicas() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def moments_over_replicas(inputs: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
    """Mean and variance of each channel over the batches of all devices that share the step.

    Every device puts its own count, mean and sum of squared differences into a row of one table,
    so that one exchange is enough. Unlike E(x^2) - E(x)^2, this does not lose precision if the mean
    is large. Gradients flow through it.

    Args:
        inputs: `(…, channels)`, float32 or float64.

    Returns:
        `(mean, variance, count)`: `(channels,)`, `(channels,)` and a scalar, the number of values
        in each channel. The variance is divided by the count.
    """
    import tensorflow as tf

    context, channels = tf.distribute.get_replica_context(), inputs.shape[-1]
    axes = list(range(len(inputs.shape) - 1))
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), inputs.dtype)
    mean = tf.reduce_sum(inputs, axes) / tf.maximum(count, 1.0)  # a device may have no image
    squares = tf.reduce_sum(tf.square(inputs - mean), axes)
    own = tf.one_hot(context.replica_id_in_sync_group, num_replicas(), dtype=inputs.dtype)
    row = tf.concat([count[None], mean, squares], axis=0)
    table = context.all_reduce(tf.distribute.ReduceOp.SUM, own[:, None] * row[None])
    counts, means, squares = tf.split(table, [1, channels, channels], axis=1)
    total = tf.reduce_sum(counts)
    mean = tf.reduce_sum(counts * means, axis=0) / total
    squares = tf.reduce_sum(squares + counts * tf.square(means - mean), axis=0)
    return mean, squares / total, total


def strategy_of(model: keras.Model) -> Any:
    """The `tf.distribute.Strategy` that a model was built under, None if it has one device only."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy if getattr(strategy, "num_replicas_in_sync", 1) > 1 else None


def worker_of(strategy: Any) -> tuple[int, int]:
    """The index of this process among the workers of a strategy, and their number.

    Args:
        strategy: a `tf.distribute.Strategy`, or None for one device. Only
            `MultiWorkerMirroredStrategy` has several workers; index 0 is the chief.
    """
    if strategy is None:
        return 0, 1
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec()
    counts = {job: cluster.num_tasks(job) for job in ("chief", "worker") if job in cluster.jobs}
    if not counts:
        return 0, 1
    before = counts.get("chief", 0) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(counts.values())


def is_chief(model: keras.Model) -> bool:
    """Whether this process writes files for a model: always, unless another worker does."""
    return worker_of(strategy_of(model))[0] == 0


_sums: weakref.WeakKeyDictionary[Any, Callable] = weakref.WeakKeyDictionary()


def sum_over_workers(strategy: Any, numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """Sums numbers over the workers of a strategy; all workers must call it, in the same order.

    Args:
        strategy: a `tf.distribute.Strategy`, or None for one device.
        numbers: of this worker; as many as those of the others. Whole numbers below 2**53 stay
            exact.

    Returns:
        float64 array of the sums; `numbers` where there is only one worker.
    """
    values = np.asarray(numbers, "float64")
    workers = worker_of(strategy)[1]
    if workers == 1 or not values.size:  # TensorFlow ends the process if it is to exchange nothing
        return values
    import tensorflow as tf

    if strategy not in _sums:
        local = strategy.num_replicas_in_sync // workers

        def one(given: TFTensor) -> TFTensor:
            context = tf.distribute.get_replica_context()
            counts = tf.equal(context.replica_id_in_sync_group % local, 0)  # once for each worker
            given = tf.where(counts, given, tf.zeros_like(given))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, given)

        signature = [tf.TensorSpec([None], tf.float64)]
        # Not kept by a cycle: the function holds the strategy weakly.
        weak = weakref.proxy(strategy)
        _sums[strategy] = tf.function(lambda given: weak.run(one, (given,)), signature)
    found = _sums[strategy](tf.constant(values))
    return np.asarray(strategy.experimental_local_results(found)[0])
