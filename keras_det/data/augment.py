"""Flip and scale jitter with random crop: drawn per image, applied to pixels and boxes alike.

An augmentation is first drawn as a `Plan`, whole numbers that say which window of the image goes
where in the input. Pixels and boxes both follow the plan, so they cannot come apart. TensorFlow
only; every function runs eagerly and inside `tf.data`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_det.data.resize import resized_size
from keras_det.errors import suggest

# A clipped object stays if this share of it is inside the window: less is a stray arm or corner
# that nobody could name. The original EfficientDet keeps every sliver with an area.
MIN_VISIBLE = 0.1
# … and if both sides measure at least this many pixels in the network's input.
MIN_VISIBLE_SIDE = 1.0
# The JPEG decoder's own reductions. 8 would leave a tenth-size jitter nothing to interpolate.
JPEG_RATIOS = (1, 2, 4)


@dataclass(frozen=True)
class Augment:
    """What may happen to a training image.

    Args:
        flip: float in [0, 1], chance of a left-right flip.
        scale: `(low, high)`, range of the uniform scale factor on the resized image; above 1 a
            random window of the input's size is kept, below 1 the rest is padded at the right
            and the bottom. EfficientDet section 5.1 (https://arxiv.org/abs/1911.09070) and
            "Simple Copy-Paste" section 3 (https://arxiv.org/abs/2012.07177): SSJ 0.8-1.25, LSJ
            0.1-2.0.
        min_visible: float in [0, 1]. Under scale jitter an object is dropped when less than this
            share of its box is inside the window, or when a side of what is left is below one
            pixel of the input.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    min_visible: float = MIN_VISIBLE

    def __post_init__(self):
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(
                f"`scale` must be (low, high) with 0 < low <= high. Received: {self.scale}. Use "
                "(1.0, 1.0) for no jitter."
            )
        for field in ("flip", "min_visible"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(
                    f"`{field}` must lie in [0, 1]. Received: {getattr(self, field)}. Give a share."
                )

    @property
    def jitters(self) -> bool:
        """Whether the scale varies."""
        return tuple(self.scale) != (1.0, 1.0)


AUGMENTS = {
    "none": Augment(),
    "flip": Augment(flip=0.5),
    "ssj": Augment(flip=0.5, scale=(0.8, 1.25)),
    "lsj": Augment(flip=0.5, scale=(0.1, 2.0)),
}


def get_augment(augment: "str | Augment | None") -> Augment:
    """Returns the named augmentation, or the given one; None means none."""
    if isinstance(augment, Augment):
        return augment
    if augment is None:
        return AUGMENTS["none"]
    if augment not in AUGMENTS:
        raise ValueError(
            f"`augment` must be an Augment or one of {', '.join(AUGMENTS)}. Received: {augment!r}."
            f"{suggest(augment, AUGMENTS)} Give one of these names."
        )
    return AUGMENTS[augment]


class Plan(NamedTuple):
    """Where a window of the image goes; int32 scalars, `flip` bool.

    `ratio` is the JPEG decoder's reduction; the window counts pixels of the reduced image.
    """

    ratio: Any
    top: Any
    left: Any
    window_height: Any
    window_width: Any
    height: Any
    width: Any
    flip: Any


def draw_plan(shape, size, mode: str, augment: Augment, draws, max_ratio=1) -> Plan:
    """Decides what becomes of one image.

    The decoder may reduce by r only where the jitter shrinks at least r-fold, so that what is
    left to plain bilinear resizing is never finer than what `detect` gets for the same image.

    Args:
        shape: int32 `(2,)`, height and width of the image.
        size: `(height, width)` of the network's input, Python integers.
        mode: "letterbox", "stretch" or "mediapipe".
        augment: what may happen.
        draws: float32 `(4,)` in [0, 1): scale, vertical and horizontal place, flip.
        max_ratio: largest reduction that the decoder offers for this file.
    """
    import tensorflow as tf

    shape = tf.cast(shape, tf.int64)
    base = tf.stack([tf.cast(s, tf.int32) for s in resized_size(shape[0], shape[1], size, mode)])
    shape = tf.cast(shape, tf.int32)
    flip = draws[3] < augment.flip
    if not augment.jitters:
        return Plan(1, 0, 0, shape[0], shape[1], base[0], base[1], flip)
    low, high = augment.scale
    scale = low + (high - low) * draws[0]
    scaled = tf.maximum(tf.round(tf.cast(base, tf.float32) * scale), 1.0)
    kept = tf.minimum(scaled, tf.constant(size, tf.float32))
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


def way_back(plan: Plan):
    """Returns float32 `(scale_x, scale_y, offset_x, offset_y)`: original = input * scale + offset.

    A flipped image has a negative scale_x.
    """
    import tensorflow as tf

    ratio, top, left, window_height, window_width, height, width = (
        tf.cast(value, tf.float32) for value in plan[:7]
    )
    scale_x, scale_y = ratio * window_width / width, ratio * window_height / height
    offset_x = ratio * left
    offset_x = tf.where(plan.flip, offset_x + scale_x * width, offset_x)
    return tf.stack([tf.where(plan.flip, -scale_x, scale_x), scale_y, offset_x, ratio * top])


def crop_window(image, plan: Plan):
    """Cuts the plan's window out of a whole image (at ratio 1)."""
    return image[
        plan.top : plan.top + plan.window_height, plan.left : plan.left + plan.window_width
    ]


def move_boxes(boxes, plan: Plan, to_original):
    """Brings xyxy boxes from original pixels into the input and clips them to the window.

    Returns:
        `(boxes (n, 4), visible share (n,))`; the share is of the box's area.
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


def stays(boxes, visible, augment: Augment):
    """Which moved boxes remain objects: enough of them is visible and no side is too thin."""
    import tensorflow as tf

    sides = tf.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return (visible >= augment.min_visible) & (visible > 0) & (sides >= MIN_VISIBLE_SIDE)


def keep_largest(boxes, labels, count: int):
    """Keeps the `count` boxes of largest area, in their order."""
    import tensorflow as tf

    if boxes.shape[0] is not None and boxes.shape[0] <= count:
        return boxes, labels
    k = tf.minimum(count, tf.shape(boxes)[0])
    rows = tf.sort(tf.math.top_k(_areas(boxes), k=k).indices)
    return tf.gather(boxes, rows), tf.gather(labels, rows)


def _areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
