"""Official names of EfficientDet's variables, and what names and shapes say of a network.

"Official" names are those of the original code's name-based checkpoints and of its Keras .h5 files:
`efficientnet-b0/blocks_1/conv2d/kernel`. Other names: `efficientdet_translate.py`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

CLASS_PREDICTION, BOX_PREDICTION = "class_net/class-predict", "box_net/box-predict"
# The published networks take P3 to P5 from the backbone.
MIN_LEVEL, NUM_BACKBONE_LEVELS = 3, 3
# (number of blocks, channels after the last, squeeze-and-excitation): the backbone, which not
# all names tell.
BACKBONES = {
    (16, 320, True): "b0",
    (23, 320, True): "b1",
    (23, 352, True): "b2",
    (26, 384, True): "b3",
    (32, 448, True): "b4",
    (39, 512, True): "b5",
    (45, 576, True): "b6",
    (55, 640, True): "b7",
    (16, 320, False): "lite0",
    (21, 320, False): "lite1",
    (21, 352, False): "lite2",
    (24, 384, False): "lite3",
    (30, 448, False): "lite4",
}
# The layers of a block, each with its normalisation; the first is absent where nothing is expanded.
PARTS = ("expand", "depthwise", "project")
OFFICIAL = re.compile(
    r"efficientnet-[^/]+/(stem|blocks_\d+)/|resample_p\d+/|fpn_cells/cell_\d+/|(class|box)_net/"
)


def numbered(name: str, index: int) -> str:
    """The name of the index-th object that would be called so: TensorFlow's rule."""
    return name if index == 0 else f"{name}_{index}"


def block_layer(block: int, part: str, expanded: bool) -> str:
    """The official name of a block's convolution, which is numbered among those of its kind."""
    if part == "depthwise":
        return f"blocks_{block}/depthwise_conv2d"
    return f"blocks_{block}/{numbered('conv2d', int(part == 'project' and expanded))}"


def block_norm(block: int, part: str, expanded: bool) -> str:
    """The official name of the normalisation after a block's convolution."""
    parts = PARTS if expanded else PARTS[1:]
    return f"blocks_{block}/{numbered('tpu_batch_normalization', parts.index(part))}"


def _variables(layer, theirs):
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    for variable in layer.variables:
        name = "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name
        yield f"{theirs}/{name}", variable


def _backbone_names(backbone):
    layers = {layer.name: layer for layer in backbone.layers}
    pairs, block = [("stem", "stem/conv2d"), ("stem_norm", "stem/tpu_batch_normalization")], 0
    while f"block{block}_depthwise" in layers:
        ours, expanded = f"block{block}", f"block{block}_expand" in layers
        for part in PARTS if expanded else PARTS[1:]:
            pairs.append((f"{ours}_{part}", block_layer(block, part, expanded)))
            pairs.append((f"{ours}_{part}_norm", block_norm(block, part, expanded)))
        if f"{ours}_se_reduce" in layers:
            pairs.append((f"{ours}_se_reduce", f"blocks_{block}/se/conv2d"))
            pairs.append((f"{ours}_se_expand", f"blocks_{block}/se/conv2d_1"))
        block += 1
    prefix = backbone.name.replace("efficientnet_", "efficientnet-")
    for ours, theirs in pairs:
        yield from _variables(layers[ours], f"{prefix}/{theirs}")


def _resample_names(layer, theirs):
    if layer.projection is not None:
        yield from _variables(layer.projection, f"{theirs}/conv2d")
        yield from _variables(layer.norm, f"{theirs}/bn")


def _nodes(neck):
    """Yields (official name, number of the node in its cell, node)."""
    for index, node in enumerate(neck.nodes):
        cell, number = divmod(index, len(neck.wiring))
        yield f"fpn_cells/cell_{cell}/fnode{number}", number, node


def _neck_names(neck):
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


def _head_names(head, net, prefix):
    levels = [name[1:] for name in head.level_names]
    for i, convolution in enumerate(head.convolutions):
        yield from _variables(convolution, f"{net}/{prefix}-{i}")
        for j, level in enumerate(levels):
            norm = head.norms[i * len(levels) + j]
            yield from _variables(norm, f"{net}/{prefix}-{i}-bn-{level}")
    yield from _variables(head.prediction, f"{net}/{prefix}-predict")


def variable_names(model) -> dict:
    """Maps official names to the variables of an EfficientDet with a BiFPN, one to one.

    Fusion weights are apart (`fusion_names`): theirs are scalars, ours one vector per node.
    """
    return {
        **dict(_backbone_names(model.backbone)),
        **dict(_neck_names(model.neck)),
        **dict(_head_names(model.class_head, "class_net", "class")),
        **dict(_head_names(model.box_head, "box_net", "box")),
    }


def fusion_names(model) -> list[tuple[list[str], object]]:
    """Pairs ([official name of the scalar of each input], vector of fusion weights), per node."""
    return [
        (
            [f"{theirs}/{numbered('WSM', i)}" for i in range(len(node.resample))],
            node.blend.fusion_weights,
        )
        for theirs, _, node in _nodes(model.neck)
        if node.blend is not None
    ]


class Properties(NamedTuple):
    """What the names and shapes of a file or a model say of its network, None where nothing.

    Attributes:
        backbone: "b0" …, or what was seen of an unknown one.
        channels: of the pyramid and the heads.
        neck_cells, head_repeats: how often cells and hidden convolutions are repeated.
        fusion: "fast" where the nodes have learnable weights, else "sum".
        levels: (finest, coarsest) level.
        num_anchors: anchors per cell.
    """

    backbone: str | None
    channels: int | None
    neck_cells: int | None
    head_repeats: int | None
    fusion: str | None
    levels: tuple[int, int] | None
    num_anchors: int | None

    def __str__(self):
        seen = {name: value for name, value in self._asdict().items() if value is not None}
        if self.levels:
            seen["levels"] = "P{} to P{}".format(*self.levels)
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seen.items())

    def fits(self, row) -> bool:
        """Whether all that was seen is as in a row of a table of variants."""
        wanted = self._replace(
            backbone=row.backbone,
            channels=row.channels,
            neck_cells=row.neck_cells,
            head_repeats=row.head_repeats,
            fusion=row.fusion,
            levels=(MIN_LEVEL, row.max_level),
        )
        return not self.differences(wanted)

    def differences(self, other) -> list[str]:
        """Names of the properties that both have and that differ."""
        pairs = zip(self._fields, self, other, strict=True)
        return [name for name, a, b in pairs if None not in (a, b) and a != b]


def _backbone(shapes):
    """The backbone's name from the number of its blocks, its last channels, and its gates."""
    pattern = r"efficientnet[^/]*/blocks_(\d+)/(conv2d|conv2d_1|depthwise_conv2d)/(\w+)"
    kernels = {found: shapes[name] for name in shapes if (found := re.fullmatch(pattern, name))}
    if not kernels:
        return None
    last = max(int(found[1]) for found in kernels)
    # The projection is the convolution of a block with the highest number.
    ends = {found[2]: shape for found, shape in kernels.items() if int(found[1]) == last}
    filters = (ends.get("conv2d_1") or ends.get("conv2d") or (None,))[-1]
    gates = any("/se/" in name for name in shapes)
    unknown = f"of {last + 1} blocks, {filters} channels, {'with' if gates else 'without'} gates"
    return BACKBONES.get((last + 1, filters, gates), unknown)


def properties_of(shapes: Mapping[str, tuple]) -> Properties:
    """What the official names and shapes of variables say of their network."""

    def numbers(pattern):
        found = (re.match(pattern, name) for name in shapes)
        return {int(match[1]) for match in found if match}

    def last_axis(pattern):
        found = (shapes[name] for name in shapes if re.fullmatch(pattern, name))
        return next((shape[-1] for shape in found if shape), None)

    nodes = numbers(r"fpn_cells/cell_0/fnode(\d+)/")
    levels = numbers(r"(?:class|box)_net/\w+-\d+-bn-(\d+)/")
    if nodes and not levels:
        levels = {MIN_LEVEL, MIN_LEVEL + max(nodes) // 2 + 1}
    boxes = last_axis(f"{BOX_PREDICTION}/bias")
    weights = any("/WSM" in name for name in shapes)
    return Properties(
        backbone=_backbone(shapes),
        channels=last_axis(r"fpn_cells/.*/pointwise_kernel|(class|box)_net/\w+-\d+/bias"),
        neck_cells=len(numbers(r"fpn_cells/cell_(\d+)/")) or None,
        head_repeats=len(numbers(r"(?:class|box)_net/\w+-(\d+)/")) or None,
        fusion=None if not nodes else "fast" if weights else "sum",
        levels=(min(levels), max(levels)) if levels else None,
        num_anchors=None if boxes is None else boxes // 4,
    )
