"""BiFPN: repeated, weighted, two-way fusion of a feature pyramid.

EfficientDet section 3 (https://arxiv.org/abs/1911.09070), figure 2 (d), as the original code builds
it: each node fuses its inputs, then activates, then convolves (depthwise-separable 3x3 with bias),
then normalises; there is no activation after the normalisation.
"""

import keras

from keras_det.errors import suggest
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.resample import ResampleToLevel
from keras_det.layers.weighted_fusion import WeightedFusion
from keras_det.necks.pyramid import PyramidNeck

FUSIONS = ("fast", "softmax", "sum")


@keras.saving.register_keras_serializable(package="keras_det")
class BiFPNNode(keras.layers.Layer):
    """One node: resample the inputs to its level, fuse, activate, convolve, normalise.

    Args:
        size: (height, width) of the node's level.
        channels: channels of the pyramid.
        fusion: "fast" or "softmax" (learnable weights, `WeightedFusion`) or "sum".
        activation: name of a Keras activation.

    Call arguments:
        inputs: list of feature maps of any level.

    Returns:
        Tensor `(batch, *size, channels)`.
    """

    def __init__(self, size, channels, fusion="fast", activation="silu", **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)
        self.channels = channels
        self.fusion = fusion
        self.activation = activation

    def build(self, input_shape):
        policy = self.dtype_policy
        fused = (input_shape[0][0], *self.size, self.channels)
        self.resample = []
        for i, shape in enumerate(input_shape):
            layer = ResampleToLevel(self.size, self.channels, dtype=policy, name=f"resample_{i}")
            layer.build(shape)
            self.resample.append(layer)
        self.blend = None
        if self.fusion != "sum":
            self.blend = WeightedFusion(method=self.fusion, dtype=policy, name="fusion")
            self.blend.build([fused] * len(input_shape))
        self.convolution = keras.layers.SeparableConv2D(
            self.channels, 3, padding="same", dtype=policy, name="convolution"
        )
        self.convolution.build(fused)
        self.norm = BatchNorm(dtype=policy, name="norm")
        self.norm.build(fused)

    def call(self, inputs, training=None):
        maps = [layer(x, training=training) for layer, x in zip(self.resample, inputs, strict=True)]
        x = self.blend(maps) if self.blend is not None else sum(maps[1:], maps[0])
        x = keras.activations.get(self.activation)(x)
        return self.norm(self.convolution(x), training=training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], *self.size, self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "channels": self.channels,
            "fusion": self.fusion,
            "activation": self.activation,
        }


def bifpn_wiring(levels) -> list[tuple[int, list[int]]]:
    """Which feature feeds which node of one BiFPN cell, in the order the original numbers them.

    Args:
        levels: pyramid levels, finest first, e.g. `(3, 4, 5, 6, 7)`.

    Returns:
        list of `(level, inputs)`, one per node; an input is an index into the list that starts with
        the cell's own inputs (one per level) and grows by each node. First the way down (same
        level, then from above), then the way up (input, way down, from below); the top level has
        no way down and takes two inputs.
    """
    newest = {level: i for i, level in enumerate(levels)}
    nodes = []
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
    """Extends a backbone's pyramid to the wanted levels and fuses it `num_cells` times.

    The first extra level is a 1x1 convolution with batch normalisation on the backbone's last
    level, then 3x3 max-pooling with stride 2; further levels are pooled from it.

    Args:
        channels: channels of every level.
        num_cells: how often the cell is repeated. Default: as in D0.
        fusion: "fast": fast normalised fusion with learnable ReLU weights; "softmax": learnable
            weights through a softmax (the paper's other equation); "sum": plain sum, as the
            published D6, D7, D7x and Lite models have it.
        activation: name of a Keras activation, "silu" (D) or "relu6" (Lite).
        min_level: finest level of the result.
        max_level: coarsest level of the result.

    Call arguments:
        features: dict "P3" … "P5" (at least `min_level`, further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.
    """

    def __init__(
        self,
        channels,
        num_cells=3,
        fusion="fast",
        activation="silu",
        min_level=3,
        max_level=7,
        **kwargs,
    ):
        super().__init__(channels, min_level, max_level, **kwargs)
        if fusion not in FUSIONS:
            raise ValueError(
                f"`fusion` must be one of {FUSIONS}. Received: {fusion!r}."
                f'{suggest(fusion, FUSIONS)} "fast" is EfficientDet\'s default.'
            )
        if min_level == max_level:
            raise ValueError(
                f"BiFPN fuses levels: `max_level` must be above `min_level`. Received: {min_level} "
                'for both. Use neck="fpn" for a single level.'
            )
        self.num_cells = num_cells
        self.fusion = fusion
        self.activation = activation

    @property
    def wiring(self):
        """The nodes of one cell and what feeds them: `bifpn_wiring` of the levels."""
        return bifpn_wiring(self.levels)

    def build(self, input_shape):
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

    def call(self, features, training=None):
        maps = [features[name] for name in self.taken(features)]
        for layer in self.extra_levels:
            maps.append(layer(maps[-1], training=training))
        wiring, nodes = self.wiring, iter(self.nodes)
        for _ in range(self.num_cells):
            for _, inputs in wiring:
                maps.append(next(nodes)([maps[j] for j in inputs], training=training))
            maps = self._outputs(maps, wiring)
        return {f"P{level}": x for level, x in zip(self.levels, maps, strict=True)}

    def _outputs(self, maps, wiring):
        """The last map of each level, finest first."""
        newest = dict(zip(self.levels, maps, strict=False))
        newest.update(zip([level for level, _ in wiring], maps[len(self.levels) :], strict=True))
        return [newest[level] for level in self.levels]

    def get_config(self):
        return {
            **super().get_config(),
            "num_cells": self.num_cells,
            "fusion": self.fusion,
            "activation": self.activation,
        }
