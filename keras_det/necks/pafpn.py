"""PAFPN, PANet's neck: an FPN followed by a bottom-up path."""

from typing import Any

import keras
from keras import ops

from keras_det.necks.fpn import FPN
from keras_det.necks.pyramid import PyramidNeck, convolution, halve, strided_convolution
from keras_det.types import Config, Features, Shape


@keras.saving.register_keras_serializable(package="keras_det")
class PAFPN(PyramidNeck):
    """Path aggregation: brings fine features to the coarse levels over a few convolutions.

    Section 3.1 (https://arxiv.org/abs/1803.01534), with the levels P_l of an FPN, the finest first:

        N_l = P_l        N_{l+1} = relu(conv3x3(relu(conv3x3 stride 2 (N_l)) + P_{l+1}))

    The paper has a ReLU after every convolution of this path. The authors' code has it too, after
    group normalisation, which is left out here; mmdetection's PAFPN has no ReLU. The paper ends at
    P5. Here the path runs through all levels of the FPN, as EfficientDet draws PANet.

    Args:
        channels: int, channels of every level.
        min_level: int, finest level of the result.
        max_level: int, coarsest level of the result.
        extra: "c5" or "p5", the source of the FPN's first extra level.
        padding: of the convolutions with stride 2, "symmetric" or "same", see `FPN`.

    Call arguments:
        features: dict "P3" … "P5" (at least `min_level`, further levels contiguous) of maps
            `(batch, height, width, channels)` with static sizes, each half the one before it,
            rounded up.

    Returns:
        dict "P<min_level>" … "P<max_level>" of maps with `channels` channels.
    """

    def __init__(
        self,
        channels: int = 256,
        min_level: int = 3,
        max_level: int = 7,
        extra: str = "c5",
        padding: str = "symmetric",
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, min_level, max_level, **kwargs)
        self.extra = extra
        self.padding = padding
        self.fpn = FPN(
            channels,
            min_level,
            max_level,
            extra=extra,
            padding=padding,
            dtype=self.dtype_policy,
            name="fpn",
        )

    def build(self, input_shape: dict[str, Shape]) -> None:
        self.check_halving(input_shape)
        self.fpn.build(input_shape)
        shapes = self.output_shapes(input_shape)
        self.downsamples, self.outputs = [], []
        for level, finer, shape in zip(self.levels[1:], shapes, shapes[1:], strict=False):
            name = f"downsample_p{level}"
            self.downsamples.append(strided_convolution(self, finer, self.padding, name))
            self.outputs.append(convolution(self, shape, 3, f"output_p{level}"))

    def call(self, features: Features, training: bool | None = None) -> Features:
        finest, *coarser = self.fpn(features, training=training).values()
        pyramid = [finest]
        for x, down, output in zip(coarser, self.downsamples, self.outputs, strict=True):
            pyramid.append(ops.relu(output(ops.relu(halve(down, pyramid[-1])) + x)))
        return {f"P{level}": x for level, x in zip(self.levels, pyramid, strict=True)}

    def get_config(self) -> Config:
        return {**super().get_config(), "extra": self.extra, "padding": self.padding}
