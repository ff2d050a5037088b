"""NAS-FPN: the published table, and values against an oracle that walks it by itself."""

import numpy as np
import pytest

from keras_det.necks.nas_fpn import MERGES, NASFPN, global_attention, nas_fpn_wiring
from tests.helpers import check_layer, trainable_count
from tests.necks import oracle

# (new level, operation, inputs, is output), as tensorflow/tpu's nasfpn.py lists them.
PUBLISHED = [
    (4, "attention", (1, 3), False),
    (4, "sum", (1, 5), False),
    (3, "sum", (0, 6), True),
    (4, "sum", (6, 7), True),
    (5, "attention", (7, 8), True),
    (7, "attention", (6, 9), True),
    (6, "attention", (9, 10), True),
]


def test_merges_are_the_published_ones():
    assert [tuple(merge) for merge in MERGES] == PUBLISHED


# Nodes 0..4 are P3..P7, 5..11 the merges. Used by then: 0, 1, 3, 5, 6, 7, 8; left: 2 (P5), 4 (P7).
def test_unused_inputs_join_the_outputs_of_their_level():
    added = {5 + i: nodes for i, (_, nodes) in enumerate(nas_fpn_wiring()) if nodes}
    assert added == {9: [2], 10: [4]}


# One channel: maximum of high 0, sigmoid 1/2: high + low / 2.
def test_attention_by_hand():
    high = np.array([-2.0, 0.0], "float32").reshape(1, 2, 1, 1)
    low = np.array([10.0, 4.0], "float32").reshape(1, 2, 1, 1)
    np.testing.assert_allclose(np.ravel(global_attention(high, low)), [3, 2], rtol=1e-6)


def resized(x, source, target, sizes):
    if source < target:
        return oracle.max_pool(x, 2 ** (target - source), 2 ** (target - source))
    return oracle.enlarge(x, sizes[target])


def expected_cell(nodes, levels, cell, weights):
    """One cell: `nodes` and their `levels` grow by the seven merges; the last five are returned."""
    sizes = {level: x.shape[1:3] for level, x in zip(levels, nodes, strict=True)}
    uses = [0] * len(nodes)
    for level, operation, inputs, is_output in PUBLISHED:
        (a, a_level), (b, b_level) = ((nodes[i], levels[i]) for i in inputs)
        a, b = resized(a, a_level, level, sizes), resized(b, b_level, level, sizes)
        for i in inputs:
            uses[i] += 1
        if operation == "sum":
            x = a + b
        else:
            high, low = (a, b) if a_level >= b_level else (b, a)
            x = high + low / (1 + np.exp(-high.max(axis=(1, 2), keepdims=True)))
        for i in range(len(nodes)):
            if is_output and not uses[i] and levels[i] == level:
                x, uses[i] = x + nodes[i], 1
        name = f"cell{cell}_node{len(nodes)}"
        nodes.append(weights.norm(f"{name}_norm", weights.conv(name, oracle.relu(x))))
        levels.append(level)
        uses.append(0)
    pairs = sorted(zip(levels[-5:], range(len(nodes) - 5, len(nodes)), strict=True))
    return [nodes[i] for _, i in pairs]


def expected_nas_fpn(layer, features):
    weights = oracle.Weights(layer)
    maps = []
    for name, x in features.items():
        if x.shape[-1] != layer.channels:
            path = f"project_{name.lower()}"
            x = weights.norm(f"{path}/norm", weights.conv(f"{path}/projection", x))
        maps.append(x)
    while len(maps) < 5:
        maps.append(oracle.max_pool(maps[-1], 2, 2))
    for cell in range(layer.num_cells):
        maps = expected_cell(list(maps), [3, 4, 5, 6, 7], cell, weights)
    assert not weights.unused
    return {f"P{level}": x for level, x in enumerate(maps, start=3)}


# P5 has the neck's channels already in the first case: no projection there. 33x20 pools 17 -> 3
# and 5 by windows that are cut off.
@pytest.mark.parametrize(
    "size, channels", [((33, 20), (5, 6, 4)), ((16, 32), (3, 3, 3)), ((17, 13), (5, 6, 7, 8, 9))]
)
def test_values_equal_the_oracles(size, channels):
    features = oracle.pyramid(3, channels, *size)
    layer = NASFPN(4, num_cells=2)
    layer(features)
    oracle.randomize(layer)
    expected = expected_nas_fpn(layer, features)
    assert min(np.std(x) for x in expected.values()) > 0.1
    oracle.assert_equal_pyramids(layer(features), expected)


# Five cells of seven times (9 * 256² + 256 + gamma and beta 512), and projections of 512, 1024 and
# 2048 channels with bias, gamma and beta: 35 * 590,592 + 256 * 3,584 + 3 * 768.
def test_parameters_counted_by_hand():
    layer = NASFPN()
    layer.build({"P3": (None, 8, 8, 512), "P4": (None, 4, 4, 1024), "P5": (None, 2, 2, 2048)})
    assert trainable_count(layer) == 21_590_528


def test_nas_fpn_is_a_good_layer():
    arguments = {"channels": 4, "num_cells": 1}
    check_layer(NASFPN, arguments, oracle.pyramid(), half_tolerance=None)


def test_other_levels_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"P3 to P7: .* Received: min_level=2, max_level=6"):
        NASFPN(8, 2, 6)
    with pytest.raises(ValueError, match=r"rounded up. Received sizes: \[\(9, 8\), \(4, 4\), \(2,"):
        NASFPN(8).build({"P3": (None, 9, 8, 4), "P4": (None, 4, 4, 4)})
