"""ResNet: parameter counts of torchvision's, where it strides and pads, errors."""

import keras
import numpy as np
import pytest

from keras_det.backbones.resnet import resnet
from tests.helpers import trainable_count


# torchvision's documented counts less the fully connected layer of 1,000 classes (513,000 for 512
# features, 2,049,000 for 2,048): 11,689,512, 21,797,672, 25,557,032, 44,549,160, 60,192,808.
@pytest.mark.parametrize(
    "variant, expected",
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
        ("resnet152", 58_143_808),
    ],
)
def test_parameter_counts_equal_torchvisions(variant, expected):
    assert trainable_count(resnet(variant)) == expected


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_levels_have_ceiled_sizes_at_odd_image_sizes(padding):
    model = resnet("resnet18", (130, 101), padding)
    sizes = {level: tuple(x.shape[1:]) for level, x in model.pyramid_outputs.items()}
    assert sizes == {
        "P1": (65, 51, 64),
        "P2": (33, 26, 64),
        "P3": (17, 13, 128),
        "P4": (9, 7, 256),
        "P5": (5, 4, 512),
    }


# Each takes the centre tap of its kernel. Torch pads one pixel on each side: output 0 looks at
# pixels -1, 0, 1 and takes pixel 0. "same" pads an even size at the end only: output 0 looks at
# pixels 0, 1, 2 and takes pixel 1.
@pytest.mark.parametrize("padding, first", [("symmetric", 0), ("same", 1)])
def test_strided_convolutions_look_where_their_padding_says(padding, first):
    model = resnet("resnet50", (32, 32), padding)
    # Bottlenecks of v1.5 stride in the 3x3 convolution, not in the 1x1 before it.
    assert model.get_layer("stage3_block0_conv1").strides == (1, 1)
    convolution = model.get_layer("stage3_block0_conv2")
    assert convolution.strides == (2, 2)
    kernel = np.zeros((3, 3, 128, 128), "float32")
    kernel[1, 1, 0, 0] = 1
    convolution.kernel.assign(kernel)
    before = model.get_layer("stage3_block0_relu1").output
    part = keras.Model(before, convolution(_padded(model, padding, before)))
    row = np.zeros((1, 8, 8, 128), "float32")
    row[0, :, :, 0] = np.arange(8)
    np.testing.assert_array_equal(part(row)[0, 0, :, 0], np.arange(first, 8, 2))


def _padded(model, padding, x):
    return model.get_layer("stage3_block0_conv2_pad")(x) if padding == "symmetric" else x


# Pooling 3x3 with stride 2 over 0 … 7: windows (-1, 0, 1), (1, 2, 3) … or (0, 1, 2), (2, 3, 4) ….
@pytest.mark.parametrize("padding, expected", [("symmetric", [1, 3, 5, 7]), ("same", [2, 4, 6, 7])])
def test_the_stem_pools_where_its_padding_says(padding, expected):
    model = resnet("resnet18", (16, 16), padding)
    x = np.zeros((1, 8, 8, 64), "float32") + np.arange(8)[:, None]
    for name in ("stem_pool_pad", "stem_pool"):
        if any(layer.name == name for layer in model.layers):
            x = model.get_layer(name)(x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(x)[0, 0, :, 0], expected)


def test_frozen_norms_keep_their_statistics_in_training():
    model = resnet("resnet18", (32, 32), norm_epsilon=0.0, frozen_norm=True)
    norms = [layer for layer in model.layers if "norm" in layer.name and layer.weights]
    assert len(norms) == 20 and not any(layer.trainable_weights for layer in norms)
    assert {layer.epsilon for layer in norms} == {0.0}
    before = [keras.ops.convert_to_numpy(w) for w in norms[0].weights]
    model(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32"), training=True)
    for old, new in zip(before, norms[0].weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_norms_take_epsilon_and_momentum_and_the_model_its_name():
    model = resnet("resnet18", norm_epsilon=0.5, norm_momentum=0.25, name="mine")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(0.5, 0.25)}
    assert model.name == "mine" and resnet("resnet18").name == "resnet18"


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"Received: 'resnet-50'. Did you mean 'resnet50'\?"):
        resnet("resnet-50")
    with pytest.raises(ValueError, match="`padding` must be one of .*Received: 'valid'"):
        resnet("resnet18", padding="valid")
