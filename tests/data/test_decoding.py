import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import read_image
from keras_det.data.augment import Plan, way_back
from keras_det.data.decoding import (
    Annotated,
    decode_jpeg_window,
    decode_planned,
    decode_whole_jpeg,
)
from keras_det.data.header_graph import header_size, refuse_huge


def encoded(kind="JPEG", height=45, width=61):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_window_of_the_reduced_image(ratio):
    contents = encoded()
    whole = tf.io.decode_jpeg(contents, 3, ratio=ratio, dct_method="INTEGER_ACCURATE").numpy()
    plan = Plan(*(tf.constant(v) for v in (ratio, 3, 2, 7, 9, 7, 9, False)))
    window = decode_jpeg_window(contents, plan, whole=False)
    np.testing.assert_array_equal(window, whole[3:10, 2:11])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF"])
def test_pixels_equal_read_image(kind):
    contents = encoded(kind)

    def plan(shape, max_ratio):
        assert max_ratio == (4 if kind == "JPEG" else 1)
        return Plan(*(tf.constant(v) for v in (1, 3, 2, 7, 9, 7, 9, False)))

    window, _ = decode_planned(contents, plan, False, Annotated(tf.constant([45, 61])))
    np.testing.assert_array_equal(window, read_image(contents)[3:10, 2:11])


# The window starts at (3, 2) of the image reduced by 2, so at (6, 4) of the original; 7x9 pixels
# of it, 14x18 original ones, fill 28x36.
def test_way_back_of_a_reduced_window():
    plan = Plan(*(tf.constant(v) for v in (2, 3, 2, 7, 9, 28, 36, False)))
    np.testing.assert_allclose(way_back(plan), [0.5, 0.5, 4, 6])
    # Flipped: x = 0 shows the window's right end, 4 + 18.
    plan = plan._replace(flip=tf.constant(True))
    np.testing.assert_allclose(way_back(plan), [-0.5, 0.5, 22, 6])


@pytest.mark.parametrize("kind, expected", [("JPEG", [45, 61]), ("PNG", [45, 61]), ("GIF", [0, 0])])
def test_size_in_the_header(kind, expected):
    assert header_size(encoded(kind)).numpy().tolist() == expected
    np.testing.assert_array_equal(refuse_huge(tf.constant([45, 61]), 45 * 61), [45, 61])
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        refuse_huge(tf.constant([45, 61]), 45 * 61 - 1)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 9])
def test_a_jpeg_may_lack_its_end_marker_only(cut):
    contents = encoded()
    kept = contents[: len(contents) - cut]
    if cut <= 2:
        np.testing.assert_array_equal(decode_whole_jpeg(kept), read_image(contents))
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="truncated JPEG"):
            decode_whole_jpeg(kept)
