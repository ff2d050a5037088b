"""NAS-FPN: the cell of seven merges that a search found, repeated."""

from typing import NamedTuple

import keras
from keras import ops

from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.resample import ResampleToLevel, max_pool_downsample, nearest_upsample
from keras_det.necks.pyramid import PyramidNeck


class Merge(NamedTuple):
    """One node of the cell: what it merges and how.

    Inputs count the cell's own inputs P3 … P7 as 0 … 4, then the nodes from 5 on.
    """

    level: int
    operation: str
    inputs: tuple[int, int]
    is_output: bool


# The cell that the paper found, as the authors' code lists it (tensorflow/tpu, `nasfpn.py`). The
# five outputs come last.
LEVELS = (3, 4, 5, 6, 7)
MERGES = (
    Merge(4, "attention", (1, 3), False),
    Merge(4, "sum", (1, 5), False),
    Merge(3, "sum", (0, 6), True),
    Merge(4, "sum", (6, 7), True),
    Merge(5, "attention", (7, 8), True),
    Merge(7, "attention", (6, 9), True),
    Merge(6, "attention", (9, 10), True),
)


def nas_fpn_wiring() -> list[tuple[Merge, list[int]]]:
    """The merges, each with the nodes that are added to it.

    At an output, every earlier node of its level that nothing has used yet is added. In this cell
    that is the input P5 at node 9 and the input P7 at node 10.
    """
    levels, used, wiring = list(LEVELS), set(), []
    for merge in MERGES:
        used.update(merge.inputs)
        added = []
        if merge.is_output:
            added = [i for i, level in enumerate(levels) if level == merge.level and i not in used]
        used.update(added)
        wiring.append((merge, added))
        levels.append(merge.level)
    return wiring


def global_attention(high, low):
    """NAS-FPN's "global pooling": high + low * sigmoid(maximum of high over height and width).

    Args:
        high: `(batch, height, width, channels)`, from the level with the higher number.
        low: the same shape, from the other level.
    """
    return high + low * ops.sigmoid(ops.max(high, axis=(1, 2), keepdims=True))


def _to_level(x, source, target, size):
    if source < target:
        return max_pool_downsample(x, 2 ** (target - source))
    return nearest_upsample(x, size)


@keras.saving.register_keras_serializable(package="keras_det")
class NASFPN(PyramidNeck):
    """Neck with the cell that architecture search found, repeated `num_cells` times.

    NAS-FPN section 3 (https://arxiv.org/abs/1904.07392). A node brings its two inputs to its
    level (max-pooling with window and stride 2^k down, rows repeated by floor(i * in / out) up),
    merges them by sum or `global_attention`, adds unused nodes (`nas_fpn_wiring`), then

        out = batch_norm(conv3x3(relu(merged)))

    As in the authors' code the backbone's levels get a 1x1 convolution and batch normalisation
    where their channels differ, extra levels are max-pooled 2x2 from the one before, convolutions
    have biases and nothing follows the normalisation. Kernels start normal with variance
    2 / fan_out, as in the TensorFlow Model Garden.

    Args:
        channels: channels of every level.
        min_level: 3; the cell was searched for P3 … P7.
        max_level: 7.
        num_cells: how often the cell is repeated; the paper has 3 to 7.

    Call arguments:
        features: dict "P3" … "P5" (at least "P3", further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes, each half the one before it,
            rounded up.

    Returns:
        dict "P3" … "P7" of maps with `channels` channels.
    """

    def __init__(self, channels=256, min_level=3, max_level=7, num_cells=5, **kwargs):
        super().__init__(channels, min_level, max_level, **kwargs)
        if self.levels != LEVELS:
            raise ValueError(
                "NAS-FPN's cell is made for P3 to P7: `min_level` must be 3 and `max_level` 7. "
                f"Received: min_level={min_level}, max_level={max_level}. Use another neck, such "
                'as "bifpn", for other levels.'
            )
        self.num_cells = num_cells

    def build(self, input_shape):
        self.check_halving(input_shape)
        results = self.output_shapes(input_shape)
        self.projections, self.convolutions, self.norms = [], [], []
        for level, shape in zip(LEVELS, self.input_shapes(input_shape), strict=False):
            layer = ResampleToLevel(
                shape[1:3], self.channels, dtype=self.dtype_policy, name=f"project_p{level}"
            )
            layer.build(shape)
            self.projections.append(layer)
        for cell in range(self.num_cells):
            for i, merge in enumerate(MERGES):
                shape = results[merge.level - self.min_level]
                self._add_node(shape, f"cell{cell}_node{len(LEVELS) + i}")

    def _add_node(self, shape, name):
        convolution = keras.layers.Conv2D(
            self.channels,
            3,
            padding="same",
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            dtype=self.dtype_policy,
            name=name,
        )
        norm = BatchNorm(dtype=self.dtype_policy, name=f"{name}_norm")
        for layer, layers in ((convolution, self.convolutions), (norm, self.norms)):
            layer.build(shape)
            layers.append(layer)

    def call(self, features, training=None):
        taken = [features[name] for name in self.taken(features)]
        maps = [
            layer(x, training=training) for layer, x in zip(self.projections, taken, strict=True)
        ]
        while len(maps) < len(LEVELS):
            maps.append(max_pool_downsample(maps[-1], 2))
        sizes = [x.shape[1:3] for x in maps]
        layers = zip(self.convolutions, self.norms, strict=True)
        for _ in range(self.num_cells):
            levels = list(LEVELS)
            for merge, added in nas_fpn_wiring():
                x = self._merge(merge, added, maps, levels, sizes)
                convolution, norm = next(layers)
                maps.append(norm(convolution(ops.relu(x)), training=training))
                levels.append(merge.level)
            newest = dict(zip(levels, maps, strict=True))
            maps = [newest[level] for level in LEVELS]
        return {f"P{level}": x for level, x in zip(LEVELS, maps, strict=True)}

    def _merge(self, merge, added, maps, levels, sizes):
        """The inputs of a node, resized, merged, with the added nodes."""
        size = sizes[merge.level - self.min_level]
        low, high = (
            _to_level(maps[i], levels[i], merge.level, size)
            for i in sorted(merge.inputs, key=lambda i: levels[i])
        )
        x = global_attention(high, low) if merge.operation == "attention" else high + low
        for i in added:
            x = x + maps[i]
        return x

    def get_config(self):
        return {**super().get_config(), "num_cells": self.num_cells}
