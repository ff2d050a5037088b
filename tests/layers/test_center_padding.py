"""Padding to sides that halve without a rest, against the original's arithmetic by hand."""

import numpy as np
import pytest

from keras_det.layers.center_padding import CenterPadding, padded_size
from tests.helpers import check_layer


# 480 = 0b111100000 -> 511; 640 = 0b1010000000 -> 767; 511 stays; 512 -> 639.
@pytest.mark.parametrize(
    "size, wanted", [((480, 640), (511, 767)), ((511, 511), (511, 511)), ((512, 1), (639, 127))]
)
def test_sides_as_the_original_rounds_them(size, wanted):
    assert padded_size(size) == wanted


# 5 x 6 into 7 x 7 (| 3 = 7): 7 // 2 - 5 // 2 = 1 row above, 1 behind; 7 // 2 - 6 // 2 = 0 columns
# before, 1 behind.
def test_images_lie_in_the_middle():
    images = np.ones((1, 5, 6, 1), "float32")
    wanted = np.zeros((1, 7, 7, 1), "float32")
    wanted[:, 1:6, 0:6] = 1
    layer = CenterPadding(4)
    np.testing.assert_array_equal(layer(images), wanted)
    assert layer.before((5, 6)) == (1, 0)


# A uint8 image would keep a TFLite file from being written.
def test_pixels_become_float32():
    found = np.array(CenterPadding(4)(np.full((1, 5, 6, 3), 255, "uint8")))
    assert found.dtype == np.float32 and found[0, 3, 3, 0] == 255


def test_layer():
    x = np.random.default_rng(0).normal(size=(2, 5, 9, 3)).astype("float32")
    check_layer(CenterPadding, {"divisor": 8}, x, output_dtype="float32")


def test_a_divisor_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of 2. Received: divisor=96"):
        CenterPadding(96)


# 9 = 0b1001: 9 | 3 = 11, 9 | 7 = 15, 9 | 31 = 31.
@pytest.mark.parametrize("divisor, side", [(4, 11), (8, 15), (32, 31)])
def test_the_divisor_sets_the_sides(divisor, side):
    assert padded_size((9, 9), divisor) == (side, side)
    assert CenterPadding(divisor)(np.ones((1, 9, 9, 1), "float32")).shape == (1, side, side, 1)
