"""Changes of colour and sharpness, and cutout, of one uint8 image. TensorFlow only."""

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_det.data.resize import fill_color
from keras_det.types import TFTensor

if TYPE_CHECKING:
    from keras_det.data.augmenting.steps import Blur, Cutout, JPEGNoise, Photometric

# Shares of red, green and blue in the grey value (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Pixels that are multiplied at once: a 3x3 matrix is too small for a processor's units.
TOGETHER = 8
# The mean colour is that of every eighth pixel in each direction.
MEAN_STEP = 8
# Points across a box at which cutout measures what is covered.
POINTS = 8


def photometric(step: "Photometric", image: TFTensor, seed: TFTensor) -> TFTensor:
    """Changes the colours of an image `(h, w, 3)` uint8 by one matrix and one offset."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((6,), seed)

    def changed() -> TFTensor:
        amounts = 2.0 * draws[:4] - 1.0
        grey = draws[4] < step.grey
        saturation = tf.where(grey, 0.0, 1.0 + step.saturation * amounts[2])
        turn = hue_matrix(2.0 * math.pi * step.hue * amounts[3])
        brightness, contrast = 1 + step.brightness * amounts[0], 1 + step.contrast * amounts[1]
        matrix = brightness * tf.matmul(turn, saturation_matrix(saturation))
        mean = tf.reduce_mean(tf.cast(image[::MEAN_STEP, ::MEAN_STEP], tf.float32), axis=(0, 1))
        return recoloured(image, contrast * matrix, (1 - contrast) * tf.linalg.matvec(matrix, mean))

    return tf.cond(draws[5] < step.probability, changed, lambda: image)


def saturation_matrix(saturation: TFTensor) -> TFTensor:
    """3x3 matrix of grey + saturation * (colour - grey): 1 changes nothing, 0 leaves grey."""
    import tensorflow as tf

    grey = tf.constant([LUMA] * 3, tf.float32)
    return saturation * tf.eye(3) + (1.0 - saturation) * grey


def hue_matrix(angle: TFTensor) -> TFTensor:
    """3x3 matrix of a rotation about the grey axis, in radians: a third of a circle turns red into
    green, green into blue and blue into red. It keeps grey, and the sum of the three.
    """
    import tensorflow as tf

    along = np.full((3, 3), 1 / 3, np.float32)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return cosine * (tf.eye(3) - along) + along + sine * across


def recoloured(image: TFTensor, matrix: TFTensor, offset: TFTensor) -> TFTensor:
    """matrix * colour + offset of every pixel, clipped to 0..255 and rounded half up.

    Args:
        image: uint8 `(h, w, 3)`.
        matrix: float32 `(3, 3)`.
        offset: float32 `(3,)`.
    """
    import tensorflow as tf

    flat = tf.reshape(image, (-1,))
    count, block = tf.size(flat), 3 * TOGETHER
    flat = tf.reshape(tf.pad(flat, [[0, -count % block]]), (-1, block))
    many = tf.eye(TOGETHER)[:, None, :, None] * tf.transpose(matrix)[None, :, None, :]
    mixed = tf.matmul(tf.cast(flat, tf.float32), tf.reshape(many, (block, block)))
    mixed = tf.nn.bias_add(mixed, tf.tile(offset + 0.5, [TOGETHER]))
    # 255.5 would be rounded down; 256 would overflow.
    whole = tf.cast(tf.clip_by_value(mixed, 0.0, 255.5), tf.uint8)
    return tf.reshape(tf.reshape(whole, (-1,))[:count], tf.shape(image))


def blurred(step: "Blur", image: TFTensor, seed: TFTensor) -> TFTensor:
    """Blurs with a Gaussian of 5x5 pixels; the border is mirrored."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((2,), seed)
    low, high = step.sigma

    def changed() -> TFTensor:
        distance = tf.range(-2.0, 3.0) / (low + (high - low) * draws[1])
        weights = tf.exp(-tf.square(distance) / 2)
        weights = tf.reshape(weights / tf.reduce_sum(weights), (5, 1, 1, 1))
        values = tf.pad(tf.cast(image, tf.float32), [[2, 2], [2, 2], [0, 0]], "SYMMETRIC")[None]
        for shape in ((5, 1, 1, 1), (1, 5, 1, 1)):
            kernel = tf.tile(tf.reshape(weights, shape), [1, 1, 3, 1])
            values = tf.nn.depthwise_conv2d(values, kernel, (1, 1, 1, 1), "VALID")
        return tf.cast(values[0] + 0.5, tf.uint8)

    large = tf.reduce_min(tf.shape(image)[:2]) >= 2  # mirroring needs two pixels
    return tf.cond(large & (draws[0] < step.probability), changed, lambda: image)


def jpeg_noise(step: "JPEGNoise", image: TFTensor, seed: TFTensor) -> TFTensor:
    """Encodes and decodes as a JPEG of a random quality."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((2,), seed)
    low, high = step.quality

    def changed() -> TFTensor:
        quality = tf.cast(low + (high + 1 - low) * draws[1], tf.int32)
        encoded = tf.raw_ops.EncodeJpegVariableQuality(
            images=image, quality=tf.minimum(quality, high)
        )
        return tf.io.decode_jpeg(encoded, channels=3)

    return tf.cond(draws[0] < step.probability, changed, lambda: image)


def cutout(
    step: "Cutout",
    image: TFTensor,
    boxes: TFTensor,
    labels: TFTensor,
    seed: TFTensor,
    fill: object,
) -> tuple[TFTensor, TFTensor, TFTensor]:
    """Covers rectangles of an image, and drops objects that are mostly covered."""
    import tensorflow as tf

    drawn = tf.random.stateless_uniform((4 * step.count + 1,), seed)
    draws = tf.reshape(drawn[1:], (step.count, 4))

    def changed() -> tuple[TFTensor, TFTensor, TFTensor]:
        low, high = step.scale
        whole = tf.cast(tf.shape(image)[:2], tf.float32)
        sides = tf.maximum(tf.round(whole * (low + (high - low) * draws[:, :2])), 1.0)
        first = tf.round((whole - sides) * draws[:, 2:])
        last = first + sides
        rows, columns = (
            _within(tf.range(whole[axis]), first[:, axis], last[:, axis]) for axis in (0, 1)
        )
        covered = tf.reduce_any(rows[:, :, None] & columns[:, None, :], axis=0)
        color = tf.constant(fill_color(fill))  # type: ignore[arg-type]
        keep = covered_share(boxes, first, last) <= step.max_hidden
        return (
            tf.where(covered[..., None], color, image),
            tf.boolean_mask(boxes, keep),
            tf.boolean_mask(labels, keep),
        )

    return tf.cond(drawn[0] < step.probability, changed, lambda: (image, boxes, labels))


def covered_share(boxes: TFTensor, first: TFTensor, last: TFTensor) -> TFTensor:
    """Share of each box that rectangles cover, at 8x8 points.

    Args:
        boxes: float32 `(n, 4)` xyxy pixels.
        first, last: float32 `(m, 2)`, (y, x) of the corners of the rectangles.

    Returns:
        float32 `(n,)` in 0..1.
    """
    import tensorflow as tf

    places = (tf.range(float(POINTS)) + 0.5) / POINTS
    x = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * places
    y = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * places
    rows, columns = (
        (values >= first[:, axis, None, None]) & (values < last[:, axis, None, None])
        for axis, values in ((0, y), (1, x))
    )
    covered = tf.reduce_any(rows[..., :, None] & columns[..., None, :], axis=0)
    return tf.reduce_mean(tf.cast(covered, tf.float32), axis=(1, 2))


def _within(values: TFTensor, first: TFTensor, last: TFTensor) -> TFTensor:
    return (values >= first[:, None]) & (values < last[:, None])
