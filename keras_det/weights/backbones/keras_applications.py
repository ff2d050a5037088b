"""Loads ImageNet weights of keras.applications' EfficientNetB0 to B7 into our EfficientNets.

Both are the network of https://arxiv.org/abs/1905.11946; ours ends after the last stage. Three
differences need no weights:

- Scaling of pixels. Theirs starts with Rescaling and Normalization. With weights="imagenet" there
  is one more Rescaling, by 1 / sqrt(deviation): their Normalization holds ImageNet's deviations as
  variances and divides by the root. The result is (pixel - mean) / deviation, which our detectors
  compute before the backbone (mean 123.675, 116.28, 103.53, deviation 58.395, 57.12, 57.375).
- Padding of strided convolutions. Theirs is fixed when the model is built. At even sizes, feature
  maps included, it equals ours, TensorFlow's "same". At odd sizes it does so only if the model was
  built for exactly that size. A model built for any size pads other borders, so features differ.
- The classifier and the convolution before it, which no detector has.
"""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.names import IMAGENET_MEAN
from keras_det.weights.common.efficientnets import EFFICIENTNETS_BY_SHAPE, backbone_variant
from keras_det.weights.common.fill import NamedArrays, Slot, fill, skip_rest
from keras_det.weights.common.hdf5 import DAMAGE, open_hdf5
from keras_det.weights.common.report import LoadReport
from keras_det.words import counted

# From (number of blocks, channels of the last one) to the variant. All have squeeze-and-excitation.
EFFICIENTNETS_BY_BLOCKS = {
    (blocks, last): name
    for (blocks, last, squeezed), name in EFFICIENTNETS_BY_SHAPE.items()
    if squeezed
}
# Layers of a block: our name, their name.
BLOCK_LAYERS = (
    ("expand", "expand_conv"),
    ("expand_norm", "expand_bn"),
    ("depthwise", "dwconv"),
    ("depthwise_norm", "bn"),
    ("se_reduce", "se_reduce"),
    ("se_expand", "se_expand"),
    ("project", "project_conv"),
    ("project_norm", "project_bn"),
)
# Stages are numbered, their blocks lettered: block1a, block2a, block2b …
THEIR_BLOCK = re.compile(r"(block\d[a-z])_dwconv/kernel")
_TOP = "after the last stage, where a detector's backbone ends"
_SCALING = "the detector scales pixels before the backbone, as ImageNet's weights need it"
_ADVICE = "Give the weights of keras.applications.EfficientNet{} or build another backbone."


def _variant(backbone: keras.Model) -> str:
    """The variant of one of our EfficientNets, "b0" … "b7"; DataError for a Lite."""
    variant = backbone_variant(backbone)
    if variant.startswith("lite"):
        raise DataError(
            "keras.applications has ImageNet weights of EfficientNetB0 to B7, not of Lite, which "
            "has no squeeze-and-excitation and another activation. Received: the backbone "
            f'{backbone.name!r}. Start a Lite with `weights="imagenet"`, or give a file to '
            "keras_det.weights.load_efficientnet."
        )
    return variant


def source_blocks(values: NamedArrays) -> list[str]:
    """The source's names of its blocks, in order: block1a, block2a, block2b …."""
    return sorted(match[1] for match in map(THEIR_BLOCK.fullmatch, values) if match)


def _source_variant(values: NamedArrays, what: str) -> str:
    """Variant of the EfficientNet that the tensors belong to; DataError for other networks."""
    blocks = source_blocks(values)
    last = values.get(f"{blocks[-1]}_project_conv/kernel") if blocks else None
    variant = None
    if last is not None and np.ndim(last) == 4:
        variant = EFFICIENTNETS_BY_BLOCKS.get((len(blocks), np.shape(last)[-1]))
    if "stem_conv/kernel" not in values or variant is None:
        raise DataError(
            "Weights must come from EfficientNetB0 to B7 of keras.applications. Received: "
            f"{what}, {counted(len(values), 'tensor')} of another network (first: "
            f"{next(iter(values), 'none')!r}). Use, for example, "
            'keras.applications.EfficientNetB0(include_top=False, weights="imagenet").'
        )
    return variant


def keras_slots(
    backbone: keras.Model, values: NamedArrays, block_layers: Sequence[tuple[str, str]]
) -> Iterator[Slot]:
    """The slots of one of our EfficientNets by layer and variable of a Keras model.

    Args:
        backbone: the EfficientNet.
        values: the source's arrays.
        block_layers: pairs (our name, theirs) of the layers of a block.
    """
    layers = {layer.name: layer for layer in backbone.layers}
    pairs = [("stem", "stem_conv"), ("stem_norm", "stem_bn")]
    for i, block in enumerate(source_blocks(values)):
        pairs += [(f"block{i}_{ours}", f"{block}_{theirs}") for ours, theirs in block_layers]
    for ours, theirs in pairs:
        if ours in layers:  # the first blocks do not expand
            for variable in layers[ours].weights:
                yield Slot(f"{theirs}/{variable.name}", variable)


def keras_values(model: keras.Model) -> dict[str, np.ndarray]:
    """The arrays of a Keras model by "<layer>/<variable>"."""
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.weights
    }


def _file_values(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays of a file in Keras' older layout by "<layer>/<variable>"; DataError for others.

    In that layout each layer has a group with its name. In the group Keras 2 writes
    "<layer>/depthwise_kernel:0" where Keras 3 writes "<layer>/kernel".
    """
    import h5py

    values = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, variable = name.split("/")[0], name.split("/")[-1].partition(":")[0]
            variable = "kernel" if variable == "depthwise_kernel" else variable
            values[f"{layer}/{variable}"] = item[()]

    try:
        with open_hdf5(path) as file:
            numbered = "layers" in file
            file.get("model_weights", file).visititems(take)
    except DAMAGE as error:
        raise DataError(
            f"Weights must be a complete HDF5 file. Received: {path} ({error}). Download it again; "
            "Keras distributes `efficientnetb0_notop.h5` and so on."
        ) from error
    if numbered:
        raise DataError(
            "Weights must be in the layout in which Keras distributes them, stored by layer name. "
            f"Received: {path}, in which Keras 3 stored them by number. Load it into "
            "keras.applications.EfficientNetB0(include_top=False, weights=None) with "
            "`load_weights` and give that model."
        )
    return values


def _reasons(values: NamedArrays) -> dict[str, str]:
    """Why tensors are skipped, with a note where their network scaled pixels differently."""
    means = [array for name, array in values.items() if re.match(r"normalization\w*/mean$", name)]
    scaling = _SCALING
    if means and not np.allclose(255 * np.ravel(means[0]), IMAGENET_MEAN, atol=0.255):
        scaling = (
            "the detector scales pixels before the backbone, with other numbers than this network, "
            f"which subtracts {np.ravel(means[0]).tolist()} from pixels / 255"
        )
    return {"top_": _TOP, "predictions/": _TOP, "normalization": scaling}


def load_keras_applications(
    backbone: keras.Model, source: keras.Model | str | os.PathLike
) -> LoadReport:
    """Fills one of our EfficientNets with weights of keras.applications.

    On the same normalised input of even size, features equal the source's (see above).

    Args:
        backbone: `keras_det.backbones.efficientnet("b0" … "b7")`.
        source: `keras.applications.EfficientNetB0` … `B7` of the same variant, a `keras.Model` with
            or without its top; or the path of such weights as Keras distributes them
            (`efficientnetb0_notop.h5`).

    Returns:
        `LoadReport`; layers after the last stage and the scaling of pixels are skipped.

    Raises:
        DataError: the source is another variant or network, or the file is damaged; the backbone
            is a Lite. Nothing is changed then.
    """
    variant = _variant(backbone)
    if isinstance(source, keras.Model):
        values, what = keras_values(source), f"the model {source.name!r}"
    else:
        values, what = _file_values(pathlib.Path(source)), str(source)
    found = _source_variant(values, what)
    if found != variant:
        raise DataError(
            f"Weights must be those of the backbone's variant, {variant}. Received: {what}, which "
            f"is EfficientNet{found.upper()}. Build the model with the backbone {found!r} or give "
            f"the weights of EfficientNet{variant.upper()}."
        )
    advice = _ADVICE.format(variant.upper())
    slots = list(keras_slots(backbone, values, BLOCK_LAYERS))
    skipped = skip_rest(values, [slot.name for slot in slots], _reasons(values), advice, what)
    return LoadReport(fill(slots, values, advice, what), skipped, [])
