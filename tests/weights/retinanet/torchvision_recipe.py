"""Random weights for torchvision's RetinaNet, by names and shapes; both sides use this file.

Written without a look at our importer: names, shapes and the order of tensors are checked against
torchvision itself by `benchmarks/peer_torchvision.py`, which imports this file under torch.

Kernels keep the size of activations, batch-norm statistics are far from 0 and 1, and the middle of
a 3x3 kernel is heavier, so that the small maps of P6 and P7, where the rest sees padding, keep it
too: every level's outputs then have a standard deviation between 0.3 and 3.
"""

import zlib

import numpy as np

# Blocks per stage, bottleneck.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
# Factors of the square of what a kernel gives: coarse levels would be small, outputs large.
GAINS = {"extra_blocks": 3.0, "cls_logits": 0.09, "bbox_reg": 0.09}
CENTRE = 3.0  # weight of a 3x3 kernel's middle beside the other eight


def _norm(name, channels, frozen):
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes = {f"{name}.{part}": (channels,) for part in parts}
    return shapes if frozen else {**shapes, f"{name}.num_batches_tracked": ()}


def resnet_shapes(variant="resnet50", frozen=False):
    """Names and shapes of a torchvision ResNet without its classifier, in its order."""
    repeats, bottleneck = RESNETS[variant]
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64, frozen)}
    inputs = 64
    for stage, (blocks, filters) in enumerate(zip(repeats, (64, 128, 256, 512), strict=True), 1):
        outputs = 4 * filters if bottleneck else filters
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            if bottleneck:
                kernels = [(filters, inputs, 1), (filters, filters, 3), (outputs, filters, 1)]
            else:
                kernels = [(filters, inputs, 3), (filters, filters, 3)]
            for i, (to, source, side) in enumerate(kernels, 1):
                shapes[f"{name}.conv{i}.weight"] = (to, source, side, side)
                shapes |= _norm(f"{name}.bn{i}", to, frozen)
            if block == 0 and inputs != outputs:
                shapes[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", outputs, frozen)
            inputs = outputs
    return shapes


def _convolution(name, outputs, inputs, side):
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def retinanet_shapes(variant="resnet50", num_outputs=91, frozen=False):
    """Names and shapes of `retinanet_resnet50_fpn`, or of the same with another ResNet."""
    body = resnet_shapes(variant, frozen)
    shapes = {f"backbone.body.{name}": shape for name, shape in body.items()}
    widths = (512, 1024, 2048) if RESNETS[variant][1] else (128, 256, 512)
    for i, width in enumerate(widths):
        shapes |= _convolution(f"backbone.fpn.inner_blocks.{i}.0", 256, width, 1)
    for i in range(3):
        shapes |= _convolution(f"backbone.fpn.layer_blocks.{i}.0", 256, 256, 3)
    for level in (6, 7):
        shapes |= _convolution(f"backbone.fpn.extra_blocks.p{level}", 256, 256, 3)
    towers = (("classification", "cls_logits", 9 * num_outputs), ("regression", "bbox_reg", 36))
    for tower, prediction, outputs in towers:
        for i in range(4):
            shapes |= _convolution(f"head.{tower}_head.conv.{i}.0", 256, 256, 3)
        shapes |= _convolution(f"head.{tower}_head.{prediction}", outputs, 256, 3)
    return shapes


def _kernel(uniform, name, shape):
    kernel = uniform(-1, 1, shape).astype("float32") * np.float32(3**0.5)
    taps = shape[2] * shape[3]
    if shape[2] == 3:
        kernel[:, :, 1, 1] *= CENTRE
        taps = 8 + CENTRE**2
    # He: inputs that passed a ReLU lost half their square. Those of the pyramid did not.
    gain = 1.0 if ".fpn." in name else 2.0
    gain *= next((factor for part, factor in GAINS.items() if part in name), 1.0)
    return kernel * np.float32((gain / (taps * shape[1])) ** 0.5)


def draw(name, shape, seed=0):
    """The tensor of this name: depends on name, shape and seed alone."""
    uniform = np.random.RandomState([seed, zlib.crc32(name.encode())]).uniform
    if name.endswith("num_batches_tracked"):
        return np.array(1000, "int64")
    if len(shape) == 4:
        return _kernel(uniform, name, shape)
    if name.endswith("running_var"):
        # Small ones too: there an epsilon of 1e-5 is not the same as 0.
        return (10 ** uniform(-4, 0, shape)).astype("float32")
    if name.endswith("weight"):
        # The last normalisation of a block is smaller: sums grow from block to block.
        low, high = (0.2, 0.6) if name.endswith(("bn2.weight", "bn3.weight")) else (0.5, 1.5)
        variance = draw(name.removesuffix("weight") + "running_var", shape, seed)
        return (uniform(low, high, shape) * np.sqrt(variance)).astype("float32")
    return uniform(-0.5, 0.5, shape).astype("float32")


def weights(shapes, seed=0):
    """dict of all tensors."""
    return {name: draw(name, shape, seed) for name, shape in shapes.items()}


def older_names(values):
    """The same tensors under the names of torchvision before 0.13."""
    older = {}
    for name, value in values.items():
        parts = name.split(".")
        if "conv" in parts and parts[0] == "head":
            parts[3:5] = [str(2 * int(parts[3]))]
        elif "inner_blocks" in parts or "layer_blocks" in parts:
            del parts[4]
        older[".".join(parts)] = value
    return older


def image(height, width, seed=0):
    """Pixels 0..255 `(height, width, 3)`, float32 whole numbers, rough and smooth."""
    random = np.random.RandomState([seed, height, width])
    coarse = random.uniform(0, 160, (-(-height // 16), -(-width // 16), 3))
    smooth = coarse.repeat(16, 0).repeat(16, 1)[:height, :width]
    return np.floor(smooth + random.uniform(0, 95, (height, width, 3))).astype("float32")
