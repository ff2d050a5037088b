"""FPN against NumPy loops: both kinds of extra levels and of padding, any range of levels."""

import keras
import numpy as np
import pytest

from keras_det.necks.fpn import FPN
from tests.helpers import check_layer, trainable_count
from tests.necks import oracle


def expected_fpn(layer, features, extra, padding, norm):
    """The paper's equations, level by level."""
    weights, levels = oracle.Weights(layer), layer.levels
    taken = [level for level in levels if f"P{level}" in features]
    merged = {}
    for level in reversed(taken):
        merged[level] = weights.conv(f"lateral_p{level}", features[f"P{level}"])
        if level + 1 in merged:
            size = merged[level].shape[1:3]
            merged[level] = merged[level] + oracle.enlarge(merged[level + 1], size)
    result = {level: weights.conv(f"output_p{level}", merged[level]) for level in taken}
    pads = ((1, 1), (1, 1)) if padding == "symmetric" else None
    last = taken[-1]
    for level in levels[len(taken) :]:
        source = oracle.relu(result[level - 1])
        if level == last + 1:
            source = features[f"P{last}"] if extra == "c5" else result[last]
        result[level] = weights.conv(f"extra_p{level}", source, 2, pads)
    if norm:
        result = {level: weights.norm(f"norm_p{level}", x) for level, x in result.items()}
    assert not weights.unused
    return {f"P{level}": result[level] for level in levels}


# 17x13 gives P5 = 5x4, P6 = 3x2, P7 = 2x1: odd, even and mixed sides before a stride. 24x20 gives
# 6x5 and 3x3; 16x32 only even sides, then 2x4 and 1x2.
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("extra", ["c5", "p5"])
@pytest.mark.parametrize("size", [(17, 13), (24, 20), (16, 32)])
def test_values_equal_the_oracles(extra, padding, size):
    features = oracle.pyramid(height=size[0], width=size[1])
    layer = FPN(4, extra=extra, padding=padding)
    layer(features)
    oracle.randomize(layer)
    expected = expected_fpn(layer, features, extra, padding, norm=False)
    oracle.assert_equal_pyramids(layer(features), expected)


# One row 1 2 3 4 under a kernel of ones in its middle row: torch sees 0 1 2 3 4 0 and gives
# 0+1+2, 2+3+4; TensorFlow 1 2 3 4 0 and gives 1+2+3, 3+4+0. Height 1 is odd: as before.
@pytest.mark.parametrize("padding, expected", [("symmetric", [3, 9]), ("same", [6, 7])])
def test_padding_by_hand(padding, expected):
    layer = FPN(1, max_level=4, extra="c5", padding=padding)
    features = {"P3": np.arange(1, 5, dtype="float32").reshape(1, 1, 4, 1)}
    layer(features)
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1] = 1
    layer.extra_convolutions[0].set_weights([kernel, np.zeros(1, "float32")])
    np.testing.assert_allclose(np.ravel(layer(features)["P4"]), expected)


def test_norm_comes_last_and_extra_levels_before_it():
    features = oracle.pyramid()
    layer = FPN(4, extra="p5", norm=True)
    layer(features)
    oracle.randomize(layer)
    assert len(layer.norms) == 5
    expected = expected_fpn(layer, features, "p5", "symmetric", norm=True)
    oracle.assert_equal_pyramids(layer(features), expected)


# P2 for small objects; a range that ends below the backbone's last level; one level only; extra
# levels right after a single one.
@pytest.mark.parametrize("levels", [(2, 6), (2, 4), (4, 4), (5, 7)])
def test_other_levels(levels):
    features = oracle.pyramid(2, (3, 4, 5, 6))
    layer = FPN(4, *levels)  # P6 from C5, as in the paper, by default
    layer(features)
    oracle.randomize(layer)
    expected = expected_fpn(layer, features, "c5", "symmetric", norm=False)
    oracle.assert_equal_pyramids(layer(features), expected)
    assert len(layer.laterals) == min(levels[1], 5) - levels[0] + 1


# Model Garden and torchvision at 256 channels on ResNet-50: laterals 256 * (512 + 1024 + 2048) +
# 3 * 256, outputs and P6, P7 5 * (9 * 256² + 256): 3,868,672. From C5, P6 has 9 * 1792 * 256 more.
@pytest.mark.parametrize("extra, expected", [("p5", 3_868_672), ("c5", 7_997_440)])
def test_parameters_counted_by_hand(extra, expected):
    layer = FPN(256, extra=extra)
    layer.build({"P3": (None, 8, 8, 512), "P4": (None, 4, 4, 1024), "P5": (None, 2, 2, 2048)})
    assert trainable_count(layer) == expected


# Uniform with variance 1 / fan_in: nothing beyond sqrt(3 / fan_in), and much near it.
def test_initial_kernels_are_torchvisions():
    layer = FPN(16)
    layer.build({"P3": (None, 8, 8, 32)})
    for part, fan_in in ((layer.laterals[0], 32), (layer.outputs[0], 144)):
        kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in part.weights)
        limit = (3 / fan_in) ** 0.5
        assert 0.95 * limit < np.abs(kernel).max() <= limit
        np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize("norm", [False, True])
def test_fpn_is_a_good_layer(norm):
    arguments = {"channels": 4, "max_level": 6, "extra": "c5", "norm": norm}
    check_layer(FPN, arguments, oracle.pyramid(), half_tolerance=0.1)


def test_sizes_that_do_not_halve_are_enlarged_to_fit():
    features = {"P3": np.ones((1, 9, 7, 2), "float32"), "P4": np.ones((1, 4, 3, 2), "float32")}
    assert tuple(FPN(3, max_level=5)(features)["P3"].shape) == (1, 9, 7, 3)


@pytest.mark.parametrize(
    "features, message",
    [
        (("P3", "P5"), r"must hold P3 and the levels after it without a gap. Received levels: "),
        (("P4", "P5"), r"Received levels: \['P4', 'P5'\]. Use a backbone with"),
    ],
)
def test_missing_levels_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        FPN(8).build({name: (None, 8, 8, 4) for name in features})


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`extra` must be one of .* Received: 'C5'"):
        FPN(extra="C5")
    with pytest.raises(ValueError, match=r"`padding` must be one of .* Received: 'valid'"):
        FPN(padding="valid")
    with pytest.raises(ValueError, match=r"at most `max_level`. Received: min_level=5, max_l"):
        FPN(8, 5, 3)
    with pytest.raises(ValueError, match=r"static height and width. Received sizes: \[\(None, 8"):
        FPN(8).build({"P3": (None, None, 8, 4)})
    with pytest.raises(ValueError, match=r"larger than the one before it. Received sizes: \[\(4"):
        FPN(8).build({"P3": (None, 4, 4, 4), "P4": (None, 8, 8, 4)})


def test_fpn_in_a_functional_model_keeps_an_unknown_batch():
    inputs = {name: keras.Input(x.shape[1:]) for name, x in oracle.pyramid().items()}
    outputs = FPN(4)(inputs)
    assert outputs["P7"].shape == (None, 2, 1, 4)
