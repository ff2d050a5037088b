"""Writes EfficientDet-D0 in each layout of the public files, from arrays under official names."""

import re

import numpy as np

# D0's stages: blocks of each; the first block does not expand.
REPEATS = (1, 2, 2, 3, 3, 4, 1)
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
NORM["moving_variance"] = "running_var"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def block_layer(block, rest):
    """(what, value) of a layer of a block: "expand", "bn0" …, by the numbers of its official name.

    A block that does not expand has one convolution and one normalisation less.
    """
    layer, value = rest.rsplit("/", 1)
    number = int(layer.rsplit("_", 1)[1]) if re.search(r"_\d+$", layer) else 0
    if layer.startswith("se/"):
        return ("se_expand" if number else "se_reduce"), value
    if layer.startswith("tpu_batch"):
        return f"bn{number + (block == 0)}", value
    if layer.startswith("depthwise"):
        return "depthwise", value
    return ("expand", "project")[number + (block == 0)], value


def object_name(name):
    """The path of a variable in the original code's TensorFlow 2 checkpoints."""
    name = re.sub(r"^efficientnet-b0/stem/conv2d", "backbone/_stem/_conv_stem", name)
    name = re.sub(r"^efficientnet-b0/stem/tpu_batch_normalization", "backbone/_stem/_bn", name)
    if found := re.match(r"efficientnet-b0/blocks_(\d+)/(.*)", name):
        what, value = block_layer(int(found[1]), found[2])
        layer = {"se_expand": "_se/_se_expand", "se_reduce": "_se/_se_reduce"}.get(what, f"_{what}")
        layer += "_conv" if what in ("expand", "depthwise", "project") else ""
        return f"backbone/_blocks/{found[1]}/{layer}/{value}"
    name = re.sub(r"^resample_p6", "resample_layers/0", name)
    name = re.sub(r"^fpn_cells/cell_(\d)/fnode(\d)", r"fpn_cells/cells/\1/fnodes/\2", name)
    name = re.sub(r"op_after_combine\d+/conv/", "op_after_combine/conv_op/", name)
    name = re.sub(r"op_after_combine\d+/", "op_after_combine/", name)
    name = re.sub(r"/resample_(\d)_\d+_\d+/", r"/resample_layers/\1/", name)
    name = re.sub(r"^(class|box)_net/\w+-(\d)/", r"\1_net/conv_ops/\2/", name)
    name = name.replace("class-predict", "classes").replace("box-predict", "boxes")
    return re.sub(
        r"^(\w+)_net/\w+-(\d)-bn-(\d)",
        lambda m: f"{m[1]}_net/bns/{m[2]}/{int(m[3]) - 3}",
        name,
    )


def torch_name(name):
    """effdet's name of a variable; the fusion weights of a node share one."""
    layer, value = name.rsplit("/", 1)
    if found := re.match(r"efficientnet-b0/stem/(conv|tpu)", name):
        return "backbone.conv_stem.weight" if found[1] == "conv" else f"backbone.bn1.{NORM[value]}"
    if found := re.match(r"efficientnet-b0/blocks_(\d+)/(.*)", name):
        block = int(found[1])
        what, value = block_layer(block, found[2])
        stage, repeat = [(s, r) for s, n in enumerate(REPEATS) for r in range(n)][block]
        prefix = f"backbone.blocks.{stage}.{repeat}"
        if what.startswith("bn"):
            return f"{prefix}.bn{int(what[2]) + (block > 0)}.{NORM[value]}"
        if what.startswith("se"):
            return f"{prefix}.se.conv_{what[3:]}.{'bias' if value == 'bias' else 'weight'}"
        project = "conv_pwl" if block else "conv_pw"
        layers = {"expand": "conv_pw", "depthwise": "conv_dw", "project": project}
        return f"{prefix}.{layers[what]}.weight"
    value = NORM[value] if re.search(r"bn(-\d)?/\w+$", name) else value
    part = {"depthwise_kernel": "conv_dw.weight", "pointwise_kernel": "conv_pw.weight"}
    if found := re.match(r"resample_p(\d)/(conv2d|bn)", name):
        return f"fpn.resample.{int(found[1]) - 3}.conv.{torch_1x1(found[2], value)}"
    if found := re.match(r"fpn_cells/cell_(\d)/fnode(\d)/(.*)", name):
        node = f"fpn.cell.{found[1]}.fnode.{found[2]}"
        if found[3].startswith("WSM"):
            return f"{node}.combine.edge_weights"
        if source := re.match(r"resample_\d_(\d+)_\d+/(conv2d|bn)", found[3]):
            return f"{node}.combine.resample.{source[1]}.conv.{torch_1x1(source[2], value)}"
        after = f"bn.{value}" if "/bn/" in found[3] else part.get(value, "conv_pw.bias")
        return f"{node}.after_combine.conv.{after}"
    net, rest = layer.split("/")
    if found := re.match(r"\w+-(\d)-bn-(\d)", rest):
        return f"{net}.bn_rep.{found[1]}.{int(found[2]) - 3}.bn.{value}"
    where = "predict" if rest.endswith("predict") else f"conv_rep.{rest.rsplit('-', 1)[1]}"
    return f"{net}.{where}.{part.get(value, 'conv_pw.bias')}"


def torch_1x1(layer, value):
    return f"bn.{value}" if layer == "bn" else f"conv.{'weight' if value == 'kernel' else value}"


def torch_values(values):
    """A state dict of effdet with what it holds beside the weights."""
    state, fusion = {}, {}
    for name, value in values.items():
        theirs = torch_name(name)
        if value.ndim == 4:
            axes = (2, 3, 0, 1) if name.endswith("depthwise_kernel") else (3, 2, 0, 1)
            value = np.transpose(value, axes)
        if "/WSM" in name:
            fusion.setdefault(theirs, {})[name] = value
        else:
            state[theirs] = value
    for theirs, weights in fusion.items():
        state[theirs] = np.stack([weights[name] for name in sorted(weights)])
    for name in [name for name in state if name.endswith("running_mean")]:
        state[name.replace("running_mean", "num_batches_tracked")] = np.array(7, "int64")
    return state


def write_tensorflow(prefix, values):
    """A TensorFlow checkpoint with exactly these keys."""
    import tensorflow as tf

    names = list(values)
    arrays = [tf.constant(values[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=arrays
    )


def write_h5(path, values):
    """A group per layer of the model, with the attributes that Keras 2 writes."""
    import h5py

    with h5py.File(path, "w") as file:
        groups = {}
        for name, value in values.items():
            groups.setdefault(name.split("/")[0], []).append(f"{name}:0")
            file[f"{name.split('/')[0]}/{name}:0"] = value
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for group, names in groups.items():
            file[group].attrs["weight_names"] = [name.encode() for name in names]
