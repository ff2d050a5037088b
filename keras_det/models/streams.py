"""Checks of the values in a stream of batches, which are seen only when the batches arrive."""

import contextlib
import re
import types
from collections.abc import Generator, Iterator
from typing import Any

import keras
import numpy as np

from keras_det.data.pipeline import Pipeline
from keras_det.models.arguments_of_fit import WEIGHTS
from keras_det.types import TFTensor

LABELS = "`labels` must lie in 0..{last}, or be -1 in empty slots"
LABEL_ADVICE = (
    "The first class is 0. COCO category ids start at 1 and skip numbers: map them to "
    "0..num_classes-1, as keras_det.data.load does."
)
WEIGHT_ADVICE = "Use 0 to ignore an image."
# How a message looks inside an error of TensorFlow.
MESSAGE = re.compile(
    r"`(?:labels|sample_weight|max_boxes)` must .*?Received: .*?"
    r"(?:data\.load does|ignore an image|a larger max_boxes)\."
)


def checked_stream(x: Any, num_classes: int) -> Any:
    """The same stream, with a check of the labels and weights of every batch.

    TensorFlow on a GPU, and JAX, would train with a label that is no class and say nothing.

    Args:
        x: the data of `fit` or `evaluate`. A `tf.data.Dataset`, a generator and a
            `keras.utils.PyDataset` are checked, anything else is returned as it is.
        num_classes: number of classes of the model.

    Returns:
        A stream of the same batches. At a wrong value it raises a ValueError, or an error of
        TensorFlow that holds the message; see `own_errors`.
    """
    if isinstance(x, types.GeneratorType):
        return _checked_batches(x, num_classes)
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedPyDataset(x, num_classes)
    spec = getattr(x, "element_spec", None)
    if isinstance(x, Pipeline) or not isinstance(spec, tuple) or not hasattr(x, "map"):
        return x
    checks = _numeric(spec[1]["labels"]), len(spec) == 3 and _numeric(spec[2])

    def check(*batch: Any) -> tuple[Any, ...]:
        if checks[0]:
            _assert_labels(batch[1]["labels"], num_classes)
        if checks[1]:
            _assert_weights(batch[2])
        return batch

    return x.map(check) if any(checks) else x


def _numeric(spec: Any) -> bool:
    dense = type(spec).__name__ == "TensorSpec"
    return dense and (spec.dtype.is_integer or spec.dtype.is_floating)


def _assert_labels(labels: TFTensor, num_classes: int) -> None:
    import tensorflow as tf

    labels = tf.cast(labels, "float64")
    right = (labels >= -1) & (labels < num_classes)
    _assert(right, labels, LABELS.format(last=num_classes - 1), LABEL_ADVICE)


def _assert_weights(weights: TFTensor) -> None:
    import tensorflow as tf

    weights = tf.cast(weights, "float64")
    _assert((weights >= 0) & (weights < np.inf), weights, WEIGHTS, WEIGHT_ADVICE)


def _assert(right: TFTensor, values: TFTensor, rule: str, advice: str) -> None:
    """Stops the graph with a message that holds the first value that is not right."""
    import tensorflow as tf

    def fail() -> TFTensor:
        first = tf.where(~right)[0]
        value = tf.strings.as_string(tf.gather_nd(values, first), shortest=True)
        place = tf.strings.as_string(first[0])
        parts = [rule, ". Received: ", value, " at index ", place, " of a batch. ", advice]
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.strings.join(parts)])]):
            return tf.constant(False)

    tf.cond(tf.reduce_all(right), lambda: tf.constant(True), fail)


def _checked_batches(batches: Iterator[Any], num_classes: int) -> Generator[Any]:
    for batch in batches:
        check_values(batch, num_classes)
        yield batch


class _CheckedPyDataset(keras.utils.PyDataset):
    def __init__(self, data: keras.utils.PyDataset, num_classes: int) -> None:
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self.data, self.num_classes = data, num_classes

    def __getitem__(self, index: int) -> Any:
        batch = self.data[index]
        check_values(batch, self.num_classes)
        return batch

    @property
    def num_batches(self) -> int | None:
        return self.data.num_batches

    def on_epoch_begin(self) -> None:
        self.data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.data.on_epoch_end()


def check_values(batch: Any, num_classes: int) -> None:
    """Raises a ValueError for a wrong label or weight in the NumPy arrays of a batch.

    A batch of another form is left to the checks of the form.
    """
    targets = batch[1] if isinstance(batch, (tuple, list)) and len(batch) in (2, 3) else None
    labels = targets.get("labels") if isinstance(targets, dict) else None
    weights = batch[2] if labels is not None and len(batch) == 3 else None
    rule = LABELS.format(last=num_classes - 1)
    for values, limit, least, (must, advice) in (
        (labels, num_classes, -1, (rule, LABEL_ADVICE)),
        (weights, np.inf, 0, (WEIGHTS, WEIGHT_ADVICE)),
    ):
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iufb":
            continue
        wrong = np.argwhere(~((values >= least) & (values < limit)))
        if len(wrong):
            value, place = values[tuple(wrong[0])], wrong[0][0] if values.ndim else 0
            raise ValueError(f"{must}. Received: {value} at index {place} of a batch. {advice}")


@contextlib.contextmanager
def own_errors(*pipelines: Pipeline) -> Iterator[None]:
    """Raises errors in the data as they are; TensorFlow hides them in an error of its own."""
    try:
        yield
    except Exception as error:
        for pipeline in pipelines:
            pipeline.check()
        if isinstance(error, ValueError):
            raise
        found = MESSAGE.search(str(error))
        if found:
            raise ValueError(found.group()) from error
        if WEIGHTS in str(error):
            raise ValueError(
                f"{WEIGHTS}. Received: a negative weight, one that is not finite, or a number of "
                f"weights that is not that of the images. {WEIGHT_ADVICE}"
            ) from error
        raise
