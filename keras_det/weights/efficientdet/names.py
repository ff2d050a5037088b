"""Official names of EfficientDet's variables, and what names and shapes say about a network.

"Official" names are those of the original code's name-based checkpoints and of its Keras .h5 files:
`efficientnet-b0/blocks_1/conv2d/kernel`. `translate.py` maps other names to them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras

from keras_det.weights.common.efficientnets import EFFICIENTNETS_BY_SHAPE

CLASS_PREDICTION, BOX_PREDICTION = "class_net/class-predict", "box_net/box-predict"
# The published networks take P3 to P5 from the backbone.
FINEST_LEVEL, NUM_BACKBONE_LEVELS = 3, 3
# The layers of a block, each with a normalisation. Blocks that do not expand lack the first.
BLOCK_PARTS = ("expand", "depthwise", "project")
OFFICIAL = re.compile(
    r"efficientnet-[^/]+/(stem|blocks_\d+)/|resample_p\d+/|fpn_cells/cell_\d+/|(class|box)_net/"
)


def numbered(name: str, index: int) -> str:
    """The name that TensorFlow gives the index-th object of one name: `conv2d`, `conv2d_1` …."""
    return name if index == 0 else f"{name}_{index}"


def block_layer(block: int, part: str, expanded: bool) -> str:
    """The official name of a block's convolution, numbered among those of its kind."""
    if part == "depthwise":
        return f"blocks_{block}/depthwise_conv2d"
    return f"blocks_{block}/{numbered('conv2d', int(part == 'project' and expanded))}"


def block_norm(block: int, part: str, expanded: bool) -> str:
    """The official name of the normalisation after a block's convolution."""
    parts = BLOCK_PARTS if expanded else BLOCK_PARTS[1:]
    return f"blocks_{block}/{numbered('tpu_batch_normalization', parts.index(part))}"


NamedVariable = tuple[str, Any]


def _variables(layer: keras.layers.Layer, theirs: str) -> Iterator[NamedVariable]:
    """Yields (official name, variable) of a layer."""
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    for variable in layer.variables:
        name = "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name
        yield f"{theirs}/{name}", variable


def backbone_names(backbone: keras.Model, prefix: str) -> Iterator[NamedVariable]:
    """Yields (official name, variable) of one of our EfficientNets.

    Args:
        backbone: the EfficientNet.
        prefix: first part of the names: "efficientnet-b0" ….
    """
    layers = {layer.name: layer for layer in backbone.layers}
    pairs, block = [("stem", "stem/conv2d"), ("stem_norm", "stem/tpu_batch_normalization")], 0
    while f"block{block}_depthwise" in layers:
        ours, expanded = f"block{block}", f"block{block}_expand" in layers
        for part in BLOCK_PARTS if expanded else BLOCK_PARTS[1:]:
            pairs.append((f"{ours}_{part}", block_layer(block, part, expanded)))
            pairs.append((f"{ours}_{part}_norm", block_norm(block, part, expanded)))
        if f"{ours}_se_reduce" in layers:
            pairs.append((f"{ours}_se_reduce", f"blocks_{block}/se/conv2d"))
            pairs.append((f"{ours}_se_expand", f"blocks_{block}/se/conv2d_1"))
        block += 1
    for ours, theirs in pairs:
        yield from _variables(layers[ours], f"{prefix}/{theirs}")


def _resample_names(layer: keras.layers.Layer, theirs: str) -> Iterator[NamedVariable]:
    if layer.projection is not None:
        yield from _variables(layer.projection, f"{theirs}/conv2d")
        yield from _variables(layer.norm, f"{theirs}/bn")


def _nodes(neck: keras.layers.Layer) -> Iterator[tuple[str, int, keras.layers.Layer]]:
    """Yields (official name, number of the node in its cell, node)."""
    for index, node in enumerate(neck.nodes):
        cell, number = divmod(index, len(neck.wiring))
        yield f"fpn_cells/cell_{cell}/fnode{number}", number, node


def _neck_names(neck: keras.layers.Layer) -> Iterator[NamedVariable]:
    first = len(neck.levels) - len(neck.extra_levels)
    for level, layer in zip(neck.levels[first:], neck.extra_levels, strict=True):
        yield from _resample_names(layer, f"resample_p{level}")
    for theirs, number, node in _nodes(neck):
        position = len(neck.levels) + number
        sources = neck.wiring[number][1]
        for i, (layer, source) in enumerate(zip(node.resample, sources, strict=True)):
            yield from _resample_names(layer, f"{theirs}/resample_{i}_{source}_{position}")
        combine = f"{theirs}/op_after_combine{position}"
        yield from _variables(node.convolution, f"{combine}/conv")
        yield from _variables(node.norm, f"{combine}/bn")


def _head_names(head: keras.layers.Layer, net: str, prefix: str) -> Iterator[NamedVariable]:
    levels = [name[1:] for name in head.level_names]
    for i, convolution in enumerate(head.convolutions):
        yield from _variables(convolution, f"{net}/{prefix}-{i}")
        for j, level in enumerate(levels):
            norm = head.norms[i * len(levels) + j]
            yield from _variables(norm, f"{net}/{prefix}-{i}-bn-{level}")
    yield from _variables(head.prediction, f"{net}/{prefix}-predict")


def variable_names(model: keras.Model) -> dict[str, Any]:
    """Maps official names to the variables of an EfficientDet with a BiFPN, one to one.

    Fusion weights are not among them (see `fusion_names`): a file holds scalars, a model one vector
    per node.
    """
    backbone = model.backbone
    return {
        **dict(backbone_names(backbone, backbone.name.replace("efficientnet_", "efficientnet-"))),
        **dict(_neck_names(model.neck)),
        **dict(_head_names(model.class_head, "class_net", "class")),
        **dict(_head_names(model.box_head, "box_net", "box")),
    }


def fusion_names(model: keras.Model) -> list[tuple[list[str], Any]]:
    """Pairs ([official name of the scalar of each input], vector of fusion weights), one a node."""
    return [
        (
            [f"{theirs}/{numbered('WSM', i)}" for i in range(len(node.resample))],
            node.blend.fusion_weights,
        )
        for theirs, _, node in _nodes(model.neck)
        if node.blend is not None
    ]


class Properties(NamedTuple):
    """What names and shapes of a file or a model say about its network. None is unknown.

    Attributes:
        backbone: "b0" …, or a description of an unknown backbone.
        channels: channels of the pyramid and the heads.
        neck_cells: number of BiFPN cells.
        head_repeats: number of hidden convolutions in a head.
        fusion: "fast" where the nodes have learnable weights, else "sum".
        levels: (finest, coarsest) level of the pyramid.
        num_anchors: anchors of a cell.
    """

    backbone: str | None
    channels: int | None
    neck_cells: int | None
    head_repeats: int | None
    fusion: str | None
    levels: tuple[int, int] | None
    num_anchors: int | None

    def __str__(self) -> str:
        seen = {name: value for name, value in self._asdict().items() if value is not None}
        if self.levels:
            seen["levels"] = "P{} to P{}".format(*self.levels)
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seen.items())

    def fits(self, row: Any) -> bool:
        """Whether all known properties equal those of a row in `EfficientDet.variants`."""
        wanted = self._replace(
            backbone=row.backbone,
            channels=row.channels,
            neck_cells=row.neck_cells,
            head_repeats=row.head_repeats,
            fusion=row.fusion,
            levels=(FINEST_LEVEL, row.max_level),
        )
        return not self.differences(wanted)

    def differences(self, other: "Properties") -> list[str]:
        """Names of the properties that are known on both sides and differ."""
        pairs = zip(self._fields, self, other, strict=True)
        return [name for name, a, b in pairs if None not in (a, b) and a != b]


def backbone_of(shapes: Mapping[str, tuple]) -> str | None:
    """The backbone's name, "b0" …, from the number of blocks, the last channels, and the gates.

    A description of an unknown backbone; None where there is none.
    """
    pattern = r"efficientnet[^/]*/blocks_(\d+)/(conv2d|conv2d_1|depthwise_conv2d)/(\w+)"
    kernels = {found: shapes[name] for name in shapes if (found := re.fullmatch(pattern, name))}
    if not kernels:
        return None
    last = max(int(found[1]) for found in kernels)
    # The projection is the convolution with the highest number in a block.
    ends = {found[2]: shape for found, shape in kernels.items() if int(found[1]) == last}
    filters = (ends.get("conv2d_1") or ends.get("conv2d") or (None,))[-1]
    gates = any("/se/" in name for name in shapes)
    unknown = f"of {last + 1} blocks, {filters} channels, {'with' if gates else 'without'} gates"
    return EFFICIENTNETS_BY_SHAPE.get((last + 1, filters, gates), unknown)


def properties_of(shapes: Mapping[str, tuple]) -> Properties:
    """What official names and shapes of variables say about their network."""

    def numbers(pattern: str) -> set[int]:
        found = (re.match(pattern, name) for name in shapes)
        return {int(match[1]) for match in found if match}

    def last_axis(pattern: str) -> int | None:
        found = (shapes[name] for name in shapes if re.fullmatch(pattern, name))
        return next((shape[-1] for shape in found if shape), None)

    nodes = numbers(r"fpn_cells/cell_0/fnode(\d+)/")
    levels = numbers(r"(?:class|box)_net/\w+-\d+-bn-(\d+)/")
    if nodes and not levels:
        levels = {FINEST_LEVEL, FINEST_LEVEL + max(nodes) // 2 + 1}
    boxes = last_axis(f"{BOX_PREDICTION}/bias")
    weights = any("/WSM" in name for name in shapes)
    return Properties(
        backbone=backbone_of(shapes),
        channels=last_axis(r"fpn_cells/.*/pointwise_kernel|(class|box)_net/\w+-\d+/bias"),
        neck_cells=len(numbers(r"fpn_cells/cell_(\d+)/")) or None,
        head_repeats=len(numbers(r"(?:class|box)_net/\w+-(\d+)/")) or None,
        fusion=None if not nodes else "fast" if weights else "sum",
        levels=(min(levels), max(levels)) if levels else None,
        num_anchors=None if boxes is None else boxes // 4,
    )
