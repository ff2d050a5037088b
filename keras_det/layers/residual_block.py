"""The convolution and the residual block that hourglass networks are made of."""

from typing import Any

import keras

from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.remat import rematerialized
from keras_det.types import Config, DType, Shape, Tensor

ACTIVATIONS = ("relu", None)


def torch_initializer() -> keras.initializers.Initializer:
    """torch's default for convolutions: uniform within 1 / sqrt(fan in) (kaiming, a = sqrt(5))."""
    return keras.initializers.VarianceScaling(1.0 / 3.0, "fan_in", "uniform")


def norm_as_in_torch(dtype: DType, name: str) -> BatchNorm:
    """Batch normalisation with torch's defaults: epsilon 1e-5, momentum 0.9 (torch's 0.1)."""
    return BatchNorm(momentum=0.9, epsilon=1e-5, dtype=dtype, name=name)


def strided_shape(input_shape: Shape, strides: int, filters: int) -> Shape:
    """The shape after a convolution that pads: each side divided by `strides`, rounded up."""
    sides = (None if side is None else -(-side // strides) for side in input_shape[1:3])
    return (input_shape[0], *sides, filters)


@keras.saving.register_keras_serializable(package="keras_det")
class ConvNormReLU(keras.layers.Layer):
    """A convolution without bias, batch normalisation, ReLU (`convolution` of the original).

    Pads as torch does: kernel // 2 zeros on each side, so a stride of 2 gives ceil(size / 2) cells.

    Args:
        filters: int, channels of the output.
        kernel_size: odd int.
        strides: int >= 1.
        activation: "relu" or None.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), filters)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        activation: str | None = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {ACTIVATIONS}. Received: {activation!r}. For another "
                "activation, give None and add a keras.layers.Activation after the layer."
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        pad = self.kernel_size // 2 if self.strides > 1 else 0
        self.padding: keras.layers.ZeroPadding2D | None = None
        if pad:
            self.padding = keras.layers.ZeroPadding2D(pad, dtype=self.dtype_policy)
            input_shape = self.padding.compute_output_shape(input_shape)
        self.convolution = keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            self.strides,
            padding="valid" if pad else "same",
            use_bias=False,
            kernel_initializer=torch_initializer(),
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.convolution.build(input_shape)
        self.norm = norm_as_in_torch(self.dtype_policy, "norm")
        self.norm.build((None, None, None, self.filters))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = inputs if self.padding is None else self.padding(inputs)
        x = self.norm(self.convolution(x), training=training)
        return keras.ops.relu(x) if self.activation == "relu" else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return strided_shape(input_shape, self.strides, self.filters)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": self.activation,
        }


@keras.saving.register_keras_serializable(package="keras_det")
class ResidualBlock(keras.layers.Layer):
    """Computes relu(x + F(x)), where F is two 3x3 convolutions with batch normalisation.

    Deep residual learning, figure 5 left (https://arxiv.org/abs/1512.03385). It is the building
    block of CornerNet's hourglass. Where size or channels change, x passes through a 1x1
    convolution and batch normalisation first.

    Args:
        filters: int, channels of the output.
        strides: int >= 1, of the first convolution and of the shortcut.
        remat: bool. True recomputes the block in the backward pass, which saves memory.

    Call arguments:
        inputs: `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), filters)`.
    """

    def __init__(self, filters: int, strides: int = 1, remat: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.remat = remat

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.first = ConvNormReLU(self.filters, 3, self.strides, dtype=policy, name="first")
        self.second = ConvNormReLU(self.filters, activation=None, dtype=policy, name="second")
        self.first.build(input_shape)
        self.second.build(self.first.compute_output_shape(input_shape))
        self.shortcut: ConvNormReLU | None = None
        if self.strides > 1 or input_shape[-1] != self.filters:
            self.shortcut = ConvNormReLU(
                self.filters, 1, self.strides, activation=None, dtype=policy, name="shortcut"
            )
            self.shortcut.build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        def run(x: Tensor) -> Tensor:
            shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
            x = self.second(self.first(x, training=training), training=training)
            return keras.ops.relu(x + shortcut)

        if self.remat and training:
            return rematerialized(run, [self], inputs)
        return run(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return strided_shape(input_shape, self.strides, self.filters)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "remat": self.remat,
        }
