"""Reads RetinaNet checkpoints of the TensorFlow Model Garden, and says which network they hold."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.errors import DataError
from keras_det.weights.backbones.resnet import RESNETS_BY_BLOCKS
from keras_det.weights.common.class_outputs import classes_of
from keras_det.weights.common.fill import NamedArrays, Source
from keras_det.weights.common.object_checkpoint import ROOT, ObjectCheckpoint
from keras_det.weights.retinanet.arguments import RetinaNetArguments
from keras_det.words import counted

NETWORK_PARTS = ("backbone", "decoder", "head")
LAYER = "layer_with_weights-"
GARDEN_CLASS_PREDICTION, GARDEN_BOX_PREDICTION = "head/_classifier", "head/_box_regressor"
# From the blocks of each stage to the name: the bottleneck ResNets, which we build too.
BOTTLENECK_RESNETS = {
    blocks: name for (blocks, bottleneck), name in RESNETS_BY_BLOCKS.items() if bottleneck
}
# Width / height, in the order of the published anchors.
GARDEN_RATIOS = (0.5, 1.0, 2.0)


# ---- the file ----


def read_model_garden(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the network of a Model Garden checkpoint. Needs TensorFlow.

    Args:
        path: prefix of the checkpoint (the path without .index), its .index file, or the folder of
            a training run, of which the newest checkpoint is read.

    Returns:
        dict from names ("backbone/…", "decoder/…", "head/…" as in the file, without
        "/.ATTRIBUTES/VARIABLE_VALUE") to arrays; and the keys that belong to the training.

    Raises:
        DataError: there is no such checkpoint, or it holds another network.
    """
    checkpoint = ObjectCheckpoint(path)
    # Some files hold the parts themselves; all hold them as attributes of the model.
    model = checkpoint.child(ROOT, "model") or ROOT
    keys: dict[str, str] = {}
    for part in NETWORK_PARTS:
        node = checkpoint.child(ROOT, part) or checkpoint.child(model, f"_{part}")
        if node is None:
            raise DataError(
                "A checkpoint of the Model Garden's RetinaNet must hold a backbone, a decoder and "
                f"a head. Received: {path} without {part!r}; it holds "
                f"{sorted(checkpoint.children(ROOT))}. A backbone alone cannot fill a detector."
            )
        keys.update(checkpoint.variables(node, part))
    values = {name: checkpoint.value(key) for name, key in keys.items()}
    return values, sorted(set(checkpoint.keys) - set(keys.values()))


def read_source(source: Source) -> tuple[dict[str, np.ndarray], list[str]]:
    """As `read_model_garden`; a mapping is taken as the arrays themselves."""
    return (dict(source), []) if isinstance(source, Mapping) else read_model_garden(source)


# ---- the network of the file ----


def _numbered(values: NamedArrays, part: str) -> list[int]:
    """The numbers of the layers with weights in a part, in order."""
    prefix = f"{part}/{LAYER}"
    names = (name[len(prefix) :] for name in values if name.startswith(prefix))
    return sorted({int(name.split("/")[0]) for name in names})


def decoder_layers(values: NamedArrays) -> dict[str, list[str]]:
    """Paths of the decoder's 1x1 convolutions, 3x3 convolutions and norms, in numbered order."""
    kinds: dict[str, list[str]] = {"lateral": [], "convolution": [], "norm": []}
    for number in _numbered(values, "decoder"):
        path = f"decoder/{LAYER}{number}"
        kernel = values.get(f"{path}/kernel")
        kind = "norm" if kernel is None else "lateral" if kernel.shape[0] == 1 else "convolution"
        kinds[kind].append(path)
    return kinds


def _stages(values: NamedArrays) -> list[list[str]]:
    """Paths of the residual blocks, one list per stage. A block with a shortcut starts a stage."""
    stages: list[list[str]] = []
    for number in _numbered(values, "backbone"):
        path = f"backbone/{LAYER}{number}"
        if f"{path}/_conv1/kernel" in values:
            if f"{path}/_shortcut/kernel" in values or not stages:
                stages.append([])
            stages[-1].append(path)
    return stages


def _check_backbone(values: NamedArrays, stages: Sequence[Sequence[str]]) -> str:
    """Name of the ResNet; DataError for a backbone that we do not build."""
    repeats = tuple(len(stage) for stage in stages)
    bottleneck = bool(stages) and f"{stages[0][0]}/_conv3/kernel" in values
    if not bottleneck or repeats not in BOTTLENECK_RESNETS:
        kind = "bottleneck" if bottleneck else "basic"
        raise DataError(
            f"The checkpoint's backbone must be one of {sorted(BOTTLENECK_RESNETS.values())}. "
            f"Received: {kind} residual blocks in stages of {list(repeats)}. SpineNet, MobileNet "
            "and changed stems are not supported. Nor are the Garden's ResNet-18 and 34: they "
            "project the first shortcut, ours do not."
        )
    return BOTTLENECK_RESNETS[repeats]


def _channels(values: NamedArrays, path: str) -> int:
    return values[f"{path}/_conv3/kernel"].shape[-1]


def _levels(values: NamedArrays, stages: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Finest and coarsest level of the pyramid, from the stage that its coarsest lateral reads."""
    decoder = decoder_layers(values)
    if not decoder["lateral"] or len(decoder["convolution"]) != len(decoder["norm"]):
        raise DataError(
            "The checkpoint's decoder must be a feature pyramid network of plain convolutions. "
            f"Received: {len(decoder['lateral'])} 1x1 and {len(decoder['convolution'])} 3x3 "
            f"convolutions, {len(decoder['norm'])} normalisations. The Garden's NAS-FPN and "
            "separable convolutions are not supported."
        )
    level_of = {_channels(values, stage[-1]): level for level, stage in enumerate(stages, start=2)}
    coarsest = level_of.get(values[f"{decoder['lateral'][0]}/kernel"].shape[-2], 5)
    min_level = coarsest - len(decoder["lateral"]) + 1
    return min_level, min_level + len(decoder["norm"]) - 1


def num_outputs_of(values: NamedArrays) -> tuple[int, int]:
    """Anchors of a cell, and class outputs of an anchor, background included."""
    predictions = (GARDEN_CLASS_PREDICTION, GARDEN_BOX_PREDICTION)
    for path in predictions:
        if not {f"{path}/kernel", f"{path}/bias"} <= set(values):
            raise DataError(
                "The checkpoint's heads must be shared over the levels and of plain convolutions. "
                f"Received: no '{path}/kernel' or no bias. Use a checkpoint that was trained with "
                "share_level_convs and without use_separable_conv."
            )
    classes, boxes = (values[f"{path}/bias"].size for path in predictions)
    if boxes < 4 or boxes % 4 or classes % (boxes // 4):
        raise DataError(
            "The checkpoint must predict 4 numbers for the box of every anchor. Received: "
            f"{counted(boxes, 'box output')} and {counted(classes, 'class output')} per cell. "
            "Rotated boxes are not supported."
        )
    return boxes // 4, classes // (boxes // 4)


def model_garden_arguments(
    source: Source,
    anchor_scale: float = 4.0,
    num_octaves: int = 3,
    aspect_ratios: Sequence[float] = GARDEN_RATIOS,
) -> RetinaNetArguments:
    """The arguments that build the network of a Model Garden checkpoint.

    A checkpoint holds no settings. Backbone, levels, channels and classes follow from its names and
    shapes. Anchors are the published ones unless you give others.

    Args:
        source: path as in `read_model_garden`, or the dict that it returns.
        anchor_scale: `anchor_size` in the `params.yaml` that the Garden's trainer writes.
        num_octaves: `num_scales` there.
        aspect_ratios: `aspect_ratios` there, width / height, in the same order.

    Returns:
        `RetinaNetArguments`. `class_names` are COCO's 80 for 91 class outputs, else `class_0` …,
        one fewer than the file has outputs.

    Raises:
        DataError: the network is not supported, or the anchors do not fit.
    """
    values, _ = read_source(source)
    stages = _stages(values)
    backbone = _check_backbone(values, stages)
    min_level, max_level = _levels(values, stages)
    num_anchors, num_outputs = num_outputs_of(values)
    if num_anchors != num_octaves * len(aspect_ratios):
        raise DataError(
            f"The checkpoint predicts {num_anchors} anchors per cell. Received: "
            f"{counted(num_octaves, 'size')} x {counted(len(aspect_ratios), 'aspect ratio')}. Pass "
            "`num_octaves` and `aspect_ratios`: `num_scales` and `aspect_ratios` in `params.yaml`, "
            "which lies beside the checkpoint."
        )
    repeats = {name.split("/")[2] for name in values if name.startswith("head/_cls_convs/")}
    return RetinaNetArguments(
        backbone=backbone,
        class_names=list(classes_of(num_outputs).values()),
        padding="same",
        norm_epsilon=1e-3,
        norm_momentum=0.99,
        frozen_norm=False,
        neck_norm=True,
        head_norm="batch",
        aspect_ratios=tuple(aspect_ratios),
        anchor_sizes=_anchor_sizes(anchor_scale, num_octaves, (min_level, max_level)),
        anchor_offset=0.5,
        integer_anchors=False,
        neck_channels=values[f"{decoder_layers(values)['lateral'][0]}/kernel"].shape[-1],
        min_level=min_level,
        max_level=max_level,
        head_repeats=len(repeats),
    )


def _anchor_sizes(
    anchor_scale: float, num_octaves: int, levels: tuple[int, int]
) -> tuple[tuple[float, ...], ...]:
    """Sides of the anchors in pixels, one tuple per level from the finest to the coarsest."""
    return tuple(
        tuple(anchor_scale * 2 ** (level + k / num_octaves) for k in range(num_octaves))
        for level in range(levels[0], levels[1] + 1)
    )
