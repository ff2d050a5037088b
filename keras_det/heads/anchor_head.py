"""The class and box heads: one small network shared over all pyramid levels."""

import math
from typing import Any

import keras
from keras import ops

from keras_det.errors import suggest
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.remat import rematerialized
from keras_det.names import HEAD_NORMS
from keras_det.types import Config, Features, Shape, Tensor

NORMS = (None, *HEAD_NORMS)
NUM_GROUPS = 32


def prior_bias(probability: float) -> float:
    """Returns the logit of a probability in (0, 1): -ln((1 - p) / p), RetinaNet section 4.1."""
    return -math.log((1.0 - probability) / probability)


class _AnchorHead(keras.layers.Layer):
    """Base class of the heads: repeated [convolution, normalisation, activation], a prediction.

    Subclasses define the kind of convolution in `_convolution`.
    """

    def __init__(
        self,
        outputs_per_anchor: int,
        num_anchors: int,
        channels: int,
        num_repeats: int,
        activation: str,
        prior_probability: float | None,
        norm: str | None,
        remat: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if norm not in NORMS:
            raise ValueError(
                f"`norm` must be one of {NORMS}. Received: {norm!r}.{suggest(norm, HEAD_NORMS)} "
                'Use None for RetinaNet as published, "group" where batches are small.'
            )
        self.outputs_per_anchor = outputs_per_anchor
        self.num_anchors = num_anchors
        self.channels = channels
        self.num_repeats = num_repeats
        self.activation = activation
        self.prior_probability = prior_probability
        self.norm = norm
        self.remat = remat

    def _convolution(self, filters: int, name: str, bias: float = 0.0) -> keras.layers.Layer:
        raise TypeError(
            f"A head must define `_convolution`. Received: {type(self).__name__} without it. Use "
            "SeparableHead or ConvHead, or define it in the subclass."
        )

    def _make_norms(self, i: int, input_shape: dict[str, Shape]) -> list[keras.layers.Layer]:
        """The normalisation after convolution i: one layer per level, one for all, or none."""
        policy = self.dtype_policy
        if self.norm == "batch":
            names = [f"norm_{i}_{level}" for level in self.level_names]
            layers = [BatchNorm(dtype=policy, name=name) for name in names]
        elif self.norm == "group":
            # Group statistics never mix levels, so all levels share one layer (scale and shift).
            groups = math.gcd(NUM_GROUPS, self.channels)
            layers = [
                keras.layers.GroupNormalization(
                    groups, epsilon=1e-5, dtype=policy, name=f"norm_{i}"
                )
            ]
        else:
            layers = []
        for layer, level in zip(layers, self.level_names, strict=False):
            layer.build((*input_shape[level][:-1], self.channels))
        return layers

    def build(self, input_shape: dict[str, Shape]) -> None:
        self.level_names = sorted(input_shape, key=lambda name: int(name[1:]))
        shape = input_shape[self.level_names[0]]
        self.convolutions, self.norms = [], []
        for i in range(self.num_repeats):
            convolution = self._convolution(self.channels, f"convolution_{i}")
            convolution.build(shape)
            self.convolutions.append(convolution)
            # One flat list: Keras saves lists of layers, not lists of lists.
            self.norms += self._make_norms(i, input_shape)
            shape = (*shape[:-1], self.channels)
        bias = 0.0 if self.prior_probability is None else prior_bias(self.prior_probability)
        self.prediction = self._convolution(
            self.num_anchors * self.outputs_per_anchor, "prediction", bias
        )
        self.prediction.build(shape)

    def _norm_of(self, i: int, level: int) -> keras.layers.Layer | None:
        """The normalisation after convolution i at the level with index `level`, if any."""
        if not self.norms:
            return None
        return self.norms[i if self.norm == "group" else i * len(self.level_names) + level]

    def call(self, features: Features, training: bool | None = None) -> Tensor:
        outputs = []
        for level, name in enumerate(self.level_names):

            def run(x: Tensor, level: int = level) -> Tensor:
                return self._outputs_of(x, level, training)

            x = features[name]
            if self.remat and training:
                norms = [self._norm_of(i, level) for i in range(self.num_repeats)]
                layers = [*self.convolutions, *filter(None, norms), self.prediction]
                x = rematerialized(run, layers, x)
            else:
                x = run(x)
            outputs.append(x)
        return ops.concatenate(outputs, axis=1)

    def _outputs_of(self, x: Tensor, level: int, training: bool | None) -> Tensor:
        """The outputs `(batch, anchors, outputs_per_anchor)` of one level."""
        activate = keras.activations.get(self.activation)
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            norm = self._norm_of(i, level)
            if norm is not None:
                x = norm(x, training=training)
            x = activate(x)
        x = self.prediction(x)
        _, height, width, channels = x.shape
        x = ops.reshape(x, (-1, height * width * self.num_anchors, channels // self.num_anchors))
        return ops.cast(x, "float32")

    def compute_output_spec(
        self, features: Features, training: bool | None = None
    ) -> keras.KerasTensor:
        shapes = [x.shape for x in features.values()]
        cells = sum(height * width for _, height, width, _ in shapes)
        shape = (shapes[0][0], cells * self.num_anchors, self.outputs_per_anchor)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "outputs_per_anchor": self.outputs_per_anchor,
            "num_anchors": self.num_anchors,
            "channels": self.channels,
            "num_repeats": self.num_repeats,
            "activation": self.activation,
            "prior_probability": self.prior_probability,
            "norm": self.norm,
            "remat": self.remat,
        }


@keras.saving.register_keras_serializable(package="keras_det")
class SeparableHead(_AnchorHead):
    """EfficientDet's head: separable convolutions shared over levels, batch norm per level.

    EfficientDet section 4 (https://arxiv.org/abs/1911.09070): `num_repeats` times [separable 3x3
    convolution with bias, shared; batch normalisation, one per repeat and level; activation], then
    a shared separable convolution that predicts `outputs_per_anchor` numbers for each anchor of a
    cell. Channels are anchor-major: channel = anchor * outputs_per_anchor + output.

    Args:
        outputs_per_anchor: int, the number of classes, or 4 for boxes.
        num_anchors: int, anchors per cell.
        channels: int, channels of the hidden convolutions.
        num_repeats: int, number of hidden convolutions.
        activation: name of a Keras activation.
        prior_probability: float in (0, 1) or None. The bias of the prediction starts at its logit,
            so that an untrained class head scores almost nothing as an object. None starts at 0
            (boxes).
        norm: "batch" (separate statistics per level), "group" (up to 32 groups) or None.
        remat: bool. True recomputes the towers in the backward pass, which saves memory.

    Call arguments:
        features: dict of maps `(batch, height, width, channels)`, finest level first.

    Returns:
        `(batch, anchors, outputs_per_anchor)` float32 under every policy; anchors in the canonical
        order level, row, column, anchor of the cell.
    """

    def __init__(
        self,
        outputs_per_anchor: int,
        num_anchors: int,
        channels: int,
        num_repeats: int,
        activation: str = "silu",
        prior_probability: float | None = None,
        norm: str | None = "batch",
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            outputs_per_anchor,
            num_anchors,
            channels,
            num_repeats,
            activation,
            prior_probability,
            norm,
            remat,
            **kwargs,
        )

    def _convolution(self, filters: int, name: str, bias: float = 0.0) -> keras.layers.Layer:
        # The original's initialiser: variance scaling, scale 1, fan in, truncated normal.
        def initializer() -> keras.initializers.Initializer:
            return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")

        return keras.layers.SeparableConv2D(
            filters,
            3,
            padding="same",
            depthwise_initializer=initializer(),
            pointwise_initializer=initializer(),
            bias_initializer=keras.initializers.Constant(bias),
            dtype=self.dtype_policy,
            name=name,
        )


@keras.saving.register_keras_serializable(package="keras_det")
class ConvHead(_AnchorHead):
    """RetinaNet's head: plain 3x3 convolutions shared over levels.

    RetinaNet section 4, "Classification Subnet" (https://arxiv.org/abs/1708.02002): four times [3x3
    convolution with bias; ReLU], then a 3x3 convolution that predicts `outputs_per_anchor` numbers
    for each anchor of a cell. Kernels start as normal(0, 0.01), biases at 0. Class and box head
    share nothing. Channels are anchor-major: channel = anchor * outputs_per_anchor + output.

    Args:
        outputs_per_anchor: int, the number of classes, or 4 for boxes.
        num_anchors: int, anchors per cell.
        channels: int, channels of the hidden convolutions.
        num_repeats: int, number of hidden convolutions.
        activation: name of a Keras activation.
        prior_probability: float in (0, 1) or None. The bias of the prediction starts at its logit,
            so that an untrained class head scores almost nothing as an object. None starts at 0
            (boxes).
        norm: between convolution and activation. None as published, "batch" (separate statistics
            per level, as in the Model Garden) or "group" (up to 32 groups, as in torchvision's v2).
        remat: bool. True recomputes the towers in the backward pass, which saves memory.

    Call arguments:
        features: dict of maps `(batch, height, width, channels)`, finest level first.

    Returns:
        `(batch, anchors, outputs_per_anchor)` float32 under every policy; anchors in the canonical
        order level, row, column, anchor of the cell.
    """

    def __init__(
        self,
        outputs_per_anchor: int,
        num_anchors: int,
        channels: int = 256,
        num_repeats: int = 4,
        activation: str = "relu",
        prior_probability: float | None = None,
        norm: str | None = None,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            outputs_per_anchor,
            num_anchors,
            channels,
            num_repeats,
            activation,
            prior_probability,
            norm,
            remat,
            **kwargs,
        )

    def _convolution(self, filters: int, name: str, bias: float = 0.0) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(bias),
            dtype=self.dtype_policy,
            name=name,
        )
