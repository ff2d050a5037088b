"""The input of a detector that is trained on several devices, and what its steps return."""

import contextlib
from typing import Any

import keras

from keras_det.data.pipeline import Pipeline
from keras_det.data.pipeline_arguments import check_divisible
from keras_det.errors import DataError
from keras_det.layers.replicas import strategy_of, worker_of
from keras_det.words import counted


def scope_of(model: keras.Model) -> contextlib.AbstractContextManager:
    """A context in which variables live on all devices that a model is trained on."""
    strategy = strategy_of(model)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def check_shared(devices: int, accumulate: int, scaled: bool) -> None:
    """Raises a DataError for a step that several devices cannot share under `tf.distribute`.

    Args:
        devices: number of devices that share the step.
        accumulate: steps per update.
        scaled: bool. Whether Keras scales the loss, as it does for mixed_float16.
    """
    if devices > 1 and accumulate > 1:
        raise DataError(
            "Gradients can be accumulated on one device only. Received: "
            f"{counted(accumulate, 'step')} per update on {counted(devices, 'device')}. Choose a "
            "larger batch, which the devices share, and leave out accumulate (--accumulate)."
        )
    if devices > 1 and scaled:
        raise DataError(
            "Training in mixed_float16 works on one device only: on several, Keras' loss scaling "
            f"lets weights become NaN. Received: mixed_float16 on {counted(devices, 'device')}. "
            "Choose mixed_bfloat16 (--dtype mixed_bfloat16)."
        )


def check_optimizer(optimizer: Any, model: keras.Model, scaled: bool) -> None:
    """Raises a ValueError for an optimizer that cannot train a model on its devices.

    Args:
        optimizer: as in `compile`.
        model: a detector.
        scaled: as of `check_shared`.
    """
    strategy = strategy_of(model)
    if strategy is None:
        return
    accumulate = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    scaled = scaled or isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    check_shared(strategy.num_replicas_in_sync, accumulate, scaled)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    import tensorflow as tf

    if not isinstance(optimizer.variables[0].value, tf.distribute.DistributedValues):
        raise ValueError(
            "The optimizer must be made in the scope of the strategy that the model was built "
            f"under. Received: a {type(optimizer).__name__} made outside of it. Make it inside "
            "`with strategy.scope():`."
        )


def training_stream(pipeline: Pipeline, model: keras.Model) -> Any:
    """The endless training stream of a pipeline, for the devices that a model is trained on.

    Each of several workers reads its part of every batch, and each of its devices gets a part of
    that. The parts of a step together are the batch that a single device would get.

    Args:
        pipeline: for training, already moved to where the stream starts.
        model: a detector.

    Returns:
        `tf.data.Dataset`, or a `tf.distribute.DistributedDataset` under a strategy.

    Raises:
        ValueError: the batch size is not a multiple of the number of devices.
    """
    strategy = strategy_of(model)
    replicas = _devices(strategy)
    check_divisible(pipeline.batch_size, replicas, "device")
    if strategy is None:
        return pipeline.as_tf_dataset(training=True)

    def part(context: Any) -> Any:
        number = context.num_input_pipelines
        own = pipeline.part(context.input_pipeline_id, number) if number > 1 else pipeline
        # One after the other, the devices of a worker take the next part of its batch.
        return own.as_tf_dataset(training=True).rebatch(pipeline.batch_size // replicas)

    return strategy.distribute_datasets_from_function(part)


def _devices(strategy: Any) -> int:
    """Number of devices that share a step: those of a strategy, or of Keras' distribution."""
    if strategy is not None:
        return strategy.num_replicas_in_sync
    distribution = keras.distribution.distribution()
    if isinstance(distribution, keras.distribution.DataParallel):
        return distribution.device_mesh.devices.size
    return 1


def one_pass(pipeline: Pipeline, model: keras.Model) -> Any:
    """One pass of a pipeline as a `tf.data.Dataset`, for the devices that a model is trained on.

    Every worker reads all images and keeps its part of each batch. The last batch may be smaller;
    TensorFlow divides it too.
    """
    data, strategy = pipeline.as_tf_dataset(training=False), strategy_of(model)
    if strategy is None:
        return data
    import tensorflow as tf

    options, policies = tf.data.Options(), tf.data.experimental.AutoShardPolicy
    policy = policies.DATA if worker_of(strategy)[1] > 1 else policies.OFF
    options.experimental_distribute.auto_shard_policy = policy
    return data.with_options(options)


def logs_of_step(logs: Any, model: keras.Model) -> Any:
    """The logs of a step in a form that Keras can reduce: with an axis under several workers.

    There, Keras takes the mean over the first axis of every value (Keras issue 20585).
    """
    if worker_of(strategy_of(model))[1] == 1:
        return logs
    return keras.tree.map_structure(lambda value: keras.ops.reshape(value, (1,)), logs)
