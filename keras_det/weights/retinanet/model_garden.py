"""Reads RetinaNet checkpoints of the TensorFlow Model Garden into our models.

What its RetinaNet is (tf-models-official 2.20, `retinanet_resnetfpn_coco`), beside the paper's:

- backbone: ResNet v1.5, TensorFlow's "same" padding, batch normalisation with epsilon 1e-3;
- pyramid: 1x1 and 3x3 convolutions with biases, P6 from P5, P7 from ReLU(P6), all before a batch
  normalisation of each level, the last layer of the pyramid;
- heads: four 3x3 convolutions with biases, shared over levels, each followed by a batch
  normalisation of its own per level, and ReLU;
- outputs: anchor by anchor; class 0 is background, learned and never used; boxes are (ty, tx, th,
  tw) without variances; for COCO 91 classes, numbered by COCO's category ids;
- anchors: aspect ratios (0.5, 1, 2) are width / height; sides 4 * 2^level * 2^(octave / 3) pixels,
  whatever the image size; centres at (i + 0.5) * image size / feature size;
- input: RGB less ImageNet's mean, divided by its deviation, letterboxed at the top left.

Its trainer saves a TensorFlow 2 checkpoint, named by the objects that hold the variables:

    backbone/layer_with_weights-2/_conv1/kernel      layers of a chain, numbered from the stem
    decoder/layer_with_weights-4/kernel              layers of a graph, numbered by their depth
    head/_cls_norms/1/0/gamma                        level, then convolution

Where moving averages were trained, they are the weights of the checkpoints in `ema_checkpoints`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.errors import DataError
from keras_det.weights.class_outputs import class_outputs, classes_of
from keras_det.weights.fill import Slot, fill, skip_rest
from keras_det.weights.object_checkpoint import ROOT, ObjectCheckpoint
from keras_det.weights.report import LoadReport

PARTS = ("backbone", "decoder", "head")
LAYER = "layer_with_weights-"
CLASS_PREDICTION, BOX_PREDICTION = "head/_classifier", "head/_box_regressor"
# Blocks of the stages of its bottleneck ResNets that we have too.
RESNETS = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
# Width / height, in the order of the published anchors.
RATIOS = (0.5, 1.0, 2.0)
# Our output k of an anchor's four box outputs is theirs BOX_ORDER[k].
BOX_ORDER = (1, 0, 3, 2)
ADVICE = "Build the model for this file: RetinaNet.from_model_garden(path)."


# ---- the file ----


def read_model_garden(path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the network of a Model Garden checkpoint; needs TensorFlow.

    Args:
        path: prefix of the checkpoint (the path without .index), its .index file, or the folder of
            a training run, whose newest checkpoint is taken.

    Returns:
        dict from names, "backbone/…", "decoder/…", "head/…" as in the file without
        "/.ATTRIBUTES/VARIABLE_VALUE", to arrays; and the keys of what belongs to the training.

    Raises:
        DataError: there is no such checkpoint, or it is of something else.
    """
    checkpoint = ObjectCheckpoint(path)
    # Some files name the parts on their own, all have them as attributes of the model.
    model = checkpoint.child(ROOT, "model") or ROOT
    keys = {}
    for part in PARTS:
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


def _read(source):
    return (dict(source), []) if isinstance(source, Mapping) else read_model_garden(source)


# ---- what the file asks for ----


def _numbered(values, part) -> list[int]:
    """The numbers of the layers with weights of a part, in order."""
    prefix = f"{part}/{LAYER}"
    names = (name[len(prefix) :] for name in values if name.startswith(prefix))
    return sorted({int(name.split("/")[0]) for name in names})


def _decoder_layers(values) -> dict[str, list[str]]:
    """Paths of the decoder's 1x1 convolutions, 3x3 convolutions and norms, as numbered."""
    kinds = {"lateral": [], "convolution": [], "norm": []}
    for number in _numbered(values, "decoder"):
        path = f"decoder/{LAYER}{number}"
        kernel = values.get(f"{path}/kernel")
        kind = "norm" if kernel is None else "lateral" if kernel.shape[0] == 1 else "convolution"
        kinds[kind].append(path)
    return kinds


def _stages(values) -> list[list[str]]:
    """Paths of the residual blocks, one list per stage: a shortcut of its own begins a stage."""
    stages = []
    for number in _numbered(values, "backbone"):
        path = f"backbone/{LAYER}{number}"
        if f"{path}/_conv1/kernel" in values:
            if f"{path}/_shortcut/kernel" in values or not stages:
                stages.append([])
            stages[-1].append(path)
    return stages


def _check_backbone(values, stages):
    repeats = tuple(len(stage) for stage in stages)
    bottleneck = bool(stages) and f"{stages[0][0]}/_conv3/kernel" in values
    if not bottleneck or repeats not in RESNETS:
        kind = "bottleneck" if bottleneck else "basic"
        raise DataError(
            f"The checkpoint's backbone must be one of {sorted(RESNETS.values())}. Received: "
            f"{kind} residual blocks in stages of {list(repeats)}. SpineNet, MobileNet and changed "
            "stems are not built here; the Garden's ResNet-18 and 34 project the first shortcut, "
            "ours, like torch's, do not."
        )
    return RESNETS[repeats]


def _channels(values, path) -> int:
    return values[f"{path}/_conv3/kernel"].shape[-1]


def _levels(values, stages) -> tuple[int, int]:
    """Finest and coarsest level of the pyramid: which stage its coarsest lateral reads."""
    decoder = _decoder_layers(values)
    if not decoder["lateral"] or len(decoder["convolution"]) != len(decoder["norm"]):
        raise DataError(
            "The checkpoint's decoder must be a feature pyramid network of plain convolutions. "
            f"Received: {len(decoder['lateral'])} 1x1 and {len(decoder['convolution'])} 3x3 "
            f"convolutions, {len(decoder['norm'])} normalisations. NAS-FPN and separable "
            "convolutions of the Garden are not read."
        )
    level_of = {_channels(values, stage[-1]): level for level, stage in enumerate(stages, start=2)}
    coarsest = level_of.get(values[f"{decoder['lateral'][0]}/kernel"].shape[-2], 5)
    min_level = coarsest - len(decoder["lateral"]) + 1
    return min_level, min_level + len(decoder["norm"]) - 1


def _outputs(values) -> tuple[int, int]:
    """Anchors of a cell, and class outputs of an anchor with background."""
    for path in (CLASS_PREDICTION, BOX_PREDICTION):
        if not {f"{path}/kernel", f"{path}/bias"} <= set(values):
            raise DataError(
                "The checkpoint's heads must be shared over the levels and of plain convolutions. "
                f"Received: no '{path}/kernel' or no bias. Train with share_level_convs and "
                "without use_separable_conv."
            )
    classes, boxes = (values[f"{path}/bias"].size for path in (CLASS_PREDICTION, BOX_PREDICTION))
    if boxes < 4 or boxes % 4 or classes % (boxes // 4):
        raise DataError(
            "The checkpoint must predict 4 numbers for the box of every anchor. Received: "
            f"{boxes} box outputs and {classes} class outputs per cell. Boxes with angles are not "
            "read."
        )
    return boxes // 4, classes // (boxes // 4)


def model_garden_arguments(
    source,
    anchor_scale: float = 4.0,
    num_octaves: int = 3,
    aspect_ratios: Sequence[float] = RATIOS,
) -> dict:
    """What a RetinaNet must be built with to hold a checkpoint of the Model Garden.

    A checkpoint has no settings in it. Backbone, levels, channels and classes follow from its names
    and shapes; anchors are the published ones unless said otherwise.

    Args:
        source: path as in `read_model_garden`, or the dict that it returns.
        anchor_scale, num_octaves, aspect_ratios: `anchor_size`, `num_scales`, `aspect_ratios` of
            the `params.yaml` that the Garden's trainer writes; ratios are width / height, in its
            order.

    Returns:
        dict with `backbone`, `padding`, `norm_epsilon`, `norm_momentum`, `frozen_norm` of the
        ResNet; `neck_channels`, `min_level`, `max_level`, `neck_extra`, `neck_norm`;
        `head_repeats`, `head_norm`; `aspect_ratios`, `anchor_sizes` (pixels, per level),
        `anchor_offset`, `integer_anchors`; `class_names`: COCO's 80 for 91 classes, else `class_0`
        …, one fewer than the file has.

    Raises:
        DataError: the network is not one that we build.
    """
    values, _ = _read(source)
    stages = _stages(values)
    backbone = _check_backbone(values, stages)
    min_level, max_level = _levels(values, stages)
    num_anchors, num_outputs = _outputs(values)
    if num_anchors != num_octaves * len(aspect_ratios):
        raise DataError(
            f"The checkpoint predicts {num_anchors} anchors per cell. Received: "
            f"{num_octaves} sizes x {len(aspect_ratios)} aspect ratios. Pass `num_octaves` and "
            "`aspect_ratios` as `params.yaml` beside the checkpoint says (num_scales, "
            "aspect_ratios)."
        )
    repeats = {name.split("/")[2] for name in values if name.startswith("head/_cls_convs/")}
    return {
        "backbone": backbone,
        "padding": "same",
        "norm_epsilon": 1e-3,
        "norm_momentum": 0.99,
        "frozen_norm": False,
        "neck_channels": values[f"{_decoder_layers(values)['lateral'][0]}/kernel"].shape[-1],
        "min_level": min_level,
        "max_level": max_level,
        "neck_extra": "p5",
        "neck_norm": True,
        "head_repeats": len(repeats),
        "head_norm": "batch",
        "aspect_ratios": tuple(aspect_ratios),
        "anchor_sizes": tuple(
            tuple(anchor_scale * 2 ** (level + k / num_octaves) for k in range(num_octaves))
            for level in range(min_level, max_level + 1)
        ),
        "anchor_offset": 0.5,
        "integer_anchors": False,
        "class_names": list(classes_of(num_outputs).values()),
    }


# ---- from its names to our variables ----


def _backbone_layers(backbone):
    """Yields (their path, our layer) of a ResNet."""
    layers = {layer.name: layer for layer in backbone.layers}
    yield f"backbone/{LAYER}0", layers["stem"]
    yield f"backbone/{LAYER}1", layers["stem_norm"]
    blocks = [name.removesuffix("_conv1") for name in layers if name.endswith("_conv1")]
    theirs = {"shortcut": "_shortcut", "shortcut_norm": "_norm0"}
    theirs |= {f"{kind}{i}": f"_{kind}{i}" for kind in ("conv", "norm") for i in (1, 2, 3)}
    for number, block in enumerate(blocks, start=2):
        for ours, attribute in theirs.items():
            if f"{block}_{ours}" in layers:
                yield f"backbone/{LAYER}{number}/{attribute}", layers[f"{block}_{ours}"]


def _neck_layers(neck, values):
    """Yields (their path, our layer) of a feature pyramid.

    Keras numbers the layers of a graph by their distance from the outputs, farthest first, and at
    one distance by the output they lead to. So among the laterals the coarsest is first; among the
    3x3 convolutions first come those on the way to the coarsest output, then the others, fine to
    coarse, all at distance one with the coarsest level's own; the norms are the outputs.
    """
    to_coarsest = [neck.outputs[-1], *neck.extra_convolutions]
    ours = {
        "lateral": neck.laterals[::-1],
        "convolution": [*to_coarsest[:-1], *neck.outputs[:-1], to_coarsest[-1]],
        "norm": list(neck.norms),
    }
    for kind, theirs in _decoder_layers(values).items():
        if len(theirs) != len(ours[kind]):
            raise DataError(
                "The model's pyramid must have as many layers as the checkpoint's. Received: "
                f"{len(ours[kind])} of kind {kind!r}, in the file {len(theirs)}. {ADVICE}"
            )
        yield from zip(theirs, ours[kind], strict=True)


def _head_layers(head, tower):
    num_levels = len(head.level_names)
    for i, convolution in enumerate(head.convolutions):
        yield f"head/{tower}_convs/{i}", convolution
    for k, norm in enumerate(head.norms):
        i, level = divmod(k, num_levels)
        yield f"head/{tower}_norms/{level}/{i}", norm


def _check_built(model):
    """Raises DataError where the network's structure, which weights do not show, is another."""
    neck = model.neck
    stems = [layer for layer in model.backbone.layers if layer.name == "stem"]
    found = {
        "padding of the backbone": stems[0].padding if stems else "no ResNet",
        "padding of the pyramid": getattr(neck, "padding", "no FPN"),
        "source of P6": getattr(neck, "extra", "no FPN"),
        "pyramid normalised": getattr(neck, "norm", "no FPN"),
    }
    wanted = dict(zip(found, ("same", "same", "p5", True), strict=True))
    other = {what: value for what, value in found.items() if value != wanted[what]}
    if other:
        raise DataError(
            f"A model for a Model Garden checkpoint must be built as that is: {wanted}. Received: "
            f"{other}. {ADVICE}"
        )


def _prediction(layer, path, anchors, outputs):
    """The slots of a head's last convolution, its channels (anchor, output) put in our order.

    Args:
        anchors: for each of our anchors of a cell the number of theirs.
        outputs: for each of our outputs of an anchor the number of theirs.
    """

    def pick(array):
        array = array.reshape(*array.shape[:-1], len(anchors), -1)[..., anchors, :][..., outputs]
        return array.reshape(*array.shape[:-2], -1)

    for variable in layer.variables:
        yield Slot(f"{path}/{variable.name}", variable, pick)


def _anchor_order(generator, num_anchors, aspect_ratios):
    """For each of our anchors of a cell (scale, ratio) the number of theirs."""
    ratios, num_ratios = list(aspect_ratios), len(aspect_ratios)
    fits = generator.num_anchors_per_cell == num_anchors
    if not fits or sorted(ratios) != sorted(generator.aspect_ratios):
        raise DataError(
            f"The anchors must be those of the checkpoint, {num_anchors} per cell with aspect "
            f"ratios {tuple(ratios)}. Received: {generator.num_anchors_per_cell} per cell with "
            f"{generator.aspect_ratios}. Pass `aspect_ratios` as `params.yaml` beside the "
            "checkpoint lists them."
        )
    places = [ratios.index(ratio) for ratio in generator.aspect_ratios]
    return [first + place for first in range(0, num_anchors, num_ratios) for place in places]


def _slots(model, values, classes, aspect_ratios):
    """The slots of all variables; without the class prediction's where `classes` is None."""
    _check_built(model)
    layers = [*_backbone_layers(model.backbone), *_neck_layers(model.neck, values)]
    layers += [*_head_layers(model.class_head, "_cls"), *_head_layers(model.box_head, "_box")]
    for path, layer in layers:
        yield from (Slot(f"{path}/{variable.name}", variable) for variable in layer.variables)
    anchors = _anchor_order(model.anchor_generator, _outputs(values)[0], aspect_ratios)
    yield from _prediction(model.box_head.prediction, BOX_PREDICTION, anchors, BOX_ORDER)
    if classes is not None:
        yield from _prediction(model.class_head.prediction, CLASS_PREDICTION, anchors, classes)


def load_model_garden(
    model,
    source,
    classes: Sequence[int] | None = None,
    aspect_ratios: Sequence[float] = RATIOS,
) -> LoadReport:
    """Fills a RetinaNet with the weights of a Model Garden checkpoint.

    Background and the numbers that COCO's ids leave out are dropped, boxes permuted to (dx, dy, dw,
    dh), anchors to the order of the model's aspect ratios.

    Args:
        model: RetinaNet built as `model_garden_arguments(source)` says.
        source: path as in `read_model_garden`, or the dict that it returns.
        classes: for each class of the model the file's class output. Default: by name where the
            model's classes are the file's; in order where the model's have no names and are as
            many; else the class prediction stays as it is and the report says so.
        aspect_ratios: the file's, width / height, in its order.

    Returns:
        `LoadReport`. Skipped are optimizer and counters, attribute heads and, with other classes,
        the class prediction, whose variables are then missing.

    Raises:
        DataError: file and model do not fit. Nothing is changed then.
    """
    values, of_training = _read(source)
    _, num_outputs = _outputs(values)
    rows = class_outputs(model.class_names, num_outputs, classes)
    slots = list(_slots(model, values, rows, aspect_ratios))
    reasons = {"head/_att_": "attributes of objects are not predicted here"}
    missing = []
    if rows is None:
        reasons[CLASS_PREDICTION] = (
            f"the file has {len(classes_of(num_outputs))} classes, the model {model.num_classes} "
            "of its own: their prediction has to be trained"
        )
        missing = [variable.path for variable in model.class_head.prediction.variables]
    skipped = skip_rest(values, [slot.name for slot in slots], reasons, ADVICE)
    loaded = fill(slots, values, ADVICE)
    skipped |= dict.fromkeys(of_training, "belongs to the training, not to the network")
    return LoadReport(loaded, skipped, missing)
