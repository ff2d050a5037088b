"""One training step on several devices under `tf.distribute`: what must be shared between them."""

import keras


def num_replicas() -> int:
    """Devices that share the step being traced; 1 outside `tf.distribute` and on other backends."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return 1
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value):
    """The sum of a scalar over the devices; the value itself on one.

    No gradient is meant to flow through it: it is for counts.
    """
    if num_replicas() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
