"""BiFPN: repeated, weighted, two-way fusion of a feature pyramid.

EfficientDet section 3 (https://arxiv.org/abs/1911.09070), figure 2 (d), as the original code builds
it. Each node fuses its inputs, activates, convolves (depthwise-separable 3x3 with bias) and
normalises. There is no activation after the normalisation.
"""

from collections.abc import Sequence
from typing import Any

import keras

from keras_det.errors import suggest
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.remat import rematerialized
from keras_det.layers.resample import ResampleToLevel
from keras_det.layers.weighted_fusion import WeightedFusion
from keras_det.necks.pyramid import PyramidNeck
from keras_det.types import Config, Features, Shape, Size, Tensor

# The nodes of one BiFPN cell: (level, inputs) of each, see `bifpn_wiring`.
Wiring = list[tuple[int, list[int]]]
FUSIONS = ("fast", "softmax", "sum")


@keras.saving.register_keras_serializable(package="keras_det")
class BiFPNNode(keras.layers.Layer):
    """One node: resample the inputs to its level, fuse, activate, convolve, normalise.

    Args:
        size: (height, width) of the node's level, in cells.
        channels: int, channels of the pyramid.
        fusion: "fast" or "softmax" (learnable weights, `WeightedFusion`) or "sum".
        activation: name of a Keras activation.

    Call arguments:
        inputs: list of maps `(batch, height, width, channels)` of any level.

    Returns:
        Tensor `(batch, *size, channels)`.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        fusion: str = "fast",
        activation: str = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        height, width = size
        self.size = (height, width)
        self.channels = channels
        self.fusion = fusion
        self.activation = activation

    def build(self, input_shape: Sequence[Shape]) -> None:
        policy = self.dtype_policy
        fused = (input_shape[0][0], *self.size, self.channels)
        self.resample = []
        for i, shape in enumerate(input_shape):
            layer = ResampleToLevel(self.size, self.channels, dtype=policy, name=f"resample_{i}")
            layer.build(shape)
            self.resample.append(layer)
        self.blend: WeightedFusion | None = None
        if self.fusion != "sum":
            self.blend = WeightedFusion(method=self.fusion, dtype=policy, name="fusion")
            self.blend.build([fused] * len(input_shape))
        self.convolution = keras.layers.SeparableConv2D(
            self.channels, 3, padding="same", dtype=policy, name="convolution"
        )
        self.convolution.build(fused)
        self.norm = BatchNorm(dtype=policy, name="norm")
        self.norm.build(fused)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> Tensor:
        maps = [layer(x, training=training) for layer, x in zip(self.resample, inputs, strict=True)]
        x = self.blend(maps) if self.blend is not None else sum(maps[1:], maps[0])
        x = keras.activations.get(self.activation)(x)
        return self.norm(self.convolution(x), training=training)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (input_shape[0][0], *self.size, self.channels)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "size": self.size,
            "channels": self.channels,
            "fusion": self.fusion,
            "activation": self.activation,
        }


def bifpn_wiring(levels: Sequence[int]) -> Wiring:
    """Lists the nodes of one BiFPN cell and their inputs, in the order of the original code.

    The top-down nodes come first; their inputs are the same level, then the level above. Then come
    the bottom-up nodes; their inputs are the cell's input, the top-down node, then the level below.
    The top level has no top-down node, so its bottom-up node has two inputs.

    Args:
        levels: pyramid levels, finest first, e.g. `(3, 4, 5, 6, 7)`.

    Returns:
        list of `(level, inputs)`, one per node. An input is an index into a list of maps that
        starts with the cell's own inputs (one per level) and grows by the output of each node.
    """
    newest = {level: i for i, level in enumerate(levels)}
    nodes: Wiring = []
    for i in reversed(range(len(levels) - 1)):
        nodes.append((levels[i], [i, newest[levels[i + 1]]]))
        newest[levels[i]] = len(levels) + len(nodes) - 1
    for i in range(1, len(levels)):
        level = levels[i]
        own = [i] if newest[level] == i else [i, newest[level]]
        nodes.append((level, [*own, newest[levels[i - 1]]]))
        newest[level] = len(levels) + len(nodes) - 1
    return nodes


@keras.saving.register_keras_serializable(package="keras_det")
class BiFPN(PyramidNeck):
    """Extends a backbone's pyramid to all levels of the result and fuses it `num_cells` times.

    The first extra level is made from the backbone's last level: a 1x1 convolution with batch
    normalisation, then 3x3 max-pooling with stride 2. Further levels are pooled from it.

    Args:
        channels: int, channels of every level.
        num_cells: int, how often the cell is repeated. Default: as in D0.
        fusion: "fast": fast normalised fusion with learnable ReLU weights. "softmax": learnable
            weights with a softmax (the paper's other equation). "sum": sum without weights, as in
            the published D6, D7, D7x and Lite models.
        activation: name of a Keras activation, "silu" (D0–D7x) or "relu6" (Lite).
        min_level: int, finest level of the result.
        max_level: int, coarsest level of the result.
        remat: bool. True recomputes every cell in the backward pass, which saves memory.

    Call arguments:
        features: dict "P3" … "P5" (at least `min_level`, further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.
    """

    def __init__(
        self,
        channels: int,
        num_cells: int = 3,
        fusion: str = "fast",
        activation: str = "silu",
        min_level: int = 3,
        max_level: int = 7,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, min_level, max_level, **kwargs)
        if fusion not in FUSIONS:
            raise ValueError(
                f"`fusion` must be one of {FUSIONS}. Received: {fusion!r}."
                f'{suggest(fusion, FUSIONS)} Use "fast", EfficientDet\'s default, if in doubt.'
            )
        if min_level == max_level:
            raise ValueError(
                f"BiFPN fuses levels: `max_level` must be above `min_level`. Received: {min_level} "
                "for both. Use keras_det.necks.FPN for a single level."
            )
        self.num_cells = num_cells
        self.fusion = fusion
        self.activation = activation
        self.remat = remat

    @property
    def wiring(self) -> Wiring:
        """The nodes of one cell and their inputs, as `bifpn_wiring` lists them."""
        return bifpn_wiring(self.levels)

    def build(self, input_shape: dict[str, Shape]) -> None:
        shapes = self.input_shapes(input_shape)
        num_given, results = len(shapes), self.output_shapes(input_shape)
        shapes += results[num_given:]
        self.extra_levels = []
        last = shapes[num_given - 1]
        for level, shape in zip(self.levels[num_given:], shapes[num_given:], strict=True):
            layer = ResampleToLevel(
                shape[1:3], self.channels, dtype=self.dtype_policy, name=f"resample_p{level}"
            )
            layer.build(last)
            self.extra_levels.append(layer)
            last = shape
        self.nodes = []
        for cell in range(self.num_cells):
            available = list(shapes)
            for i, (level, inputs) in enumerate(self.wiring):
                size = shapes[level - self.min_level][1:3]
                node = BiFPNNode(
                    size,
                    self.channels,
                    self.fusion,
                    self.activation,
                    dtype=self.dtype_policy,
                    name=f"cell{cell}_node{i}",
                )
                node.build([available[j] for j in inputs])
                self.nodes.append(node)
                available.append((shapes[0][0], *size, self.channels))
            shapes = results

    def call(self, features: Features, training: bool | None = None) -> Features:
        maps = [features[name] for name in self.taken(features)]
        for layer in self.extra_levels:
            maps.append(layer(maps[-1], training=training))
        wiring = self.wiring
        for cell in range(self.num_cells):
            nodes = self.nodes[cell * len(wiring) : (cell + 1) * len(wiring)]

            def run(inputs: list[Tensor], nodes: Any = nodes) -> list[Tensor]:
                return self._cell(inputs, nodes, training)

            maps = rematerialized(run, nodes, maps) if self.remat and training else run(maps)
        return {f"P{level}": x for level, x in zip(self.levels, maps, strict=True)}

    def _cell(
        self, maps: list[Tensor], nodes: Sequence[BiFPNNode], training: bool | None
    ) -> list[Tensor]:
        """The maps after one cell, finest first."""
        maps, wiring = list(maps), self.wiring
        for node, (_, inputs) in zip(nodes, wiring, strict=True):
            maps.append(node([maps[j] for j in inputs], training=training))
        return self._outputs(maps, wiring)

    def _outputs(self, maps: list[Tensor], wiring: Wiring) -> list[Tensor]:
        """The last map of each level, finest first."""
        newest = dict(zip(self.levels, maps, strict=False))
        newest.update(zip([level for level, _ in wiring], maps[len(self.levels) :], strict=True))
        return [newest[level] for level in self.levels]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "num_cells": self.num_cells,
            "fusion": self.fusion,
            "activation": self.activation,
            "remat": self.remat,
        }
