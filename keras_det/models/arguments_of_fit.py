"""Checks of the arguments of `compile`, `fit`, `evaluate` and `predict`."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_det.boxes import check_ground_truth
from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.errors import suggest
from keras_det.types import Tensor
from keras_det.words import counted

BATCH = (
    "A batch must be (images, targets) or (images, targets, sample_weight): images (batch, height, "
    "width, 3), RGB in 0..255; targets a dict of `boxes` (batch, max_boxes, 4), x1, y1, x2, y2 in "
    "pixels of the images, and `labels` (batch, max_boxes), 0-based, -1 in empty slots"
)
WEIGHTS = "`sample_weight` must hold one finite number of at least 0 for each image, shape (batch,)"
# Arguments of `compile` that Keras accepts but a detector does not use, and what to use instead.
NOT_COMPILED = {
    "loss": "Give your own losses to the constructor: `class_loss`, and `box_loss` if the model "
    "has anchors.",
    "loss_weights": "Give the weights to the constructor: `box_loss_weight` for a model with "
    "anchors; `pull_weight`, `push_weight`, `offset_weight` for CornerNet.",
    "metrics": "For average precision call keras_det.training.evaluate(model, dataset), or give "
    "`fit` the callback keras_det.training.EvaluateAP(dataset).",
}
NOT_COMPILED["weighted_metrics"] = NOT_COMPILED["metrics"]
CLASS_WEIGHT = (
    "`class_weight` must be left out: an image has objects of several classes. Received: "
    "class_weight={value!r}. Give the model a class_loss with class weights: "
    "keras_det.losses.SparseSigmoidFocalLoss(class_weights=[…]), one for each class."
)


def check_compile(arguments: dict[str, Any]) -> None:
    """Raises a ValueError if `compile` got a loss, loss weights or metrics."""
    for name, advice in NOT_COMPILED.items():
        value = arguments.get(name)
        if value is not None and not (isinstance(value, (list, tuple, dict)) and not value):
            raise ValueError(
                f"`{name}` must be left out of `compile`: a detector computes its own losses. "
                f"Received: {name}={value!r}. {advice}"
            )


def check_data(name: str, x: Any, y: Any, sample_weight: Any, num_classes: int) -> None:
    """Checks arrays, and the form of the batches of a `tf.data.Dataset`.

    Args:
        name: name of the argument, for messages.
        x, y, sample_weight: as in `fit` and `evaluate`.
        num_classes: number of classes of the model.

    Raises:
        ValueError: the data have another form, or the ground truth is wrong.
    """
    if isinstance(x, Pipeline):
        return
    if isinstance(x, Dataset):
        raise ValueError(
            f"A data set must be given as a pipeline, which makes batches of it. Received: {name} "
            "as a Dataset. Give keras_det.data.Pipeline(dataset, model, batch_size=8)."
        )
    if hasattr(x, "element_spec"):
        _check_spec(name, x.element_spec)
    elif isinstance(x, dict):
        raise ValueError(f"{BATCH}. Received: {name} as a dict of {sorted(x)}.{_conversion(x)}")
    elif _is_array(x):
        check_targets(y)
        _check_arrays(y, num_classes)
        if sample_weight is not None:
            check_weights(sample_weight, len(x))


def check_targets(targets: Any) -> None:
    """Raises a ValueError if the targets of a batch are not a dict of boxes and labels."""
    if isinstance(targets, dict) and {"boxes", "labels"} <= set(targets):
        return
    received = f"a dict of {sorted(targets)}" if isinstance(targets, dict) else _described(targets)
    raise ValueError(
        "The targets of a batch must be a dict with `boxes` and `labels`. "
        f"{BATCH}. Received: targets that are {received}.{_conversion(targets)} "
        "keras_det.data.Pipeline(dataset, model, batch_size) makes such batches."
    )


def _described(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def _conversion(value: Any) -> str:
    """How to convert targets from the form of keras_cv, KerasHub and torchvision."""
    if not isinstance(value, dict):
        return ""
    if "bounding_boxes" in value or "images" in value:
        return (
            " This is the form of keras_cv and KerasHub: keras_det.data.to_batches(stream, "
            "bounding_box_format=…) converts a tf.data.Dataset of such batches. Or make a data set "
            "of the dictionaries with keras_det.data.from_arrays, and a Pipeline of it, which also "
            "resizes the images to the model."
        )
    other = next((name for name in ("classes", "class_ids", "category_ids") if name in value), None)
    if other:
        return f" Rename `{other}` to `labels`; empty slots are -1, the first class is 0."
    return suggest("labels", value) or suggest("boxes", value)


def _check_spec(name: str, spec: Any) -> None:
    """Checks the `element_spec` of a `tf.data.Dataset`."""
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        received = f"a dict of {sorted(spec)}" if isinstance(spec, dict) else f"{spec}"
        raise ValueError(f"{BATCH}. Received: {name} of {received}.{_conversion(spec)}")
    check_targets(spec[1])
    if len(spec) == 3:
        rank = getattr(getattr(spec[2], "shape", None), "rank", 1)
        is_text = getattr(getattr(spec[2], "dtype", None), "name", "") == "string"
        if isinstance(spec[2], (dict, tuple, list)) or rank not in (None, 1) or is_text:
            raise ValueError(f"{WEIGHTS}. Received: {spec[2]}. Give one weight for each image.")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _check_arrays(targets: dict[str, Any], num_classes: int) -> None:
    """Checks the shapes and values of boxes and labels that are NumPy arrays."""
    labels = targets["labels"]
    if not isinstance(labels, np.ndarray):
        return
    if labels.ndim != 2 or np.shape(targets["boxes"]) != (*labels.shape, 4):
        raise ValueError(
            f"{BATCH}. Received: boxes of shape {np.shape(targets['boxes'])}, labels of shape "
            f"{labels.shape}. For images with fewer objects, fill the empty slots with label -1."
        )
    for i, (boxes, row) in enumerate(zip(targets["boxes"], labels, strict=True)):
        try:
            check_ground_truth(boxes, row, num_classes)
        except ValueError as error:
            raise ValueError(f"Ground truth of image {i}: {error}") from None


def check_weights(sample_weight: Any, num_images: int) -> None:
    """Raises a ValueError if weights are not one finite number >= 0 for each image."""
    try:
        numeric = np.asarray(sample_weight).dtype.kind not in "OSUcMm"
        values = np.asarray(sample_weight, "float64") if numeric else np.empty((0, 0))
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.shape != (num_images,):
        shape = values.shape if values.size else type(sample_weight).__name__
        raise ValueError(
            f"{WEIGHTS}. Received: {shape} for {counted(num_images, 'image')}. For weights of "
            "classes, see keras_det.losses.SparseSigmoidFocalLoss(class_weights=[…])."
        )
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{WEIGHTS}. Received: {values[first]} for image {first}. Use 0 to ignore an image."
        )


def weights_of_batch(sample_weight: Tensor | dict[str, Tensor], labels: Tensor) -> Tensor:
    """The weights of a batch as `(batch,)` float32, checked as far as possible in a graph.

    Args:
        sample_weight: `(batch,)`, or a dict with the keys of the targets: Keras passes such a dict
            if `sample_weight` was an array.
        labels: `(batch, max_boxes)`, the labels of the batch.

    Raises:
        ValueError: the weights have another shape, or are not numbers. Under TensorFlow, a negative
            weight, or another number of weights, raises TensorFlow's own error when the graph runs.
    """
    if isinstance(sample_weight, dict):
        sample_weight = sample_weight["labels"]
    weights = keras.ops.convert_to_tensor(sample_weight)
    dtype = keras.backend.standardize_dtype(weights.dtype)
    if dtype.startswith(("string", "complex")):
        raise ValueError(f"{WEIGHTS}. Received: weights of type {dtype}. Give floats.")
    weights = keras.ops.cast(weights, "float32")
    if len(weights.shape) == 2 and weights.shape[1] == 1:  # Keras adds an axis to some weights.
        weights = weights[:, 0]
    if len(weights.shape) != 1:
        raise ValueError(
            f"{WEIGHTS}. Received: shape {tuple(weights.shape)}. Give one weight for each image."
        )
    if keras.backend.backend() != "tensorflow":
        if weights.shape[0] != labels.shape[0]:
            raise ValueError(
                f"{WEIGHTS}. Received: weights of shape {weights.shape} for labels of "
                f"shape {labels.shape}. Give one weight for each image."
            )
        return weights
    import tensorflow as tf

    checks = [
        tf.debugging.assert_equal(tf.shape(weights)[0], tf.shape(labels)[0], WEIGHTS),
        tf.debugging.assert_non_negative(weights, WEIGHTS),
        tf.debugging.assert_less(weights, float("inf"), WEIGHTS),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(weights)


def check_stream(function: str, x: Any, given: dict[str, Any]) -> None:
    """Raises a ValueError for an argument that is for arrays only, if the data are a stream.

    Args:
        function: name of the method, for messages.
        x: the data.
        given: the arguments that are for arrays only, by name; None if they were not given.
    """
    if x is None or _is_array(x) or isinstance(x, (list, tuple, dict)):
        return
    own = isinstance(x, Pipeline)
    places = {
        "y": "The stream itself yields the targets.",
        "batch_size": "Pipeline(…, batch_size=…) sets it."
        if own
        else "The stream itself yields whole batches.",
        "shuffle": "`fit` shuffles a pipeline in every epoch."
        if own
        else "Shuffle the stream itself.",
        "sample_weight": "Pipeline(…, sample_weight=…) takes one weight for each image."
        if own
        else "Yield (images, targets, sample_weight).",
        "validation_split": "Load a part of the data set as validation_data.",
        "validation_batch_size": "It is for arrays: the validation stream has its own batch size.",
    }
    for name, value in given.items():
        # Keras shuffles the batches of a PyDataset.
        obeyed = name == "shuffle" and isinstance(x, keras.utils.PyDataset)
        if value is not None and not obeyed:
            raise ValueError(
                f"`{name}` must be left out of `{function}` if the data are a stream of batches "
                f"({type(x).__name__}). Received: {name}={_short(value)}. {places[name]}"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{type(value).__name__} of {getattr(value, 'shape', '')}"


def check_length(x: Any, steps_per_epoch: int | None, epochs: int) -> None:
    """Raises a ValueError if a stream certainly ends before the training does.

    That is a `tf.data.Dataset` of known length that ends in the middle of an epoch, or a generator
    that several epochs would each have to exhaust.

    Args:
        x: the data.
        steps_per_epoch: batches per epoch; None for a whole pass.
        epochs: number of epochs to train.
    """
    if not steps_per_epoch and epochs > 1 and isinstance(x, Iterator):
        raise ValueError(
            "A generator yields its batches only once, so without steps_per_epoch it lasts for "
            f"one epoch only. Received: a generator, epochs={epochs}, no steps_per_epoch. Give "
            "`fit` steps_per_epoch and an endless generator, or a tf.data.Dataset, which starts "
            "again in every epoch."
        )
    if not steps_per_epoch:
        return
    length = length_of(x)
    # Where a stream ends together with an epoch, Keras starts it again.
    if 0 <= length < steps_per_epoch * epochs and length % steps_per_epoch:
        raise ValueError(
            "A stream must have steps_per_epoch batches for every epoch. Received: "
            f"{counted(length, 'batch', 'batches')} for {counted(epochs, 'epoch')} of "
            f"{steps_per_epoch}. Add `.repeat()`, or leave out steps_per_epoch: then an epoch is "
            "one pass."
        )


def length_of(x: Any) -> int:
    """Number of batches of a `tf.data.Dataset`, also a distributed one; negative if not known."""
    cardinality = getattr(x, "cardinality", -1)
    return int(cardinality() if callable(cardinality) else cardinality)


class WholeEpochs(keras.callbacks.Callback):
    """Raises a ValueError if the stream ends before the epoch; Keras would log losses of 0.

    Also if `evaluate`, `predict` or validation get no batch at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = self.tested = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        expected = self.params.get("steps") or 1
        if self.steps < expected and not self.model.stop_training:
            raise ValueError(
                f"The stream must not end before the epoch does. Received: {self.steps} of "
                f"{counted(expected, 'batch', 'batches')} in epoch {epoch + 1}. Add `.repeat()` to "
                "a tf.data.Dataset, use an endless generator, or train on a "
                "keras_det.data.Pipeline."
            )

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.tested = 0

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.tested += 1

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        _check_some(self.tested)

    on_predict_begin = on_test_begin
    on_predict_batch_end = on_test_batch_end
    on_predict_end = on_test_end


def _check_some(num_batches: int) -> None:
    if not num_batches:
        raise ValueError(
            "A stream must give at least one batch. Received: none. Make a new one if it is a "
            "generator that was used before; otherwise check its filters and `drop_remainder`."
        )


def with_whole_epochs(callbacks: Any, model: keras.Model) -> Any:
    """The callbacks of `fit`, `evaluate` or `predict`, with `WholeEpochs` before them.

    Args:
        callbacks: None, a callback, a list of them, or a `keras.callbacks.CallbackList`.
        model: the model that is trained.
    """
    first = WholeEpochs()
    if isinstance(callbacks, keras.callbacks.CallbackList):
        first.set_model(model)
        first.set_params(callbacks.params)
        callbacks.callbacks.insert(0, first)
        return callbacks
    others = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return [first, *(each for each in others if each is not None)]


def with_open_batch(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a step, with a batch size that TensorFlow reads from the batch itself.

    In a graph, TensorFlow takes a fixed batch size for a constant. Keras weights the losses in its
    logs by the batch size, and would then also count a batch that never came, at the end of a
    stream of unknown length: every logged loss would be n / (n + 1) of the true one.
    """
    if keras.backend.backend() != "tensorflow":
        return inputs
    import tensorflow as tf

    if tf.executing_eagerly():
        return inputs

    def opened(value: Any) -> Any:
        if not isinstance(value, tf.Tensor) or not value.shape.rank:
            return value
        shape = [None, *value.shape[1:]]
        return tf.raw_ops.PlaceholderWithDefault(input=value, shape=shape)

    return keras.tree.map_structure(opened, inputs)
