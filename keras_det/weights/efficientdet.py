"""Reads the official EfficientDet checkpoints into our models.

The name-based TensorFlow checkpoint of the original code: every variable is stored under its own
name and, where training averaged it, a second time under `<name>/ExponentialMovingAverage`; the
average wins. Box outputs are stored as (ty, tx, th, tw) and permuted to ours, (dx, dy, dw, dh).
"""

from collections.abc import Mapping

import numpy as np

from keras_det.errors import DataError
from keras_det.weights.report import LoadReport

AVERAGE = "/ExponentialMovingAverage"
# What an optimizer and TensorFlow's saver add to the variables of the network.
SLOTS = ("/Momentum", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
BOOKKEEPING = ("global_step", "_CHECKPOINTABLE_OBJECT_GRAPH")
# Our channel k of an anchor's four box outputs is theirs BOX_ORDER[k].
BOX_ORDER = (1, 0, 3, 2)


def _numbered(name, index):
    return name if index == 0 else f"{name}_{index}"


def _block_layers(layer, block):
    """Yields (our layer name, their path) of one MBConv block that has these layers."""
    theirs = f"blocks_{block}"
    convolutions = norms = 0
    for part in ("expand", "depthwise", "project"):
        if f"block{block}_{part}" not in layer:
            continue
        if part == "depthwise":
            yield f"block{block}_{part}", f"{theirs}/depthwise_conv2d"
        else:
            yield f"block{block}_{part}", f"{theirs}/{_numbered('conv2d', convolutions)}"
            convolutions += 1
        name = _numbered("tpu_batch_normalization", norms)
        yield f"block{block}_{part}_norm", f"{theirs}/{name}"
        norms += 1
    for i, part in enumerate(("se_reduce", "se_expand")):
        if f"block{block}_{part}" in layer:
            yield f"block{block}_{part}", f"{theirs}/se/{_numbered('conv2d', i)}"


def _backbone_names(backbone):
    layers = {layer.name: layer for layer in backbone.layers}
    prefix = backbone.name.replace("efficientnet_", "efficientnet-")
    pairs = [("stem", "stem/conv2d"), ("stem_norm", "stem/tpu_batch_normalization")]
    block = 0
    while f"block{block}_depthwise" in layers:
        pairs += _block_layers(layers, block)
        block += 1
    for ours, theirs in pairs:
        for variable in layers[ours].variables:
            yield f"{prefix}/{theirs}/{_variable_name(layers[ours], variable)}", variable


def _variable_name(layer, variable):
    is_depthwise = type(layer).__name__ == "DepthwiseConv2D" and variable.name == "kernel"
    return "depthwise_kernel" if is_depthwise else variable.name


def _layer_names(layer, theirs):
    for variable in layer.variables:
        yield f"{theirs}/{variable.name}", variable


def _resample_names(layer, theirs):
    if layer.projection is not None:
        yield from _layer_names(layer.projection, f"{theirs}/conv2d")
        yield from _layer_names(layer.norm, f"{theirs}/bn")


def _neck_names(neck):
    for level, layer in zip(neck.levels[-len(neck.extra_levels) :], neck.extra_levels, strict=True):
        yield from _resample_names(layer, f"resample_p{level}")
    wiring = neck.wiring
    for index, node in enumerate(neck.nodes):
        cell, number = divmod(index, len(wiring))
        position = len(neck.levels) + number
        theirs = f"fpn_cells/cell_{cell}/fnode{number}"
        for i, (layer, source) in enumerate(zip(node.resample, wiring[number][1], strict=True)):
            yield from _resample_names(layer, f"{theirs}/resample_{i}_{source}_{position}")
        combine = f"{theirs}/op_after_combine{position}"
        yield from _layer_names(node.convolution, f"{combine}/conv")
        yield from _layer_names(node.norm, f"{combine}/bn")


def _fusion_names(neck):
    """Yields ([one scalar name per input], our stacked variable)."""
    num_nodes = len(neck.wiring)
    for index, node in enumerate(neck.nodes):
        if node.blend is not None:
            cell, number = divmod(index, num_nodes)
            names = [_numbered("WSM", i) for i in range(len(node.resample))]
            yield (
                [f"fpn_cells/cell_{cell}/fnode{number}/{name}" for name in names],
                node.blend.fusion_weights,
            )


def _head_names(head, net, prefix):
    levels = [name[1:] for name in head.level_names]
    for i, convolution in enumerate(head.convolutions):
        yield from _layer_names(convolution, f"{net}/{prefix}-{i}")
        for j, level in enumerate(levels):
            norm = head.norms[i * len(levels) + j]
            yield from _layer_names(norm, f"{net}/{prefix}-{i}-bn-{level}")
    yield from _layer_names(head.prediction, f"{net}/{prefix}-predict")


def variable_names(model) -> dict:
    """Maps names of the official checkpoint to the model's variables, one to one.

    Fusion weights are apart (`_fusion_names`): theirs are scalars, ours one vector per node.
    """
    return {
        **dict(_backbone_names(model.backbone)),
        **dict(_neck_names(model.neck)),
        **dict(_head_names(model.class_head, "class_net", "class")),
        **dict(_head_names(model.box_head, "box_net", "box")),
    }


def _box_prediction(name, value):
    """Permutes (ty, tx, th, tw) to (dx, dy, dw, dh) where the channels are box outputs."""
    if name in ("box_net/box-predict/pointwise_kernel", "box_net/box-predict/bias"):
        return value.reshape(*value.shape[:-1], -1, 4)[..., BOX_ORDER].reshape(value.shape)
    return value


def read_checkpoint(path) -> dict[str, np.ndarray]:
    """Reads a name-based TensorFlow checkpoint (`model`, for `model.index`, `model.data-…`)."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path))
    except (ValueError, tf.errors.OpError) as error:
        raise DataError(
            "A TensorFlow checkpoint is named by its prefix, the path without .index. Received: "
            f"{path} ({error}). Point to the file that ends in .index, without that ending."
        ) from error
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _reason(name, used):
    if name + AVERAGE in used:
        return "its moving average is loaded"
    if name.endswith(SLOTS) or name in BOOKKEEPING:
        return "belongs to the training, not to the network"
    return "the model has no such variable"


def load_efficientdet(model, source) -> LoadReport:
    """Fills an EfficientDet with the weights of an official checkpoint of the same variant.

    Args:
        model: `EfficientDet` with the checkpoint's variant and number of classes.
        source: path of a name-based TensorFlow checkpoint, or a mapping from its variable names to
            arrays.

    Returns:
        `LoadReport`; momentum slots and `global_step` are skipped.

    Raises:
        DataError: a variable of the model is not in the file, or has another shape; nothing is
            changed then.
    """
    values = source if isinstance(source, Mapping) else read_checkpoint(source)
    targets = [([name], variable) for name, variable in variable_names(model).items()]
    targets += list(_fusion_names(model.neck))
    assignments, loaded, averaged = [], [], []
    for names, variable in targets:
        found = [name + AVERAGE if name + AVERAGE in values else name for name in names]
        missing = [name for name in found if name not in values]
        if missing:
            raise DataError(
                f"The checkpoint must hold every variable of {model.name}. Received: no "
                f"{missing[0]!r} among {len(values)} variables. Build the variant that the "
                "checkpoint was trained as."
            )
        arrays = [
            _box_prediction(n, np.asarray(values[f])) for n, f in zip(names, found, strict=True)
        ]
        array = arrays[0] if len(variable.shape) != 1 or len(names) == 1 else np.stack(arrays)
        if array.shape != tuple(variable.shape):
            raise DataError(
                f"{found[0]!r} must have shape {tuple(variable.shape)}. Received: {array.shape}. "
                "Build the model with the checkpoint's variant and number of classes (90 for COCO)."
            )
        assignments.append((variable, array))
        loaded += found
        averaged += [name for name in found if name.endswith(AVERAGE)]
    for variable, array in assignments:
        variable.assign(array)
    used = set(loaded)
    skipped = {name: _reason(name, used) for name in sorted(set(values) - used)}
    return LoadReport(loaded, skipped, [], averaged)
