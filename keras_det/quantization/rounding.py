"""Makes the layers of a network round their numbers like its int8 export."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_det.keras_private import all_layers, replace_call
from keras_det.layers.batch_norm import BatchNorm
from keras_det.layers.fake_quantization import FakeQuantize, fake_quantized_kernel
from keras_det.layers.resample import ResampleToLevel
from keras_det.types import Tensor

# Layers that add up their inputs. Each input is a tensor of its own in the exported file.
SUMS = (keras.layers.Add,)


def add_rounding(model: keras.Model) -> list[FakeQuantize]:
    """Changes a model in place so that it rounds its numbers to 8 bits.

    Args:
        model: a built model for images of one size. Its batch normalisation is frozen; its
            convolutions and sums are changed in place.

    Returns:
        The layers that round, in the order of the network.
    """
    roundings = _Roundings()
    for layer in all_layers(model):
        if isinstance(layer, BatchNorm):
            layer.trainable = False
        elif isinstance(layer, keras.layers.SeparableConv2D):
            replace_call(layer, _separable(layer, roundings))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            replace_call(layer, _depthwise(layer, roundings))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.convolution_op = _convolution(layer, roundings)
        elif isinstance(layer, SUMS):
            replace_call(layer, _summed(layer, roundings))
        elif isinstance(layer, ResampleToLevel):
            replace_call(layer, _rounded_output(layer, roundings))
    # One pass through the network creates the range of every place where numbers are rounded.
    model(np.zeros((1, *model.input_shape[1:]), "float32"), training=False)
    roundings.complete = True
    return roundings.layers


class _Roundings:
    """The `FakeQuantize` of each place, created when a tensor first reaches it.

    A place is a layer, one of its tensors, and the size of that tensor. The size matters because a
    shared head sees each level at another size, and the exported file has a tensor for each.
    """

    def __init__(self) -> None:
        self.layers: list[FakeQuantize] = []
        self.places: dict[tuple, FakeQuantize] = {}
        self.complete = False

    def __call__(self, layer: keras.Layer, which: str | int, x: Tensor) -> Tensor:
        place = (id(layer), which, tuple(x.shape[1:3]))
        if place not in self.places:
            if self.complete:
                raise ValueError(
                    "A model of keras_det.models.quantize_aware must be called with images of its "
                    f"own size. Received: a feature map of shape {tuple(x.shape)} in {layer.path}. "
                    "Resize the images, or change the model's size with model.with_image_size(…)."
                )
            rounding = FakeQuantize(name=f"rounding_{len(self.layers)}")
            rounding.build(x.shape)
            self.places[place] = rounding
            self.layers.append(rounding)
        return self.places[place](x)


def _convolution(layer: keras.Layer, roundings: _Roundings) -> Callable[..., Tensor]:
    convolve = layer.convolution_op

    def rounded(inputs: Tensor, kernel: Tensor) -> Tensor:
        kernel = ops.cast(fake_quantized_kernel(kernel, -1), kernel.dtype)
        return convolve(roundings(layer, "input", inputs), kernel)

    return rounded


def _depthwise(layer: keras.Layer, roundings: _Roundings) -> Callable[..., Tensor]:
    def call(inputs: Tensor) -> Tensor:
        x = roundings(layer, "input", inputs)
        x = _depthwise_convolution(layer, x, layer.kernel)
        return _finished(layer, x)

    return call


def _separable(layer: keras.Layer, roundings: _Roundings) -> Callable[..., Tensor]:
    def call(inputs: Tensor) -> Tensor:
        x = roundings(layer, "input", inputs)
        x = _depthwise_convolution(layer, x, layer.depthwise_kernel)
        x = roundings(layer, "between", x)
        kernel = fake_quantized_kernel(layer.pointwise_kernel, -1)
        x = ops.conv(x, ops.cast(kernel, x.dtype), data_format="channels_last")
        x = _finished(layer, x)
        return roundings(layer, "output", x) if layer.name == "prediction" else x

    return call


def _depthwise_convolution(layer: keras.Layer, x: Tensor, kernel: Tensor) -> Tensor:
    kernel = fake_quantized_kernel(kernel, (-2, -1))
    return ops.depthwise_conv(
        x,
        ops.cast(kernel, x.dtype),
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format="channels_last",
    )


def _finished(layer: keras.Layer, x: Tensor) -> Tensor:
    """Adds the bias and applies the activation."""
    if layer.use_bias:
        x = x + ops.cast(layer.bias, x.dtype)
    return x if layer.activation is None else layer.activation(x)


def _summed(layer: keras.Layer, roundings: _Roundings) -> Callable[..., Tensor]:
    add = layer.call

    def call(inputs: list[Tensor]) -> Tensor:
        return add([roundings(layer, i, x) for i, x in enumerate(inputs)])

    return call


def _rounded_output(layer: keras.Layer, roundings: _Roundings) -> Callable[..., Tensor]:
    resample = layer.call

    def call(inputs: list[Tensor], training: bool | None = None) -> Tensor:
        return roundings(layer, "output", resample(inputs, training=training))

    return call
