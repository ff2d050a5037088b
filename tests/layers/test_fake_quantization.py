"""Rounding to 8 bits against NumPy, its gradients, and the ranges that it follows."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_det.layers.fake_quantization import FakeQuantize, fake_quantized_kernel
from tests.helpers import check_layer


def rounded(x, low, high):
    """TensorFlow Lite's asymmetric int8, from its definition."""
    scale = np.float32((high - low) / 255)
    zero = np.round(-low / scale)
    return scale * (np.clip(np.round(x / scale) + zero, 0, 255) - zero)


def ready(low, high, **kwargs):
    layer = FakeQuantize(**kwargs)
    layer.build((None, 3))
    layer.low_sum.assign(low), layer.high_sum.assign(high), layer.weight.assign(1.0)
    return layer


def test_layer():
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")
    check_layer(FakeQuantize, {"momentum": 0.9}, x, half_tolerance=0.1)
    check_layer(FakeQuantize, {}, x, {"training": True}, half_tolerance=None)


# Range -1 … 1.55: scale 2.55 / 255 = 0.01, zero point 100. 0.014 -> 1 step, 1.556 -> 155 steps.
def test_by_hand():
    layer = ready(-1.0, 1.55)
    x = np.array([0.0, 0.014, -0.016, 1.554, 3.0, -7.0], "float32")
    np.testing.assert_allclose(layer(x), [0.0, 0.01, -0.02, 1.55, 1.55, -1.0], atol=1e-6)


@pytest.mark.parametrize("low, high", [(-0.37, 2.9), (0.0, 6.0), (-5.0, 0.0)])
def test_equals_the_definition(low, high):
    x = np.random.default_rng(1).uniform(-8, 8, (400,)).astype("float32")
    found = ops.convert_to_numpy(ready(low, high)(x))
    np.testing.assert_allclose(found, rounded(x, np.float32(low), np.float32(high)), atol=1e-5)
    assert len(np.unique(found)) <= 256 and 0.0 in ops.convert_to_numpy(ready(low, high)(x * 0))


def test_without_training_nothing_is_rounded():
    x = np.random.default_rng(2).normal(size=(7, 3)).astype("float32")
    layer = FakeQuantize()
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)


# Averages with momentum 0.5, weights 1/4, 1/2 of 3/4 in all: (1 * 3 + 2 * 6) / 3 = 5.
def test_ranges_are_moving_averages_of_the_extremes():
    layer = FakeQuantize(momentum=0.5)
    for high, low in ((3.0, -1.0), (6.0, 2.0)):
        layer(np.array([low, high], "float32"), training=True)
    low, high = layer.range()
    np.testing.assert_allclose(high, 5.0, rtol=1e-6)
    np.testing.assert_allclose(low, -1.0 / 3.0, rtol=1e-6)  # 2.0 counts as 0: 0 stays inside
    before = [float(value) for value in layer.range()]
    layer(np.array([-99.0, 99.0], "float32"), training=False)
    assert [float(value) for value in layer.range()] == before


def test_kernels_have_a_scale_per_channel():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 4, 5)).astype("float32")
    kernel *= np.array([1e-3, 1, 10, 0, 1e4], "float32")
    scale = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)) / 127, 1e-9)
    expected = np.round(kernel / scale) * scale
    np.testing.assert_allclose(fake_quantized_kernel(kernel, -1), expected, rtol=1e-6)
    scale = np.maximum(np.abs(kernel).max(axis=(0, 1)) / 127, 1e-9)
    expected = np.round(kernel / scale) * scale
    np.testing.assert_allclose(fake_quantized_kernel(kernel, (-2, -1)), expected, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients by TensorFlow")
def test_gradients_pass_the_rounding_and_stop_outside_the_range():
    import tensorflow as tf

    x, layer = tf.constant([-2.0, -0.5, 0.2, 0.9, 3.0]), ready(-1.0, 1.0)
    kernel = tf.constant(np.random.default_rng(4).normal(size=(1, 1, 2, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        total = tf.reduce_sum(layer(x) * [1.0, 2, 3, 4, 5]) + tf.reduce_sum(
            3.0 * fake_quantized_kernel(kernel, -1)
        )
    of_x, of_kernel = tape.gradient(total, [x, kernel])
    np.testing.assert_allclose(of_x, [0, 2, 3, 4, 0])
    np.testing.assert_allclose(of_kernel, np.full((1, 1, 2, 3), 3.0))
