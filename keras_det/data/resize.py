"""Letterbox and stretch: the geometry, its exact inverse, and the pixels, in numpy and TensorFlow.

Both versions resize bilinearly with half-pixel centres and without antialiasing, in float32 in
the order of TensorFlow's kernel, and round half up to uint8: they agree to the last bit. Sizes are
computed in whole numbers, so no float can make them differ by one pixel.

"mediapipe" stretches as MediaPipe's tasks do, which take pixel i of the input at i * scale instead
of at (i + 0.5) * scale - 0.5: what the network sees lies up to half a pixel of its input further.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_det.errors import suggest
from keras_det.names import RESIZE_MODES


class Transform(NamedTuple):
    """Maps x to `x * scale_x + offset_x`, y to `y * scale_y + offset_y` (pixels)."""

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    def apply(self, boxes) -> np.ndarray:
        """Maps `(…, 4)` xyxy boxes; corners are sorted again where a scale is negative (a flip).

        Returns:
            float32 `(…, 4)` where `boxes` is float32 or an integer, else float64.
        """
        boxes = np.asarray(boxes)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float64)
        moved = boxes * scale + np.array([self.offset_x, self.offset_y] * 2, np.float64)
        first, second = moved[..., :2], moved[..., 2:]
        moved = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)
        return moved if boxes.dtype == np.float64 else moved.astype(np.float32)

    def inverse(self) -> "Transform":
        """Returns the transform that undoes this one."""
        return Transform(
            1 / self.scale_x,
            1 / self.scale_y,
            -self.offset_x / self.scale_x,
            -self.offset_y / self.scale_y,
        )


def resized_size(height, width, size, mode: str):
    """Height and width of the image itself inside the network's input, in whole pixels.

    Letterbox: scale = min(H / h, W / w), the other side rounded half up and at least 1 (the
    original EfficientDet truncates, which leaves one pixel of padding at one size in seven).
    Takes Python integers or TensorFlow scalars.
    """
    full_height, full_width = size
    if mode != "letterbox":
        return full_height, full_width
    if isinstance(height, (int, np.integer)):
        maximum, where = max, lambda condition, a, b: a if condition else b
    else:
        import tensorflow as tf

        maximum, where = tf.maximum, tf.where
        full_height, full_width = (tf.cast(side, height.dtype) for side in size)
    tall = full_height * width <= full_width * height  # the height limits
    scaled_width = maximum((2 * width * full_height + height) // (2 * height), 1)
    scaled_height = maximum((2 * height * full_width + width) // (2 * width), 1)
    return where(tall, full_height, scaled_height), where(tall, scaled_width, full_width)


def letterbox(height: int, width: int, size: tuple[int, int]) -> Transform:
    """The transform from original to input pixels that keeps the aspect ratio, image top-left."""
    scaled_height, scaled_width = resized_size(int(height), int(width), size, "letterbox")
    return Transform(scaled_width / width, scaled_height / height)


def stretch(height: int, width: int, size: tuple[int, int]) -> Transform:
    """The transform from original to input pixels that fills the input, axis by axis."""
    return Transform(size[1] / width, size[0] / height)


def check_policy(policy: dict) -> tuple[str, tuple[int, int]]:
    """Returns `(mode, (height, width))` of a resize policy, refusing anything else."""
    mode, size = policy["mode"], policy["size"]
    if mode not in RESIZE_MODES:
        raise ValueError(
            f"`mode` must be one of {', '.join(RESIZE_MODES)}. Received: {mode!r}."
            f"{suggest(mode, RESIZE_MODES)} Set it in the model's resize_mode."
        )
    height, width = (int(side) for side in size)
    if min(height, width) < 1:
        raise ValueError(
            f"`size` must be (height, width), both positive. Received: {size}. Give the size of "
            "the network's input in pixels."
        )
    return mode, (height, width)


def fill_color(fill: Sequence[float] | float) -> np.ndarray:
    """The padding colour: three values in 0..255, rounded half up to uint8."""
    values = np.broadcast_to(np.asarray(fill, np.float64), (3,))
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def _axis(source: int, target: int, half_pixel: bool):
    """Lower and upper source index and the weight of the upper one, per target pixel."""
    scale = np.float32(source) / np.float32(target)
    offset = np.float32(0.5 * half_pixel)
    position = (np.arange(target, dtype=np.float32) + offset) * scale - offset
    floor = np.floor(position)
    lower = np.maximum(floor, 0).astype(np.int64)
    upper = np.minimum(floor.astype(np.int64) + 1, source - 1)
    return lower, upper, position - floor


def resize_pixels(
    image: np.ndarray, height: int, width: int, half_pixel: bool = True
) -> np.ndarray:
    """Bilinear, half-pixel, no antialias, rounded half up: uint8 `(height, width, 3)`."""
    top, bottom, weight_y = _axis(image.shape[0], height, half_pixel)
    left, right, weight_x = _axis(image.shape[1], width, half_pixel)
    weight_x, weight_y = weight_x[None, :, None], weight_y[:, None, None]

    def along_x(rows):
        rows = image[rows].astype(np.float32)
        start = rows[:, left]
        return start + (rows[:, right] - start) * weight_x

    upper = along_x(top)
    mixed = upper + (along_x(bottom) - upper) * weight_y
    return (mixed + np.float32(0.5)).astype(np.uint8)


def resize_image(
    image: np.ndarray, policy: dict, fill: Sequence[float] | float = 0
) -> tuple[np.ndarray, Transform]:
    """Brings an image to the network's input as the model's policy says, without TensorFlow.

    Args:
        image: uint8 `(height, width, 3)`.
        policy: `{"mode": "letterbox" | "stretch" | "mediapipe", "size": (height, width)}`.
        fill: colour of the padding, 0..255 (the model's mean), one value or three.

    Returns:
        `(uint8 image of the policy's size, transform from original to input pixels)`.
    """
    mode, size = check_policy(policy)
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise ValueError(
            "`image` must be uint8 (height, width, 3), RGB. Received: "
            f"{image.dtype} {image.shape}. Read files with keras_det.data.read_image."
        )
    height, width = image.shape[:2]
    scaled_height, scaled_width = resized_size(height, width, size, mode)
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = fill_color(fill)
    canvas[:scaled_height, :scaled_width] = resize_pixels(
        image, scaled_height, scaled_width, half_pixel=mode != "mediapipe"
    )
    return canvas, Transform(scaled_width / width, scaled_height / height)


def tf_resize_pixels(image, height, width, half_pixel: bool = True):
    """`resize_pixels` in TensorFlow; sizes may be tensors."""
    import tensorflow as tf

    # The kernel is twice as fast on floats as on uint8, and the cast costs next to nothing.
    mixed = tf.raw_ops.ResizeBilinear(
        images=tf.cast(image, tf.float32)[None],
        size=tf.stack([height, width]),
        half_pixel_centers=half_pixel,
    )[0]
    return tf.cast(mixed + 0.5, tf.uint8)


def tf_pad(image, size: tuple[int, int], fill):
    """Pads a uint8 image at the right and the bottom to `size` with the colour `fill`."""
    import tensorflow as tf

    # A copy of a whole input costs as much as decoding a small image: none where nothing is padded.
    canvas = tf.constant(np.broadcast_to(fill_color(fill), (*size, 3)).copy())
    height, width = tf.unstack(tf.shape(image)[:2])
    image = tf.cond(
        width < size[1],
        lambda: tf.concat([image, canvas[:height, width:]], axis=1),
        lambda: image,
    )
    image = tf.cond(
        height < size[0], lambda: tf.concat([image, canvas[height:]], axis=0), lambda: image
    )
    return tf.ensure_shape(image, (*size, 3))


def tf_resize_image(image, mode: str, size: tuple[int, int], fill: Sequence[float] | float = 0):
    """`resize_image` in TensorFlow, for pipelines and exports; equal to it bit by bit.

    Args:
        image: uint8 `(height, width, 3)`; the size may be unknown until run time.
        mode: "letterbox", "stretch" or "mediapipe".
        size: `(height, width)` of the network's input, Python integers.
        fill: colour of the padding, 0..255.

    Returns:
        `(uint8 image, (scale_x, scale_y, offset_x, offset_y))`, float32 scalars, the way back:
        original = input * scale + offset.
    """
    import tensorflow as tf

    mode, size = check_policy({"mode": mode, "size": size})
    # 64 bits: the whole-number rounding multiplies three sides.
    shape = tf.shape(image, out_type=tf.int64)
    height, width = shape[0], shape[1]
    scaled = [tf.cast(s, tf.int32) for s in resized_size(height, width, size, mode)]
    pixels = tf_resize_pixels(image, *scaled, half_pixel=mode != "mediapipe")
    scale_x = tf.cast(width, tf.float32) / tf.cast(scaled[1], tf.float32)
    scale_y = tf.cast(height, tf.float32) / tf.cast(scaled[0], tf.float32)
    zero = tf.constant(0.0)
    return tf_pad(pixels, size, fill), (scale_x, scale_y, zero, zero)
