"""The class and box heads: one small network shared over all pyramid levels."""

import math

import keras
from keras import ops

from keras_det.layers.batch_norm import BatchNorm


def prior_bias(probability: float) -> float:
    """The logit of `probability`: -ln((1 - p) / p), RetinaNet section 4.1."""
    return -math.log((1.0 - probability) / probability)


@keras.saving.register_keras_serializable(package="keras_det")
class SeparableHead(keras.layers.Layer):
    """EfficientDet's head: separable convolutions shared over levels, batch norm per level.

    EfficientDet section 4 (https://arxiv.org/abs/1911.09070): `num_repeats` times [separable 3x3
    convolution with bias, shared; batch normalisation, one per repeat and level; activation], then
    a shared separable convolution that predicts `outputs_per_anchor` numbers for each anchor of a
    cell. Channels are anchor-major: channel = anchor * outputs_per_anchor + output.

    Args:
        outputs_per_anchor: number of classes, or 4 for boxes.
        num_anchors: anchors per cell.
        channels: channels of the pyramid and of the hidden convolutions.
        num_repeats: hidden convolutions.
        activation: name of a Keras activation.
        prior_probability: float in (0, 1) or None. The last bias starts at its logit, so that an
            untrained class head calls almost nothing an object; None starts at 0 (boxes).

    Call arguments:
        features: dict of maps `(batch, height, width, channels)`, finest level first.

    Returns:
        `(batch, anchors, outputs_per_anchor)` float32 under every policy; anchors in the canonical
        order level, row, column, anchor of the cell.
    """

    def __init__(
        self,
        outputs_per_anchor,
        num_anchors,
        channels,
        num_repeats,
        activation="silu",
        prior_probability=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.outputs_per_anchor = outputs_per_anchor
        self.num_anchors = num_anchors
        self.channels = channels
        self.num_repeats = num_repeats
        self.activation = activation
        self.prior_probability = prior_probability

    def _separable(self, filters, name, bias=0.0):
        # The original's initialiser: variance scaling, scale 1, fan in, truncated normal.
        def initializer():
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

    def build(self, input_shape):
        self.level_names = sorted(input_shape, key=lambda name: int(name[1:]))
        shape = input_shape[self.level_names[0]]
        self.convolutions, self.norms = [], []
        for i in range(self.num_repeats):
            convolution = self._separable(self.channels, f"convolution_{i}")
            convolution.build(shape)
            self.convolutions.append(convolution)
            for name in self.level_names:
                # One flat list: Keras saves lists of layers, not lists of lists.
                norm = BatchNorm(dtype=self.dtype_policy, name=f"norm_{i}_{name}")
                norm.build((*input_shape[name][:-1], self.channels))
                self.norms.append(norm)
            shape = (*shape[:-1], self.channels)
        bias = 0.0 if self.prior_probability is None else prior_bias(self.prior_probability)
        self.prediction = self._separable(
            self.num_anchors * self.outputs_per_anchor, "prediction", bias
        )
        self.prediction.build(shape)

    def call(self, features, training=None):
        activate = keras.activations.get(self.activation)
        outputs = []
        for level, name in enumerate(self.level_names):
            x = features[name]
            for i, convolution in enumerate(self.convolutions):
                norm = self.norms[i * len(self.level_names) + level]
                x = activate(norm(convolution(x), training=training))
            x = self.prediction(x)
            _, height, width, channels = x.shape
            anchors = height * width * self.num_anchors
            x = ops.reshape(x, (-1, anchors, channels // self.num_anchors))
            outputs.append(ops.cast(x, "float32"))
        return ops.concatenate(outputs, axis=1)

    def compute_output_spec(self, features, training=None):
        shapes = [x.shape for x in features.values()]
        cells = sum(height * width for _, height, width, _ in shapes)
        shape = (shapes[0][0], cells * self.num_anchors, self.outputs_per_anchor)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        return {
            **super().get_config(),
            "outputs_per_anchor": self.outputs_per_anchor,
            "num_anchors": self.num_anchors,
            "channels": self.channels,
            "num_repeats": self.num_repeats,
            "activation": self.activation,
            "prior_probability": self.prior_probability,
        }
