"""Letterbox and stretch: the geometry, its exact inverse, and the pixels, in NumPy and TensorFlow.

Both versions resize bilinearly with half-pixel centres and without antialiasing. They compute in
float32 in the order of TensorFlow's kernel and round half up to uint8, so they agree bit by bit.
Sizes are computed in integers, so float rounding cannot change them by one pixel.

"mediapipe" stretches as MediaPipe's tasks do: they sample pixel i of the input at i * scale, not at
(i + 0.5) * scale - 0.5. This shifts the image by up to half a pixel of the input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_det.data.image import check_rgb
from keras_det.errors import suggest
from keras_det.names import RESIZE_MODES
from keras_det.types import Size, TFTensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Values of an image (three for each pixel) above which less memory counts more than speed.
HUGE = 1 << 26


class Transform(NamedTuple):
    """Maps x to `x * scale_x + offset_x` and y to `y * scale_y + offset_y`, in pixels."""

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    def apply(self, boxes: "ArrayLike") -> np.ndarray:
        """Maps boxes. Corners are sorted again where a scale is negative (a flip).

        Args:
            boxes: `(…, 4)` xyxy pixels.

        Returns:
            `(…, 4)` xyxy pixels, float64 where `boxes` is float64, else float32.
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


def resized_size(
    height: int | TFTensor, width: int | TFTensor, size: Size, mode: str
) -> tuple[int | TFTensor, int | TFTensor]:
    """Height and width of the image without padding inside the network's input.

    Letterbox: scale = min(H / h, W / w), the other side rounded half up and at least 1. (The
    original EfficientDet truncates, which adds one pixel of padding at one size in seven.)

    Args:
        height, width: of the original image in pixels, Python integers or TensorFlow scalars.
        size: `(H, W)` of the network's input in pixels, Python integers.
        mode: one of `RESIZE_MODES`.

    Returns:
        `(height, width)` in pixels, as Python integers or TensorFlow scalars.
    """
    full_height, full_width = size
    if mode != "letterbox":
        return full_height, full_width
    maximum: Callable[..., Any] = max
    where: Callable[..., Any] = _python_where
    if not isinstance(height, (int, np.integer)):
        import tensorflow as tf

        maximum, where = tf.maximum, tf.where
        full_height, full_width = (tf.cast(side, height.dtype) for side in size)
    tall = full_height * width <= full_width * height  # the height limits
    scaled_width = maximum((2 * width * full_height + height) // (2 * height), 1)
    scaled_height = maximum((2 * height * full_width + width) // (2 * width), 1)
    return where(tall, full_height, scaled_height), where(tall, scaled_width, full_width)


def _python_where(condition: bool, a: int, b: int) -> int:
    return a if condition else b


def letterbox(height: int, width: int, size: Size) -> Transform:
    """Returns the transform that keeps the aspect ratio, with the image at the top left.

    Args:
        height, width: of the original image in pixels.
        size: `(height, width)` of the network's input in pixels.

    Returns:
        `Transform` from original pixels to pixels of the input.
    """
    scaled_height, scaled_width = resized_size(int(height), int(width), size, "letterbox")
    return Transform(scaled_width / width, scaled_height / height)


def stretch(height: int, width: int, size: Size) -> Transform:
    """Returns the transform that scales each axis to fill the input; arguments as `letterbox`."""
    return Transform(size[1] / width, size[0] / height)


def check_policy(policy: Mapping[str, Any]) -> tuple[str, Size]:
    """Checks a resize policy.

    Args:
        policy: `{"mode": "letterbox" | "stretch" | "mediapipe", "size": (height, width)}`, the
            size in pixels of the network's input.

    Returns:
        `(mode, (height, width))`.

    Raises:
        ValueError: the mode is unknown, or a side is below 1.
    """
    mode, size = policy["mode"], policy["size"]
    if mode not in RESIZE_MODES:
        raise ValueError(
            f"`mode` must be one of {', '.join(RESIZE_MODES)}. Received: "
            f"{mode!r}.{suggest(mode, RESIZE_MODES)} In a model, this setting is called "
            "`resize_mode`."
        )
    height, width = (int(side) for side in size)
    if min(height, width) < 1:
        raise ValueError(
            f"`size` must be (height, width), both positive. Received: {size}. Give the size of "
            "the network's input in pixels."
        )
    return mode, (height, width)


def fill_color(fill: Sequence[float] | float) -> np.ndarray:
    """Returns the padding colour as uint8 `(3,)`, clipped to 0..255 and rounded half up.

    Args:
        fill: one value or three, 0..255, RGB.
    """
    values = np.broadcast_to(np.asarray(fill, np.float64), (3,))
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def _axis(source: int, target: int, half_pixel: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    """Resizes bilinearly without antialiasing and rounds half up.

    Args:
        image: uint8 `(h, w, 3)`.
        height, width: of the result in pixels.
        half_pixel: bool. True samples at half-pixel centres, False as MediaPipe does.

    Returns:
        uint8 `(height, width, 3)`.
    """
    top, bottom, weight_y = _axis(image.shape[0], height, half_pixel)
    left, right, weight_x = _axis(image.shape[1], width, half_pixel)
    weight_x, weight_y = weight_x[None, :, None], weight_y[:, None, None]

    def along_x(index: np.ndarray) -> np.ndarray:
        rows = image[index].astype(np.float32)
        start = rows[:, left]
        return start + (rows[:, right] - start) * weight_x

    upper = along_x(top)
    mixed = upper + (along_x(bottom) - upper) * weight_y
    return (mixed + np.float32(0.5)).astype(np.uint8)


def resize_image(
    image: np.ndarray, policy: Mapping[str, Any], fill: Sequence[float] | float = 0
) -> tuple[np.ndarray, Transform]:
    """Resizes and pads an image to the network's input, without TensorFlow.

    Args:
        image: uint8 `(height, width, 3)`.
        policy: the model's `resize_policy`, see `check_policy`.
        fill: colour of the padding, 0..255, one value or three; models use their mean.

    Returns:
        `(uint8 image of the policy's size, Transform from original pixels to pixels of the input)`.

    Raises:
        ValueError: the image or the policy is wrong, or the image has a side of 0.
    """
    mode, size = check_policy(policy)
    image = np.asarray(image)
    check_rgb(image)
    height, width = image.shape[:2]
    scaled_height, scaled_width = resized_size(height, width, size, mode)
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = fill_color(fill)
    canvas[:scaled_height, :scaled_width] = resize_pixels(
        image, scaled_height, scaled_width, half_pixel=mode != "mediapipe"
    )
    return canvas, Transform(scaled_width / width, scaled_height / height)


def tf_resize_pixels(
    image: TFTensor, height: int | TFTensor, width: int | TFTensor, half_pixel: bool = True
) -> TFTensor:
    """`resize_pixels` in TensorFlow; sizes may be tensors."""
    import tensorflow as tf

    def mixed(kind: Any) -> Callable[[], TFTensor]:
        return lambda: tf.raw_ops.ResizeBilinear(
            images=tf.cast(image, kind)[None],
            size=tf.stack([height, width]),
            half_pixel_centers=half_pixel,
        )[0]

    # The kernel is twice as fast on floats as on uint8, and the cast costs almost nothing. Of a
    # huge image, however, the floats take four times the memory of the image; the result is equal.
    huge = tf.size(image, tf.int64) > HUGE
    return tf.cast(tf.cond(huge, mixed(tf.uint8), mixed(tf.float32)) + 0.5, tf.uint8)


def tf_blank(size: Size, fill: Sequence[float] | float) -> TFTensor:
    """A canvas: uint8 `(*size, 3)`.

    Args:
        size: `(height, width)` in pixels, Python integers.
        fill: colour of the canvas, 0..255, one value or three.
    """
    import tensorflow as tf

    return tf.constant(np.broadcast_to(fill_color(fill), (*size, 3)).copy())


def tf_pad(image: TFTensor, size: Size, fill: Sequence[float] | float) -> TFTensor:
    """Pads a uint8 image at the right and the bottom.

    Args:
        image: uint8 `(height, width, 3)`, not larger than `size`.
        size: `(height, width)` of the result in pixels, Python integers.
        fill: colour of the padding, 0..255, one value or three.

    Returns:
        uint8 `(*size, 3)`.
    """
    return tf_pad_with(image, tf_blank(size, fill))


def tf_pad_with(image: TFTensor, blank: TFTensor) -> TFTensor:
    """`tf_pad` with a canvas of `tf_blank`, which several graphs may share."""
    import tensorflow as tf

    # Copying a whole input costs as much as decoding a small image, so copy only to pad.
    height, width = tf.unstack(tf.shape(image)[:2])
    image = tf.cond(
        width < blank.shape[1],
        lambda: tf.concat([image, blank[:height, width:]], axis=1),
        lambda: image,
    )
    image = tf.cond(
        height < blank.shape[0], lambda: tf.concat([image, blank[height:]], axis=0), lambda: image
    )
    return tf.ensure_shape(image, blank.shape)


def tf_resize_image(
    image: TFTensor, mode: str, size: Size, fill: Sequence[float] | float = 0
) -> tuple[TFTensor, tuple[TFTensor, TFTensor, TFTensor, TFTensor]]:
    """`resize_image` in TensorFlow, for pipelines and exports; equal to it bit by bit.

    Args:
        image: uint8 `(height, width, 3)`; the size may be unknown until run time.
        mode: "letterbox", "stretch" or "mediapipe".
        size: `(height, width)` of the network's input in pixels, Python integers.
        fill: colour of the padding, 0..255, one value or three.

    Returns:
        `(uint8 image (*size, 3), (scale_x, scale_y, offset_x, offset_y))`. The four float32 scalars
        map back: original = input * scale + offset, in pixels.

    Raises:
        ValueError: the mode is unknown, or a side of `size` is below 1.
    """
    import tensorflow as tf

    mode, size = check_policy({"mode": mode, "size": size})
    # 64 bits, because the integer rounding multiplies three sides.
    shape = tf.shape(image, out_type=tf.int64)
    height, width = shape[0], shape[1]
    rows, columns = (tf.cast(s, tf.int32) for s in resized_size(height, width, size, mode))
    pixels = tf_resize_pixels(image, rows, columns, half_pixel=mode != "mediapipe")
    scale_x = tf.cast(width, tf.float32) / tf.cast(columns, tf.float32)
    scale_y = tf.cast(height, tf.float32) / tf.cast(rows, tf.float32)
    zero = tf.constant(0.0)
    return tf_pad(pixels, size, fill), (scale_x, scale_y, zero, zero)
