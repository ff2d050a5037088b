"""Decodes the window of an image that a plan keeps, inside `tf.data`."""

from collections.abc import Callable

import numpy as np

from keras_det.data.augment import JPEG_RATIOS, Plan, crop_window
from keras_det.data.image import read_image
from keras_det.types import TFTensor

# The exact inverse transform: equal to Pillow bit by bit, and no slower in libjpeg-turbo.
JPEG = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}


def is_png(contents: TFTensor) -> TFTensor:
    """Whether encoded bytes start like a PNG file: a bool scalar."""
    import tensorflow as tf

    return tf.equal(tf.strings.substr(contents, 0, 4), b"\x89PNG")


def decode_other(contents: TFTensor) -> TFTensor:
    """Decodes any image but JPEG: PNG with TensorFlow, the rest (BMP, WebP, TIFF, …) with Pillow.

    Args:
        contents: the encoded image, a string scalar.

    Returns:
        uint8 `(height, width, 3)`.
    """
    import tensorflow as tf

    def read(encoded: TFTensor) -> np.ndarray:
        return read_image(encoded.numpy())

    def pillow() -> TFTensor:
        # Not numpy_function: run eagerly, it strips zero bytes from the end of the file.
        return tf.ensure_shape(tf.py_function(read, [contents], tf.uint8), (None, None, 3))

    return tf.cond(is_png(contents), lambda: tf.io.decode_png(contents, channels=3), pillow)


def decode_jpeg_window(contents: TFTensor, plan: Plan, whole: bool) -> TFTensor:
    """Decodes only the plan's window, and reduces it by the plan's ratio while decoding.

    Args:
        contents: the encoded JPEG, a string scalar.
        plan: the window, in pixels of the reduced image.
        whole: bool, known when the graph is built. True decodes the whole image at ratio 1.

    Returns:
        uint8 `(window height, window width, 3)`.
    """
    import tensorflow as tf

    if whole:
        return tf.io.decode_jpeg(contents, **JPEG)
    window = tf.stack([plan.top, plan.left, plan.window_height, plan.window_width])

    def at(ratio: int) -> Callable[[], TFTensor]:
        return lambda: tf.io.decode_and_crop_jpeg(contents, window, ratio=ratio, **JPEG)

    branch = tf.where(plan.ratio == 4, 2, tf.where(plan.ratio == 2, 1, 0))
    return tf.switch_case(branch, [at(ratio) for ratio in JPEG_RATIOS])


def decode_planned(
    contents: TFTensor, make_plan: Callable[[TFTensor, TFTensor], Plan], whole: bool
) -> tuple[TFTensor, Plan]:
    """Decodes the window of an encoded image that its plan keeps.

    Args:
        contents: the encoded image, a string scalar.
        make_plan: `make_plan(shape, max_ratio) -> Plan`, see `draw_plan`.
        whole: as in `decode_jpeg_window`.

    Returns:
        `(uint8 window (height, width, 3), plan)`.
    """
    import tensorflow as tf

    jpeg = tf.io.is_jpeg(contents)
    other = tf.cond(jpeg, lambda: tf.zeros((0, 0, 3), tf.uint8), lambda: decode_other(contents))
    shape = tf.cond(
        jpeg,
        lambda: tf.image.extract_jpeg_shape(contents)[:2],
        lambda: tf.shape(other)[:2],
    )
    plan = make_plan(shape, tf.where(jpeg, JPEG_RATIOS[-1], 1))
    pixels = tf.cond(
        jpeg,
        lambda: decode_jpeg_window(contents, plan, whole),
        lambda: crop_window(other, plan),
    )
    return tf.ensure_shape(pixels, (None, None, 3)), plan
