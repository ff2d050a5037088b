"""Kernels that take over what stands behind or before them compute the same."""

import numpy as np
import pytest
import tensorflow as tf

from keras_det.export.network.folding import fold
from keras_det.export.network.graph import frozen_network
from tests.export.tiny import tiny

X = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype("float32")


def frozen(function):
    """GraphDef of a function of `X`, its output's name, and a function that runs a GraphDef."""
    concrete = tf.function(function, input_signature=[tf.TensorSpec(X.shape, name="x")])
    graph_def = concrete.get_concrete_function().graph.as_graph_def()

    def run(changed):
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(changed, name="")
            with tf.compat.v1.Session(graph=graph) as session:
                return session.run("out:0", {"x:0": X})

    return graph_def, run


def normalized(x, seed=1, channels=4):
    rng = np.random.default_rng(seed)
    gamma, beta, mean = rng.normal(size=(3, channels)).astype("float32")
    variance = rng.uniform(0.1, 2, channels).astype("float32")
    settings = {"epsilon": 1e-3, "is_training": False}
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, **settings
    ).y


KERNEL = np.random.default_rng(2).normal(size=(3, 3, 3, 4)).astype("float32")


def plain(x):
    return normalized(tf.nn.conv2d(x, KERNEL, 2, "SAME"))


def biased(x):
    bias = tf.squeeze(tf.reshape(tf.constant([1.0, -2.0, 3.0, 0.5]), (1, 1, 1, 4)))
    return normalized(tf.nn.bias_add(tf.nn.conv2d(x, KERNEL, 1, "SAME"), bias))


def depthwise(x):
    x = tf.nn.depthwise_conv2d(x, KERNEL[..., :2], (1, 1, 1, 1), "SAME")
    return normalized(x, channels=6)


def scaled(x):
    x = (x - np.float32([1, 2, 3])) / np.float32([0.5, 4, 2])
    return tf.nn.conv2d(x, KERNEL, 1, "SAME")


@pytest.mark.parametrize(
    "function, gone",
    [
        (plain, "FusedBatchNormV3"),
        (biased, "FusedBatchNormV3"),
        (depthwise, "FusedBatchNormV3"),
        (scaled, None),
    ],
)
def test_folding_keeps_what_is_computed(function, gone):
    graph_def, run = frozen(lambda x: tf.identity(function(x), name="out"))
    expected = run(graph_def)
    np.testing.assert_allclose(expected, function(X), rtol=1e-4, atol=1e-5)
    before = len([node for node in graph_def.node if node.op == "Const"])
    fold(graph_def, ["out"])
    assert gone not in {node.op for node in graph_def.node}
    assert len([node for node in graph_def.node if node.op == "Const"]) > before, "new constants"
    np.testing.assert_allclose(run(graph_def), expected, rtol=1e-4, atol=2e-5)


# What has another reader, is an output itself, or is no constant stays.
def read_twice(x):
    x = tf.nn.conv2d(x, KERNEL, 1, "SAME")
    return normalized(x) + x


def scale_read_twice(x):
    x = x / np.float32([0.5, 4, 2])
    return tf.nn.conv2d(x, KERNEL, 1, "SAME") + x[..., :1]


def computed_kernel(x):
    return normalized(tf.nn.conv2d(x, KERNEL * tf.reduce_mean(x), 1, "SAME"))


def scale_of_every_pixel(x):
    return tf.nn.conv2d(x / np.float32(np.full((1, 6, 5, 3), 2)), KERNEL, 1, "SAME")


@pytest.mark.parametrize(
    "function", [read_twice, scale_read_twice, computed_kernel, scale_of_every_pixel]
)
def test_what_cannot_be_folded_stays(function):
    graph_def, run = frozen(lambda x: tf.identity(function(x), name="out"))
    expected, before = run(graph_def), len(graph_def.node)
    fold(graph_def, ["out"])
    assert len(graph_def.node) == before
    np.testing.assert_array_equal(run(graph_def), expected)


def test_identity_of_a_gradient_goes():
    def function(x):
        first, second = tf.identity_n([x * 2, x])
        return tf.identity(first - second, name="out")

    graph_def, run = frozen(function)
    fold(graph_def, ["out"])
    (difference,) = [node for node in graph_def.node if node.op == "Sub"]
    kinds = {node.name: node.op for node in graph_def.node}
    assert [kinds[name.split(":")[0]] for name in difference.input] == ["Mul", "Placeholder"]
    np.testing.assert_allclose(run(graph_def), X, rtol=1e-6)


def test_network_of_a_detector():
    model = tiny(image_size=(64, 96))
    images = np.random.default_rng(3).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    found, expected = frozen_network(model)(tf.constant(images)), model(images)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-5 * np.abs(value).max())
