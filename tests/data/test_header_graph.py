import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data.decoding import Annotated, decode_planned
from keras_det.data.header_graph import within_limit
from tests.data.huge_files import hollow_jpeg

TOO_MANY = tf.errors.InvalidArgumentError
WIDTH, HEIGHT = 61, 45


@pytest.fixture(scope="module")
def limited():
    """`within_limit` in a graph, as the SavedModel has it."""

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64)]
    )
    def function(contents, max_pixels):
        return within_limit(contents, max_pixels)

    return lambda contents, limit: function(contents, tf.constant(limit, tf.int64)).numpy()


def noise(mode="RGB", width=WIDTH, height=HEIGHT, seed=0):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (height, width, *channels))
    return Image.fromarray(values.astype(np.uint8), mode)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


MORE = {"save_all": True, "append_images": [noise(seed=1), noise(seed=2)]}
FILES = {
    "jpeg": encoded(noise(), "JPEG"),
    "jpeg, turned": encoded(noise(), "JPEG", exif=exif(6)),
    "jpeg, progressive": encoded(noise(), "JPEG", progressive=True),
    "png": encoded(noise(), "PNG"),
    "png, grey": encoded(noise("L"), "PNG"),
    "bmp": encoded(noise(), "BMP"),
    "gif": encoded(noise(), "GIF"),
    "gif, animated": encoded(noise(), "GIF", **MORE),
    "gif, long comment": encoded(noise(), "GIF", comment=b"x" * 40_000),
    "webp": encoded(noise(), "WEBP"),
    "webp, lossless": encoded(noise(), "WEBP", lossless=True),
    "webp, transparent": encoded(noise("RGBA"), "WEBP"),
    "webp, transparent and lossless": encoded(noise("RGBA"), "WEBP", lossless=True),
    "webp, animated": encoded(noise(), "WEBP", **MORE),
}


@pytest.mark.parametrize("name", FILES)
def test_limit_is_exact_for_every_format(limited, name):
    kept = limited(FILES[name], WIDTH * HEIGHT)
    with pytest.raises(TOO_MANY, match="too many pixels"):
        limited(FILES[name], WIDTH * HEIGHT - 1)
    if name.startswith("gif"):  # what follows the first image is left out
        first = tf.io.decode_gif(FILES[name])[0]
        np.testing.assert_array_equal(tf.io.decode_gif(kept), [first])
    else:
        assert kept == FILES[name]


# Sides that use every bit of their fields: 14 bits in WebP, two bytes in GIF.
@pytest.mark.parametrize("width, height", [(1, 16_383), (16_383, 1), (300, 257), (4_097, 66)])
@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP"])
def test_sides_of_any_length(limited, kind, width, height):
    for options in ({}, {"lossless": True}) if kind == "WEBP" else ({},):
        contents = encoded(Image.new("RGB", (width, height)), kind, **options)
        limited(contents, width * height)
        with pytest.raises(TOO_MANY, match="too many pixels"):
            limited(contents, width * height - 1)


def two_images(first, second):
    """A GIF of 64x64 pixels with two images of these sizes, at the top left."""
    contents = encoded(noise("L", 64, 64), "GIF")
    start = contents.index(b"\x2c\0\0\0\0")
    body, parts = contents[start + 9 : -1], []
    for width, height in (first, second):
        size = b"".join(side.to_bytes(2, "little") for side in (width, height))
        parts.append(contents[start : start + 5] + size + body)
    return contents[:start] + b"".join(parts) + b";"


# TensorFlow decodes all images where the first does not fill the canvas: their sum counts, and so
# does the canvas over all of them.
@pytest.mark.parametrize(
    "first, second, pixels",
    [((64, 64), (65_535, 65_535), 4096), ((32, 64), (64, 64), 6144), ((1, 64), (64, 1), 4096)],
)
def test_all_images_of_a_gif_count_unless_the_first_fills_it(limited, first, second, pixels):
    contents = two_images(first, second)
    limited(contents, pixels)
    with pytest.raises(TOO_MANY, match="too many pixels"):
        limited(contents, pixels - 1)


def test_a_gif_of_endless_blocks_is_refused(limited):
    contents = encoded(noise("L", 64, 64), "GIF")
    start = contents.index(b"\x2c\0\0\0\0")
    with pytest.raises(TOO_MANY, match="too many pixels"):
        limited(contents[:start] + b"\x21\xfe\x01x\0" * 6_000 + contents[start:], 10**9)


@pytest.mark.parametrize("name", FILES)
def test_cut_files_are_left_to_the_decoder(limited, name):
    for length in (0, 1, 4, 9, 13, 20, 25, 29):
        try:
            kept = limited(FILES[name][:length], 10**9)
        except tf.errors.InvalidArgumentError:  # an unreadable header
            continue
        assert kept == FILES[name][:length] or name.startswith("gif")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif(6)}])
def test_a_jpeg_that_holds_nothing_is_refused(limited, options):
    contents = hollow_jpeg(13_000, 13_000, **options)
    with pytest.raises(TOO_MANY, match="too many pixels"):
        limited(contents, 10**9)

    def plan(shape, max_ratio):
        raise AssertionError("only an image of few pixels has a plan")

    with pytest.raises(TOO_MANY, match="too many pixels"):
        decode_planned(contents, plan, False, Annotated(tf.constant([0, 0])))
