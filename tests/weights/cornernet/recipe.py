"""CornerNet in NumPy, from tensors under the original's names: an oracle for network and importer.

Written from the description of the network alone; slow, for maps of a few cells.
"""

import zlib

import numpy as np

HEADS = {"heats": None, "tags": 1, "regrs": 2}


def _norm_shapes(name, channels):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _pair(convolution, norm, kernel, inputs, outputs):
    yield f"{convolution}.weight", (outputs, inputs, kernel, kernel)
    yield from _norm_shapes(norm, outputs)


def _residual_shapes(name, inputs, outputs, strides=1):
    yield from _pair(f"{name}.conv1", f"{name}.bn1", 3, inputs, outputs)
    yield from _pair(f"{name}.conv2", f"{name}.bn2", 3, outputs, outputs)
    if strides > 1 or inputs != outputs:
        yield from _pair(f"{name}.skip.0", f"{name}.skip.1", 1, inputs, outputs)


def _hourglass_shapes(name, row, level=0):
    here, below, count = row.channels[level], row.channels[level + 1], row.repeats[level]
    for i in range(count):
        yield from _residual_shapes(f"{name}.up1.{i}", here, here)
    for i in range(count):
        first = (here, below, 2) if i == 0 else (below, below)
        yield from _residual_shapes(f"{name}.low1.{i}", *first)
    if level + 2 < len(row.channels):
        yield from _hourglass_shapes(f"{name}.low2", row, level + 1)
    else:
        for i in range(row.repeats[-1]):
            yield from _residual_shapes(f"{name}.low2.{i}", below, below)
    for i in range(count):
        yield from _residual_shapes(f"{name}.low3.{i}", below, here if i + 1 == count else below)


def shapes(row, num_classes):
    """Names and shapes of the state dict of a network, as a dict."""
    width, found = row.channels[0], []
    found += _pair("pre.0.conv", "pre.0.bn", 7, 3, row.stem_channels)
    found += _residual_shapes("pre.1", row.stem_channels, width, 2)
    for i in range(row.num_stacks):
        found += _hourglass_shapes(f"kps.{i}", row)
        found += _pair(f"cnvs.{i}.conv", f"cnvs.{i}.bn", 3, width, width)
        for corner in ("tl", "br"):
            name = f"{corner}_cnvs.{i}"
            for p in ("p1", "p2"):
                found += _pair(
                    f"{name}.{p}_conv1.conv", f"{name}.{p}_conv1.bn", 3, width, width // 2
                )
            found += _pair(f"{name}.p_conv1", f"{name}.p_bn1", 3, width // 2, width)
            found += _pair(f"{name}.conv1", f"{name}.bn1", 1, width, width)
            found += _pair(f"{name}.conv2.conv", f"{name}.conv2.bn", 3, width, width)
            for head, outputs in HEADS.items():
                outputs = outputs or num_classes
                place = f"{corner}_{head}.{i}"
                found += [(f"{place}.0.conv.weight", (width, width, 3, 3))]
                found += [(f"{place}.0.conv.bias", (width,))]
                found += [(f"{place}.1.weight", (outputs, width, 1, 1))]
                found += [(f"{place}.1.bias", (outputs,))]
        if i + 1 < row.num_stacks:
            found += _residual_shapes(f"inters.{i}", width, width)
            found += _pair(f"inters_.{i}.0", f"inters_.{i}.1", 1, width, width)
            found += _pair(f"cnvs_.{i}.0", f"cnvs_.{i}.1", 1, width, width)
    return dict(found)


def weights(shapes):
    """Random tensors, each its own, scaled so that activations neither vanish nor grow."""
    values = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        part = name.rsplit(".", 1)[1]
        if part == "num_batches_tracked":
            values[name] = np.int64(7)
        elif len(shape) == 4:
            values[name] = rng.normal(0, np.sqrt(1.5 / np.prod(shape[1:])), shape)
        elif part == "running_var" or (part == "weight" and len(shape) == 1):
            values[name] = rng.uniform(0.5, 1.5, shape)
        else:
            values[name] = rng.normal(0, 0.3, shape)
    return {
        name: value if value.dtype == np.int64 else value.astype("float32")
        for name, value in values.items()
    }


class Network:
    """The forward pass on one image `(channels, height, width)` in float64."""

    def __init__(self, values, row):
        self.values, self.row = values, row

    def convolution(self, x, name, strides=1):
        kernel = self.values[f"{name}.weight"].astype("float64")
        size = kernel.shape[-1]
        pad = size // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        out = np.einsum("chwij,ocij->ohw", windows[:, ::strides, ::strides], kernel)
        bias = self.values.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def norm(self, x, name):
        scale, shift, mean, variance = (
            self.values[f"{name}.{part}"].astype("float64")[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift

    def both(self, x, convolution, norm, strides=1):
        return self.norm(self.convolution(x, convolution, strides), norm)

    def plain(self, x, name, strides=1):
        return np.maximum(self.both(x, f"{name}.conv", f"{name}.bn", strides), 0)

    def residual(self, x, name, strides=1):
        inside = np.maximum(self.both(x, f"{name}.conv1", f"{name}.bn1", strides), 0)
        inside = self.both(inside, f"{name}.conv2", f"{name}.bn2")
        if f"{name}.skip.0.weight" in self.values:
            x = self.both(x, f"{name}.skip.0", f"{name}.skip.1", strides)
        return np.maximum(inside + x, 0)

    def residuals(self, x, name, count, strides=1):
        for i in range(count):
            x = self.residual(x, f"{name}.{i}", strides if i == 0 else 1)
        return x

    def hourglass(self, x, name, level=0):
        count = self.row.repeats[level]
        beside = self.residuals(x, f"{name}.up1", count)
        x = self.residuals(x, f"{name}.low1", count, 2)
        if level + 2 < len(self.row.channels):
            x = self.hourglass(x, f"{name}.low2", level + 1)
        else:
            x = self.residuals(x, f"{name}.low2", self.row.repeats[-1])
        x = self.residuals(x, f"{name}.low3", count)
        return beside + x.repeat(2, 1).repeat(2, 2)

    def pool(self, x, name, corner):
        first, second = (self.plain(x, f"{name}.{p}_conv1") for p in ("p1", "p2"))
        if corner == "tl":
            first = np.maximum.accumulate(first[:, ::-1], 1)[:, ::-1]
            second = np.maximum.accumulate(second[:, :, ::-1], 2)[:, :, ::-1]
        else:
            first = np.maximum.accumulate(first, 1)
            second = np.maximum.accumulate(second, 2)
        y = self.both(first + second, f"{name}.p_conv1", f"{name}.p_bn1")
        x = np.maximum(y + self.both(x, f"{name}.conv1", f"{name}.bn1"), 0)
        return self.plain(x, f"{name}.conv2")

    def __call__(self, image):
        """The maps of every stack: a list of dicts by the original's names, channels last."""
        x = self.residual(self.plain(image.astype("float64"), "pre.0", 2), "pre.1", 2)
        stacks = []
        for i in range(self.row.num_stacks):
            features = self.plain(self.hourglass(x, f"kps.{i}"), f"cnvs.{i}")
            found = {}
            for corner in ("tl", "br"):
                pooled = self.pool(features, f"{corner}_cnvs.{i}", corner)
                for head in HEADS:
                    name = f"{corner}_{head}"
                    hidden = np.maximum(self.convolution(pooled, f"{name}.{i}.0.conv"), 0)
                    maps = self.convolution(hidden, f"{name}.{i}.1")
                    found[name] = maps.transpose(1, 2, 0)
            stacks.append(found)
            if i + 1 < self.row.num_stacks:
                x = self.both(x, f"inters_.{i}.0", f"inters_.{i}.1")
                x = x + self.both(features, f"cnvs_.{i}.0", f"cnvs_.{i}.1")
                x = self.residual(np.maximum(x, 0), f"inters.{i}")
        return stacks
