"""Loads public EfficientDet weights into our models.

`files.py` opens the formats, gives each tensor its official name and prefers moving averages. This
module fills the model variable by variable. Box outputs go from (ty, tx, th, tw) to (dx, dy, dw,
dh), anchors of a cell follow the model's order of aspect ratios, class outputs are picked by name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.weights.common.class_outputs import (
    class_rows,
    class_sources,
    names_of_outputs,
    picked_outputs,
)
from keras_det.weights.common.fill import XYWH_FROM_YXHW
from keras_det.weights.common.report import LoadReport
from keras_det.weights.efficientdet.files import (
    Checkpoint,
    CheckpointSource,
    Tensor,
    open_checkpoint,
)
from keras_det.weights.efficientdet.names import (
    BOX_PREDICTION,
    CLASS_PREDICTION,
    Properties,
    fusion_names,
    properties_of,
    variable_names,
)
from keras_det.words import counted

# Width / height of a cell's anchors at each of three scales, in the order of the file's outputs.
OFFICIAL_RATIOS, NUM_OCTAVES = (1.0, 2.0, 0.5), 3
# (official names, variable): one name, or one for each scalar of a vector of fusion weights.
Target = tuple[list[str], Any]
CLASS_KERNEL, CLASS_BIAS = f"{CLASS_PREDICTION}/pointwise_kernel", f"{CLASS_PREDICTION}/bias"
_UNBIASED = (
    " effdet's models without tf_ in their name are other networks: they lack biases and pad "
    "differently."
)


class CheckpointInfo(NamedTuple):
    """What a file of weights holds; no model is needed.

    Attributes:
        variants: names of the variants that it fits. D6 and D7 differ only in anchors, so a file
            fits both; a network outside the table fits none.
        num_classes: class outputs; None where the file holds no whole class prediction.
        format: "tensorflow-names", "tensorflow-objects", "keras-h5", "pytorch" or "mapping".
        properties: what names and shapes say about the network.
    """

    variants: tuple[str, ...]
    num_classes: int | None
    format: str
    properties: Properties


def checkpoint_info(source: CheckpointSource, variants: Mapping[str, Any]) -> CheckpointInfo:
    """Says what a file of EfficientDet's weights holds, before you build a model for it.

    Args:
        source: as in `load_efficientdet`.
        variants: `EfficientDet.variants`, a dict from name to row.

    Raises:
        DataError: the file is missing or damaged, or holds no EfficientDet.
    """
    checkpoint = open_checkpoint(source)
    seen = checkpoint.properties
    fitting = tuple(name for name, row in variants.items() if seen.fits(row))
    return CheckpointInfo(fitting, checkpoint.num_classes, checkpoint.format, seen)


def _check_model(model: keras.Model) -> None:
    """Raises DataError where the model is not an EfficientDet as published."""
    neck, problem = model.neck, None
    if not hasattr(neck, "wiring"):
        problem = f"the neck {type(neck).__name__}"
    elif "block0_depthwise" not in {layer.name for layer in model.backbone.layers}:
        problem = f"the backbone {model.backbone.name}"
    elif any(not head.norms for head in (model.class_head, model.box_head)):
        problem = f"heads with norm={model.class_head.norm!r}"
    if problem:
        raise DataError(
            "EfficientDet's weights fit only an EfficientDet as published: an EfficientNet, the "
            f"neck BiFPN, separable heads. Received: {problem}. Build EfficientDet(variant) "
            "without arguments that change these parts."
        )


def _check_variant(model: keras.Model, shapes: Mapping[str, tuple], checkpoint: Checkpoint) -> None:
    """Raises DataError for a file of another variant, which shares many names with this one."""
    # Softmax fusion weights have the same names as the published ones.
    theirs, ours = checkpoint.properties, properties_of(shapes)._replace(fusion=model.neck.fusion)
    different = theirs.differences(ours)
    if not different:
        return
    variants = getattr(type(model), "variants", {})
    fitting = checkpoint_info(checkpoint, variants).variants
    if getattr(model, "variant", None) in fitting:
        advice = f"The file is of the published {model.variant}. Leave out changes to the network."
    elif fitting:
        choices = " or ".join(f'EfficientDet("{name}")' for name in fitting)
        advice = f"The file fits {choices}. Build that model."
    else:
        advice = f"The file fits none of {list(variants)}."
    alike = {name: None for name in ours._fields if name not in different}
    raise DataError(
        f"The weights must be of the model's variant. Received: a network with {theirs} from "
        f"{checkpoint.source}, where {model.name} has {ours._replace(**alike)}. {advice}"
    )


def _anchor_order(generator: keras.layers.Layer) -> list[int]:
    """For each of our anchors of a cell the file's, with the same scale and rank of ratio."""
    ratios = generator.aspect_ratios
    if (len(ratios), generator.num_octaves) != (len(OFFICIAL_RATIOS), NUM_OCTAVES):
        raise DataError(
            f"The weights predict {len(OFFICIAL_RATIOS)} aspect ratios at each of {NUM_OCTAVES} "
            f"scales. Received: a model with {len(ratios)} at {generator.num_octaves}. Leave out "
            "aspect_ratios=… and num_octaves=…."
        )
    theirs = np.argsort(OFFICIAL_RATIOS)[np.argsort(np.argsort(ratios))]
    return [octave * len(OFFICIAL_RATIOS) + i for octave in range(NUM_OCTAVES) for i in theirs]


def _box_prediction(name: str, value: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    """Puts the channels of the box prediction in our order of anchors and of (dx, dy, dw, dh)."""
    if name in (f"{BOX_PREDICTION}/pointwise_kernel", f"{BOX_PREDICTION}/bias"):
        outputs = value.reshape(*value.shape[:-1], -1, 4)[..., order, :]
        return outputs[..., XYWH_FROM_YXHW].reshape(value.shape)
    return value


def _check_shape(tensor: Tensor, wanted: tuple[int, ...], hint: str = "") -> None:
    if tensor.shape != wanted:
        raise DataError(
            f"Tensor {tensor.name!r} must have shape {wanted} in Keras' layout. Received: "
            f"{tensor.shape}. Build the variant that the weights belong to.{hint}"
        )


def _split_targets(
    checkpoint: Checkpoint, targets: Iterable[Target]
) -> tuple[list[Target], list[Target]]:
    """Splits targets into those that the file fills, with shapes checked, and the rest."""
    present: list[Target] = []
    missing: list[Target] = []
    for names, variable in targets:
        if any(name not in checkpoint.tensors for name in names):
            missing.append((names, variable))
            continue
        shape = tuple(variable.shape)
        for name in names:
            _check_shape(checkpoint.tensors[name], shape if len(names) == 1 else ())
        present.append((names, variable))
    return present, missing


def _read(
    checkpoint: Checkpoint, names: Sequence[str], variable: Any, order: Sequence[int] | None
) -> np.ndarray:
    arrays = [_box_prediction(name, checkpoint.array(name), order) for name in names]
    return np.stack(arrays).reshape(variable.shape)


class _Classes(NamedTuple):
    """The class prediction of a file.

    Attributes:
        rows: for each class of the model the file's output, None where it has none.
        num_outputs: class outputs of the file.
        names: their names, where they are known.
    """

    rows: list[int | None]
    num_outputs: int
    names: list[str | None] | None

    @property
    def matched(self) -> list[int]:
        """Indices of the model's classes that the file has."""
        return [i for i, row in enumerate(self.rows) if row is not None]

    def report(self, class_names: Sequence[str]) -> dict[str, str | None]:
        """dict from the model's class to the file's."""
        return class_sources(class_names, self.rows, self.names)

    def pick(self, ours: np.ndarray, theirs: np.ndarray, order: Sequence[int]) -> np.ndarray:
        """The file's outputs where a class has one, ours elsewhere."""
        return picked_outputs(ours, theirs, self.rows, self.num_outputs, order)


def _classes(
    model: keras.Model, checkpoint: Checkpoint, source_class_names: Sequence[str | None] | None
) -> _Classes | None:
    """Which outputs are the model's classes; None where the file holds no class prediction."""
    if CLASS_KERNEL not in checkpoint.tensors or CLASS_BIAS not in checkpoint.tensors:
        return None
    head, bias = model.class_head, checkpoint.tensors[CLASS_BIAS]
    kernel, num_anchors = tuple(head.prediction.pointwise_kernel.shape), head.num_anchors
    if len(bias.shape) != 1 or bias.shape[0] % num_anchors:
        hint = f" There are {num_anchors} anchors per cell."
        _check_shape(bias, (num_anchors * model.num_classes,), hint)
    num_outputs = bias.shape[0] // num_anchors
    _check_shape(checkpoint.tensors[CLASS_KERNEL], (*kernel[:-1], bias.shape[0]))
    names = names_of_outputs(num_outputs, source_class_names)
    return _Classes(class_rows(model.class_names, num_outputs, names), num_outputs, names)


def _class_arrays(
    model: keras.Model, checkpoint: Checkpoint, classes: _Classes, order: Sequence[int]
) -> list[tuple[Any, np.ndarray]]:
    """Kernel and bias of the class prediction. New classes keep the kernel and get the prior."""
    head = model.class_head
    arrays: list[tuple[Any, np.ndarray]] = []
    probability = head.prior_probability
    prior = 0.0 if probability is None else math.log(probability / (1 - probability))
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(head.prediction.pointwise_kernel, "float32"))
    bias = np.full(head.prediction.bias.shape, prior, "float32")
    if classes.matched:
        kernel_array = classes.pick(kernel, checkpoint.array(CLASS_KERNEL), order)
        arrays.append((head.prediction.pointwise_kernel, kernel_array))
        bias = classes.pick(bias, checkpoint.array(CLASS_BIAS), order)
    return [*arrays, (head.prediction.bias, bias)]


def _refuse_partial(
    model: keras.Model,
    checkpoint: Checkpoint,
    missing: Sequence[Sequence[str]],
    unused: Sequence[str],
) -> None:
    """Raises DataError where the file lacks variables, or has tensors without a place."""
    if missing:
        absent = [name for names in missing for name in names if name not in checkpoint.tensors]
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        biases = checkpoint.format == "pytorch" and all(name.endswith("/bias") for name in absent)
        raise DataError(
            f"The weights must hold every variable of {model.name}. Received: no {absent[0]!r}"
            f"{more} in {checkpoint.source}. Get the complete file, or load what it holds with "
            f"partial=True.{_UNBIASED if biases else ''}"
        )
    if unused:
        raise DataError(
            f"The weights must contain only tensors of {model.name}. Received: "
            f"{counted(len(unused), 'tensor')} of another model, first {unused[0]!r}, in "
            f"{checkpoint.source}. Build the variant that the file belongs to, or skip them with "
            "partial=True."
        )


def load_efficientdet(
    model: keras.Model,
    source: CheckpointSource,
    *,
    source_class_names: Sequence[str | None] | None = None,
    partial: bool = False,
) -> LoadReport:
    """Fills an EfficientDet with public weights of the same variant.

    These files are read: official checkpoints by names (the moving average of a variable,
    `<name>/ExponentialMovingAverage`, is preferred to its last value); checkpoints by objects,
    which the original code writes on TensorFlow 2; Keras .h5 files of that code; state dicts of
    effdet's `tf_efficientdet_*`.

    The class prediction is filled class by class: by name where the file's outputs have names; in
    order where the model's classes have none (`class_0` …), or the file's have none, and there are
    as many. A class that the file lacks starts from the prior: its kernel stays, its bias becomes
    log(p / (1 - p)) with the head's p, 0.01. Official class outputs are COCO's ids: output k is id
    k + 1, and 10 of the 90 have no name.

    Args:
        model: `EfficientDet` with the neck BiFPN.
        source: path of a TensorFlow checkpoint (prefix or .index file), of a Keras .h5 file, of a
            folder that holds exactly one of these, or of a .pth or .safetensors file; or a mapping
            from official names to arrays.
        source_class_names: the name of each class output of the file, None for an output without
            one. Default: COCO's names for 90 outputs, else no names.
        partial: True loads what fits where the file lacks variables or has more of them. Shapes
            and variant must fit in any case.

    Returns:
        `LoadReport` with the file's own names. Optimizer slots, counters and values with an average
        are skipped. `classes` says where each class comes from.

    Raises:
        DataError: the file is missing or damaged, would run code, belongs to another architecture
            or variant (the message names the one that fits), or does not hold the whole model; or
            the model's neck is not BiFPN. Nothing is changed then.
    """
    _check_model(model)
    checkpoint = open_checkpoint(source)
    fusion = fusion_names(model)
    variables = variable_names(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    shapes |= {name: () for names, _ in fusion for name in names}
    _check_variant(model, shapes, checkpoint)
    classes = _classes(model, checkpoint, source_class_names)
    prediction = [([name], variables.pop(name)) for name in (CLASS_KERNEL, CLASS_BIAS)]
    targets = [([name], variable) for name, variable in variables.items()] + fusion
    present, missing = _split_targets(checkpoint, targets)
    used = [name for names, _ in present for name in names]
    if classes:
        used += [CLASS_KERNEL, CLASS_BIAS]
    else:
        missing += prediction
    file_names = {tensor.name for tensor in checkpoint.tensors.values()}
    loaded = list(dict.fromkeys(checkpoint.tensors[name].name for name in used))
    unused = [name for name in file_names if name not in set(loaded)] + checkpoint.unknown
    if not partial:
        _refuse_partial(model, checkpoint, [names for names, _ in missing], unused)
    predicts = any(name.startswith((CLASS_PREDICTION, BOX_PREDICTION)) for name in used)
    order = _anchor_order(model.anchor_generator) if predicts else None
    arrays = [(variable, _read(checkpoint, names, variable, order)) for names, variable in present]
    if classes and order:  # a class prediction always has an order
        arrays += _class_arrays(model, checkpoint, classes, order)
    for variable, array in arrays:
        variable.assign(array)
    return _report(model, checkpoint, classes, loaded, sorted(unused), missing)


def _report(
    model: keras.Model,
    checkpoint: Checkpoint,
    classes: _Classes | None,
    loaded: list[str],
    unused: Sequence[str],
    missing: Sequence[Target],
) -> LoadReport:
    skipped = {**checkpoint.skipped, **dict.fromkeys(unused, "the model has no such variable")}
    absent = [variable.path for _, variable in missing]
    if classes and not classes.matched:
        prediction = model.class_head.prediction
        absent += [prediction.pointwise_kernel.path, prediction.bias.path]
        for name in (CLASS_KERNEL, CLASS_BIAS):
            name = checkpoint.tensors[name].name
            loaded = [other for other in loaded if other != name]
            skipped[name] = (
                f"none of the file's classes ({classes.num_outputs}) is known to be the model's: "
                "their prediction has to be trained"
            )
    averaged = [name for name in loaded if name in set(checkpoint.averaged)]
    known = classes.report(model.class_names) if classes else {}
    return LoadReport(loaded, skipped, absent, averaged, known)
