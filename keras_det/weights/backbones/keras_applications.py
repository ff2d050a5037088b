"""ImageNet weights of keras.applications' EfficientNetB0 to B7 into our EfficientNets.

Both are the network of https://arxiv.org/abs/1905.11946; ours ends after the last stage. Three
things lie elsewhere and need no weights:

- Scaling of pixels: theirs begins with Rescaling and Normalization, and with weights="imagenet" one
  Rescaling more, by 1 / sqrt(deviation), because its Normalization divides by the root of what it
  holds as variance: ImageNet's deviations. In all (pixel - mean) / deviation, as our detectors
  compute it before the backbone (mean 123.675, 116.28, 103.53, deviation 58.395, 57.12, 57.375).
- Padding of strided convolutions: theirs is set when the model is built. At even sizes, also of the
  feature maps, it is TensorFlow's "same", as ours; at odd ones only where the model was built for
  exactly that size (a model for any size then pads other borders, and its features differ).
- The classifier and the convolution before it, which no detector has.
"""

import inspect
import pathlib
import re
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from keras_det.errors import DataError, suggest
from keras_det.weights.download import fetch, mirrored
from keras_det.weights.efficientdet_names import BACKBONES
from keras_det.weights.fill import Slot, fill, skip_rest
from keras_det.weights.report import LoadReport

# (number of blocks, channels of the last one): the variant. Those with squeeze-and-excitation.
VARIANTS = {
    (blocks, last): name for (blocks, last, squeezed), name in BACKBONES.items() if squeezed
}
# Layers of a block: ours, theirs.
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
IMAGENET_MEAN = (0.485, 0.456, 0.406)
TOP = "after the last stage, which a detector's backbone ends with"
SCALING = "the detector scales pixels before the backbone, as ImageNet's weights need it"
ADVICE = "Give the weights of keras.applications.EfficientNet{} or build another backbone."


def _layers(backbone):
    return {layer.name: layer for layer in getattr(backbone, "layers", ())}


def backbone_variant(backbone) -> str:
    """The variant of one of our EfficientNets, "b0" … "b7".

    Raises:
        DataError: it is a Lite, for which keras.applications has no weights, or no EfficientNet.
    """
    layers = _layers(backbone)
    if "block0_depthwise" in layers and "block0_se_reduce" not in layers:
        raise DataError(_no_lite(backbone.name))
    blocks = sum(name.endswith("_depthwise") for name in layers)
    last = getattr(layers.get(f"block{blocks - 1}_project"), "filters", None)
    if (blocks, last) not in VARIANTS:
        raise DataError(
            "EfficientNet weights fill an EfficientNet. Received: the backbone "
            f"{getattr(backbone, 'name', backbone)!r}. Build keras_det.backbones.efficientnet(…)."
        )
    return VARIANTS[blocks, last]


def _no_lite(name):
    return (
        "keras.applications has ImageNet weights of EfficientNetB0 to B7, not of Lite, which has "
        f"no squeeze-and-excitation and another activation. Received: {name!r}. Start a Lite from "
        'COCO weights (`weights="coco"`) or from random ones.'
    )


def _source_blocks(values):
    """Their names of the blocks, in order."""
    return sorted(match[1] for match in map(THEIR_BLOCK.fullmatch, values) if match)


def _source_variant(values, what):
    """Variant of the EfficientNet that these tensors are; DataError for other networks."""
    blocks = _source_blocks(values)
    last = values.get(f"{blocks[-1]}_project_conv/kernel") if blocks else None
    variant = VARIANTS.get((len(blocks), np.shape(last)[-1])) if np.ndim(last) == 4 else None
    if "stem_conv/kernel" not in values or variant is None:
        raise DataError(
            "Weights must come from EfficientNetB0 to B7 of keras.applications. Received: "
            f"{what}, {len(values)} tensors that are none of them (first: "
            f"{next(iter(values), 'none')!r}). Take for example "
            'keras.applications.EfficientNetB0(include_top=False, weights="imagenet").'
        )
    return variant


def _slots(backbone, values) -> Iterator[Slot]:
    layers = _layers(backbone)
    pairs = [("stem", "stem_conv"), ("stem_norm", "stem_bn")]
    for i, block in enumerate(_source_blocks(values)):
        pairs += [(f"block{i}_{ours}", f"{block}_{theirs}") for ours, theirs in BLOCK_LAYERS]
    for ours, theirs in pairs:
        if ours in layers:  # the first blocks do not expand
            for variable in layers[ours].weights:
                yield Slot(f"{theirs}/{variable.name}", variable)


def _model_values(model):
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.weights
    }


def _file_values(path):
    """Arrays of a file of Keras' older layout by "<layer>/<variable>"; DataError for others.

    In that layout every layer has a group of its own name; below it Keras 2 writes
    "<layer>/depthwise_kernel:0" where Keras 3 writes "<layer>/kernel".
    """
    import h5py

    values = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset):
            layer, variable = name.split("/")[0], name.split("/")[-1].partition(":")[0]
            variable = "kernel" if variable == "depthwise_kernel" else variable
            values[f"{layer}/{variable}"] = item[()]

    try:
        with h5py.File(path) as file:
            numbered = "layers" in file
            file.get("model_weights", file).visititems(take)
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"Weights must be a complete HDF5 file. Received: {path} ({error}). Fetch it again: "
            "`efficientnetb0_notop.h5` and so on, as Keras distributes them."
        ) from error
    if numbered:
        raise DataError(
            "Weights must be in the layout in which Keras distributes them, by names of layers. "
            f"Received: {path}, which Keras 3 wrote by numbers. Load it into "
            "keras.applications.EfficientNetB0(include_top=False, weights=None) with "
            "`load_weights` and give that model."
        )
    return values


def _reasons(values: Mapping[str, np.ndarray]):
    """Why tensors are skipped; says so where their network scaled pixels by other numbers."""
    means = [array for name, array in values.items() if re.match(r"normalization\w*/mean$", name)]
    scaling = SCALING
    if means and not np.allclose(np.ravel(means[0]), IMAGENET_MEAN, atol=1e-3):
        scaling = (
            "the detector scales pixels before the backbone, by other numbers than this network, "
            f"which subtracts {np.ravel(means[0]).tolist()} from pixels / 255"
        )
    return {"top_": TOP, "predictions/": TOP, "normalization": scaling}


def load_keras_applications(backbone, source) -> LoadReport:
    """Fills one of our EfficientNets with weights of keras.applications.

    Features are those of the source on the same normalised input, at even sizes (see above).

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
    variant = backbone_variant(backbone)
    is_model = isinstance(source, keras.Model)
    values = _model_values(source) if is_model else _file_values(pathlib.Path(source))
    what = f"the model {source.name!r}" if is_model else str(source)
    found = _source_variant(values, what)
    if found != variant:
        raise DataError(
            f"Weights must be those of the backbone's variant, {variant}. Received: {what}, which "
            f"is EfficientNet{found.upper()}. Build the model with the backbone {found!r} or give "
            f"the weights of EfficientNet{variant.upper()}."
        )
    advice = ADVICE.format(variant.upper())
    slots = list(_slots(backbone, values))
    skipped = skip_rest(values, [slot.name for slot in slots], _reasons(values), advice)
    return LoadReport(fill(slots, values, advice), skipped, [])


def imagenet_efficientnet(variant: str, cache_dir=None) -> pathlib.Path:
    """Fetches the ImageNet weights of an EfficientNet as Keras distributes them.

    The address and the MD5 are read from the installed Keras. The file is the one that
    `keras.applications` itself keeps in its cache: what one fetched the other finds.

    Args:
        variant: "b0" … "b7".
        cache_dir: folder to keep it below, as for `keras_det.weights.download.fetch`.

    Returns:
        Path of `efficientnetb0_notop.h5` and so on, a source for `load_keras_applications`.

    Raises:
        DataError: there are no such weights, or they cannot be fetched.
    """
    if str(variant).startswith("lite"):
        raise DataError(_no_lite(variant))
    known = list(VARIANTS.values())
    if variant not in known:
        raise DataError(
            f"ImageNet weights exist for {', '.join(known)}. Received: {variant!r}."
            f"{suggest(variant, known)} Choose a name from the list."
        )
    module = inspect.getmodule(keras.applications.EfficientNetB0)
    name = f"efficientnet{variant}_notop.h5"
    try:
        address, file_hash = module.BASE_WEIGHTS_PATH + name, module.WEIGHTS_HASHES[variant][1]
    except (AttributeError, KeyError) as error:
        raise DataError(
            "The address of the weights is read from keras.applications. Received: Keras "
            f"{keras.__version__}, which does not hold it where Keras 3.15 does. Fetch {name} by "
            "hand and call load_keras_applications(model.backbone, path)."
        ) from error
    return fetch(mirrored(address), name=name, cache_dir=cache_dir, file_hash=file_hash)
