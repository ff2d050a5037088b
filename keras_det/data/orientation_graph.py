"""`orientation` in TensorFlow, for `tf.data` and for servers without Python."""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from keras_det.data.orientation import (
    COLUMNS_REVERSED,
    EXIF_PREFIX,
    LONG,
    ORIENTATION_TAG,
    PNG_START,
    ROWS_REVERSED,
    SHORT,
    TRANSPOSED,
)
from keras_det.types import TFTensor

HEAD = 10  # bytes that tell what a segment or chunk is
# EXIF-less JPEGs mostly start like this, with tables after it: they need no search.
JFIF = b"\xff\xe0\x00\x10JFIF\0"
TABLES = b"\xff\xdb"

# `step(contents, place) -> (bytes to the next segment, whether this one holds EXIF)`; 0 or fewer
# bytes end the search.
Step: TypeAlias = Callable[[TFTensor, TFTensor], tuple[TFTensor, TFTensor]]


def starts_with(contents: TFTensor, start: bytes, place: int = 0) -> TFTensor:
    """Whether encoded bytes hold these at a place: a bool scalar. False where they are too few."""
    import tensorflow as tf

    place = tf.minimum(place, tf.strings.length(contents)) if place else place
    return tf.equal(tf.strings.substr(contents, place, len(start)), start)


def numbers_at(
    contents: TFTensor, place: TFTensor, count: TFTensor | int, bits: int, little: bool = False
) -> TFTensor:
    """Whole numbers from a place on, int32; fewer than `count` at the end of the contents.

    Args:
        contents: encoded bytes, a string scalar.
        place: int32 scalar. Below 0 counts as the end.
        count: of numbers.
        bits: 16 or 32. Numbers of 32 bits have a sign.
        little: whether the least significant byte comes first.
    """
    import tensorflow as tf

    size = tf.strings.length(contents)
    place = tf.where(place < 0, size, tf.minimum(place, size))
    width = bits // 8
    whole = tf.minimum(count, (size - place) // width)
    text = tf.strings.substr(contents, place, whole * width)
    kind = tf.uint16 if bits == 16 else tf.int32
    return tf.cast(tf.io.decode_raw(text, kind, little_endian=little), tf.int32)


def exif_orientation(contents: TFTensor) -> TFTensor:
    """Returns the orientation 1..8 of a JPEG, PNG or WebP; 1 where there is none, and for others.

    Args:
        contents: the encoded image, a string scalar.

    Returns:
        int32 scalar.
    """
    return _search()(contents)


@functools.cache
def _search() -> Callable[[TFTensor], TFTensor]:
    """`_exif_orientation` as one function, so that every graph that calls it is built quickly."""
    import tensorflow as tf

    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(_exif_orientation, input_signature=signature, autograph=False)


def _exif_orientation(contents: TFTensor) -> TFTensor:
    import tensorflow as tf

    def one() -> TFTensor:
        return tf.constant(1)

    def found(first: int, step: Step, offset: int) -> Callable[[], TFTensor]:
        return lambda: _tiff_orientation(contents, _walk(contents, first, step, offset))

    def webp() -> TFTensor:
        is_webp = starts_with(contents, b"RIFF") & starts_with(contents, b"WEBP", 8)
        return tf.cond(is_webp, found(12, _webp_step, 8), one)

    def png() -> TFTensor:
        return tf.cond(starts_with(contents, PNG_START), found(8, _png_step, 8), webp)

    def search() -> TFTensor:
        return tf.cond(tf.io.is_jpeg(contents), found(2, _jpeg_step, 4), png)

    plain = starts_with(contents, JFIF, 2) & starts_with(contents, TABLES, 20)
    return tf.cond(plain, one, search)


def turned(pixels: TFTensor, orientation: TFTensor) -> TFTensor:
    """Returns stored pixels `(height, width, channels)` upright."""
    import tensorflow as tf

    def change() -> TFTensor:
        order = tf.where(is_one_of(orientation, TRANSPOSED), [1, 0, 2], [0, 1, 2])
        step = tf.stack(
            [
                tf.where(is_one_of(orientation, ROWS_REVERSED), -1, 1),
                tf.where(is_one_of(orientation, COLUMNS_REVERSED), -1, 1),
            ]
        )
        return tf.transpose(pixels, order)[:: step[0], :: step[1]]

    return tf.cond(tf.equal(orientation, 1), lambda: pixels, change)


def is_one_of(value: TFTensor, values: Sequence[int]) -> TFTensor:
    """Whether an int32 scalar is one of these values."""
    import tensorflow as tf

    return tf.reduce_any(tf.equal(value, tf.constant(values)))


def stays_stored(
    stored: TFTensor, orientation: TFTensor, annotated: TFTensor, undecided: TFTensor | bool
) -> TFTensor:
    """As `orientation.stays_stored`; sizes are int32 `(2,)`, (height, width)."""
    import tensorflow as tf

    told_apart = is_one_of(orientation, TRANSPOSED) & tf.not_equal(stored[0], stored[1])
    return tf.where(told_apart, tf.reduce_all(tf.equal(annotated, stored)), undecided)


def _walk(contents: TFTensor, first: int, step: Step, offset: int) -> TFTensor:
    """Goes from segment to segment of a file until one holds EXIF: its place, or -1."""
    import tensorflow as tf

    size = tf.strings.length(contents)

    def goes_on(place: TFTensor, found: TFTensor) -> TFTensor:
        # So written, the sum cannot overflow.
        return (place <= size - HEAD) & (found < 0)

    def body(place: TFTensor, found: TFTensor) -> tuple[TFTensor, TFTensor]:
        length, hit = step(contents, place)
        inside = (length > 0) & (length < size - place)
        return tf.where(inside, place + length, size), tf.where(hit, place + offset, -1)

    start = (tf.constant(first), tf.constant(-1))
    return tf.while_loop(goes_on, body, start, parallel_iterations=1)[1]


def _head(contents: TFTensor, place: TFTensor) -> TFTensor:
    """The first bytes of a segment as five numbers of 16 bits, most significant byte first."""
    import tensorflow as tf

    text = tf.strings.substr(contents, place, HEAD)
    head = tf.io.decode_raw(text, tf.uint16, little_endian=False)
    return tf.cast(tf.ensure_shape(head, (HEAD // 2,)), tf.int32)


def _jpeg_step(contents: TFTensor, place: TFTensor) -> tuple[TFTensor, TFTensor]:
    import tensorflow as tf

    head = _head(contents, place)
    length = tf.where(tf.equal(head[0], 0xFFFF), 1, 2 + head[1])
    length = tf.where(head[0] < 0xFFE0, 0, length)
    exif = [0xFFE1, *np.frombuffer(EXIF_PREFIX, ">u2").tolist()]
    return length, tf.reduce_all(tf.equal(tf.gather(head, [0, 2, 3, 4]), exif))


def _png_step(contents: TFTensor, place: TFTensor) -> tuple[TFTensor, TFTensor]:
    import tensorflow as tf

    length = numbers_at(contents, place, 1, 32)[0]
    name = tf.strings.substr(contents, place + 4, 4)
    ends = tf.equal(name, b"IEND") | (length < 0) | (length > np.iinfo(np.int32).max - 12)
    return tf.where(ends, 0, length + 12), tf.equal(name, b"eXIf")


def _webp_step(contents: TFTensor, place: TFTensor) -> tuple[TFTensor, TFTensor]:
    import tensorflow as tf

    length = numbers_at(contents, place + 4, 1, 32, little=True)[0]
    ends = (length < 0) | (length > np.iinfo(np.int32).max - 9)
    name = tf.strings.substr(contents, place, 4)
    return tf.where(ends, 0, 8 + length + length % 2), tf.equal(name, b"EXIF")


def _tiff_orientation(contents: TFTensor, place: TFTensor) -> TFTensor:
    """The orientation in an EXIF block, which is built like a TIFF file; 1 for a place below 0."""
    import tensorflow as tf

    def one() -> TFTensor:
        return tf.constant(1)

    def read(little: bool) -> Callable[[], TFTensor]:
        return lambda: _ordered_orientation(contents, start, little)

    def known() -> TFTensor:
        return tf.cond(
            tf.equal(mark, b"II*\0"),
            read(True),
            lambda: tf.cond(tf.equal(mark, b"MM\0*"), read(False), one),
        )

    size = tf.strings.length(contents)
    here = tf.where(place < 0, size, tf.minimum(place, size))
    prefixed = tf.equal(tf.strings.substr(contents, here, 6), EXIF_PREFIX)
    start = here + tf.where(prefixed, 6, 0)
    mark = tf.strings.substr(contents, start, 4)
    return tf.cond(start + 8 <= size, known, one)


def _ordered_orientation(contents: TFTensor, start: TFTensor, little: bool) -> TFTensor:
    """The orientation in an EXIF block whose byte order is known."""
    import tensorflow as tf

    size = tf.strings.length(contents)
    offset = numbers_at(contents, start + 4, 1, 32, little)[0]
    fields = tf.where((offset < 0) | (offset > size - start), size, start + offset)
    # A number that the file is too short for reads as 0.
    count = tf.reduce_sum(numbers_at(contents, fields, 1, 16, little))
    rows = numbers_at(contents, fields + 2, 6 * count, 16, little)
    rows = tf.reshape(rows[: tf.size(rows) // 6 * 6], (-1, 6))
    rows = tf.boolean_mask(rows, tf.equal(rows[:, 0], ORIENTATION_TAG))
    row = tf.concat([tf.reshape(rows, (-1,)), tf.zeros(6, tf.int32)], 0)[:6]
    # A 32-bit number is two of 16 bits.
    low, high = (row[4], row[5]) if little else (row[5], row[4])
    long = tf.where(tf.equal(high, 0), low, 0)
    value = tf.where(tf.equal(row[1], SHORT), row[4], tf.where(tf.equal(row[1], LONG), long, 1))
    return tf.where((value >= 1) & (value <= 8), value, 1)
