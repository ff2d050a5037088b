"""Multiply-adds beside the reference's table, TensorFlow's profiler and counts by hand."""

import keras
import numpy as np
import pytest

from keras_det.backbones import feature_pyramid
from keras_det.layers.weighted_fusion import WeightedFusion
from keras_det.models import EfficientDet, RetinaNet, load_model
from keras_det.profiling.operations import float_operations, multiply_adds

# Billions, measured on the original implementation with 90 classes at the published size: half of
# what TensorFlow's profiler counts. Also held, measured once: d3 24.995, d4 55.369, d5 135.776,
# d6 226.099, d7 325.556, d7x 411.144, lite3 7.509, lite3x 14.026, lite4 20.232.
REFERENCE = {
    "d0": 2.553,
    "lite0": 0.979,
    "lite1": 1.976,
    "d1": 6.139,
    "d2": 11.053,
    "lite2": 3.387,
}
QUICK = ("d0", "lite0", "lite1")


@pytest.mark.parametrize(
    "variant",
    [v if v in QUICK else pytest.param(v, marks=pytest.mark.slow) for v in REFERENCE],
)
def test_published_models_count_as_the_original(variant):
    found = multiply_adds(EfficientDet(variant, num_classes=90))
    assert isinstance(found, int)
    assert found / 1e9 == pytest.approx(REFERENCE[variant], rel=0.01)


# Feature maps 4 x 4 of the input 8 x 8, 3 channels in, 5 out; 3 * 3 * 3 * 5 = 135 products at each
# of 16 positions, two operations each, and 16 * 5 = 80 outputs.
@pytest.mark.parametrize(
    "layer, expected",
    [
        (keras.layers.Conv2D(5, 3, 2, "same", use_bias=False), 2 * 16 * 135),
        (keras.layers.Conv2D(5, 3, 2, "same"), 2 * 16 * 135 + 80),
        (keras.layers.Conv2D(5, 3, 2, "same", activation="silu"), 2 * 16 * 135 + 80 + 2 * 80),
        (keras.layers.Conv2D(5, 3, 2, "same", activation="relu"), 2 * 16 * 135 + 80),
        (keras.layers.Conv2D(6, 3, 2, "same", groups=3, use_bias=False), 2 * 16 * 9 * 6),
        (keras.layers.DepthwiseConv2D(3, 2, "same", use_bias=False), 2 * 16 * 27),
        (keras.layers.SeparableConv2D(5, 3, 2, "same"), 2 * 16 * (27 + 15) + 80),
        # Each of the 64 input pixels meets the whole kernel; 16 * 16 * 5 outputs get a bias.
        (keras.layers.Conv2DTranspose(5, 3, 2, "same"), 2 * 64 * 135 + 1280),
        (keras.layers.Dense(5), 2 * 64 * 15 + 320),
        (keras.layers.Activation("silu"), 2 * 192),
        (keras.layers.Activation("relu6"), 0),
        (keras.layers.MaxPooling2D(3, 2, "same"), 9 * 48),
        (keras.layers.GlobalAveragePooling2D(), 192),
    ],
)
def test_layer_counts_as_by_hand(layer, expected):
    images = np.zeros((1, 8, 8, 3), "float32")
    assert float_operations(layer, images, layer(images)) == expected


@pytest.mark.parametrize(
    "layer, expected",
    # Two additions; three products and two additions: for each of 192 numbers.
    [(keras.layers.Add(), 2 * 192), (WeightedFusion(), 5 * 192)],
)
def test_layer_of_three_inputs_counts_as_by_hand(layer, expected):
    maps = [np.zeros((1, 8, 8, 3), "float32")] * 3
    assert float_operations(layer, maps, layer(maps)) == expected


def test_heads_count_on_every_level():
    counts = [
        multiply_adds(RetinaNet("resnet18", num_classes=n, image_size=64, neck_channels=32))
        for n in (2, 3)
    ]
    # P3 to P7 of 64 pixels: 64 + 16 + 4 + 1 + 1 = 86 cells; a class more is 9 outputs at each of
    # them, of 3 * 3 * 32 products and half a bias.
    assert counts[1] - counts[0] == 86 * 9 * (9 * 32 + 0.5)


class Twice(keras.Model):
    """A model that no graph of layers describes: one convolution, called twice."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution = convolution

    def call(self, images):
        return self.convolution(self.convolution(images))


# One convolution keeps 8 x 8 x 3: 64 positions of 3 * 3 * 3 * 3 = 81 products.
@pytest.mark.parametrize(
    "made_of, times",
    [
        (lambda convolution: convolution, 1),
        (lambda convolution: keras.Sequential([convolution]), 1),
        (Twice, 2),
        (lambda convolution: keras.Sequential([Twice(convolution)]), 2),
    ],
)
@pytest.mark.parametrize("activation", [None, keras.layers.LeakyReLU()])
def test_layers_inside_layers_count(made_of, times, activation):
    images = keras.Input((8, 8, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same", use_bias=False, activation=activation)
    model = keras.Model(images, made_of(convolution)(images))
    model.image_size = (8, 8)
    assert multiply_adds(model) == times * 64 * 81


def state(model):
    """What a count could leave behind in a model: attributes and nodes of its layers."""
    return [
        (set(vars(x)), [*map(id, x._inbound_nodes)], [*map(id, x._outbound_nodes)])
        for x in model._flatten_layers()
    ]


def test_the_model_is_left_as_it_was(tmp_path):
    model = RetinaNet("resnet18", num_classes=2, image_size=64, neck_channels=32)
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    before, expected = state(model), model(images)
    assert multiply_adds(model) == multiply_adds(model)
    assert state(model) == before
    model.save(tmp_path / "counted.keras")
    for found in (model(images), load_model(tmp_path / "counted.keras")(images)):
        np.testing.assert_array_equal(found["class_logits"], expected["class_logits"])
    kernel = model.class_head.prediction.kernel
    old = keras.ops.convert_to_numpy(kernel)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    boxes, labels = np.float32([[[4, 4, 40, 40]]]), np.zeros((1, 1), "int32")
    model.fit(images, {"boxes": boxes, "labels": labels}, verbose=0)
    assert np.any(keras.ops.convert_to_numpy(kernel) != old)


def test_a_count_that_fails_leaves_the_model_too(monkeypatch):
    model = RetinaNet("resnet18", num_classes=2, image_size=64, neck_channels=32)
    before = state(model)
    monkeypatch.setitem(multiply_adds.__globals__, "float_operations", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        multiply_adds(model)
    assert state(model) == before


def profiled(model):
    """Half of what TensorFlow's profiler counts in the traced model."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )
    from tensorflow.python.profiler import model_analyzer, option_builder

    function = tf.function(lambda images: model(images, training=False))
    images = tf.TensorSpec((1, *model.image_size, 3))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(images))
    options = option_builder.ProfileOptionBuilder.float_operation()
    options = option_builder.ProfileOptionBuilder(options).with_empty_output().build()
    return model_analyzer.profile(frozen.graph, options=options).total_float_ops / 2


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's profiler")
def test_any_backbone_counts_as_in_the_profiler():
    backbone = keras.applications.EfficientNetB0(
        input_shape=(96, 96, 3), include_top=False, weights=None
    )
    layers = {"P3": "block3b_add", "P4": "block5c_add", "P5": "block7a_project_bn"}
    model = RetinaNet(
        feature_pyramid(backbone, layers),
        num_classes=3,
        image_size=96,
        normalization=None,
        neck="pafpn",
        neck_channels=64,
        head_norm="group",
    )
    # The backbone's batch normalisation is Keras' own, which is not fused: the profiler sees it.
    found, expected = multiply_adds(model), profiled(model)
    assert 0.98 * expected < found < expected
