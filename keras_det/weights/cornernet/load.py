"""Loads CornerNet's public PyTorch checkpoint (princeton-vl/CornerNet, `CornerNet_500000.pkl`).

The file is a state dict in torch's older form, with names that start with `module.` and classes in
the order of COCO's 80 names. The network expects channels in the order blue, green, red; the
model's normalisation reverses them. Names of heads hold the number of their hourglass; the heads of
the last one detect.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.weights.common.class_outputs import (
    class_rows,
    class_sources,
    names_of_outputs,
    picked_outputs,
)
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.common.fill import (
    NamedArrays,
    Slot,
    Source,
    fill,
    from_torch_kernel,
    skip_rest,
    torch_convolution,
    torch_norm,
)
from keras_det.weights.common.report import STEP_COUNTER, LoadReport
from keras_det.weights.common.torch_file import read_torch_file
from keras_det.words import counted

CORNER_NAMES = {"tl": "top_left", "br": "bottom_right"}
OUTPUT_NAMES = {"heats": "heatmaps", "tags": "embeddings", "regrs": "offsets"}
_ADVICE = (
    "Build the model for this file: CornerNet.from_checkpoint(variant, path) with "
    '"hourglass104" for the authors\' own.'
)
_KNOWN_FILES = "Give the authors' CornerNet_500000.pkl, or a state dict of their network."
COCO_NAMES = tuple(COCO_CLASSES.values())


def _convolution_and_norm(layer: keras.layers.Layer, convolution: str, norm: str) -> Iterator[Slot]:
    yield from torch_convolution(layer.convolution, convolution)
    yield from torch_norm(layer.norm, norm)


def _residual(block: keras.layers.Layer, name: str) -> Iterator[Slot]:
    yield from _convolution_and_norm(block.first, f"{name}.conv1", f"{name}.bn1")
    yield from _convolution_and_norm(block.second, f"{name}.conv2", f"{name}.bn2")
    if block.shortcut is not None:
        yield from _convolution_and_norm(block.shortcut, f"{name}.skip.0", f"{name}.skip.1")


def _plain(layer: keras.layers.Layer, name: str) -> Iterator[Slot]:
    yield from _convolution_and_norm(layer, f"{name}.conv", f"{name}.bn")


def _backbone_slots(backbone: keras.Model) -> Iterator[Slot]:
    """The slots of the stem and the hourglasses, layer by layer."""
    ways = {"beside": "up1", "down": "low1", "up": "low3"}
    for layer in backbone.layers:
        name = layer.name
        stack = re.match(r"stack_(\d+)_", name)
        inside = re.match(r"stack_(\d+)_(beside|down|up)(\d+)_(\d+)$", name)
        middle = re.match(r"stack_(\d+)_middle_(\d+)$", name)
        if name == "stem":
            yield from _plain(layer, "pre.0")
        elif name == "stem_block_0":
            yield from _residual(layer, "pre.1")
        elif inside:
            depth = ".low2" * int(inside[3])
            yield from _residual(layer, f"kps.{inside[1]}{depth}.{ways[inside[2]]}.{inside[4]}")
        elif middle:
            depth = ".low2" * _innermost(backbone)
            yield from _residual(layer, f"kps.{middle[1]}{depth}.{middle[2]}")
        elif stack and name.endswith("_output"):
            yield from _plain(layer, f"cnvs.{stack[1]}")
        elif stack and name.endswith(("_before", "_after")):
            theirs = "inters_" if name.endswith("_before") else "cnvs_"
            place = f"{theirs}.{stack[1]}"
            yield from _convolution_and_norm(layer, f"{place}.0", f"{place}.1")
        elif stack and name.endswith("_next_0"):
            yield from _residual(layer, f"inters.{stack[1]}")


def _innermost(backbone: keras.Model) -> int:
    """How many times an hourglass halves its feature maps."""
    return sum(bool(re.match(r"stack_0_add\d", layer.name)) for layer in backbone.layers)


def _head_slots(head: keras.layers.Layer, stack: int) -> Iterator[Slot]:
    """The slots of one hourglass' heads, without the heat maps' last convolutions."""
    layers = {layer.name: layer for layer in (*head.hidden, *head.predictions)}
    for (short, corner), block in zip(CORNER_NAMES.items(), head.blocks, strict=True):
        name = f"{short}_cnvs.{stack}"
        for i, layer in enumerate(block.before, start=1):
            yield from _plain(layer, f"{name}.p{i}_conv1")
        yield from _convolution_and_norm(block.merge, f"{name}.p_conv1", f"{name}.p_bn1")
        yield from _convolution_and_norm(block.shortcut, f"{name}.conv1", f"{name}.bn1")
        yield from _plain(block.after, f"{name}.conv2")
        for theirs, kind in OUTPUT_NAMES.items():
            name = f"{short}_{theirs}.{stack}"
            yield from torch_convolution(layers[f"{corner}_{kind}_hidden"], f"{name}.0.conv")
            if kind != "heatmaps":
                yield from torch_convolution(layers[f"{corner}_{kind}"], f"{name}.1")


def _heatmap_slots(
    head: keras.layers.Layer, stack: int, rows: Sequence[int | None], num_outputs: int
) -> Iterator[Slot]:
    """The slots of one hourglass' heat maps: the last convolutions, with one output a class."""
    for short, corner in CORNER_NAMES.items():
        layer = next(each for each in head.predictions if each.name == f"{corner}_heatmaps")
        for variable, name in ((layer.kernel, "weight"), (layer.bias, "bias")):

            def pick(array: np.ndarray, variable: Any = variable) -> np.ndarray:
                array = from_torch_kernel(array)
                if array.shape[-1] != num_outputs:
                    return array  # `fill` reports the wrong shape
                return picked_outputs(
                    keras.ops.convert_to_numpy(variable), array, rows, num_outputs
                )

            yield Slot(f"{short}_heats.{stack}.1.{name}", variable, pick)


def _check_kind(values: NamedArrays, num_stacks: int) -> int:
    """Class outputs of a file; DataError if it is not a CornerNet's or has other hourglasses."""
    prediction = values.get("tl_heats.0.1.weight")
    if prediction is None or prediction.ndim != 4 or "pre.0.conv.weight" not in values:
        raise DataError(
            "The weights must be those of CornerNet. Received: no tl_heats.0.1.weight or no "
            f"pre.0.conv.weight among {counted(len(values), 'tensor')}. {_KNOWN_FILES}"
        )
    stacks = {name.split(".")[1] for name in values if name.startswith("kps.")}
    if len(stacks) != num_stacks:
        fitting = {1: ' Build "hourglass52".', 2: ' Build "hourglass104".'}.get(len(stacks), "")
        raise DataError(
            f"The weights must have as many hourglasses as the network, {num_stacks}. "
            f"Received: a file with {len(stacks)}.{fitting}"
        )
    return prediction.shape[0]


def load_cornernet(
    model: keras.Model,
    source: Source,
    source_class_names: Sequence[str] | None = None,
    partial: bool = False,
) -> LoadReport:
    """Fills a CornerNet with the weights of the authors' PyTorch code.

    Args:
        model: `CornerNet` of the same variant; any classes.
        source: path of a state dict (`.pkl`, `.pth`, `.safetensors`), read without torch, or a
            mapping from its names to arrays.
        source_class_names: the name of each class output of the file. Default: COCO's for 80.
        partial: True accepts a file that does not hold every variable.

    Returns:
        `LoadReport`; its `classes` say which heat maps came from the file. Classes that it lacks
        start from the prior.

    Raises:
        DataError: the file is missing or damaged, or belongs to another network. Nothing is changed
            then.
    """
    values = dict(source) if isinstance(source, Mapping) else read_torch_file(source)
    num_outputs = _check_kind(values, len(model.heads))
    if source_class_names is None and num_outputs == len(COCO_NAMES):
        source_class_names = COCO_NAMES
    names = None
    if source_class_names is not None:
        names = names_of_outputs(num_outputs, source_class_names)
    rows = class_rows(model.class_names, num_outputs, names)
    slots = list(_backbone_slots(model.backbone))
    for stack, head in enumerate(model.heads):
        slots += _head_slots(head, stack)
        slots += _heatmap_slots(head, stack, rows, num_outputs)
    missing = [slot.variable.path for slot in slots if slot.name not in values]
    if partial:
        slots = [slot for slot in slots if slot.name in values]
    reasons = {"num_batches_tracked": STEP_COUNTER}
    skipped = skip_rest(values, [slot.name for slot in slots], reasons, _ADVICE, source)
    loaded = fill(slots, values, _ADVICE, source)
    classes = class_sources(model.class_names, rows, names)
    return LoadReport(loaded, skipped, missing, classes=classes)
