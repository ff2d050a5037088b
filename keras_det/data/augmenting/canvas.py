"""A picture before it becomes an input, and how several become one. TensorFlow only."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_det.data.augmenting.plans import MIN_VISIBLE_SIDE, Plan
from keras_det.data.resize import tf_pad_with
from keras_det.names import PADDING_LABEL
from keras_det.types import Size, TFTensor

# Random places that are tried for a pasted object.
PLACES = 16
# A pasted object takes at most this share of the sides of the picture.
LARGEST_PASTED = 0.6


class Picture(NamedTuple):
    """A resized picture that is not yet padded to the input.

    `image` uint8 `(h, w, 3)`; `boxes` float32 `(n, 4)` xyxy pixels of `image`; `labels` int32
    `(n,)`; `y` and `x`, int32, the place of its top left corner; `to_original` float32 `(4,)`, as
    in the targets of a pipeline, zeros if no single transform leads back; `weight` float32 scalar.
    """

    image: TFTensor
    boxes: TFTensor
    labels: TFTensor
    y: TFTensor | int
    x: TFTensor | int
    to_original: TFTensor
    weight: TFTensor


def padded(picture: Picture, blank: TFTensor) -> Picture:
    """The picture on a canvas of the input's size, `tf_blank` of it."""
    if isinstance(picture.y, int) and isinstance(picture.x, int) and picture.y == picture.x == 0:
        return picture._replace(image=tf_pad_with(picture.image, blank))
    import tensorflow as tf

    image = placed(picture.image, picture.y, picture.x, tuple(blank.shape[:2]), blank)
    return picture._replace(
        image=tf.ensure_shape(image, blank.shape),
        boxes=shifted(picture.boxes, picture.y, picture.x),
        y=0,
        x=0,
    )


def placed(
    image: TFTensor,
    y: TFTensor | int,
    x: TFTensor | int,
    room: TFTensor | Size,
    blank: TFTensor,
) -> TFTensor:
    """Puts an image on a canvas.

    Args:
        image: uint8 `(h, w, 3)`.
        y, x: place of its top left corner.
        room: height and width of the canvas, int32.
        blank: the largest canvas there is, of `tf_blank`.
    """
    import tensorflow as tf

    height, width = tf.unstack(tf.shape(image)[:2])

    def across() -> TFTensor:
        left, right = blank[:height, :x], blank[:height, : room[1] - x - width]
        return tf.concat([left, image, right], axis=1)

    def down(wide: TFTensor) -> TFTensor:
        above, below = blank[:y, : room[1]], blank[: room[0] - y - height, : room[1]]
        return tf.concat([above, wide, below], axis=0)

    wide = tf.cond(tf.equal(width, room[1]), lambda: image, across)
    return tf.cond(tf.equal(height, room[0]), lambda: wide, lambda: down(wide))


def shifted(boxes: TFTensor, y: TFTensor | int, x: TFTensor | int) -> TFTensor:
    """Boxes `(n, 4)` moved by whole pixels."""
    import tensorflow as tf

    return boxes + tf.cast(tf.stack([x, y, x, y]), tf.float32)


def quarters(centre: TFTensor, size: Size) -> list[TFTensor]:
    """The four parts around a centre (y, x): int32 `(4,)` each, top, left, height and width."""
    import tensorflow as tf

    y, x = centre[0], centre[1]
    rows, columns = ((0, y), (y, size[0] - y)), ((0, x), (x, size[1] - x))
    return [tf.stack([top, left, height, width]) for top, height in rows for left, width in columns]


def joined(parts: Sequence[Picture], rooms: Sequence[TFTensor], blank: TFTensor) -> Picture:
    """Four pictures, each in its quarter and touching the centre, as one of the input's size.

    Args:
        parts: four `Picture`, not larger than their quarters.
        rooms: of `quarters`.
        blank: a canvas of the input's size, of `tf_blank`.
    """
    import tensorflow as tf

    images, boxes = [], []
    for number, (part, room) in enumerate(zip(parts, rooms, strict=True)):
        height, width = tf.unstack(tf.shape(part.image)[:2])
        y = room[2] - height if number < 2 else 0
        x = room[3] - width if number % 2 == 0 else 0
        images.append(placed(part.image, y, x, room[2:], blank))
        boxes.append(shifted(part.boxes, room[0] + y, room[1] + x))
    rows = [tf.concat(images[i : i + 2], axis=1) for i in (0, 2)]
    return Picture(
        tf.ensure_shape(tf.concat(rows, axis=0), blank.shape),
        tf.concat(boxes, axis=0),
        tf.concat([part.labels for part in parts], axis=0),
        tf.constant(0),
        tf.constant(0),
        tf.zeros(4),
        tf.reduce_min(tf.stack([part.weight for part in parts])),
    )


def blended(first: Picture, second: Picture, share: TFTensor) -> Picture:
    """Two pictures of one size, `share` of the first, with the objects of both."""
    import tensorflow as tf

    one, two = (tf.cast(each.image, tf.float32) for each in (first, second))
    return Picture(
        tf.cast(two + share * (one - two) + 0.5, tf.uint8),
        tf.concat([first.boxes, second.boxes], axis=0),
        tf.concat([first.labels, second.labels], axis=0),
        tf.constant(0),
        tf.constant(0),
        tf.zeros(4),
        tf.minimum(first.weight, second.weight),
    )


def patch_plan(
    shape: TFTensor, box: TFTensor, scale: TFTensor, limit: TFTensor, max_ratio: int | TFTensor
) -> Plan:
    """The window of one object, resized.

    Args:
        shape: int32 `(2,)`, (height, width) of its image.
        box: float32 `(4,)`, xyxy pixels.
        scale: float32 `(2,)`, input pixels per pixel in y and x.
        limit: int32 `(2,)`, largest sides of the result.
        max_ratio: largest reduction that the decoder offers.
    """
    import tensorflow as tf

    step = tf.reduce_min(1.0 / scale)
    ratio = tf.where(step >= 4.0, 4, tf.where(step >= 2.0, 2, 1))
    ratio = tf.minimum(ratio, max_ratio)
    decoded = (shape + ratio - 1) // ratio
    reduced = tf.gather(box, [1, 0, 3, 2]) / tf.cast(ratio, tf.float32)
    corner = tf.clip_by_value(tf.cast(tf.round(reduced[:2]), tf.int32), 0, decoded - 1)
    last = tf.cast(tf.round(reduced[2:]), tf.int32)
    window = tf.clip_by_value(last - corner, 1, decoded - corner)
    wanted = tf.cast(window * ratio, tf.float32) * scale
    factor = tf.minimum(1.0, tf.reduce_min(tf.cast(limit, tf.float32) / wanted))
    sides = tf.maximum(tf.cast(tf.round(wanted * factor), tf.int32), 1)
    no = tf.constant(False)
    return Plan(ratio, corner[0], corner[1], window[0], window[1], sides[0], sides[1], no)


def pasted(
    picture: Picture,
    patch: TFTensor,
    label: TFTensor,
    weight: TFTensor,
    draws: TFTensor,
    max_hidden: float,
) -> Picture:
    """The picture with an object pasted at the first place that hides no object too much.

    Args:
        picture: `Picture`.
        patch: uint8 `(h, w, 3)`, not larger than the picture.
        label, weight: int32 and float32 scalars, class and weight of the object's image.
        draws: float32 `(PLACES, 2)` in [0, 1).
        max_hidden: float, largest share of an object that may be hidden.
    """
    import tensorflow as tf

    sides, whole = tf.shape(patch)[:2], tf.shape(picture.image)[:2]
    first = tf.cast(tf.floor(draws * tf.cast(whole - sides + 1, tf.float32)), tf.int32)
    tried = tf.cast(tf.concat([first[:, ::-1], (first + sides)[:, ::-1]], axis=1), tf.float32)
    inner = tf.minimum(tried[:, None, 2:], picture.boxes[:, 2:]) - tf.maximum(
        tried[:, None, :2], picture.boxes[:, :2]
    )
    shared = tf.reduce_prod(tf.maximum(inner, 0.0), axis=-1)
    area = tf.reduce_prod(picture.boxes[:, 2:] - picture.boxes[:, :2], axis=-1)
    free = tf.reduce_all(shared <= max_hidden * area, axis=1)
    large = tf.cast(tf.reduce_min(sides), tf.float32) >= MIN_VISIBLE_SIDE
    large &= label != PADDING_LABEL

    def with_patch() -> Picture:
        chosen = tf.argmax(free)
        y, x = tf.unstack(first[chosen])
        height, width = tf.unstack(sides)
        rows = picture.image[y : y + height]
        wide = tf.concat([rows[:, :x], patch, rows[:, x + width :]], axis=1)
        image = tf.concat([picture.image[:y], wide, picture.image[y + height :]], axis=0)
        return picture._replace(
            image=image,
            boxes=tf.concat([picture.boxes, tried[chosen][None]], axis=0),
            labels=tf.concat([picture.labels, label[None]], axis=0),
            weight=tf.minimum(picture.weight, weight),
        )

    return tf.cond(large & tf.reduce_any(free), with_patch, lambda: picture)
