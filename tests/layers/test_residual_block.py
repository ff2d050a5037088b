"""The residual block by hand, and that computing again in the backward pass changes nothing."""

import keras
import numpy as np
import pytest

from keras_det.layers.residual_block import ConvNormReLU, ResidualBlock
from tests.helpers import check_layer


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_layers():
    check_layer(ConvNormReLU, {"filters": 4, "kernel_size": 7, "strides": 2}, drawn(2, 7, 9, 3))
    check_layer(ResidualBlock, {"filters": 4, "strides": 2}, drawn(2, 7, 9, 3))
    check_layer(ResidualBlock, {"filters": 3}, drawn(2, 5, 6, 3))


# A 3x3 kernel of ones sees, at stride 2 with one zero around, rows (pad, 0, 1), (1, 2, 3): at the
# corner 2 x 2 = 4 ones, then 6, 9. Statistics are 0 and 1, so norm divides by sqrt(1 + 1e-5).
def test_strides_pad_as_torch_does():
    layer = ConvNormReLU(1, 3, 2)
    layer.build((None, 4, 4, 1))
    layer.convolution.kernel.assign(np.ones((3, 3, 1, 1)))
    found = np.array(layer(np.ones((1, 4, 4, 1), "float32")))[0, :, :, 0]
    np.testing.assert_allclose(found, np.array([[4, 6], [6, 9]]) / np.sqrt(1 + 1e-5), rtol=1e-6)


# Second convolution 0: F = 0, so out = relu(x); with a shortcut of 2: relu(2 x) / sqrt(1 + 1e-5).
def test_a_block_without_residue_is_its_shortcut():
    x = np.array([-1.0, 3.0], "float32").reshape(1, 1, 2, 1)
    block = ResidualBlock(1)
    block(x)
    block.second.convolution.kernel.assign(np.zeros((3, 3, 1, 1)))
    np.testing.assert_allclose(np.array(block(x)).ravel(), [0, 3])
    wider = ResidualBlock(2)
    wider(x)
    wider.second.convolution.kernel.assign(np.zeros((3, 3, 2, 2)))
    wider.shortcut.convolution.kernel.assign(np.full((1, 1, 1, 2), 2.0))
    found = np.array(wider(x)).reshape(2, 2)
    np.testing.assert_allclose(found, np.array([[0, 0], [6, 6]]) / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_remat_gives_the_same_gradients_and_statistics(graph):
    tf = pytest.importorskip("tensorflow")
    x, results = tf.constant(drawn(4, 6, 7, 3)), []
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        block = ResidualBlock(5, 2, remat)
        block(x)

        def step(x, block=block):
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(tf.sin(block(x, training=True)))
            variables = [v.value for v in block.trainable_variables]
            return [total, *tape.gradient(total, [x, *variables])]

        found = (tf.function(step) if graph else step)(x)
        statistics = [np.array(v) for v in block.non_trainable_variables]
        results.append([*(np.array(each) for each in found), *statistics])
    assert len(results[0]) == 2 + 9 + 6
    for plain, again in zip(*results, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6)
    assert np.abs(results[1][-1]).max() > 0  # the statistics moved


# Kernel 1 with weight 1: the input itself, and its positive part behind a ReLU.
@pytest.mark.parametrize("activation, expected", [("relu", [0.0, 3.0]), (None, [-1.0, 3.0])])
def test_activation_by_hand(activation, expected):
    layer = ConvNormReLU(1, 1, activation=activation)
    layer.build((None, 1, 2, 1))
    layer.convolution.kernel.assign(np.ones((1, 1, 1, 1)))
    found = np.array(layer(np.array([-1.0, 3.0], "float32").reshape(1, 1, 2, 1))).ravel()
    np.testing.assert_allclose(found, np.array(expected) / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_an_activation_that_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match=r"one of \('relu', None\). Received: 'silu'"):
        ConvNormReLU(4, activation="silu")


# Forward once; with remat once more in the backward pass.
@pytest.mark.parametrize("remat, expected", [(False, 1), (True, 2)])
def test_remat_runs_the_block_again_in_the_backward_pass(remat, expected, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    x, block, calls = tf.constant(drawn(1, 2, 2, 3)), ResidualBlock(3, remat=remat), []
    block(x)
    call = block.first.convolution.call
    monkeypatch.setattr(
        block.first.convolution, "call", lambda inputs: calls.append(1) or call(inputs)
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(block(x, training=True))
    tape.gradient(total, x)
    assert len(calls) == expected
