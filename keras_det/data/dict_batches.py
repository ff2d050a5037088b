"""Batches for `fit` from a stream of dictionaries in the form of keras_cv and KerasHub."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.data.arrays import box_format_of, fields_of
from keras_det.data.box_formats import edges
from keras_det.data.pipeline_arguments import whole_number
from keras_det.errors import DataError
from keras_det.names import PADDING_LABEL
from keras_det.types import TFTensor

if TYPE_CHECKING:
    import tensorflow as tf

DENSE = (
    "`stream` must give batches of images of one size, shape (batch, height, width, 3), with a "
    "known height and width"
)
TOO_MANY = (
    "`max_boxes` must be at least the number of objects in an image. Received: max_boxes={limit} "
    "and an image with more objects. Give to_batches a larger max_boxes."
)


def to_batches(
    stream: "tf.data.Dataset", *, bounding_box_format: str, max_boxes: int = 100
) -> "tf.data.Dataset":
    """Turns batches of dictionaries into the batches that `fit` and `evaluate` take.

    The dictionaries have the form of keras_cv and KerasHub, `{"images": …, "bounding_boxes":
    {"boxes": …, "classes": …}}`, or the flat form `{"images": …, "boxes": …, "labels": …}`.
    Boxes and classes are ragged, or padded with class -1. Other entries are left out.

        batches = to_batches(stream.ragged_batch(8), bounding_box_format="xywh")
        model.fit(batches)

    Images are not resized: they must have the size of the network's input. For images of several
    sizes, make a data set with `keras_det.data.from_arrays` and a `Pipeline` of it.

    Args:
        stream: `tf.data.Dataset` of batches: `images` `(batch, height, width, 3)`, RGB in 0..255;
            `boxes` `(batch, objects, 4)`; `classes` `(batch, objects)` from 0.
        bounding_box_format: the format of the boxes, by Keras' name, such as "xyxy" or
            "rel_center_xywh".
        max_boxes: int, slots per image. An image with more objects raises a TensorFlow error, and
            in `fit` a ValueError.

    Returns:
        `tf.data.Dataset` of `(images, {"boxes", "labels"})`: images as they were; boxes float32
        `(batch, max_boxes, 4)`, x1, y1, x2, y2 in pixels; labels int32 `(batch, max_boxes)`, -1 in
        empty slots.

    Raises:
        DataError: the stream has another form, or does not give batches of images of one size.
        TypeError: `stream` is not a `tf.data.Dataset`, or `max_boxes` is not a whole number.
        ValueError: `bounding_box_format` is not a box format, or `max_boxes` is below 1.
    """
    form, limit = box_format_of(bounding_box_format), whole_number("max_boxes", max_boxes)
    if not hasattr(stream, "element_spec"):
        raise TypeError(
            "`stream` must be a tf.data.Dataset of batches. Received: "
            f"{type(stream).__name__}. For lists and arrays see keras_det.data.from_arrays."
        )
    images, _, _ = fields_of(stream.element_spec, "an element of the stream")
    size = _size_of(images)

    def convert(item: Any) -> tuple[TFTensor, dict[str, TFTensor]]:
        pixels, boxes, labels = fields_of(item, "an element of the stream")
        return pixels, _targets(boxes, labels, form, size, limit)

    return stream.map(convert)


def _size_of(images: Any) -> tuple[int, int]:
    """(height, width) of a spec of batches of images; DataError if it gives no single size."""
    shape = getattr(images, "shape", None)
    dims = [] if getattr(shape, "rank", None) is None else list(images.shape)
    ragged = hasattr(images, "ragged_rank")
    if len(dims) == 4 and not ragged and dims[1] and dims[2]:
        return dims[1], dims[2]
    if len(dims) == 3 and not ragged:
        advice = "Batch the stream: stream.ragged_batch(8)."
    else:
        advice = (
            "Resize the images before they are batched, or make a data set with "
            "keras_det.data.from_arrays, whose Pipeline resizes them."
        )
    raise DataError(f"{DENSE}. Received: images of shape {tuple(dims)}. {advice}")


def _targets(
    boxes: Any, labels: Any, form: str, size: tuple[int, int], limit: int
) -> dict[str, TFTensor]:
    """The targets of a batch, from ragged or padded boxes and labels."""
    import tensorflow as tf

    boxes = tf.cast(_dense(boxes, 0), "float64")
    labels = tf.cast(_dense(labels, PADDING_LABEL), "int32")
    tf.debugging.assert_less(labels[:, limit:], 0, TOO_MANY.format(limit=limit))
    missing = tf.maximum(limit - tf.shape(labels)[1], 0)
    rows = [[0, 0], [0, missing]]
    labels = tf.pad(labels[:, :limit], rows, constant_values=PADDING_LABEL)
    boxes = tf.pad(boxes[:, :limit], [*rows, [0, 0]])
    (x1, x2, _), (y1, y2, _) = edges(tf.reshape(boxes, (-1, 4)), form, np.array([size]))
    corners = tf.reshape(tf.stack([x1, y1, x2, y2], axis=-1), tf.shape(boxes))
    corners = tf.where(labels[..., None] == PADDING_LABEL, 0.0, tf.cast(corners, "float32"))
    return {
        "boxes": tf.ensure_shape(corners, (None, limit, 4)),
        "labels": tf.ensure_shape(labels, (None, limit)),
    }


def _dense(value: Any, fill: int) -> TFTensor:
    """A ragged tensor as a padded one; a padded one as it is."""
    import tensorflow as tf

    return value.to_tensor(fill) if isinstance(value, tf.RaggedTensor) else value
