"""PAFPN against NumPy loops that start from the FPN's own output."""

import pytest

from keras_det.necks.pafpn import PAFPN
from tests.helpers import check_layer, trainable_count
from tests.necks import oracle


def expected_pafpn(layer, features, padding):
    """Section 3.1's block, level by level; `layer.fpn` has its own oracle in test_fpn.py."""
    fpn = {name: oracle.as_float64(x) for name, x in layer.fpn(features).items()}
    weights = oracle.Weights(layer)
    pads = ((1, 1), (1, 1)) if padding == "symmetric" else None
    result = {f"P{layer.min_level}": fpn[f"P{layer.min_level}"]}
    for level in layer.levels[1:]:
        finer = result[f"P{level - 1}"]
        down = oracle.relu(weights.conv(f"downsample_p{level}", finer, 2, pads))
        merged = down + fpn[f"P{level}"]
        result[f"P{level}"] = oracle.relu(weights.conv(f"output_p{level}", merged))
    assert all(path.startswith("fpn/") for path in weights.unused)
    return result


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("size, levels", [((17, 13), (3, 7)), ((16, 24), (3, 6)), ((9, 8), (3, 4))])
def test_values_equal_the_oracles(padding, size, levels):
    features = oracle.pyramid(height=size[0], width=size[1])
    layer = PAFPN(4, *levels, padding=padding)
    layer(features)
    oracle.randomize(layer)
    expected = expected_pafpn(layer, features, padding)
    oracle.assert_equal_pyramids(layer(features), expected)


# FPN on ResNet-50 3,868,672 (test_fpn.py), and four times two 3x3 convolutions: 8 * 590,080.
def test_parameters_counted_by_hand():
    layer = PAFPN(extra="p5")
    layer.build({"P3": (None, 8, 8, 512), "P4": (None, 4, 4, 1024), "P5": (None, 2, 2, 2048)})
    assert trainable_count(layer) == 8_589_312


def test_pafpn_is_a_good_layer():
    arguments = {"channels": 4, "max_level": 6, "extra": "c5", "padding": "same"}
    check_layer(PAFPN, arguments, oracle.pyramid(), half_tolerance=0.1)


def test_sizes_that_do_not_halve_are_named():
    shapes = {"P3": (None, 9, 8, 4), "P4": (None, 4, 4, 4)}
    with pytest.raises(ValueError, match=r"rounded up. Received sizes: \[\(9, 8\), \(4, 4\), \(2,"):
        PAFPN(8).build(shapes)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"`padding` must be one of .* Received: 'valid'"):
        PAFPN(padding="valid")
