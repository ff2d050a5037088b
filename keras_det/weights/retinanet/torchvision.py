"""Loads weights of torchvision's RetinaNet (`retinanet_resnet50_fpn`) into ours.

Its differences: anchors are ordered by ratio, then scale; ratios are height / width; anchor sizes
are rounded, and centres are multiples of a floored stride; class 0 is background. A file whose
batch-norm statistics were frozen in training needs an epsilon of 0. Older files name the
convolutions of towers and pyramid without the inner module.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.weights.backbones.resnet import (
    check_resnet,
    resnet_variant,
    torch_resnet_slots,
)
from keras_det.weights.common.class_outputs import class_outputs, classes_of
from keras_det.weights.common.fill import (
    NamedArrays,
    Slot,
    Source,
    fill,
    from_torch_kernel,
    skip_rest,
    torch_convolution,
)
from keras_det.weights.common.report import STEP_COUNTER, LoadReport
from keras_det.weights.common.torch_file import read_torch_file
from keras_det.weights.retinanet.arguments import RetinaNetArguments
from keras_det.words import counted

# torchvision's default anchors: sizes in pixels per level.
ANCHOR_SIZES = tuple(
    (side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (32, 64, 128, 256, 512)
)
LEVELS, HEAD_REPEATS = (3, 4, 5, 6, 7), 4
# Height / width in torchvision's order, and the same anchors as width / height.
TORCHVISION_RATIOS = (0.5, 1.0, 2.0)
ASPECT_RATIOS = (1.0, 2.0, 0.5)

BODY, NECK = "backbone.body.", "backbone.fpn."
CLASS_HEAD, BOX_HEAD = "head.classification_head.", "head.regression_head."
_CLASS_PREDICTION, _BOX_PREDICTION = f"{CLASS_HEAD}cls_logits", f"{BOX_HEAD}bbox_reg"
_ADVICE = "Build the model for this file: RetinaNet.from_torchvision(path)."
_KNOWN_FILES = (
    "Give a state dict of torchvision's retinanet_resnet50_fpn, or of its RetinaNet with another "
    "ResNet from resnet_fpn_backbone(…, returned_layers=[2, 3, 4], "
    "extra_blocks=LastLevelP6P7(256, 256))."
)


def _current_name(name: str) -> str:
    """The name of a tensor in torchvision 0.13 and later; older names lack the inner module."""
    name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", name)
    # Towers were flat lists of convolutions (0, 2, 4, 6) and activations.
    older = re.match(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)$", name)
    if older:
        return f"{older[1]}.{int(older[2]) // 2}.0.{older[3]}"
    return name


def _read(source: Source) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns (arrays by current name, the file's name by current name)."""
    values = source if isinstance(source, Mapping) else read_torch_file(source)
    names = {_current_name(name): name for name in values}
    return {current: values[name] for current, name in names.items()}, names


def _check_kind(values: NamedArrays) -> tuple[str, int]:
    """Returns (name of the ResNet, number of class outputs); DataError for other networks."""
    variant, problem = resnet_variant(values, BODY), None
    prediction, boxes = (
        values.get(f"{name}.weight") for name in (_CLASS_PREDICTION, _BOX_PREDICTION)
    )
    p6 = values.get(f"{NECK}extra_blocks.p6.weight")
    num_anchors = len(TORCHVISION_RATIOS) * len(ANCHOR_SIZES[0])
    if prediction is None or boxes is None:
        problem = f"no {_CLASS_PREDICTION}.weight or no {_BOX_PREDICTION}.weight"
    elif variant is None:
        problem = f"no plain ResNet under {BODY}*"
    elif f"{CLASS_HEAD}conv.0.1.weight" in values:
        problem = "towers with group normalisation, as in retinanet_resnet50_fpn_v2"
    elif p6 is None or p6.ndim != 4 or p6.shape[0] != p6.shape[1]:
        problem = "no level P6 made from P5"
    elif f"{NECK}inner_blocks.3.0.weight" in values:
        problem = "a pyramid that begins with P2"
    elif boxes.shape[0] != 4 * num_anchors or prediction.shape[0] % num_anchors:
        problem = (
            f"{counted(boxes.shape[0], 'box output')} and "
            f"{counted(prediction.shape[0], 'class output')} per cell, where {num_anchors} anchors "
            "are expected"
        )
    if problem or variant is None or prediction is None:
        raise DataError(
            f"The weights must be those of torchvision's RetinaNet. Received: {problem}, among "
            f"{counted(len(values), 'tensor')}. {_KNOWN_FILES}"
        )
    return variant, prediction.shape[0] // num_anchors


def torchvision_arguments(source: Source) -> RetinaNetArguments:
    """The arguments that build the network of a file of torchvision's RetinaNet.

    Args:
        source: path of the state dict, or a mapping from its names to arrays.

    Returns:
        `RetinaNetArguments`. `class_names` are COCO's 80 for 91 class outputs, else `class_0` …
        for all but background. `norm_epsilon` is 0 for files without `num_batches_tracked`, whose
        statistics were frozen.

    Raises:
        DataError: the file holds another network.
    """
    values, _ = _read(source)
    variant, num_outputs = _check_kind(values)
    frozen = f"{BODY}bn1.num_batches_tracked" not in values
    return RetinaNetArguments(
        backbone=variant,
        class_names=list(classes_of(num_outputs).values()),
        padding="symmetric",
        norm_epsilon=0.0 if frozen else 1e-5,
        norm_momentum=0.9,
        frozen_norm=frozen,
        neck_norm=False,
        head_norm=None,
        aspect_ratios=ASPECT_RATIOS,
        anchor_sizes=ANCHOR_SIZES,
        anchor_offset=0.0,
        integer_anchors=True,
    )


def _anchor_order(generator: keras.layers.Layer) -> list[int]:
    """For each of our anchors of a cell (scale, ratio) the number of the file's (ratio, scale)."""
    ratios = [round(1 / ratio, 6) for ratio in generator.aspect_ratios]
    same = (
        sorted(ratios) == sorted(TORCHVISION_RATIOS)
        and generator.sizes == ANCHOR_SIZES
        and generator.offset == 0
        and generator.integer
    )
    if not same:
        raise DataError(
            "The anchors must be torchvision's, for which the boxes were trained: sizes "
            f"{ANCHOR_SIZES[0]} … in pixels, offset 0, rounded to integers, ratios 0.5, 1, 2. "
            f"Received: {generator.get_config()}. {_ADVICE}"
        )
    num_sides = len(generator.sizes[0])
    theirs = [TORCHVISION_RATIOS.index(ratio) * num_sides for ratio in ratios]
    return [first + side for side in range(num_sides) for first in theirs]


def _prediction(
    layer: keras.layers.Layer,
    name: str,
    order: Sequence[int],
    outputs: int,
    rows: Sequence[int] | None,
) -> Iterator[Slot]:
    """The slots of a head's last convolution, with its channels (anchor, output) in our order."""

    def pick(array: np.ndarray) -> np.ndarray:
        if array.ndim == 0 or array.shape[0] != len(order) * outputs:
            return array  # `fill` reports the wrong shape
        array = array.reshape(-1, outputs, *array.shape[1:])[order]
        array = array if rows is None else array[:, rows]
        return from_torch_kernel(array.reshape(-1, *array.shape[2:]))

    yield Slot(f"{name}.weight", layer.kernel, pick)
    yield Slot(f"{name}.bias", layer.bias, pick)


def _check_model(model: keras.Model) -> None:
    """Raises DataError where the model's structure is not torchvision's."""
    check_resnet(model.backbone)
    neck, heads = model.neck, (model.class_head, model.box_head)
    problem = None
    fpn = hasattr(neck, "laterals") and neck.extra == "p5" and neck.padding == "symmetric"
    if not fpn or neck.norms:
        problem = f"the neck {type(neck).__name__} {neck.get_config()}"
    elif tuple(neck.levels) != LEVELS:
        problem = f"levels {tuple(neck.levels)}"
    for head in heads:
        if head.norms or len(head.convolutions) != HEAD_REPEATS:
            problem = (
                f"towers of {counted(len(head.convolutions), 'convolution')}, norm {head.norm!r}"
            )
    if problem:
        raise DataError(
            'torchvision\'s weights fill a RetinaNet with FPN(extra="p5") on levels 3 to 7 and '
            f"towers of {HEAD_REPEATS} convolutions without normalisation. Received: {problem}. "
            f"{_ADVICE}"
        )


def _slots(model: keras.Model) -> Iterator[Slot]:
    """The slots of all variables but the class prediction's, which depend on the classes."""
    order, neck = _anchor_order(model.anchor_generator), model.neck
    yield from torch_resnet_slots(model.backbone, BODY)
    for i, (lateral, output) in enumerate(zip(neck.laterals, neck.outputs, strict=True)):
        yield from torch_convolution(lateral, f"{NECK}inner_blocks.{i}.0")
        yield from torch_convolution(output, f"{NECK}layer_blocks.{i}.0")
    for level, layer in enumerate(neck.extra_convolutions, start=6):
        yield from torch_convolution(layer, f"{NECK}extra_blocks.p{level}")
    for head, name in ((model.class_head, CLASS_HEAD), (model.box_head, BOX_HEAD)):
        for i, layer in enumerate(head.convolutions):
            yield from torch_convolution(layer, f"{name}conv.{i}.0")
    yield from _prediction(model.box_head.prediction, _BOX_PREDICTION, order, 4, None)


def load_torchvision_retinanet(
    model: keras.Model, source: Source, classes: Sequence[int] | None = None
) -> LoadReport:
    """Fills a RetinaNet with the weights of torchvision's RetinaNet.

    Args:
        model: `RetinaNet` built with `torchvision_arguments(source)`.
        source: path of a state dict (`.pth`, `.safetensors`), or a mapping from its names to
            arrays.
        classes: for each class of the model the file's class output. Default: by name where the
            file has all classes of the model; in order where the model's classes have no names and
            there are as many. Otherwise the class prediction is not loaded, and the report says so.

    Returns:
        `LoadReport` with the file's own names.

    Raises:
        DataError: the file does not fit the model. Nothing is changed then.
    """
    values, file_names = _read(source)
    _, num_outputs = _check_kind(values)
    _check_model(model)
    rows = class_outputs(model.class_names, num_outputs, classes)
    slots, prediction = list(_slots(model)), model.class_head.prediction
    reasons, missing = {"num_batches_tracked": STEP_COUNTER}, []
    if rows is None:
        known = len(classes_of(num_outputs))
        reasons[_CLASS_PREDICTION] = (
            f"the file has {counted(known, 'class', 'classes')}, the model {model.num_classes} of "
            "its own: their prediction has to be trained"
        )
        missing = [variable.path for variable in prediction.variables]
    else:
        order = _anchor_order(model.anchor_generator)
        slots += _prediction(prediction, _CLASS_PREDICTION, order, num_outputs, rows)
    skipped = skip_rest(values, [slot.name for slot in slots], reasons, _ADVICE, source)
    loaded = fill(slots, values, _ADVICE, source)
    return LoadReport(
        [file_names[name] for name in loaded],
        {file_names[name]: reason for name, reason in skipped.items()},
        missing,
    )
