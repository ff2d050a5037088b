"""Quantisation-aware models: what they compute, what trains, saving, and what training brings."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_det.data import drawn_images
from keras_det.layers.batch_norm import BatchNorm
from keras_det.models import load_model, quantize_aware
from keras_det.quantization import without_rounding
from tests.export.tiny import tiny

SIZE = (64, 96)


def images(count=4, seed=3):
    return np.stack(drawn_images(count, SIZE, seed=seed)).astype("float32")


def numbers(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


@pytest.fixture(scope="module")
def pair():
    """A detector and its quantisation-aware copy, whose ranges saw some images."""
    model = tiny(image_size=SIZE, max_level=4)
    aware = quantize_aware(model)
    for seed in range(3):
        aware(images(seed=seed), training=True)
    return model, aware


def rounded(x, rounding):
    low, high = (np.float64(ops.convert_to_numpy(value)) for value in rounding.range())
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    return scale * (np.clip(np.round(x / scale) + zero, 0, 255) - zero)


def kernel_rounded(kernel, axes):
    kernel = np.float64(ops.convert_to_numpy(kernel))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    return np.round(kernel / scale) * scale


def convolved(x, kernel, stride=1):
    """3x3 or 1x1 convolution with "same" padding of one image, from its definition."""
    side = kernel.shape[0]
    out = [-(-length // stride) for length in x.shape[:2]]
    total = [
        max((n - 1) * stride + side - length, 0) for n, length in zip(out, x.shape, strict=False)
    ]
    x = np.pad(x, [*((t // 2, t - t // 2) for t in total), (0, 0)])
    result = np.zeros((*out, kernel.shape[-1]))
    for i in range(side):
        for j in range(side):
            part = x[i:, j:][::stride, ::stride][: out[0], : out[1]]
            result += part @ kernel[i, j]
    return result


def test_a_convolution_computes_with_rounded_numbers(pair):
    _, aware = pair
    layer = next(x for x in aware.backbone.layers if isinstance(x, keras.layers.Conv2D))
    x = np.random.default_rng(0).uniform(-2, 2, (1, *SIZE, 3)).astype("float32")
    found = ops.convert_to_numpy(layer(x))
    kernel = kernel_rounded(layer.kernel, (0, 1, 2))
    (rounding,) = _roundings_of(layer, x, aware)
    expected = convolved(rounded(x[0], rounding), kernel, stride=2)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    plain = convolved(np.float64(x[0]), np.float64(layer.kernel), stride=2)
    assert np.abs(found[0] - plain).max() > 1e-3


def test_a_separable_convolution_rounds_between_its_parts(pair):
    _, aware = pair
    layer = aware.box_head.prediction
    x = np.random.default_rng(0).uniform(0, 6, (1, 8, 12, 16)).astype("float32")
    found = ops.convert_to_numpy(layer(x))
    first, between, last = _roundings_of(layer, x, aware)
    depthwise = kernel_rounded(layer.depthwise_kernel, (0, 1))
    spread = np.zeros((3, 3, 16, 16))
    spread[:, :, range(16), range(16)] = depthwise[..., 0]
    middle = rounded(convolved(rounded(x[0], first), spread), between)
    pointwise = kernel_rounded(layer.pointwise_kernel, (0, 1, 2))
    expected = rounded(convolved(middle, pointwise) + np.float64(layer.bias), last)
    step = float(last.range()[1] - last.range()[0]) / 255
    off = np.abs(found[0] - expected)
    # A number between two steps may fall to either side.
    assert off.max() < 1.01 * step and (off > 1e-4).mean() < 0.01


def _roundings_of(layer, x, aware):
    """The layers that round in one call, in their order."""
    seen, original = [], type(aware.roundings[0]).call

    def call(self, inputs, training=None):
        seen.append(self)
        return original(self, inputs, training=training)

    type(aware.roundings[0]).call = call
    try:
        layer(x)
    finally:
        type(aware.roundings[0]).call = original
    return seen


def test_rounding_is_small_and_only_in_the_copy(pair):
    model, aware = pair
    assert aware.quantization_aware and not model.quantization_aware
    found, expected = numbers(aware(images(seed=9))), numbers(model(images(seed=9)))
    for name, value in expected.items():
        error = np.sqrt(np.square(found[name] - value).mean()) / value.std()
        assert 0.005 < error < 0.15, name
    plain = without_rounding(aware)
    assert not plain.quantization_aware and len(plain.weights) == len(model.weights)
    for name, value in numbers(plain(images(seed=9))).items():
        np.testing.assert_array_equal(value, expected[name])
    assert without_rounding(model) is model


def test_every_level_has_ranges_of_its_own(pair):
    aware = pair[1]
    # Head convolutions: input and between, predictions also output; 2 heads, 2 levels.
    heads = 2 * 2 * (2 + 3)
    # Convolutions of the backbone; input and between of 2 nodes; what the nodes add up.
    nodes, backbone = 2 * 2, 5
    summands = sum(len(node.resample) for node in aware.neck.nodes)
    extra = len(aware.neck.extra_levels)
    assert summands == 4 and len(aware.roundings) == heads + nodes + backbone + summands + extra


def test_saving_and_changing(pair, tmp_path):
    _, aware = pair
    expected = numbers(aware(images(seed=5)))
    aware.save(tmp_path / "aware.keras")
    loaded = load_model(tmp_path / "aware.keras")
    assert loaded.quantization_aware
    for copy in (loaded, aware.with_changes(), quantize_aware(aware)):
        for name, value in numbers(copy(images(seed=5))).items():
            np.testing.assert_array_equal(value, expected[name])
    larger = aware.with_image_size((64, 128))
    assert [float(x.range()[1]) for x in larger.roundings] == pytest.approx(
        [float(x.range()[1]) for x in aware.roundings]
    )
    with pytest.raises(ValueError, match="images of its own size"):
        aware.box_head.prediction(np.zeros((1, 9, 9, 16), "float32"))


def test_kernels_train_and_batch_normalisation_does_not(pair):
    aware = quantize_aware(pair[0])
    norms = [layer for layer in aware._flatten_layers() if isinstance(layer, BatchNorm)]
    assert norms and not any(layer.trainable_weights for layer in norms)
    before = [np.array(weight) for layer in norms for weight in layer.weights]
    kernels = [np.array(weight) for weight in aware.trainable_weights]
    targets = {
        "boxes": np.tile(np.float32([[10, 10, 50, 40]]), (4, 1, 1)),
        "labels": np.zeros((4, 1), "int32"),
    }
    aware.compile()
    aware.fit(images(), targets, epochs=2, batch_size=4, verbose=0)
    after = [np.array(weight) for layer in norms for weight in layer.weights]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    pairs = zip(aware.trainable_weights, kernels, strict=True)
    moved = [np.abs(np.array(weight) - old).max() for weight, old in pairs]
    # The backbone's last level is not asked for.
    assert sum(each > 0 for each in moved) == len(moved) - 1, "gradients reach all other kernels"
    assert all(float(each.weight) > 0 for each in aware.roundings)
