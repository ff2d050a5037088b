"""BatchNorm's fused path against the formula, and against Keras' own layer."""

import keras
import numpy as np
import pytest

from keras_det.layers.batch_norm import BatchNorm
from tests.helpers import check_layer


def example():
    return np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 5, 4)).astype("float32")


# float64 has no fused kernel on TensorFlow; other backends have none at all.
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_output_and_statistics_equal_the_formula(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float32 by default")
    x, layer = example().astype(dtype), BatchNorm(dtype=dtype)
    layer.build(x.shape)
    layer.gamma.assign([1.0, 2.0, 3.0, 4.0])
    layer.beta.assign([0.0, 1.0, 0.0, -1.0])
    outputs = keras.ops.convert_to_numpy(layer(x, training=True))
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-3) * [1, 2, 3, 4] + [0, 1, 0, -1]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    # From 0 and 1: 0.99 of the old, 0.01 of the batch's; n = 30, and the variance is unbiased.
    np.testing.assert_allclose(layer.moving_mean, 0.01 * mean, rtol=1e-5)
    moved = 0.99 + 0.01 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.moving_variance, moved, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_keras_own_layer(training):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the fused path is TensorFlow's")
    x, ours, theirs = example(), BatchNorm(), keras.layers.BatchNormalization(epsilon=1e-3)
    results = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
        layer.gamma.assign([1.0, 2.0, 3.0, 4.0])
        with tf.GradientTape() as tape:
            inputs = tf.constant(x)
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(layer(inputs, training=training)))
        variables = [inputs, layer.gamma.value, layer.beta.value]
        results.append([loss, *tape.gradient(loss, variables)])
    for our_value, their_value in zip(*results, strict=True):
        np.testing.assert_allclose(our_value, their_value, rtol=1e-4, atol=1e-5)


def test_frozen_layer_keeps_its_statistics():
    x, layer = example(), BatchNorm()
    layer.build(x.shape)
    layer.trainable = False
    layer(x, training=True)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(4))


def test_batch_norm_is_a_good_layer():
    check_layer(BatchNorm, {}, example(), any_size=True)


# A half of 0 plus a half of the batch's mean; variance 4 + epsilon 5 = 3^2.
def test_momentum_and_epsilon_by_hand():
    x = np.array([1.0, 5.0, 1.0, 5.0], "float32").reshape(1, 2, 2, 1)
    layer = BatchNorm(momentum=0.5, epsilon=5.0)
    outputs = keras.ops.convert_to_numpy(layer(x, training=True)).ravel()
    np.testing.assert_allclose(outputs, [-2 / 3, 2 / 3, -2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [1.5], rtol=1e-6)
