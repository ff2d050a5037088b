"""Decodes images in a TensorFlow graph, with the same values as `read_image`."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from keras_det.data.augmenting.plans import JPEG_RATIOS, Window, crop_window
from keras_det.data.filled import FILLED, JPEG_END, JPEG_ENDS
from keras_det.data.header_graph import checked, header_size, is_png, most_pixels, refuse_huge
from keras_det.data.image import read_annotated
from keras_det.data.orientation import JPEG_START
from keras_det.data.orientation_graph import (
    JFIF,
    TABLES,
    exif_orientation,
    stays_stored,
    turned,
)
from keras_det.data.pixel_limit import MAX_PIXELS
from keras_det.types import TFTensor

WindowT = TypeVar("WindowT", bound=Window)

# The exact inverse transform: equal to Pillow bit by bit, and no slower in libjpeg-turbo.
JPEG = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}


class Annotated(NamedTuple):
    """What the annotation says about an image, and the limit of its pixels.

    `size`: int32 `(2,)`, (height, width); 0 if unknown. `stored_pixels`: bool scalar, whether
    labels were drawn on the stored pixels where the size cannot tell. `max_pixels`: int, larger
    images are refused.
    """

    size: TFTensor
    stored_pixels: TFTensor | bool = False
    max_pixels: int = MAX_PIXELS


def lacks_end(contents: TFTensor) -> TFTensor:
    """Whether the last bytes of a JPEG are not its end marker: a bool scalar."""
    import tensorflow as tf

    return tf.not_equal(tf.strings.substr(contents, -2, 2), JPEG_END)


def decode_whole_jpeg(contents: TFTensor) -> TFTensor:
    """Decodes a JPEG. It may lack its end marker if all of its pixels are there."""
    import tensorflow as tf

    def decoded() -> TFTensor:
        return refuse_filled(contents, tf.io.decode_jpeg(contents, **JPEG))

    return tf.cond(lacks_end(contents), lambda: _mended(contents), decoded)


def refuse_filled(contents: TFTensor, window: TFTensor) -> TFTensor:
    """Returns a window of a JPEG with its end marker; an error if missing pixels were filled.

    If the window ends in their colour, the file is decoded once more.

    Args:
        contents: the encoded JPEG, a string scalar.
        window: uint8 `(height, width, 3)`, decoded from it.
    """
    import tensorflow as tf

    colours = tf.constant(FILLED, tf.uint8)
    suspect = tf.reduce_any(tf.reduce_all(tf.equal(colours, window[-1, -1]), axis=-1))

    def whole(contents: TFTensor) -> TFTensor:
        kept = tf.strings.substr(contents, 0, tf.strings.length(contents) - len(JPEG_END))
        return tf.shape(_mended(kept))[0]

    # One node of the graph: nodes that do not run take time too.
    function = tf.function(
        whole,
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
    height = tf.cond(suspect, lambda: function(contents), lambda: tf.constant(0))
    with tf.control_dependencies([height]):
        return tf.identity(window)


def _mended(contents: TFTensor) -> TFTensor:
    """Decodes a JPEG without its end marker; an error if pixels are missing.

    Decoders fill missing pixels in silence once there is an end marker. So two ends are tried: if
    the pixels differ, they depend on what is missing.
    """
    import tensorflow as tf

    last = tf.strings.length(contents) - 1
    half = tf.equal(tf.strings.substr(contents, last, 1), JPEG_END[:1])
    kept = tf.strings.substr(contents, 0, tf.where(half, last, last + 1))
    marked, filled = (tf.io.decode_jpeg(kept + end, **JPEG) for end in JPEG_ENDS)
    return checked(marked, tf.reduce_all(tf.equal(marked, filled)), "truncated JPEG")


def decode_with_pillow(contents: TFTensor, annotated: Annotated) -> TFTensor:
    """Decodes an image that is neither JPEG nor PNG, as its labels were drawn."""
    import tensorflow as tf

    size, stored_pixels, max_pixels = annotated

    def read(encoded: TFTensor, size: TFTensor, stored: TFTensor) -> np.ndarray:
        height, width = size.numpy().tolist()
        return read_annotated(encoded.numpy(), (height, width), bool(stored), max_pixels)

    # Not numpy_function: run eagerly, it strips zero bytes from the end of the file.
    pixels = tf.py_function(read, [contents, size, stored_pixels], tf.uint8)
    return tf.ensure_shape(pixels, (None, None, 3))


def decode_jpeg_window(contents: TFTensor, plan: Window, whole: bool) -> TFTensor:
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
    contents: TFTensor,
    make_plan: Callable[[TFTensor, TFTensor], WindowT],
    whole: bool,
    annotated: Annotated,
) -> tuple[TFTensor, WindowT]:
    """Decodes the window of an encoded image that its plan keeps.

    Only a JPEG that is used as it is stored can be decoded in part; the others are decoded whole.

    Args:
        contents: the encoded image, a string scalar.
        make_plan: `make_plan(shape, max_ratio)` gives a `Plan` or `View`, see `draw_plan`.
        whole: as in `decode_jpeg_window`.
        annotated: which way up the image is used, and its size. Another size is an error.

    Returns:
        `(uint8 window (height, width, 3), plan)`.
    """
    import tensorflow as tf

    def plain() -> tuple[TFTensor, ...]:
        return nothing(), tf.image.extract_jpeg_shape(contents)[:2], tf.constant(True)

    def nothing() -> TFTensor:
        return tf.zeros((0, 0, 3), tf.uint8)

    def other() -> tuple[TFTensor, ...]:
        is_jpeg = tf.io.is_jpeg(contents)
        limit = most_pixels(contents, is_jpeg, annotated.max_pixels)
        stored = refuse_huge(header_size(contents), limit)
        orientation = _to_apply(contents, stored, annotated)
        direct = is_jpeg & tf.equal(orientation, 1) & ~lacks_end(contents)
        pixels = tf.cond(
            direct, nothing, lambda: _decode_other(contents, stored, orientation, annotated)
        )
        return pixels, tf.where(direct, stored, tf.shape(pixels)[:2]), direct

    pixels, shape, direct = tf.cond(_is_plain_jpeg(contents), plain, other)
    limit = most_pixels(contents, direct, annotated.max_pixels)
    shape = refuse_huge(_as_annotated(shape, annotated.size), limit)
    plan = make_plan(shape, tf.where(direct, JPEG_RATIOS[-1], 1))
    window = tf.cond(
        direct,
        lambda: refuse_filled(contents, decode_jpeg_window(contents, plan, whole)),
        lambda: crop_window(pixels, plan),
    )
    return tf.ensure_shape(window, (None, None, 3)), plan


def _is_plain_jpeg(contents: TFTensor) -> TFTensor:
    """Whether a JPEG has its end marker and no EXIF: most have tables right after JFIF's header.

    Other files must be searched, which takes longer. Fewer than 22 bytes are an error.
    """
    import tensorflow as tf

    start = tf.equal(tf.strings.substr(contents, 0, 11), JPEG_START[:2] + JFIF)
    tables = tf.equal(tf.strings.substr(contents, 20, 2), TABLES)
    return start & tables & ~lacks_end(contents)


def _decode_other(
    contents: TFTensor, stored: TFTensor, orientation: TFTensor, annotated: Annotated
) -> TFTensor:
    """Decodes an image whole, and turns it by this orientation (Pillow: by its own)."""
    import tensorflow as tf

    def png_or_pillow() -> TFTensor:
        return tf.cond(
            is_png(contents),
            lambda: turned(tf.io.decode_png(contents, channels=3), orientation),
            lambda: decode_with_pillow(contents, annotated),
        )

    with tf.control_dependencies([stored]):  # checked before
        return tf.cond(
            tf.io.is_jpeg(contents),
            lambda: turned(decode_whole_jpeg(contents), orientation),
            png_or_pillow,
        )


def _to_apply(contents: TFTensor, stored: TFTensor, annotated: Annotated) -> TFTensor:
    """The orientation by which a JPEG or PNG is turned; 1 where its stored pixels are used."""
    import tensorflow as tf

    orientation = exif_orientation(contents)
    keep = stays_stored(stored, orientation, annotated.size, annotated.stored_pixels)
    return tf.where(keep, 1, orientation)


def _as_annotated(shape: TFTensor, size: TFTensor) -> TFTensor:
    """Returns the shape of an image; an error where its annotation names another one."""
    import tensorflow as tf

    equal = tf.reduce_all(tf.equal(shape, size) | (size <= 0))
    return checked(shape, equal, "another size than annotated")
