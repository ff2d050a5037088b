"""What the importer knows of the networks by itself agrees with the networks."""

import re

import pytest

from keras_det.backbones.efficientnet import EFFICIENTNETS, scaled_stages
from keras_det.necks.bifpn import bifpn_wiring
from keras_det.weights.common.efficientnets import EFFICIENTNETS_BY_SHAPE
from keras_det.weights.efficientdet.names import properties_of
from keras_det.weights.efficientdet.translate import (
    from_object_names,
    from_torch_names,
    node_inputs,
)


def test_the_table_of_backbones_is_that_of_the_networks():
    expected = {}
    for name in EFFICIENTNETS:
        stages = scaled_stages(name)
        blocks = sum(stage.repeats for stage in stages)
        expected[blocks, stages[-1].filters, not name.startswith("lite")] = name
    assert expected == EFFICIENTNETS_BY_SHAPE


@pytest.mark.parametrize("num_levels", [2, 3, 5, 6])
def test_inputs_of_nodes_are_those_of_the_neck(num_levels):
    wiring = bifpn_wiring(tuple(range(3, 3 + num_levels)))
    assert [node_inputs(i, num_levels) for i in range(len(wiring))] == [s for _, s in wiring]


def test_numbers_of_layers_count_from_the_first_that_a_block_has():
    # Block 0 does not expand, block 1 does.
    objects = [f"backbone/_blocks/0/{layer}/x" for layer in ("_bn1", "_bn2", "_project_conv")]
    objects += [
        f"backbone/_blocks/1/{layer}/x"
        for layer in ("_bn0", "_bn1", "_bn2", "_expand_conv", "_project_conv", "_se/_se_expand")
    ]
    assert [
        re.sub("efficientnet/|/x", "", name) for name in from_object_names(objects).values()
    ] == [
        "blocks_0/tpu_batch_normalization",
        "blocks_0/tpu_batch_normalization_1",
        "blocks_0/conv2d",
        "blocks_1/tpu_batch_normalization",
        "blocks_1/tpu_batch_normalization_1",
        "blocks_1/tpu_batch_normalization_2",
        "blocks_1/conv2d",
        "blocks_1/conv2d_1",
        "blocks_1/se/conv2d_1",
    ]


def test_levels_of_d7x_are_counted_from_its_nodes():
    nodes = [f"fpn_cells/cells/0/fnodes/{i}/op_after_combine/bn/gamma" for i in range(10)]
    # Six levels: the node after the first is number 6; node 6 combines P5, its way down, P4.
    names = from_object_names([*nodes, "fpn_cells/cells/0/fnodes/6/resample_layers/0/bn/beta"])
    assert names[nodes[0]] == "fpn_cells/cell_0/fnode0/op_after_combine6/bn/gamma"
    assert names["fpn_cells/cells/0/fnodes/6/resample_layers/0/bn/beta"] == (
        "fpn_cells/cell_0/fnode6/resample_0_2_12/bn/beta"
    )
    assert properties_of(dict.fromkeys(names.values(), (4,))).levels == (3, 8)


def test_torch_numbers_inputs_by_their_source():
    # Five levels have nodes 0 to 7; node 5 takes P5 (2), its node of the way down (6), node 4 (9).
    names = [f"fpn.cell.0.fnode.5.combine.resample.{i}.conv.bn.bias" for i in (2, 6, 9)]
    translated = from_torch_names([*names, "fpn.cell.0.fnode.7.combine.edge_weights"])
    assert [translated[name] for name in names] == [
        f"fpn_cells/cells/0/fnodes/5/resample_layers/{i}/bn/beta" for i in range(3)
    ]


def test_names_of_other_networks_are_left_out():
    names = ["backbone.body.conv1.weight", "fpn.cell.0.fnode.0.combine.scale", "backbone.bn1.size"]
    assert from_torch_names(names) == {}
    names = ["backbone/_blocks/0/_bn0/beta", "fpn_cells/cells/0/fnodes/0/resample_layers/2/bn/beta"]
    assert from_object_names(names) == {}
