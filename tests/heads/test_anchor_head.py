"""The heads: prior on the class logits, order of the anchors, sharing over levels, values."""

import keras
import numpy as np
import pytest

from keras_det.heads.anchor_head import ConvHead, SeparableHead, prior_bias
from tests.helpers import check_layer, trainable_count

numbers = keras.ops.convert_to_numpy


def pyramid():
    rng = np.random.default_rng(0)
    return {
        "P3": rng.normal(size=(2, 4, 3, 8)).astype("float32"),
        "P4": rng.normal(size=(2, 2, 2, 8)).astype("float32"),
    }


# -ln(0.99 / 0.01) = -4.59512
def test_prior_is_on_the_class_logits_only():
    assert prior_bias(0.01) == pytest.approx(-4.59512, abs=1e-5)
    zeros = {level: np.zeros_like(x) for level, x in pyramid().items()}
    logits = SeparableHead(5, 9, 8, 2, prior_probability=0.01)(zeros)
    np.testing.assert_allclose(logits, np.full((2, 16 * 9, 5), -4.59512), atol=1e-5)
    np.testing.assert_array_equal(SeparableHead(4, 9, 8, 2)(zeros), np.zeros((2, 16 * 9, 4)))


def test_order_is_level_row_column_anchor():
    head, maps = SeparableHead(2, 3, 8, 0), pyramid()
    outputs = keras.ops.convert_to_numpy(head(maps))
    last = keras.ops.convert_to_numpy(head.prediction(maps["P4"]))  # (2, 2, 2, 3 * 2)
    # Row 1, column 0, anchor 2 of P4, behind the 4 * 3 cells of P3.
    place = (12 + 1 * 2 + 0) * 3 + 2
    np.testing.assert_allclose(outputs[:, place], last[:, 1, 0, 4:6], rtol=1e-5)


def test_convolutions_are_shared_and_norms_are_not():
    head = SeparableHead(4, 9, 8, 2)
    head(pyramid())
    assert len(head.convolutions) == 2
    assert len(head.norms) == 4
    # Two hidden: 9*8 + 64 + 8 each; four norms: 16 each; prediction: 72 + 8 * 36 + 36.
    assert trainable_count(head) == 2 * 144 + 4 * 16 + 396


def test_head_is_a_good_layer():
    arguments = {"outputs_per_anchor": 3, "num_anchors": 2, "channels": 8, "num_repeats": 1}
    check_layer(SeparableHead, arguments, pyramid(), output_dtype="float32", half_tolerance=None)


def convolved(x, kernel, bias):
    """3x3 convolution with "same" padding, by sums."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = x.shape[1:3]
    taps = [
        padded[:, i : i + rows, j : j + columns] @ kernel[i, j] for i in range(3) for j in range(3)
    ]
    return sum(taps) + bias


# RetinaNet section 4: [3x3 convolution, ReLU] repeated, then a 3x3 convolution.
def test_conv_head_equals_sums():
    head, maps = ConvHead(2, 3, channels=8, num_repeats=2), pyramid()
    outputs = numbers(head(maps))
    for layer in (*head.convolutions, head.prediction):
        layer.kernel.assign(20 * layer.kernel)
        layer.bias.assign(np.linspace(-0.2, 0.3, layer.bias.shape[0]))
    outputs = numbers(head(maps))
    expected = []
    for x in maps.values():
        for layer in head.convolutions:
            x = np.maximum(convolved(x, numbers(layer.kernel), numbers(layer.bias)), 0)
        x = convolved(x, numbers(head.prediction.kernel), numbers(head.prediction.bias))
        expected.append(x.reshape(2, -1, 2))
    np.testing.assert_allclose(outputs, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)
    assert outputs.std() > 0.3


def test_conv_head_starts_as_published():
    head = ConvHead(5, 9, channels=64, num_repeats=1, prior_probability=0.01)
    head(pyramid())
    kernel = numbers(head.convolutions[0].kernel)
    assert abs(kernel.mean()) < 1e-3 and kernel.std() == pytest.approx(0.01, rel=0.05)
    np.testing.assert_allclose(head.prediction.bias, np.full(45, -4.59512), atol=1e-5)
    assert not numbers(head.convolutions[0].bias).any()


@pytest.mark.parametrize("norm, count", [(None, 0), ("batch", 4), ("group", 2)])
def test_norms_are_one_per_level_one_for_all_or_none(norm, count):
    head = ConvHead(4, 9, channels=8, num_repeats=2, norm=norm)
    head(pyramid())
    assert len(head.norms) == count
    # Two hidden convolutions of 9 * 8 * 8 + 8, each norm 16, prediction 9 * 8 * 36 + 36.
    assert trainable_count(head) == 2 * 584 + count * 16 + 2628


# Group normalisation: mean 0, variance 1 over a group of one image and level; 8 channels make 8
# groups of one channel.
def test_group_norm_normalises_each_image_and_level():
    head, maps = ConvHead(4, 1, channels=8, num_repeats=1, norm="group"), pyramid()
    head(maps)
    x = numbers(head.norms[0](head.convolutions[0](maps["P3"])))
    np.testing.assert_allclose(x.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((1, 2)), 1, atol=0.05)


@pytest.mark.parametrize("norm", [None, "batch", "group"])
def test_conv_head_is_a_good_layer(norm):
    arguments = {"outputs_per_anchor": 3, "num_anchors": 2, "channels": 8, "num_repeats": 1}
    arguments = {**arguments, "norm": norm}
    # tanh has a gradient everywhere; ReLU may be off for a whole tiny map.
    check_layer(
        ConvHead,
        {**arguments, "activation": "tanh"},
        pyramid(),
        output_dtype="float32",
        half_tolerance=None,
    )


def test_unknown_norm_names_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'groups'. Did you mean 'group'\?"):
        ConvHead(4, 9, norm="groups")


# Both convolutions pass the number on: activation(-2), without normalisation.
@pytest.mark.parametrize("activation, expected", [("relu", 0.0), ("tanh", np.tanh(-2))])
@pytest.mark.parametrize("kind", [ConvHead, SeparableHead])
def test_activation_by_hand(kind, activation, expected):
    head = kind(1, 1, channels=1, num_repeats=1, activation=activation, norm=None)
    x = {"P3": np.full((1, 1, 1, 1), -2, "float32")}
    head(x)
    for weight in head.trainable_weights:
        value = np.zeros(weight.shape)
        if len(weight.shape) == 4:
            value[weight.shape[0] // 2, weight.shape[1] // 2] = 1
        weight.assign(value)
    np.testing.assert_allclose(numbers(head(x)).ravel(), [expected], rtol=1e-6)


@pytest.mark.parametrize("kind", [ConvHead, SeparableHead])
def test_anchors_and_outputs_set_the_shape(kind):
    # P3 has 4 * 3 cells, P4 2 * 2.
    assert numbers(kind(5, 2, channels=8, num_repeats=1)(pyramid())).shape == (2, 16 * 2, 5)
