"""Images of a request in TensorFlow's graph: decoded, resized, and the way back."""

from typing import Any

import numpy as np

from keras_det.data.decoding import JPEG
from keras_det.data.resize import tf_resize_image
from keras_det.models import Detector


def resize(model: Detector, image: Any) -> tuple[Any, Any, Any]:
    """The network's input, the way back (scale x, y, offset x, y), and (height, width)."""
    import tensorflow as tf

    mode, size = model.resize_policy["mode"], model.image_size
    pixels, back = tf_resize_image(image, mode, size, model.normalization.fill_color)
    return pixels, tf.stack(back), tf.shape(image)[:2]


def resized_signature(model: Detector) -> tuple:
    """Types and shapes of what `resize` returns."""
    import tensorflow as tf

    size = (*model.image_size, 3)
    specs = ((size, tf.uint8), ((4,), tf.float32), ((2,), tf.int32))
    return tuple(tf.TensorSpec(shape, kind) for shape, kind in specs)


def read_rows(model: Detector, image_bytes: Any) -> tuple[Any, Any, Any, Any]:
    """Decodes and resizes every row; a row that does not decode becomes an empty image.

    An error inside `map_fn` fails the whole batch. `tf.data` is the one place in a graph that can
    catch it: each row is a data set of one element, which may drop out for a substitute.

    Returns:
        `(pixels, back, sizes, valid)`: as of `resize`, and bool `(batch,)`.
    """
    import tensorflow as tf

    def attempt(contents, decode):
        image = tf.data.Dataset.from_tensors(contents)
        read = image.map(lambda contents: (*resize(model, decode(contents)), tf.constant(True)))
        return read.ignore_errors()

    fill = np.full((*model.image_size, 3), model.normalization.fill_color, np.uint8)
    substitute = (fill, np.array([1, 1, 0, 0], np.float32), np.array([1, 1], np.int32), False)

    def row(contents):
        either = attempt(contents, decode_image)
        either = either.concatenate(attempt(contents, decode_transparent_image))
        either = either.concatenate(tf.data.Dataset.from_tensors(substitute))
        return either.take(1).get_single_element()

    signature = (*resized_signature(model), tf.TensorSpec((), tf.bool))
    return tf.map_fn(row, image_bytes, fn_output_signature=signature)


def decode_image(contents: Any) -> Any:
    """uint8 `(height, width, 3)` RGB of a JPEG, PNG, BMP, GIF (its first frame) or opaque WebP."""
    import tensorflow as tf

    def other():
        return tf.io.decode_image(contents, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(contents), lambda: tf.io.decode_jpeg(contents, **JPEG), other)
    return tf.ensure_shape(image, (None, None, 3))


def decode_transparent_image(contents: Any) -> Any:
    """The same of a WebP with transparency, which is dropped; of an animation the first frame.

    TensorFlow decodes a WebP only with the number of channels that the file has. Never ask it for
    0, "as many as there are": on an animation without transparency that writes past the end of
    its buffer (TensorFlow 2.21.0), which takes the server down. With 4 it refuses such a file.
    """
    import tensorflow as tf

    image = tf.io.decode_image(contents, channels=4, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 4))[..., :3]


def to_original(boxes: Any, back: Any, sizes: Any) -> Any:
    """Boxes `(batch, n, 4)` of the network's input in pixels of the original images, clipped."""
    import tensorflow as tf

    scale = tf.tile(back[:, None, :2], [1, 1, 2])
    offset = tf.tile(back[:, None, 2:], [1, 1, 2])
    limits = tf.tile(tf.cast(sizes[:, None, ::-1], tf.float32), [1, 1, 2])
    return tf.clip_by_value(boxes * scale + offset, 0.0, limits)
