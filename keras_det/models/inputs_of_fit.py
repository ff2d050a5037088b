"""Checks of the numbers and images that `compile`, `fit`, `evaluate` and `predict` are given."""

from typing import Any

import keras
import numpy as np

from keras_det.data.pipeline import Pipeline
from keras_det.data.pipeline_arguments import whole_number
from keras_det.models.arguments_of_fit import length_of
from keras_det.words import counted


def check_compiling(optimizer: Any, steps_per_execution: Any) -> None:
    """Raises an error for `compile` without an optimizer or with a wrong number of steps.

    Raises:
        TypeError: the optimizer is None, or the number of steps is not whole.
        ValueError: the number of steps is below 1.
    """
    if optimizer is None:
        raise TypeError(
            "`optimizer` must be a Keras optimizer or the name of one. Received: None. Leave it "
            "out for AdamW."
        )
    if not isinstance(steps_per_execution, str) or steps_per_execution != "auto":
        whole_number("steps_per_execution", steps_per_execution)


def check_numbers(**numbers: Any) -> None:
    """Raises an error unless numbers of images, batches and epochs are whole, or None.

    Args:
        **numbers: names and values. Epochs may be 0, everything else is at least 1.

    Raises:
        TypeError: a number is not whole.
        ValueError: a number is too small.
    """
    for name, value in numbers.items():
        if value is not None:
            whole_number(name, value, 0 if name in ("epochs", "initial_epoch") else 1)


def check_validating(split: Any, data: Any, freq: Any, **numbers: Any) -> None:
    """Raises an error for arguments of validation that exclude each other or do nothing.

    Args:
        split, data, freq: `validation_split`, `validation_data` and `validation_freq` of `fit`.
        **numbers: `validation_steps` and `validation_batch_size`.

    Raises:
        TypeError: a number is not whole.
        ValueError: both a split and data are given, or neither and another argument.
    """
    check_numbers(**numbers)
    if not isinstance(freq, (list, tuple)):
        check_numbers(validation_freq=freq)
    if split and data is not None:
        raise ValueError(
            "`validation_split` and `validation_data` must not be given together. Received: "
            f"validation_split={split!r} and validation_data of type {type(data).__name__}. Leave "
            "out one of them."
        )
    if split or data is not None:
        return
    given = {**numbers, "validation_freq": None if freq == 1 else freq}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` needs validation data. Received: {name}={value!r} without them. Give "
                "`validation_data`, or for arrays `validation_split`, or leave it out."
            )


def alone(x: Any) -> Any:
    """The array of a list that holds only one, as Keras takes it; anything else as it is."""
    is_list = isinstance(x, (list, tuple)) and len(x) == 1
    return x[0] if is_list and hasattr(x[0], "shape") else x


def check_images(name: str, x: Any, model: keras.Model) -> None:
    """Raises a ValueError unless images have the size of the network's input.

    Of a pipeline, size and resize mode are compared. Of a `tf.data.Dataset`, the dimensions that
    are known. The batches of generators are compared when they arrive, see `check_batch`.

    Args:
        name: name of the argument, for messages.
        x: the data.
        model: a detector.
    """
    if x is None:
        return
    if isinstance(x, Pipeline):
        _check_pipeline(name, x, model.resize_policy)
    elif hasattr(x, "element_spec"):
        check_batch(name, x.element_spec, model)
        if length_of(x) == 0:
            raise ValueError(
                f"`{name}` must have at least one batch. Received: an empty tf.data.Dataset. Check "
                "its filters, and `drop_remainder` of `.batch`."
            )
    elif isinstance(x, (list, tuple, dict)):
        arrays = keras.tree.flatten(x)
        if len(arrays) != 1:
            raise ValueError(
                f"`{name}` must be one array of images. Received: a {type(x).__name__} of "
                f"{counted(len(arrays), 'value')}. Put images of equal size together with np.stack."
            )
        check_images(name, arrays[0], model)
    elif hasattr(x, "shape") and hasattr(x, "dtype"):
        check_batch(name, x, model)
        if not x.shape[0]:
            raise ValueError(
                f"`{name}` must hold at least one image. Received: shape {tuple(x.shape)}. Check "
                "how the images are loaded."
            )


def _check_pipeline(name: str, pipeline: Pipeline, policy: dict[str, Any]) -> None:
    expected = policy["mode"], tuple(policy["size"])
    received = pipeline.mode, tuple(pipeline.size)
    if received != expected:
        raise ValueError(
            "A pipeline must resize images as the model does. Received: "
            f"{name} with mode {received[0]!r} and size {received[1]}, but a model with mode "
            f"{expected[0]!r} and size {expected[1]}. Give Pipeline the model instead of a size: "
            "Pipeline(dataset, model, batch_size=8)."
        )


def check_batch(name: str, batch: Any, model: keras.Model) -> None:
    """Raises a ValueError unless the images of a batch have the network's size, in a graph too.

    Args:
        name: name of the argument, for messages.
        batch: images, or a tuple that begins with them; arrays, tensors or their specs.
        model: a detector; dimensions that its input leaves open may have any size.
    """
    while isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    if isinstance(batch, dict) and len(batch) == 1:
        (batch,) = batch.values()
    shape = getattr(batch, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return
    received, expected = tuple(shape), tuple(model.inputs[0].shape)
    fits = len(received) == len(expected) and all(
        have is None or want is None or have == want
        for have, want in zip(received, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if side is None else str(side) for side in expected[1:])
        raise ValueError(
            f"`{name}` must hold RGB images of the network's size, shape (batch, {wanted}). "
            f"Received: shape {received}. Resize them, for example with "
            "keras_det.data.Pipeline(dataset, model), or build the model with their image_size. "
            "Give grey images three equal channels: np.repeat(images, 3, axis=-1)."
        )


def as_array(sample_weight: Any) -> Any:
    """Weights in a list as an array: Keras would take a list for several outputs."""
    is_list = isinstance(sample_weight, list | tuple)
    return np.asarray(sample_weight, "float32") if is_list else sample_weight


def can_shuffle(x: Any) -> bool:
    """Whether Keras can shuffle the data: arrays, or the batches of a finite PyDataset."""
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches is not None
    return hasattr(x, "shape")


def start(
    pipeline: Pipeline, initial_epoch: int, steps_per_epoch: int, steps_per_execution: int
) -> None:
    """Moves the training stream of a pipeline to the beginning of `initial_epoch`.

    Raises:
        ValueError: an epoch does not begin where one of the pipeline does.
    """
    if steps_per_epoch % steps_per_execution:
        raise ValueError(
            "`steps_per_epoch` must be a multiple of compile's `steps_per_execution`: otherwise "
            "Keras takes more batches than an epoch has. Received: steps_per_epoch="
            f"{steps_per_epoch}, steps_per_execution={steps_per_execution}. Give `fit` such a "
            "steps_per_epoch, or compile with steps_per_execution=1."
        )
    epoch, rest = divmod(initial_epoch * steps_per_epoch, pipeline.steps_per_epoch)
    if rest:
        raise ValueError(
            "Continued training must begin at the start of an epoch of the pipeline. Received: "
            f"initial_epoch={initial_epoch}, steps_per_epoch={steps_per_epoch}, and a pipeline of "
            f"{counted(pipeline.steps_per_epoch, 'step')}. Leave out steps_per_epoch."
        )
    pipeline.start(epoch)
