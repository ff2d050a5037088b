"""Helpers for training steps that several devices share under `tf.distribute`."""

import keras

from keras_det.types import Tensor


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
