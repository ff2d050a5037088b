"""Loads RetinaNet checkpoints of the TensorFlow Model Garden into our models.

How its RetinaNet differs from the paper's (tf-models-official 2.20, `retinanet_resnetfpn_coco`):

- backbone: ResNet v1.5, TensorFlow's "same" padding, batch normalisation with epsilon 1e-3;
- pyramid: 1x1 and 3x3 convolutions with biases, P6 from P5, P7 from ReLU(P6), all before a batch
  normalisation of each level, the last layer of the pyramid;
- heads: four 3x3 convolutions with biases, shared over levels, each followed by a batch
  normalisation of its own per level, and ReLU;
- outputs: anchor by anchor; class 0 is background, which is trained but never used; boxes are (ty,
  tx, th, tw) without variances; for COCO 91 classes, numbered by COCO's category ids;
- anchors: aspect ratios (0.5, 1, 2) are width / height; sides 4 * 2^level * 2^(octave / 3) pixels,
  whatever the image size; centres at (i + 0.5) * image size / feature size;
- input: RGB minus ImageNet's mean, divided by its deviation, letterboxed at the top left.

Its trainer saves a TensorFlow 2 checkpoint, named by the objects that hold the variables:

    backbone/layer_with_weights-2/_conv1/kernel      layers of a chain, numbered from the stem
    decoder/layer_with_weights-4/kernel              layers of a graph, numbered by their depth
    head/_cls_norms/1/0/gamma                        level, then convolution

If training kept moving averages, the checkpoints in `ema_checkpoints` hold them.
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.weights.common.class_outputs import class_outputs, classes_of
from keras_det.weights.common.fill import XYWH_FROM_YXHW, NamedArrays, Slot, Source, fill, skip_rest
from keras_det.weights.common.report import OF_TRAINING, LoadReport
from keras_det.weights.retinanet.model_garden_file import (
    GARDEN_BOX_PREDICTION,
    GARDEN_CLASS_PREDICTION,
    GARDEN_RATIOS,
    LAYER,
    decoder_layers,
    num_outputs_of,
    read_source,
)
from keras_det.words import counted

PathAndLayer = tuple[str, keras.layers.Layer]
_ADVICE = "Build the model for this file: RetinaNet.from_model_garden(path)."


def _backbone_layers(backbone: keras.Model) -> Iterator[PathAndLayer]:
    """Yields (path in the file, our layer) of a ResNet."""
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


def _neck_layers(neck: keras.layers.Layer, values: NamedArrays) -> Iterator[PathAndLayer]:
    """Yields (path in the file, our layer) of a feature pyramid.

    Keras numbers the layers of a graph by their distance from the outputs, farthest first, and at
    equal distance by the output that they lead to. So the coarsest lateral is the first one. Of the
    3x3 convolutions, those on the way to the coarsest output come first. The rest have distance
    one: the other levels, fine to coarse, then the coarsest level. The norms are the outputs.
    """
    to_coarsest = [neck.outputs[-1], *neck.extra_convolutions]
    ours = {
        "lateral": neck.laterals[::-1],
        "convolution": [*to_coarsest[:-1], *neck.outputs[:-1], to_coarsest[-1]],
        "norm": list(neck.norms),
    }
    for kind, theirs in decoder_layers(values).items():
        if len(theirs) != len(ours[kind]):
            raise DataError(
                "The model's pyramid must have as many layers as the checkpoint's. Received: "
                f"{len(ours[kind])} of kind {kind!r} in the model, {len(theirs)} in the file. "
                f"{_ADVICE}"
            )
        yield from zip(theirs, ours[kind], strict=True)


def _head_layers(head: keras.layers.Layer, tower: str) -> Iterator[PathAndLayer]:
    """Yields (path in the file, our layer) of a head without its last convolution."""
    num_levels = len(head.level_names)
    for i, convolution in enumerate(head.convolutions):
        yield f"head/{tower}_convs/{i}", convolution
    for k, norm in enumerate(head.norms):
        i, level = divmod(k, num_levels)
        yield f"head/{tower}_norms/{level}/{i}", norm


def _check_built(model: keras.Model) -> None:
    """Raises DataError where the network differs in ways that shapes of weights do not show."""
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
            f"A model for a Model Garden checkpoint must have its structure: {wanted}. Received: "
            f"{other}. {_ADVICE}"
        )


def _prediction(
    layer: keras.layers.Layer, path: str, anchors: Sequence[int], outputs: Sequence[int]
) -> Iterator[Slot]:
    """The slots of a head's last convolution, with its channels (anchor, output) in our order.

    Args:
        anchors: for each of our anchors of a cell the number of the file's.
        outputs: for each of our outputs of an anchor the number of the file's.
    """

    def pick(array: np.ndarray) -> np.ndarray:
        array = array.reshape(*array.shape[:-1], len(anchors), -1)[..., anchors, :][..., outputs]
        return array.reshape(*array.shape[:-2], -1)

    for variable in layer.variables:
        yield Slot(f"{path}/{variable.name}", variable, pick)


def _anchor_order(
    generator: keras.layers.Layer, num_anchors: int, aspect_ratios: Sequence[float]
) -> list[int]:
    """For each of our anchors of a cell (scale, ratio) the number of the file's."""
    ratios, num_ratios = list(aspect_ratios), len(aspect_ratios)
    fits = generator.num_anchors_per_cell == num_anchors
    if not fits or sorted(ratios) != sorted(generator.aspect_ratios):
        raise DataError(
            f"The anchors must be those of the checkpoint, {num_anchors} per cell with aspect "
            f"ratios {tuple(ratios)}. Received: {generator.num_anchors_per_cell} per cell with "
            f"{generator.aspect_ratios}. Pass the `aspect_ratios` of `params.yaml`, which "
            "lies beside the checkpoint."
        )
    places = [ratios.index(ratio) for ratio in generator.aspect_ratios]
    return [first + place for first in range(0, num_anchors, num_ratios) for place in places]


def _slots(
    model: keras.Model,
    values: NamedArrays,
    classes: Sequence[int] | None,
    aspect_ratios: Sequence[float],
) -> Iterator[Slot]:
    """The slots of all variables, without the class prediction's where `classes` is None."""
    _check_built(model)
    layers = [*_backbone_layers(model.backbone), *_neck_layers(model.neck, values)]
    layers += [*_head_layers(model.class_head, "_cls"), *_head_layers(model.box_head, "_box")]
    for path, layer in layers:
        yield from (Slot(f"{path}/{variable.name}", variable) for variable in layer.variables)
    anchors = _anchor_order(model.anchor_generator, num_outputs_of(values)[0], aspect_ratios)
    yield from _prediction(
        model.box_head.prediction, GARDEN_BOX_PREDICTION, anchors, XYWH_FROM_YXHW
    )
    if classes is not None:
        yield from _prediction(
            model.class_head.prediction, GARDEN_CLASS_PREDICTION, anchors, classes
        )


def load_model_garden(
    model: keras.Model,
    source: Source,
    classes: Sequence[int] | None = None,
    aspect_ratios: Sequence[float] = GARDEN_RATIOS,
) -> LoadReport:
    """Fills a RetinaNet with the weights of a Model Garden checkpoint.

    Background and the ids that COCO does not use are dropped. Box outputs are put in the order (dx,
    dy, dw, dh), anchors in the order of the model's aspect ratios.

    Args:
        model: RetinaNet built with `model_garden_arguments(source)`.
        source: path as in `read_model_garden`, or the dict that it returns.
        classes: for each class of the model the file's class output. Default: by name where the
            file has all classes of the model; in order where the model's classes have no names and
            there are as many. Otherwise the class prediction is not loaded, and the report says so.
        aspect_ratios: the file's, width / height, in its order.

    Returns:
        `LoadReport`. Optimizer, counters and attribute heads are skipped. With other classes the
        class prediction is skipped too, and its variables are missing.

    Raises:
        DataError: the file does not fit the model. Nothing is changed then.
    """
    values, of_training = read_source(source)
    _, num_outputs = num_outputs_of(values)
    rows = class_outputs(model.class_names, num_outputs, classes)
    slots = list(_slots(model, values, rows, aspect_ratios))
    reasons = {"head/_att_": "attributes of objects are not predicted here"}
    missing = []
    if rows is None:
        reasons[GARDEN_CLASS_PREDICTION] = (
            f"the file has {counted(len(classes_of(num_outputs)), 'class', 'classes')}, the model "
            f"{model.num_classes} of its own: their prediction has to be trained"
        )
        missing = [variable.path for variable in model.class_head.prediction.variables]
    skipped = skip_rest(values, [slot.name for slot in slots], reasons, _ADVICE, source)
    loaded = fill(slots, values, _ADVICE, source)
    skipped |= dict.fromkeys(of_training, OF_TRAINING)
    return LoadReport(loaded, skipped, missing)
