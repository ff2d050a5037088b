"""NAS-FPN: repeats a cell of seven nodes that was found by architecture search."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.resample import ResampleToLevel, max_pool_downsample, nearest_upsample
from keras_det.necks.pyramid import PyramidNeck
from keras_det.types import Config, Features, Shape, Size, Tensor


class Merge(NamedTuple):
    """One node of the cell: what it merges and how.

    Inputs are numbered: the cell's own inputs P3 … P7 are 0 … 4, the nodes follow from 5 on.
    """

    level: int
    operation: str
    inputs: tuple[int, int]
    is_output: bool


# The paper's cell, as the authors' code lists it (tensorflow/tpu, `nasfpn.py`). The five outputs
# come last.
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
    """Returns the merges, each with the numbers of the nodes that are added to it.

    An output adds every earlier node of its level that has not been used yet. In this cell that is
    the input P5 at node 9 and the input P7 at node 10.
    """
    levels, wiring = list(LEVELS), []
    used: set[int] = set()
    for merge in MERGES:
        used.update(merge.inputs)
        added: list[int] = []
        if merge.is_output:
            added = [i for i, level in enumerate(levels) if level == merge.level and i not in used]
        used.update(added)
        wiring.append((merge, added))
        levels.append(merge.level)
    return wiring


def global_attention(high: Tensor, low: Tensor) -> Tensor:
    """NAS-FPN's "global pooling": high + low * sigmoid(maximum of high over height and width).

    Args:
        high: `(batch, height, width, channels)`, from the level with the higher number.
        low: the same shape, from the other level.

    Returns:
        Tensor of the same shape.
    """
    return high + low * ops.sigmoid(ops.max(high, axis=(1, 2), keepdims=True))


def _to_level(x: Tensor, source: int, target: int, size: Size) -> Tensor:
    """Resizes a map from level `source` to level `target`, whose size is `size`."""
    if source < target:
        return max_pool_downsample(x, 2 ** (target - source))
    return nearest_upsample(x, size)


@keras.saving.register_keras_serializable(package="keras_det")
class NASFPN(PyramidNeck):
    """NAS-FPN: repeats a cell found by architecture search `num_cells` times.

    NAS-FPN section 3 (https://arxiv.org/abs/1904.07392). A node resizes its two inputs to its own
    level: max-pooling with window and stride 2^k shrinks, repeating row floor(i * in / out)
    enlarges. It merges them by sum or `global_attention`, adds unused nodes (`nas_fpn_wiring`), and
    computes

        out = batch_norm(conv3x3(relu(merged)))

    As in the authors' code, the backbone's levels pass a 1x1 convolution and batch normalisation
    where their channels differ. Extra levels are max-pooled 2x2 from the level before. Convolutions
    have biases, and nothing follows the normalisation. Kernels start normal with variance
    2 / fan_out, as in the TensorFlow Model Garden.

    Args:
        channels: int, channels of every level.
        min_level: 3 only; the search was for P3 … P7.
        max_level: 7 only.
        num_cells: int, how often the cell is repeated; the paper uses 3 to 7.

    Call arguments:
        features: dict "P3" … "P5" (at least "P3", further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes, each half the one before it,
            rounded up.

    Returns:
        dict "P3" … "P7" of maps with `channels` channels.
    """

    def __init__(
        self,
        channels: int = 256,
        min_level: int = 3,
        max_level: int = 7,
        num_cells: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, min_level, max_level, **kwargs)
        if self.levels != LEVELS:
            raise ValueError(
                "NAS-FPN's cell is made for P3 to P7: `min_level` must be 3 and `max_level` 7. "
                f"Received: min_level={min_level}, max_level={max_level}. Use another neck, such "
                'as "bifpn", for other levels.'
            )
        self.num_cells = num_cells

    def build(self, input_shape: dict[str, Shape]) -> None:
        self.check_halving(input_shape)
        results = self.output_shapes(input_shape)
        self.projections: list[ResampleToLevel] = []
        self.convolutions: list[keras.layers.Conv2D] = []
        self.norms: list[BatchNorm] = []
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

    def _add_node(self, shape: Shape, name: str) -> None:
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

    def call(self, features: Features, training: bool | None = None) -> Features:
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

    def _merge(
        self,
        merge: Merge,
        added: Sequence[int],
        maps: Sequence[Tensor],
        levels: Sequence[int],
        sizes: Sequence[Size],
    ) -> Tensor:
        """Resizes and merges the inputs of a node, and adds the unused nodes."""
        size = sizes[merge.level - self.min_level]
        low, high = (
            _to_level(maps[i], levels[i], merge.level, size)
            for i in sorted(merge.inputs, key=lambda i: levels[i])
        )
        x = global_attention(high, low) if merge.operation == "attention" else high + low
        for i in added:
            x = x + maps[i]
        return x

    def get_config(self) -> Config:
        return {**super().get_config(), "num_cells": self.num_cells}
