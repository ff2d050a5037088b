"""Where an image goes when it is also turned, zoomed out or cropped: a `Plan` and its place.

The plan belongs to the turned image. The window to decode belongs to the stored one.
"""

from typing import TYPE_CHECKING, NamedTuple

from keras_det.data.augmenting.plans import Plan, draw_plan, move_boxes, way_back
from keras_det.data.resize import resized_size, tf_resize_pixels
from keras_det.types import Size, TFTensor

if TYPE_CHECKING:
    from keras_det.data.augment import Augment
    from keras_det.data.augmenting.steps import IoUCrop, TileCrop, ZoomOut

# Numbers that make independent seeds of one: steps of a list have 0, 1, 2 …
VIEW_DRAWS, CROP_DRAWS = 1001, 1002
# A window of SSD's crop is at most this many times as long as wide.
LONGEST = 2.0


class View(NamedTuple):
    """A window of the stored image, its plan, and its place.

    The first five are those of a `Plan`, in pixels of the stored, reduced image. `plan` is of the
    turned image. `turn` and `flip_vertical` are bool scalars, or None where they cannot happen. `y`
    and `x` are int32, the place of the top left corner in the input or in its part.
    """

    ratio: TFTensor
    top: TFTensor
    left: TFTensor
    window_height: TFTensor
    window_width: TFTensor
    plan: Plan
    turn: TFTensor | None = None
    flip_vertical: TFTensor | None = None
    y: TFTensor | int = 0
    x: TFTensor | int = 0


def fold(seed: TFTensor, number: int | TFTensor) -> TFTensor:
    """An independent seed, int64 `(2,)`, for each number."""
    import tensorflow as tf

    return tf.cast(tf.random.experimental.stateless_fold_in(seed, number), tf.int64)


def draw_view(
    shape: TFTensor,
    size: Size,
    mode: str,
    augment: "Augment",
    seed: TFTensor,
    max_ratio: int | TFTensor,
    boxes: TFTensor,
    room: TFTensor | None = None,
) -> View:
    """Draws the window of one image.

    Args:
        shape: int32 `(2,)`, height and width of the stored image in pixels.
        size: `(height, width)` of the network's input in pixels, Python integers.
        mode: "letterbox", "stretch" or "mediapipe".
        augment: the possible changes.
        seed: int64 `(2,)`.
        max_ratio: largest reduction that the decoder offers for this file.
        boxes: float32 `(n, 4)` xyxy pixels of the stored image, for the crop and the tile.
        room: as for `draw_plan`; the crop and zooming out are then left out.
    """
    import tensorflow as tf

    draws = tf.random.stateless_uniform((4,), seed)
    windows = augment.zoom_out or augment.crop or augment.tile
    if not (augment.rotate or augment.flip_vertical or windows):
        return _viewed(draw_plan(shape, size, mode, augment, draws, max_ratio, room))
    more = tf.random.stateless_uniform((8,), fold(seed, VIEW_DRAWS))
    turn, upside_down, mirrored = _orientation(augment, more)
    if turn is not None:
        shape, boxes = tf.where(turn, shape[::-1], shape), turned_boxes(boxes, turn)
    y: TFTensor | int = 0
    x: TFTensor | int = 0
    if room is None and windows:
        window = _zoomed(shape, augment.zoom_out, more)
        if augment.tile:
            window = _tile(shape, boxes, augment.tile, augment.tile.sides(size), draws, more)
        if augment.crop:
            window = _cropped(window, boxes, augment.crop, draws, more, fold(seed, CROP_DRAWS))
        plan, y, x = _plan_of(window, shape, size, mode, max_ratio, draws[3] < augment.flip)
    else:
        plan = draw_plan(shape, size, mode, augment, draws, max_ratio, room)
    if mirrored is not None:
        plan = plan._replace(flip=tf.not_equal(plan.flip, mirrored))
    return _viewed(plan, turn, upside_down, y, x)


def _viewed(
    plan: Plan,
    turn: TFTensor | None = None,
    flip_vertical: TFTensor | None = None,
    y: TFTensor | int = 0,
    x: TFTensor | int = 0,
) -> View:
    """The view of a plan: the window of the turned image as that of the stored one."""
    import tensorflow as tf

    window = plan[1:5]
    if turn is not None:
        top, left, height, width = window
        swapped = (left, top, width, height)
        window = tuple(tf.where(turn, a, b) for a, b in zip(swapped, window, strict=True))
    return View(plan.ratio, *window, plan, turn, flip_vertical, y, x)


def _orientation(
    augment: "Augment", draws: TFTensor
) -> tuple[TFTensor | None, TFTensor | None, TFTensor | None]:
    """Whether x and y are swapped, and the flips that follow: vertical, and a further horizontal.

    Two flips are a half turn; swapping and one flip is a quarter turn.
    """
    import tensorflow as tf

    upside_down = draws[2] < augment.flip_vertical
    if not augment.rotate:
        return None, upside_down, None
    quarters = tf.where(draws[0] < augment.rotate, 1 + tf.cast(3 * draws[1], tf.int32), 0)
    turn = tf.equal(quarters % 2, 1)
    vertical = tf.equal(quarters, 1) | tf.equal(quarters, 2)
    return turn, tf.not_equal(upside_down, vertical), quarters >= 2


def turned_boxes(boxes: TFTensor, turn: TFTensor) -> TFTensor:
    """Boxes `(n, 4)` with x and y swapped where `turn` holds."""
    import tensorflow as tf

    return tf.where(turn, tf.gather(boxes, [1, 0, 3, 2], axis=1), boxes)


def _zoomed(shape: TFTensor, zoom: "ZoomOut | None", draws: TFTensor) -> TFTensor:
    """The canvas around an image, float32 `(4,)`: y1, x1, y2, x2 in whole pixels of the image."""
    import tensorflow as tf

    sides = tf.cast(shape, tf.float32)
    if zoom is None:
        return tf.concat([tf.zeros(2), sides], axis=0)
    low, high = zoom.scale
    factor = tf.where(draws[3] < zoom.probability, low + (high - low) * draws[4], 1.0)
    larger = tf.round(sides * factor)
    corner = -tf.round((larger - sides) * draws[5:7])
    return tf.concat([corner, corner + larger], axis=0)


def _cropped(
    window: TFTensor,
    boxes: TFTensor,
    crop: "IoUCrop",
    draws: TFTensor,
    more: TFTensor,
    seed: TFTensor,
) -> TFTensor:
    """The first of many windows inside this one that shows an object well enough; else this one."""
    import tensorflow as tf

    random = tf.random.stateless_uniform((crop.tries, 4), seed)
    low, high = crop.scale
    whole = window[2:] - window[:2]
    sides = tf.maximum(tf.round(whole * (low + (high - low) * random[:, :2])), 1.0)
    corner = window[:2] + tf.round((whole - sides) * random[:, 2:])
    tried = tf.concat([corner, corner + sides], axis=1)
    least = tf.constant(crop.min_ious)[tf.cast(draws[0] * len(crop.min_ious), tf.int32)]
    boxes = tf.gather(boxes, [1, 0, 3, 2], axis=1)  # y first, as the windows
    first, last = tried[:, None, :2], tried[:, None, 2:]
    inner = tf.minimum(last, boxes[:, 2:]) - tf.maximum(first, boxes[:, :2])
    shared = tf.reduce_prod(tf.maximum(inner, 0.0), axis=-1)
    own = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    overlap = tf.math.divide_no_nan(shared, own + tf.reduce_prod(sides, axis=1)[:, None] - shared)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = tf.reduce_all((centre >= first) & (centre < last), axis=-1)
    good = tf.reduce_any(inside & (overlap >= least), axis=1)
    longest = tf.reduce_max(sides, axis=1) / tf.reduce_min(sides, axis=1)
    good &= longest <= LONGEST
    use = tf.reduce_any(good) & (more[7] < crop.probability)
    return tf.where(use, tried[tf.argmax(good)], window)


def _tile(
    shape: TFTensor,
    boxes: TFTensor,
    step: "TileCrop",
    tile: Size,
    draws: TFTensor,
    more: TFTensor,
) -> TFTensor:
    """A window of the image at its own resolution, or the whole image, float32 `(4,)`.

    With the centre c of an object, the corner is uniform in c - side .. c, as far as the window
    lies in the image.
    """
    import tensorflow as tf

    whole = tf.cast(shape, tf.float32)
    low, high = step.scale
    factor = low + (high - low) * draws[0]
    sides = tf.maximum(tf.round(tf.constant(tile, tf.float32) * factor), 1.0)
    sides = tf.minimum(sides, whole)
    corner = draws[1:3] * (whole - sides)
    count = tf.shape(boxes)[0]
    row = tf.minimum(tf.cast(more[5] * tf.cast(count, tf.float32), tf.int32), count - 1)
    # Where there is no object, the row of the padding is taken, and not used.
    box = tf.gather(tf.pad(boxes, [[0, 1], [0, 0]]), tf.maximum(row, 0))
    centre = tf.stack([box[1] + box[3], box[0] + box[2]]) / 2
    around = tf.clip_by_value(centre - draws[1:3] * sides, 0.0, whole - sides)
    corner = tf.where((more[4] < step.on_object) & (count > 0), around, corner)
    corner = tf.round(corner)
    window = tf.concat([corner, corner + sides], axis=0)
    full = tf.concat([tf.zeros(2), whole], axis=0)
    return tf.where(more[3] < step.probability, window, full)


def _plan_of(
    window: TFTensor,
    shape: TFTensor,
    size: Size,
    mode: str,
    max_ratio: int | TFTensor,
    flip: TFTensor,
) -> tuple[Plan, TFTensor, TFTensor]:
    """The plan that shows a window, which may be larger than the image, and the place of the image.

    The decoder reduces no more than the resizing shrinks, as in `draw_plan`.
    """
    import tensorflow as tf

    def fitted(sides: TFTensor) -> TFTensor:
        sides = tf.cast(sides, tf.int64)
        return tf.cast(tf.stack(resized_size(sides[0], sides[1], size, mode)), tf.float32)

    sides, stored = window[2:] - window[:2], tf.cast(shape, tf.float32)
    full = fitted(sides)
    scale = full / sides
    usual = fitted(stored) / stored
    limit = tf.minimum(tf.reduce_min(1 / scale), tf.reduce_min(usual / scale))
    ratio = tf.where(limit >= 4.0, 4, tf.where(limit >= 2.0, 2, 1))
    ratio = tf.minimum(ratio, max_ratio)
    first = tf.maximum(window[:2], 0.0)
    last = tf.maximum(tf.minimum(window[2:], stored), first + 1.0)
    place = tf.minimum(tf.round((first - window[:2]) * scale), full - 1.0)
    kept = tf.clip_by_value(tf.round((last - first) * scale), 1.0, full - place)
    decoded = (shape + ratio - 1) // ratio  # the decoder rounds up
    step = tf.cast(ratio, tf.float32)
    corner = tf.minimum(tf.cast(tf.round(first / step), tf.int32), decoded - 1)
    seen = tf.cast(tf.round((last - first) / step), tf.int32)
    seen = tf.clip_by_value(seen, 1, decoded - corner)
    kept, place = tf.cast(kept, tf.int32), tf.cast(place, tf.int32)
    plan = Plan(ratio, corner[0], corner[1], seen[0], seen[1], kept[0], kept[1], flip)
    return plan, place[0], place[1]


def render(window: TFTensor, view: View, flips: bool, half_pixel: bool) -> TFTensor:
    """Turns, resizes and flips a decoded window.

    Args:
        window: uint8 `(h, w, 3)`, of the stored image.
        view: of the image.
        flips: bool, whether the image may be flipped left-right.
        half_pixel: bool, as for `tf_resize_pixels`.

    Returns:
        uint8 `(plan.height, plan.width, 3)`.
    """
    import tensorflow as tf

    plan = view.plan
    if view.turn is not None:
        window = tf.cond(view.turn, lambda: tf.transpose(window, (1, 0, 2)), lambda: window)
    image = tf_resize_pixels(window, plan.height, plan.width, half_pixel)
    if flips or view.turn is not None:
        image = tf.cond(plan.flip, lambda: tf.reverse(image, [1]), lambda: image)
    if view.flip_vertical is not None:
        image = tf.cond(view.flip_vertical, lambda: tf.reverse(image, [0]), lambda: image)
    return image


def view_boxes(boxes: TFTensor, view: View) -> tuple[TFTensor, TFTensor]:
    """Maps boxes of the stored image to the rendered window: `(boxes (n, 4), visible (n,))`."""
    import tensorflow as tf

    if view.turn is not None:
        boxes = turned_boxes(boxes, view.turn)
    boxes, visible = move_boxes(boxes, view.plan, way_back(view.plan))
    if view.flip_vertical is not None:
        height = tf.cast(view.plan.height, tf.float32)
        x1, y1, x2, y2 = tf.unstack(boxes, axis=1)
        flipped = tf.stack([x1, height - y2, x2, height - y1], axis=1)
        boxes = tf.where(view.flip_vertical, flipped, boxes)
    return boxes, visible


def view_back(view: View) -> TFTensor:
    """float32 `(scale_x, scale_y, offset_x, offset_y)`: original = input * scale + offset.

    Zeros where the image is turned by a quarter: x and y would have to be swapped.
    """
    import tensorflow as tf

    scale_x, scale_y, offset_x, offset_y = tf.unstack(way_back(view.plan))
    if view.flip_vertical is not None:
        far = offset_y + scale_y * tf.cast(view.plan.height, tf.float32)
        offset_y = tf.where(view.flip_vertical, far, offset_y)
        scale_y = tf.where(view.flip_vertical, -scale_y, scale_y)
    offset_x -= scale_x * tf.cast(view.x, tf.float32)
    offset_y -= scale_y * tf.cast(view.y, tf.float32)
    found = tf.stack([scale_x, scale_y, offset_x, offset_y])
    return found if view.turn is None else tf.where(view.turn, tf.zeros(4), found)
