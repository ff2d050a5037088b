"""BiFPN: wiring as the original numbers it, values of the original's nodes, errors."""

import numpy as np
import pytest

from keras_det.necks.bifpn import BiFPN, BiFPNNode, bifpn_wiring
from tests.helpers import check_layer, trainable_count


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


def features(height=17, width=13):
    rng = np.random.default_rng(0)
    shapes = {}
    for level, channels in (("P3", 5), ("P4", 6), ("P5", 7)):
        shapes[level] = rng.normal(size=(2, height, width, channels)).astype("float32")
        height, width = -(-height // 2), -(-width // 2)
    return shapes


def test_extra_levels_are_pooled_and_channels_are_equal():
    pyramid = BiFPN(8, 1)(features())
    assert {name: tuple(x.shape) for name, x in pyramid.items()} == {
        "P3": (2, 17, 13, 8),
        "P4": (2, 9, 7, 8),
        "P5": (2, 5, 4, 8),
        "P6": (2, 3, 2, 8),
        "P7": (2, 2, 1, 8),
    }


# Three cells of d0: counted on the original implementation (175,609 + 20,672 for P6).
@pytest.mark.parametrize("fusion, expected", [("fast", 196_281), ("sum", 196_224)])
def test_parameter_counts_equal_the_originals(fusion, expected):
    neck = BiFPN(64, 3, fusion)
    neck.build({"P3": (None, 8, 8, 40), "P4": (None, 4, 4, 112), "P5": (None, 2, 2, 320)})
    assert trainable_count(neck) == expected


def test_node_is_a_good_layer():
    maps = [features()["P4"], features()["P5"]]
    check_layer(BiFPNNode, {"size": (9, 7), "channels": 4}, maps, half_tolerance=0.1)


@pytest.mark.parametrize("fusion", ["fast", "sum"])
def test_bifpn_is_a_good_layer(fusion):
    arguments = {"channels": 4, "num_cells": 1, "fusion": fusion, "max_level": 6}
    check_layer(BiFPN, arguments, features(), half_tolerance=None)


def test_missing_level_and_unknown_fusion_are_named():
    with pytest.raises(ValueError, match=r"must hold P3 and the levels after it without a gap"):
        BiFPN(8, 1).build({"P3": (None, 8, 8, 4), "P5": (None, 2, 2, 4)})
    with pytest.raises(ValueError, match=r"Received: 'fas'. Did you mean 'fast'\?"):
        BiFPN(8, 1, "fas")
