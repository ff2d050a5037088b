"""Random weights for the Model Garden's RetinaNet, by names and shapes; both sides use this file.

Written without a look at our importer: names, shapes and numbering are checked against the Garden's
own checkpoint by `benchmarks/peer_model_garden.py`, which imports this file.
"""

import re
import zlib

import numpy as np

# Channels and number of blocks of the stages of its ResNet-50.
BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))
# As few as have every kind of layer, for a small file.
NARROW_BLOCKS = ((4, 1), (8, 2), (12, 1), (16, 1))
NARROW_CHANNELS = 16
NUM_ANCHORS = 9
# The decoder's layers with weights as the Garden numbers them (levels 3 to 7).
DECODER = (
    *("lateral_5", "lateral_4", "post_hoc_5", "lateral_3", "coarser_6"),
    *("post_hoc_3", "post_hoc_4", "coarser_7"),
    *("norm_3", "norm_4", "norm_5", "norm_6", "norm_7"),
)
# Variance of kernels times their inputs. Where ReLU goes before, 2 keeps the scale. Maps grow from
# block to block, and in coarse levels most of a kernel lies outside; the shifts, which are drawn
# large, keep the outputs of all levels between 0.3 and 3 all the same.
GAINS = (
    (r"backbone/.*", 1.5),
    (r"decoder/.*", 0.5),
    (r"head/_(cls|box)_convs/.*", 2.0),
    (r"head/_(classifier|box_regressor)/.*", 1.0),
)


def _convolution(path, kernel, inputs, outputs, bias=True):
    shapes = {f"{path}/kernel": (kernel, kernel, inputs, outputs)}
    return {**shapes, f"{path}/bias": (outputs,)} if bias else shapes


def _norm(path, channels):
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{path}/{part}": (channels,) for part in parts}


def backbone_shapes(blocks=BLOCKS):
    """Names and shapes of the Garden's bottleneck ResNet, and the channels of its stages."""
    shapes = _convolution("backbone/layer_with_weights-0", 7, 3, 64, bias=False)
    shapes |= _norm("backbone/layer_with_weights-1", 64)
    inputs, number, stages = 64, 2, []
    for filters, repeats in blocks:
        for block in range(repeats):
            path = f"backbone/layer_with_weights-{number}"
            if block == 0:
                shapes |= _convolution(f"{path}/_shortcut", 1, inputs, 4 * filters, bias=False)
                shapes |= _norm(f"{path}/_norm0", 4 * filters)
            sides = ((1, inputs, filters), (3, filters, filters), (1, filters, 4 * filters))
            for i, (kernel, source, to) in enumerate(sides, 1):
                shapes |= _convolution(f"{path}/_conv{i}", kernel, source, to, bias=False)
                shapes |= _norm(f"{path}/_norm{i}", to)
            inputs, number = 4 * filters, number + 1
        stages.append(inputs)
    return shapes, stages


def shapes(blocks=BLOCKS, channels=256, classes=91):
    """Names and shapes of the Garden's RetinaNet; `classes` with background."""
    found, stages = backbone_shapes(blocks)
    for number, layer in enumerate(DECODER):
        path = f"decoder/layer_with_weights-{number}"
        if layer.startswith("norm"):
            found |= _norm(path, channels)
        elif layer.startswith("lateral"):
            found |= _convolution(path, 1, stages[int(layer[-1]) - 2], channels)
        else:
            found |= _convolution(path, 3, channels, channels)
    for tower, prediction, outputs in (
        ("_cls", "_classifier", classes),
        ("_box", "_box_regressor", 4),
    ):
        for i in range(4):
            found |= _convolution(f"head/{tower}_convs/{i}", 3, channels, channels)
            for level in range(5):
                found |= _norm(f"head/{tower}_norms/{level}/{i}", channels)
        found |= _convolution(f"head/{prediction}", 3, channels, NUM_ANCHORS * outputs)
    return found


def draw(name, shape):
    """The numbers of one variable, by its name and shape."""
    random = np.random.RandomState(zlib.crc32(name.encode()))  # a stream that never changes
    kind = name.rsplit("/", 1)[1]
    if kind == "kernel":
        gain = next(gain for pattern, gain in GAINS if re.fullmatch(pattern, name))
        return (random.standard_normal(shape) * np.sqrt(gain / np.prod(shape[:-1]))).astype("f4")
    if kind == "gamma" and "/_norm3/" in name:  # of what a block adds
        return random.uniform(0.1, 0.4, shape).astype("f4")
    if kind in ("gamma", "moving_variance"):
        return random.uniform(0.75, 1.25, shape).astype("f4")
    scale = 0.5 if kind == "beta" else 0.35  # biases, moving means
    return (random.standard_normal(shape) * scale).astype("f4")


def draw_all(**kwargs):
    """Every variable of `shapes(**kwargs)` by its name."""
    return {name: draw(name, shape) for name, shape in shapes(**kwargs).items()}


def draw_images(height, width):
    """A batch of one image, uint8: squares with noise, so that neighbouring cells differ."""
    random = np.random.RandomState(0)
    coarse = random.uniform(0, 255, (1, height // 8, width // 8, 3))
    fine = np.kron(coarse, np.ones((1, 8, 8, 1))) + random.uniform(-40, 40, (1, height, width, 3))
    return fine.clip(0, 255).astype("uint8")


def _holder(values):
    """An object that TensorFlow saves under these names."""
    import tensorflow as tf

    below = {}
    for name, value in values.items():
        first, _, rest = name.partition("/")
        below.setdefault(first, {})[rest] = value
    holder = tf.Module()
    for first, inner in below.items():
        setattr(holder, first, tf.Variable(inner[""]) if "" in inner else _holder(inner))
    return holder


def write_checkpoint(folder, values, parts="backbone decoder head", held_by="root"):
    """Saves variables as the Garden's trainer does; returns the checkpoint's prefix.

    Args:
        held_by: "root": the parts are named on their own beside the model, as the trainer does;
            "model": the model alone holds them, as attributes `_backbone` ….
    """
    import tensorflow as tf

    everything = _holder(values)
    found = {part: getattr(everything, part) for part in parts.split()}
    model, optimizer = tf.Module(), tf.Module()
    for part, holder in found.items():
        setattr(model, f"_{part}", holder)
    # Keras holds every layer a second time, under the number that it has among all layers.
    for number in (0, 1):
        layer = getattr(everything.backbone, f"layer_with_weights-{number}")
        setattr(everything.backbone, f"layer-{number + 1}", layer)
    optimizer.iter = tf.Variable(7, dtype=tf.int64)
    named = found if held_by == "root" else {}
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=optimizer, global_step=tf.Variable(7, dtype=tf.int64), **named
    )
    return checkpoint.save(f"{folder}/ckpt")
