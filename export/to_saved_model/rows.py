"""Decodes and resizes the images of a request in a TensorFlow graph, and maps boxes back."""

from collections.abc import Callable

import numpy as np

from keras_det.data.decoding import decode_whole_jpeg
from keras_det.data.header_graph import within_limit
from keras_det.data.orientation_graph import exif_orientation, turned
from keras_det.data.pixel_limit import MAX_PIXELS
from keras_det.data.resize import tf_resize_image
from keras_det.models import Detector
from keras_det.types import TFTensor


def resize(model: Detector, image: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
    """Resizes an image to the network's input.

    Returns:
        `(pixels, back, size)`: uint8 `(height, width, 3)`; (scale x, scale y, offset x, offset y)
        with original = input * scale + offset; and (height, width) of the image.
    """
    import tensorflow as tf

    mode, size = model.resize_policy["mode"], model.image_size
    pixels, back = tf_resize_image(image, mode, size, model.normalization.fill_color)
    return pixels, tf.stack(back), tf.shape(image)[:2]


def resized_signature(model: Detector) -> tuple:
    """Returns types and shapes of the result of `resize`."""
    import tensorflow as tf

    size = (*model.image_size, 3)
    specs = ((size, tf.uint8), ((4,), tf.float32), ((2,), tf.int32))
    return tuple(tf.TensorSpec(shape, kind) for shape, kind in specs)


def read_rows(
    model: Detector, image_bytes: TFTensor, max_pixels: int
) -> tuple[TFTensor, TFTensor, TFTensor, TFTensor]:
    """Decodes and resizes every row. A row that is not decoded becomes an empty image.

    A row that declares more than `max_pixels` is not decoded.

    An error inside `map_fn` would fail the whole batch. In a graph only `tf.data` can catch it:
    each row is a data set of one element, and a substitute follows it.

    Returns:
        `(pixels, back, sizes, valid)`: the results of `resize` as batches, and bool `(batch,)`.
    """
    import tensorflow as tf

    def attempt(contents: TFTensor, decode: Callable[[TFTensor], TFTensor]) -> TFTensor:
        def read(contents: TFTensor) -> tuple[TFTensor, ...]:
            return (*resize(model, upright(contents, decode, max_pixels)), tf.constant(True))

        return tf.data.Dataset.from_tensors(contents).map(read).ignore_errors()

    fill = np.full((*model.image_size, 3), model.normalization.fill_color, np.uint8)
    substitute = (fill, np.array([1, 1, 0, 0], np.float32), np.array([1, 1], np.int32), False)

    def row(contents: TFTensor) -> TFTensor:
        either = attempt(contents, decode_image)
        either = either.concatenate(attempt(contents, decode_transparent_image))
        either = either.concatenate(tf.data.Dataset.from_tensors(substitute))
        return either.take(1).get_single_element()

    signature = (*resized_signature(model), tf.TensorSpec((), tf.bool))
    return tf.map_fn(row, image_bytes, fn_output_signature=signature)


def upright(
    contents: TFTensor, decode: Callable[[TFTensor], TFTensor], max_pixels: int = MAX_PIXELS
) -> TFTensor:
    """Decodes an image and turns it by its EXIF orientation, as `read_image` does.

    An image that would have too many pixels is refused before it is decoded.
    """
    import tensorflow as tf

    pixels = decode(within_limit(contents, max_pixels))
    return tf.ensure_shape(turned(pixels, exif_orientation(contents)), (None, None, 3))


def decode_image(contents: TFTensor) -> TFTensor:
    """Decodes a JPEG, PNG, BMP, GIF (its first frame) or opaque WebP to uint8 `(h, w, 3)` RGB."""
    import tensorflow as tf

    def other() -> TFTensor:
        return tf.io.decode_image(contents, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(contents), lambda: decode_whole_jpeg(contents), other)
    return tf.ensure_shape(image, (None, None, 3))


def decode_transparent_image(contents: TFTensor) -> TFTensor:
    """Decodes a WebP with transparency, without the transparency; of an animation the first frame.

    TensorFlow decodes a WebP only with the number of channels of the file. Never use channels=0,
    "as many as the file has". For an animation without transparency TensorFlow 2.21.0 then writes
    past the end of its buffer, and the server crashes. With 4 it refuses such a file.
    """
    import tensorflow as tf

    image = tf.io.decode_image(contents, channels=4, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 4))[..., :3]


def to_original(boxes: TFTensor, back: TFTensor, sizes: TFTensor) -> TFTensor:
    """Converts boxes `(batch, n, 4)` from the network's input to the original images, and clips.

    Args:
        boxes: xyxy in pixels of the network's input.
        back, sizes: of `read_rows`.
    """
    import tensorflow as tf

    scale = tf.tile(back[:, None, :2], [1, 1, 2])
    offset = tf.tile(back[:, None, 2:], [1, 1, 2])
    limits = tf.tile(tf.cast(sizes[:, None, ::-1], tf.float32), [1, 1, 2])
    return tf.clip_by_value(boxes * scale + offset, 0.0, limits)
