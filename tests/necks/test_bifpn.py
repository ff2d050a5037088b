"""BiFPN: wiring as the original numbers it, values of the original's nodes, errors."""

import numpy as np
import pytest

from keras_det.necks.bifpn import BiFPN, BiFPNNode, bifpn_wiring
from tests.helpers import check_layer, trainable_count
from tests.necks import oracle


# The original's eight nodes for P3..P7 (inputs 0..4): four down, four up, the top one with two.
def test_wiring_equals_the_originals():
    assert bifpn_wiring((3, 4, 5, 6, 7)) == [
        (6, [3, 4]),
        (5, [2, 5]),
        (4, [1, 6]),
        (3, [0, 7]),
        (4, [1, 7, 8]),
        (5, [2, 6, 9]),
        (6, [3, 5, 10]),
        (7, [4, 11]),
    ]


def test_extra_levels_are_pooled_and_channels_are_equal():
    pyramid = BiFPN(8, 1)(oracle.pyramid())
    assert {name: tuple(x.shape) for name, x in pyramid.items()} == {
        "P3": (2, 17, 13, 8),
        "P4": (2, 9, 7, 8),
        "P5": (2, 5, 4, 8),
        "P6": (2, 3, 2, 8),
        "P7": (2, 2, 1, 8),
    }


# Three cells of d0: counted on the original implementation (175,609 + 20,672 for P6).
@pytest.mark.parametrize(
    "fusion, expected", [("fast", 196_281), ("softmax", 196_281), ("sum", 196_224)]
)
def test_parameter_counts_equal_the_originals(fusion, expected):
    neck = BiFPN(64, 3, fusion)
    neck.build({"P3": (None, 8, 8, 40), "P4": (None, 4, 4, 112), "P5": (None, 2, 2, 320)})
    assert trainable_count(neck) == expected


def blended(maps, weights, fusion):
    """EfficientDet's three equations."""
    if fusion == "sum":
        return sum(maps)
    shares = np.maximum(weights, 0) if fusion == "fast" else np.exp(weights)
    shares = shares / (shares.sum() + (1e-4 if fusion == "fast" else 0))
    return sum(share * x for share, x in zip(shares, maps, strict=True))


# One negative weight: "fast" drops its map, "softmax" does not.
@pytest.mark.parametrize("fusion", ["fast", "softmax", "sum"])
def test_node_equals_the_oracle(fusion):
    fine, same, coarse = oracle.pyramid(channels=(4, 4, 4)).values()
    node = BiFPNNode((9, 7), 4, fusion, "silu")
    node([fine, same, coarse])
    oracle.randomize(node)
    if node.blend is not None:
        node.blend.fusion_weights.assign([0.5, -0.3, 1.2])
    weights = oracle.Weights(node)
    maps = [oracle.max_pool(fine, 3, 2), same, oracle.enlarge(coarse, (9, 7))]
    x = blended(maps, weights("fusion/fusion_weights") if node.blend else None, fusion)
    x = x / (1 + np.exp(-x))
    depthwise = weights("convolution/depthwise_kernel")[..., 0]
    depthwise = depthwise[..., None] * np.eye(4)
    x = oracle.conv(x, depthwise, 0)
    x = oracle.conv(x, weights("convolution/pointwise_kernel"), weights("convolution/bias"))
    x = weights.norm("norm", x)
    assert not weights.unused
    oracle.assert_equal_pyramids({"x": node([fine, same, coarse])}, {"x": x})


def test_node_is_a_good_layer():
    maps = [oracle.pyramid()["P4"], oracle.pyramid()["P5"]]
    arguments = {"size": (9, 7), "channels": 4, "fusion": "softmax"}
    check_layer(BiFPNNode, arguments, maps, half_tolerance=0.1)


@pytest.mark.parametrize("fusion", ["fast", "sum"])
def test_bifpn_is_a_good_layer(fusion):
    arguments = {"channels": 4, "num_cells": 1, "fusion": fusion, "max_level": 6}
    check_layer(BiFPN, arguments, oracle.pyramid(), half_tolerance=None)


# -1 + 9 = 8: silu(8) = 8 / (1 + exp(-8)), relu6(8) = 6; the convolution passes it on.
@pytest.mark.parametrize("activation, expected", [("silu", 8 / (1 + np.exp(-8))), ("relu6", 6)])
def test_activation_by_hand(activation, expected):
    node = BiFPNNode((1, 1), 1, "sum", activation)
    maps = [np.full((1, 1, 1, 1), value, "float32") for value in (-1, 9)]
    node(maps)
    centre = np.zeros((3, 3, 1, 1))
    centre[1, 1] = 1
    node.convolution.depthwise_kernel.assign(centre)
    node.convolution.pointwise_kernel.assign(np.ones((1, 1, 1, 1)))
    found = np.array(node(maps)).item()
    assert found == pytest.approx(expected / np.sqrt(1 + 1e-3), rel=1e-6)


# A cell of the levels 4 to 6 has two nodes on the way down and two on the way up.
@pytest.mark.parametrize("num_cells", [1, 2])
def test_cells_levels_and_activation_reach_the_nodes(num_cells):
    neck = BiFPN(3, num_cells, activation="relu6", min_level=4, max_level=6)
    assert list(neck(oracle.pyramid())) == ["P4", "P5", "P6"]
    assert len(neck.nodes) == 4 * num_cells
    assert {node.activation for node in neck.nodes} == {"relu6"}


def test_missing_level_and_unknown_fusion_are_named():
    with pytest.raises(ValueError, match=r"must hold P3 and the levels after it without a gap"):
        BiFPN(8, 1).build({"P3": (None, 8, 8, 4), "P5": (None, 2, 2, 4)})
    with pytest.raises(ValueError, match=r"Received: 'fas'. Did you mean 'fast'\?"):
        BiFPN(8, 1, "fas")
    with pytest.raises(ValueError, match=r"must be above `min_level`. Received: 4 for both"):
        BiFPN(8, min_level=4, max_level=4)
