"""The necks on one backbone's levels: parameters, multiply-adds, latency, in turns.

python benchmarks/necks.py [--backbone efficientnet_b3] [--size 512] [--channels 160] [--cells 5]

As in table 4 of EfficientDet (arXiv 1911.09070), with equal channels for all necks and equal
repeats for the two that are repeated; each with its own kind of convolution (BiFPN's are
separable). Multiply-adds are counted from the shapes of the convolutions in the traced graph; sums,
fusion weights, normalisation and pooling are not counted. Latency is the compiled neck alone, batch
1, float32, on random maps of the backbone's shapes; ratios are to the first row.
"""

import argparse
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from keras_det.backbones import efficientnet, resnet
from keras_det.necks import FPN, NASFPN, PAFPN, BiFPN


def make_backbone(name, size):
    if name.startswith("efficientnet_"):
        return efficientnet(name.removeprefix("efficientnet_"), (size, size))
    return resnet(name, (size, size))


def contestants(channels, cells):
    necks = {
        "fpn": FPN(channels),
        "pafpn": PAFPN(channels),
        f"nas_fpn, {cells} cells": NASFPN(channels, num_cells=cells),
    }
    for fusion in ("softmax", "fast", "sum"):
        necks[f"bifpn, {fusion}, {cells} cells"] = BiFPN(channels, cells, fusion)
    return necks


def multiply_adds(graph):
    """Multiplications of all convolutions of a traced graph, batch 1."""
    total = 0
    for operation in graph.get_operations():
        if operation.type not in ("Conv2D", "DepthwiseConv2dNative"):
            continue
        kernel, output = operation.inputs[1].shape, operation.outputs[0].shape
        # A kernel is (height, width, channels in, channels out); a depthwise one sees one channel
        # per output.
        seen = kernel[:3] if operation.type == "Conv2D" else kernel[:2]
        total += math.prod(output[1:]) * math.prod(seen)
    return total


def parameters(layer):
    return sum(math.prod(weight.shape) for weight in layer.trainable_weights)


def compiled(layer, inputs):
    """The layer as a function that runs once, and its traced graph."""
    function = tf.function(lambda x: layer(x, training=False)).get_concrete_function(inputs)
    flat = tf.nest.flatten(inputs)
    return (lambda: function(*flat)), function.graph


def measure(runs, repeats):
    """Median milliseconds by name; the contestants take turns."""
    times = {name: [] for name in runs}
    for run in runs.values():
        run(), run()
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="efficientnet_b3", help="or resnet50 …")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--channels", type=int, default=160)
    parser.add_argument("--cells", type=int, default=5, help="repeats of NAS-FPN and BiFPN")
    parser.add_argument("--repeats", type=int, default=31)
    arguments = parser.parse_args()
    backbone = make_backbone(arguments.backbone, arguments.size)
    rng = np.random.default_rng(0)
    features = {
        name: tf.constant(rng.normal(size=(1, *x.shape[1:])), tf.float32)
        for name, x in backbone.output.items()
        if name in ("P3", "P4", "P5")
    }
    rows, runs = {}, {}
    for name, neck in contestants(arguments.channels, arguments.cells).items():
        runs[name], graph = compiled(neck, features)
        rows[name] = parameters(neck), multiply_adds(graph)
    images = tf.constant(rng.normal(size=(1, arguments.size, arguments.size, 3)), tf.float32)
    last = f"({arguments.backbone} alone)"
    runs[last], graph = compiled(backbone, images)
    rows[last] = parameters(backbone), multiply_adds(graph)
    milliseconds = measure(runs, arguments.repeats)
    first = next(iter(rows))
    print(
        f"{arguments.backbone}, {arguments.size} x {arguments.size}, {arguments.channels} channels"
    )
    print("| neck | parameters, M | ratio | multiply-adds, G | ratio | ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, (count, operations) in rows.items():
        values = (count / 1e6, operations / 1e9, milliseconds[name])
        base = (rows[first][0] / 1e6, rows[first][1] / 1e9, milliseconds[first])
        cells = [f"{a:.2f} | {a / b:.2f}" for a, b in zip(values, base, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
