"""Normalization against numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.normalization import Normalization
from tests.helpers import check_layer

PIXEL = np.array([[[[10, 20, 30]]]], "uint8")


# (10 - 1) / 2 = 4.5, (20 - 2) / 4 = 4.5, (30 - 3) / 8 = 3.375
def test_rgb_is_normalised_channel_by_channel():
    np.testing.assert_array_equal(
        Normalization((1, 2, 3), (2, 4, 8))(PIXEL)[0, 0, 0], [4.5, 4.5, 3.375]
    )


# bgr: (30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8
def test_bgr_reverses_the_channels_first():
    layer = Normalization((1, 2, 3), (2, 4, 8), "bgr")
    np.testing.assert_array_equal(layer(PIXEL)[0, 0, 0], [14.5, 4.5, 0.875])


def test_fill_color_is_the_rounded_mean_in_rgb():
    mean = (123.675, 116.28, 103.53)
    assert Normalization(mean, (1, 1, 1)).fill_color == (124, 116, 104)
    assert Normalization(mean, (1, 1, 1), "bgr").fill_color == (104, 116, 124)


def test_fill_color_can_be_given_and_is_saved():
    layer = Normalization((0,) * 3, (1,) * 3, fill_color=(1, 2, 3))
    assert layer.fill_color == (1, 2, 3)
    assert Normalization.from_config(layer.get_config()).fill_color == (1, 2, 3)


def test_normalization_is_a_good_layer():
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 5, 3))
    check_layer(
        Normalization,
        {"mean": [1.0, 2.0, 3.0], "scale": [2.0, 4.0, 8.0]},
        images,
        output_dtype="float32",
        any_size=True,
    )


def test_normalization_stays_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert (
            keras.backend.standardize_dtype(Normalization((0,) * 3, (1,) * 3)(PIXEL).dtype)
            == "float32"
        )
    finally:
        keras.config.set_dtype_policy("float32")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`channel_order` must be one of .* Received: 'gbr'"):
        Normalization((0,) * 3, (1,) * 3, "gbr")
    with pytest.raises(ValueError, match=r"three numbers each, `scale` above 0. Received"):
        Normalization((0,) * 3, (1, 0, 1))
