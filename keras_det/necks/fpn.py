"""FPN: a top-down path that brings the features of coarse levels to the fine levels."""

from typing import Any

import keras
from keras import ops

from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.resample import nearest_upsample
from keras_det.necks.pyramid import (
    PyramidNeck,
    check_padding,
    convolution,
    halve,
    strided_convolution,
)
from keras_det.types import Config, Features, Shape, Tensor

EXTRAS = ("c5", "p5")


@keras.saving.register_keras_serializable(package="keras_det")
class FPN(PyramidNeck):
    """Feature pyramid network with the extra levels of RetinaNet.

    Section 3 (https://arxiv.org/abs/1612.03144), with the backbone's levels C_l, the last one C_L:

        M_L = conv1x1(C_L)        M_l = conv1x1(C_l) + nearest_upsample(M_{l+1})
        P_l = conv3x3(M_l)

    RetinaNet section 4 (https://arxiv.org/abs/1708.02002): P_{L+1} is a 3x3 convolution with stride
    2 on C_L, further levels are P_{l+1} = conv3x3 stride 2 (relu(P_l)). All convolutions have
    biases, and there are no other activations. Upsampling repeats row floor(i * in / out), so any
    image size fits. Kernels start uniform with variance 1 / fan_in, as in torchvision.

    Args:
        channels: int, channels of every level.
        min_level: int, finest level of the result; the backbone must have it.
        max_level: int, coarsest level of the result. Where the backbone has coarser ones, the
            top-down path starts at `max_level` and they are not used.
        extra: the source of the first extra level. "c5": the backbone's last level (RetinaNet's
            paper). "p5": the neck's (torchvision, TensorFlow Model Garden).
        norm: bool. True normalises every level of the result with batch normalisation (Model
            Garden). Extra levels are made from the maps before it.
        padding: of the convolutions with stride 2. "symmetric": one zero pixel on each side
            (torch). "same": TensorFlow's, where even sides are padded at the end only.

    Call arguments:
        features: dict "P3" … "P5" (at least `min_level`, further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.

    Attributes (after build; finest level first):
        laterals, outputs: 1x1 and 3x3 convolutions, one per level taken from the backbone.
        extra_convolutions: 3x3 convolutions with stride 2, one per extra level.
        norms: one `BatchNorm` per level of the result, or empty.
    """

    def __init__(
        self,
        channels: int = 256,
        min_level: int = 3,
        max_level: int = 7,
        extra: str = "c5",
        norm: bool = False,
        padding: str = "symmetric",
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, min_level, max_level, **kwargs)
        if extra not in EXTRAS:
            raise ValueError(
                f"`extra` must be one of {EXTRAS}. Received: {extra!r}. The first extra level is "
                'made from the backbone\'s last level with "c5", from the neck\'s with "p5".'
            )
        check_padding(padding)
        self.extra = extra
        self.norm = norm
        self.padding = padding

    def build(self, input_shape: dict[str, Shape]) -> None:
        shapes = self.input_shapes(input_shape)
        results = self.output_shapes(input_shape)
        self.laterals, self.outputs, self.extra_convolutions, self.norms = [], [], [], []
        for level, shape, result in zip(self.levels, shapes, results, strict=False):
            self.laterals.append(convolution(self, shape, 1, f"lateral_p{level}"))
            self.outputs.append(convolution(self, result, 3, f"output_p{level}"))
        for i in range(len(shapes), len(results)):
            first = i == len(shapes) and self.extra == "c5"
            source = shapes[-1] if first else results[i - 1]
            name = f"extra_p{self.levels[i]}"
            self.extra_convolutions.append(strided_convolution(self, source, self.padding, name))
        for level, result in zip(self.levels, results, strict=True) if self.norm else ():
            norm = BatchNorm(dtype=self.dtype_policy, name=f"norm_p{level}")
            norm.build(result)
            self.norms.append(norm)

    def call(self, features: Features, training: bool | None = None) -> Features:
        maps = [features[name] for name in self.taken(features)]
        pyramid = self._top_down(maps)
        source = maps[-1] if self.extra == "c5" else pyramid[-1]
        for i, layer in enumerate(self.extra_convolutions):
            pyramid.append(halve(layer, source if i == 0 else ops.relu(pyramid[-1])))
        if self.norms:
            pairs = zip(self.norms, pyramid, strict=True)
            pyramid = [norm(x, training=training) for norm, x in pairs]
        return {f"P{level}": x for level, x in zip(self.levels, pyramid, strict=True)}

    def _top_down(self, maps: list[Tensor]) -> list[Tensor]:
        """The levels of the result that the backbone has too, finest first."""
        merged = [layer(x) for layer, x in zip(self.laterals, maps, strict=True)]
        for i in reversed(range(len(merged) - 1)):
            merged[i] = merged[i] + nearest_upsample(merged[i + 1], merged[i].shape[1:3])
        return [layer(x) for layer, x in zip(self.outputs, merged, strict=True)]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "extra": self.extra,
            "norm": self.norm,
            "padding": self.padding,
        }
