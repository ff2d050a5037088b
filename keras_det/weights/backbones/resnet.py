"""Loads public ResNet weights of torchvision, timm and keras-hub into our ResNets.

torchvision and timm give the tensors of ResNet-18 to 152 the same names. A keras-hub
`ResNetBackbone` without the "vd" and pre-activation changes is the same network. The ResNets of
`keras.applications` are other networks: they stride in the first 1x1 convolution of a block, and
their convolutions have biases.
"""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.weights.common.fill import (
    NamedArrays,
    Slot,
    Source,
    fill,
    skip_rest,
    torch_convolution,
    torch_norm,
)
from keras_det.weights.common.report import STEP_COUNTER, LoadReport
from keras_det.weights.common.torch_file import read_torch_file

RESNET_STAGES = (2, 3, 4, 5)
# From (blocks of the four stages, whether a block has a third convolution) to the name.
RESNETS_BY_BLOCKS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_ADVICE = "Build the ResNet that the weights belong to: `resnet18` … `resnet152`."
_CLASSIFIER = "classifier"


def _parts(backbone: keras.Model) -> Iterator[tuple]:
    """Yields (convolution, its normalisation, stage, block, number) of one of our ResNets.

    The stem is stage 1; a shortcut has number 0.
    """
    layers = {layer.name: layer for layer in backbone.layers}
    yield layers["stem"], layers["stem_norm"], 1, 0, 1
    for stage in RESNET_STAGES:
        block = 0
        while f"stage{stage}_block{block}_conv1" in layers:
            name = f"stage{stage}_block{block}"
            if f"{name}_shortcut" in layers:
                shortcut = f"{name}_shortcut"
                yield layers[shortcut], layers[f"{shortcut}_norm"], stage, block, 0
            for i in (1, 2, 3):
                if f"{name}_conv{i}" in layers:
                    yield layers[f"{name}_conv{i}"], layers[f"{name}_norm{i}"], stage, block, i
            block += 1


def _torch_names(stage: int, block: int, number: int) -> tuple[str, str]:
    if stage == 1:
        return "conv1", "bn1"
    name = f"layer{stage - 1}.{block}"
    if number == 0:
        return f"{name}.downsample.0", f"{name}.downsample.1"
    return f"{name}.conv{number}", f"{name}.bn{number}"


def _hub_names(stage: int, block: int, number: int) -> tuple[str, str]:
    name = "conv1" if stage == 1 else f"stack{stage - 2}_block{block}_{number}"
    return f"{name}_conv", f"{name}_bn"


def check_resnet(backbone: keras.Model, padding: str = "symmetric") -> None:
    """Raises DataError unless `backbone` is one of our ResNets with this padding."""
    names = {layer.name for layer in getattr(backbone, "layers", ())}
    if not {"stem", "stem_norm", "stage2_block0_conv1"} <= names:
        raise DataError(
            "ResNet weights fill a ResNet. Received: the backbone "
            f"{getattr(backbone, 'name', backbone)!r}. Build it with keras_det.backbones.resnet(…)."
        )
    found = "symmetric" if "stem_pad" in names else "same"
    if found != padding:
        raise DataError(
            f"These weights were trained with {padding!r} padding. Received: a backbone with "
            f"{found!r}. Build it with padding={padding!r}."
        )


def torch_resnet_slots(backbone: keras.Model, prefix: str = "") -> Iterator[Slot]:
    """The slots of one of our ResNets by the names of torchvision and timm."""
    for convolution, norm, *place in _parts(backbone):
        convolution_name, norm_name = _torch_names(*place)
        yield from torch_convolution(convolution, prefix + convolution_name)
        yield from torch_norm(norm, prefix + norm_name)


def _hub_slots(backbone: keras.Model) -> Iterator[Slot]:
    for *layers, stage, block, number in _parts(backbone):
        for layer, name in zip(layers, _hub_names(stage, block, number), strict=True):
            for variable in layer.variables:
                yield Slot(f"{name}/{variable.name}", variable)


def _hub_values(source: keras.Model) -> dict[str, np.ndarray]:
    """The variables of a keras-hub ResNet by layer and name; DataError for other networks."""
    names = {layer.name for layer in source.layers}
    if "conv2_block1_1_conv" in names:
        raise DataError(
            "Weights must come from a ResNet v1.5. Received: "
            f"{source.name!r} of keras.applications, which strides in the first 1x1 "
            "convolution of a block, not in the 3x3, and has biases. Use weights of torchvision, "
            "timm or keras-hub, or use that model itself as the backbone: "
            "keras_det.backbones.feature_pyramid(model, layers)."
        )
    problem = None
    if "conv1_conv" not in names or "stack0_block0_1_conv" not in names:
        problem = "whose layers are not named as in a keras-hub ResNetBackbone"
    elif "post_bn" in names or getattr(source, "use_pre_activation", False):
        problem = "which normalises before its convolutions (version 2)"
    elif "conv2_conv" in names or "vd" in str(getattr(source, "block_type", "")):
        problem = 'of the "vd" kind: its stem has three convolutions and its shortcuts pool'
    if problem:
        raise DataError(
            f"Weights must come from a plain ResNet. Received: {source.name!r}, {problem}. Use, "
            'for example, keras_hub.models.ResNetBackbone.from_preset("resnet_50_imagenet"), or '
            "that model itself as the backbone."
        )
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in source.layers
        for variable in layer.variables
    }


def load_resnet(backbone: keras.Model, source: Source | keras.Model) -> LoadReport:
    """Fills one of our ResNets with public weights.

    Args:
        backbone: `keras_det.backbones.resnet(variant)` with symmetric padding.
        source: path of a state dict of torchvision's or timm's ResNet of the same depth (`.pth`,
            `.safetensors`); a mapping from its names to arrays; or a keras-hub `ResNetBackbone`.

    Returns:
        `LoadReport`; the classifier `fc` is skipped.

    Raises:
        DataError: the source has another depth or is another network. Nothing is changed then.
    """
    check_resnet(backbone)
    values: NamedArrays
    if isinstance(source, keras.Model):
        values, slots = _hub_values(source), list(_hub_slots(backbone))
    else:
        values = source if isinstance(source, Mapping) else read_torch_file(source)
        slots = list(torch_resnet_slots(backbone))
    reasons = {"fc.": _CLASSIFIER, "num_batches_tracked": STEP_COUNTER}
    skipped = skip_rest(values, [slot.name for slot in slots], reasons, _ADVICE, source)
    return LoadReport(fill(slots, values, _ADVICE, source), skipped, [])


def resnet_variant(values: NamedArrays, prefix: str = "") -> str | None:
    """Name of the plain ResNet that the tensors belong to, None for another network."""
    blocks = tuple(
        sum(f"{prefix}layer{stage}.{block}.conv1.weight" in values for block in range(64))
        for stage in (1, 2, 3, 4)
    )
    first = values.get(f"{prefix}layer1.0.conv1.weight", ())
    if np.shape(first)[:1] != (64,):  # a wide or grouped relative
        return None
    return RESNETS_BY_BLOCKS.get((blocks, f"{prefix}layer1.0.conv3.weight" in values))
