"""How many pixels an encoded image declares, in a TensorFlow graph, before it is decoded."""

from collections.abc import Callable
from typing import NamedTuple

from keras_det.data.orientation import PNG_START
from keras_det.data.orientation_graph import numbers_at, starts_with
from keras_det.data.pixel_limit import JPEG_PIXELS_PER_BYTE, MAX_PIXELS
from keras_det.types import TFTensor

# GIF: blocks that are looked at before its first image ends, and how many full blocks of pixels
# are passed at once.
GIF_STEPS, GIF_RUN = 10_000, 64
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, b";"


def is_png(contents: TFTensor) -> TFTensor:
    """Whether encoded bytes start like a PNG file: a bool scalar."""
    return starts_with(contents, PNG_START)


def header_size(contents: TFTensor) -> TFTensor:
    """(height, width) of the stored pixels of a JPEG or PNG, int32 `(2,)`; zeros for others."""
    import tensorflow as tf

    def png() -> TFTensor:
        return tf.reverse(tf.ensure_shape(numbers_at(contents, 16, 2, 32), (2,)), [0])

    def other() -> TFTensor:
        return tf.cond(is_png(contents), png, lambda: tf.zeros(2, tf.int32))

    jpeg = tf.io.is_jpeg(contents)
    return tf.cond(jpeg, lambda: tf.image.extract_jpeg_shape(contents)[:2], other)


def refuse_huge(size: TFTensor, max_pixels: int | TFTensor = MAX_PIXELS) -> TFTensor:
    """Returns (height, width) unchanged; an error where the image has too many pixels."""
    import tensorflow as tf

    few = tf.reduce_prod(tf.cast(size, tf.int64)) <= max_pixels
    return checked(size, few, "too many pixels")


def most_pixels(contents: TFTensor, is_jpeg: TFTensor | bool, max_pixels: int) -> TFTensor:
    """How many pixels an image may declare: int64 scalar.

    At most `max_pixels`, and for a JPEG not more than its bytes can hold.
    """
    import tensorflow as tf

    length = tf.cast(tf.strings.length(contents), tf.int64)
    held = tf.minimum(length * JPEG_PIXELS_PER_BYTE, max_pixels)
    return tf.where(is_jpeg, held, max_pixels)


def checked(value: TFTensor, condition: TFTensor, text: str) -> TFTensor:
    """Returns the value; an error with this text where the condition does not hold."""
    import tensorflow as tf

    # The operator itself: `tf.debugging.Assert` wraps it into a branch, which costs more.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[text])]):
        return tf.identity(value)


def within_limit(contents: TFTensor, max_pixels: int) -> TFTensor:
    """Returns the part of an image to decode; an error if it would have too many pixels.

    It knows JPEG, PNG, GIF, BMP and WebP: all that TensorFlow decodes. TensorFlow decodes every
    image of a GIF, although only the first is wanted. So a GIF whose first image fills the canvas
    is cut after that image. In other GIFs, all images together must be within the limit.

    Args:
        contents: encoded bytes, a string scalar.
        max_pixels: int.
    """
    import tensorflow as tf

    def jpeg() -> TFTensor:
        size = tf.image.extract_jpeg_shape(contents)[:2]
        return _after(refuse_huge(size, most_pixels(contents, True, max_pixels)), contents)

    def sized(read: Callable[[TFTensor], TFTensor]) -> Callable[[], TFTensor]:
        return lambda: _after(refuse_huge(read(contents), max_pixels), contents)

    def either(
        start: bytes, then: Callable[[], TFTensor], otherwise: Callable[[], TFTensor]
    ) -> Callable[[], TFTensor]:
        return lambda: tf.cond(starts_with(contents, start), then, otherwise)

    # Anything else is unknown to TensorFlow, and refused by its decoder.
    webp = either(b"RIFF", sized(_webp_size), lambda: contents)
    bmp = either(b"BM", sized(_bmp_size), webp)
    gif = either(b"GIF8", lambda: _first_of_gif(contents, max_pixels), bmp)
    png = either(PNG_START, sized(header_size), gif)
    return tf.cond(tf.io.is_jpeg(contents), jpeg, png)


def _after(check: TFTensor, contents: TFTensor) -> TFTensor:
    """The contents, once a check has passed."""
    import tensorflow as tf

    with tf.control_dependencies([check]):
        return tf.identity(contents)


def _bytes_at(contents: TFTensor, place: TFTensor | int, count: int) -> TFTensor:
    """`count` bytes as int32; zeros after the end of the contents."""
    import tensorflow as tf

    place = tf.minimum(place, tf.strings.length(contents))
    found = tf.io.decode_raw(tf.strings.substr(contents, place, count), tf.uint8)
    found = tf.cast(found, tf.int32)
    return tf.ensure_shape(tf.pad(found, [[0, count - tf.size(found)]]), (count,))


def _bmp_size(contents: TFTensor) -> TFTensor:
    """A negative height means that the first row is at the top."""
    import tensorflow as tf

    return tf.abs(tf.cast(numbers_at(contents, 18, 2, 32, little=True), tf.int64))


def _webp_size(contents: TFTensor) -> TFTensor:
    """(width, height): of the canvas, of lossless or of lossy pixels."""
    import tensorflow as tf

    head = _bytes_at(contents, 20, 10)
    canvas = 1 + tf.stack([_little(head[4:7]), _little(head[7:10])])
    packed = head[1:5]
    width = 1 + packed[0] + (packed[1] & 0x3F) * 256
    height = 1 + packed[1] // 64 + packed[2] * 4 + (packed[3] & 0x0F) * 1024
    lossy = tf.stack([_little(head[6:8]) & 0x3FFF, _little(head[8:10]) & 0x3FFF])
    kind = tf.strings.substr(contents, tf.minimum(12, tf.strings.length(contents)), 4)
    small = tf.where(tf.equal(kind, b"VP8L"), tf.stack([width, height]), lossy)
    return tf.where(tf.equal(kind, b"VP8X"), canvas, small)


def _little(values: TFTensor) -> TFTensor:
    """Bytes as one number, least significant byte first."""
    import tensorflow as tf

    return tf.reduce_sum(values * 256 ** tf.range(tf.size(values)))


class _Gif(NamedTuple):
    """Where the walk over the blocks of a GIF is.

    `place`: of the next block. `inside`: whether it belongs to an image or extension. `total`:
    pixels of all images so far, int64. `sides`: the largest height and width so far, int64 `(2,)`.
    `full`: whether the first image fills the canvas. `images`, `steps`: how many.
    """

    place: TFTensor
    inside: TFTensor
    total: TFTensor
    sides: TFTensor
    full: TFTensor
    images: TFTensor
    steps: TFTensor


def _first_of_gif(contents: TFTensor, max_pixels: int) -> TFTensor:
    """The first image of a GIF alone, if it fills the canvas; else the file, if all are small."""
    import tensorflow as tf

    size = tf.strings.length(contents)
    head = _bytes_at(contents, 6, 5)
    canvas = tf.stack([_little(head[0:2]), _little(head[2:4])])
    start = 13 + _table(head[4])

    def goes_on(*state: TFTensor) -> TFTensor:
        walk = _Gif(*state)
        first_ends = walk.full & tf.equal(walk.images, 1) & ~walk.inside
        small = tf.maximum(walk.total, tf.reduce_prod(walk.sides)) <= max_pixels
        return (walk.place < size) & ~first_ends & small & (walk.steps < GIF_STEPS)

    def body(*state: TFTensor) -> tuple[TFTensor, ...]:
        walk = _Gif(*state)._replace(steps=state[-1] + 1)
        return tf.cond(
            walk.inside,
            lambda: tuple(_pass_blocks(contents, walk)),
            lambda: tuple(_next_part(contents, walk, canvas)),
        )

    zero, none = tf.constant(0), tf.zeros(2, tf.int64)
    state = _Gif(start, tf.constant(False), tf.constant(0, tf.int64), none, True, zero, zero)
    end = _Gif(*tf.while_loop(goes_on, body, tuple(state), parallel_iterations=1))
    pixels = tf.maximum(end.total, tf.reduce_prod(end.sides))
    known = (pixels <= max_pixels) & (end.steps < GIF_STEPS)
    cut = end.full & tf.equal(end.images, 1) & (end.place < size)
    first = tf.strings.substr(contents, 0, end.place) + GIF_END
    return checked(tf.where(cut, first, contents), known, "too many pixels")


def _pass_blocks(contents: TFTensor, walk: _Gif) -> _Gif:
    """Passes blocks of 255 bytes, or one shorter block; an empty one is the last."""
    import tensorflow as tf

    lengths = _bytes_at(contents, walk.place, 256 * GIF_RUN)[::256]
    full = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.equal(lengths, 255), tf.int32)))
    length = tf.where(full > 0, 256 * full, 1 + lengths[0])
    return walk._replace(place=walk.place + length, inside=tf.not_equal(lengths[0], 0))


def _next_part(contents: TFTensor, walk: _Gif, canvas: TFTensor) -> _Gif:
    """Goes into an extension or an image; anything else ends the walk."""
    import tensorflow as tf

    head = _bytes_at(contents, walk.place, 10)
    is_image = tf.equal(head[0], GIF_IMAGE)
    known = is_image | tf.equal(head[0], GIF_EXTENSION)
    corner = tf.stack([_little(head[1:3]), _little(head[3:5])])
    sides = tf.stack([_little(head[5:7]), _little(head[7:9])])
    fills = tf.reduce_all(tf.equal(corner, 0) & tf.equal(sides, canvas))
    sides = tf.cast(tf.where(is_image, sides, 0), tf.int64)
    length = tf.where(is_image, 11 + _table(head[9]), 2)
    return walk._replace(
        place=tf.where(known, walk.place + length, tf.strings.length(contents)),
        inside=known,
        total=walk.total + tf.reduce_prod(sides),
        sides=tf.maximum(walk.sides, sides),
        full=walk.full & (fills | ~is_image | (walk.images > 0)),
        images=walk.images + tf.cast(is_image, tf.int32),
    )


def _table(flags: TFTensor) -> TFTensor:
    """Bytes of the colour table that these flags announce."""
    import tensorflow as tf

    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags & 7), 0)
