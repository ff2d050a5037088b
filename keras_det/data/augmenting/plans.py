"""The window of an image that becomes part of the input: drawn as integers, for pixels and boxes.

Pixels and boxes both follow the `Plan`, so they always agree. A JPEG is decoded only inside the
window. TensorFlow only; every function runs eagerly and inside `tf.data`.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from keras_det.data.resize import resized_size
from keras_det.types import Size, TFTensor

if TYPE_CHECKING:
    from keras_det.data.augment import Augment

# A clipped object is kept if this share of its box is inside the window. A smaller part, such as an
# arm, cannot be recognised. The original EfficientDet keeps every box with an area.
MIN_VISIBLE = 0.1
# It must also have sides of at least this many pixels in the network's input.
MIN_VISIBLE_SIDE = 1.0
# Reductions that the JPEG decoder offers. It also has 8, but an image jittered to a tenth of its
# size would then have almost nothing left to interpolate.
JPEG_RATIOS = (1, 2, 4)


class Window(Protocol):
    """The window of a stored image to decode; `Plan` and `View` have these fields."""

    @property
    def ratio(self) -> TFTensor: ...
    @property
    def top(self) -> TFTensor: ...
    @property
    def left(self) -> TFTensor: ...
    @property
    def window_height(self) -> TFTensor: ...
    @property
    def window_width(self) -> TFTensor: ...


class Plan(NamedTuple):
    """A window of the image and its size in the input; int32 scalars, `flip` bool.

    `ratio` is the reduction of the JPEG decoder. `top`, `left`, `window_height` and `window_width`
    are pixels of the reduced image, `height` and `width` pixels of the input.
    """

    ratio: TFTensor
    top: TFTensor
    left: TFTensor
    window_height: TFTensor
    window_width: TFTensor
    height: TFTensor
    width: TFTensor
    flip: TFTensor


def draw_plan(
    shape: TFTensor,
    size: Size,
    mode: str,
    augment: "Augment",
    draws: TFTensor,
    max_ratio: int | TFTensor = 1,
    room: TFTensor | None = None,
) -> Plan:
    """Draws the augmentation of one image.

    The decoder reduces by r only where the jitter shrinks the image by r or more. The bilinear
    resizing that follows then never shrinks by more than that of `detect` for the same image.

    Args:
        shape: int32 `(2,)`, height and width of the image in pixels.
        size: `(height, width)` of the network's input in pixels, Python integers.
        mode: "letterbox", "stretch" or "mediapipe".
        augment: the possible changes.
        draws: float32 `(4,)` in [0, 1): scale, vertical and horizontal position, flip.
        max_ratio: largest reduction that the decoder offers for this file.
        room: int32 `(2,)`, height and width of the part of the input that the image may fill. None:
            the whole input.
    """
    import tensorflow as tf

    shape = tf.cast(shape, tf.int64)
    base = tf.stack([tf.cast(s, tf.int32) for s in resized_size(shape[0], shape[1], size, mode)])
    shape = tf.cast(shape, tf.int32)
    flip = draws[3] < augment.flip
    if not augment.jitters and room is None:
        return Plan(1, 0, 0, shape[0], shape[1], base[0], base[1], flip)
    low, high = augment.scale
    scale = low + (high - low) * draws[0]
    scaled = tf.maximum(tf.round(tf.cast(base, tf.float32) * scale), 1.0)
    limits = tf.constant(size, tf.float32) if room is None else tf.cast(room, tf.float32)
    kept = tf.minimum(scaled, limits)
    step = tf.cast(shape, tf.float32) / scaled  # original pixels per input pixel
    limit = tf.minimum(tf.reduce_min(step), 1.0 / scale)
    ratio = tf.where(limit >= 4.0, 4, tf.where(limit >= 2.0, 2, 1))
    ratio = tf.minimum(ratio, max_ratio)
    step = step / tf.cast(ratio, tf.float32)
    decoded = (shape + ratio - 1) // ratio  # the decoder rounds up
    corner = tf.cast(tf.round(draws[1:3] * (scaled - kept) * step), tf.int32)
    corner = tf.minimum(corner, decoded - 1)
    window = tf.clip_by_value(tf.cast(tf.round(kept * step), tf.int32), 1, decoded - corner)
    kept = tf.cast(kept, tf.int32)
    return Plan(ratio, corner[0], corner[1], window[0], window[1], kept[0], kept[1], flip)


def way_back(plan: Plan) -> TFTensor:
    """Returns float32 `(scale_x, scale_y, offset_x, offset_y)`: original = input * scale + offset.

    A flipped image has a negative scale_x. Offsets are pixels of the original image.
    """
    import tensorflow as tf

    ratio, top, left, window_height, window_width, height, width = (
        tf.cast(value, tf.float32) for value in plan[:7]
    )
    scale_x, scale_y = ratio * window_width / width, ratio * window_height / height
    offset_x = ratio * left
    offset_x = tf.where(plan.flip, offset_x + scale_x * width, offset_x)
    return tf.stack([tf.where(plan.flip, -scale_x, scale_x), scale_y, offset_x, ratio * top])


def crop_window(image: TFTensor, plan: Window) -> TFTensor:
    """Cuts the plan's window out of an image `(height, width, 3)` that was not reduced."""
    return image[
        plan.top : plan.top + plan.window_height, plan.left : plan.left + plan.window_width
    ]


def move_boxes(boxes: TFTensor, plan: Plan, to_original: TFTensor) -> tuple[TFTensor, TFTensor]:
    """Maps xyxy boxes from original pixels to pixels of the input and clips them to the window.

    Args:
        boxes: float32 `(n, 4)`, xyxy pixels of the original image.
        plan: of the image.
        to_original: `way_back(plan)`.

    Returns:
        `(boxes (n, 4), share of the area that is visible (n,))`, the share in 0..1.
    """
    import tensorflow as tf

    scale, offset = tf.tile(to_original[:2], [2]), tf.tile(to_original[2:], [2])
    moved = (boxes - offset) / scale
    x1 = tf.where(plan.flip, moved[:, 2], moved[:, 0])
    x2 = tf.where(plan.flip, moved[:, 0], moved[:, 2])
    moved = tf.stack([x1, moved[:, 1], x2, moved[:, 3]], axis=1)
    limit = tf.cast(tf.stack([plan.width, plan.height, plan.width, plan.height]), tf.float32)
    clipped = tf.clip_by_value(moved, 0.0, limit)
    return clipped, tf.math.divide_no_nan(_areas(clipped), _areas(moved))


def stays(boxes: TFTensor, visible: TFTensor, augment: "Augment") -> TFTensor:
    """Returns the mask of moved boxes to keep: enough area is visible and no side is too short."""
    import tensorflow as tf

    sides = tf.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    least = augment.tile.min_visible if augment.tile else augment.min_visible
    return (visible >= least) & (visible > 0) & (sides >= MIN_VISIBLE_SIDE)


def keep_largest(boxes: TFTensor, labels: TFTensor, count: int) -> tuple[TFTensor, TFTensor]:
    """Keeps the `count` boxes with the largest area and their labels, in their order."""
    import tensorflow as tf

    if boxes.shape[0] is not None and boxes.shape[0] <= count:
        return boxes, labels
    k = tf.minimum(count, tf.shape(boxes)[0])
    rows = tf.sort(tf.math.top_k(_areas(boxes), k=k).indices)
    return tf.gather(boxes, rows), tf.gather(labels, rows)


def _areas(boxes: TFTensor) -> TFTensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
