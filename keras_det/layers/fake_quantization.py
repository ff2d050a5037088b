"""Fake quantisation: float values rounded to the int8 grid, for quantisation-aware training.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference (https://arxiv.org/abs/1712.05877), section 3. The gradient ignores the rounding (the
straight-through estimator, https://arxiv.org/abs/1308.3432).
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_det.types import Config, Shape, Tensor

# int8: kernels use -127 … 127, symmetric around 0; activations use all 256 values.
KERNEL_STEPS, ACTIVATION_STEPS = 127.0, 255.0
TINY = 1e-9


def _straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    return x + ops.stop_gradient(rounded - x)


def fake_quantized_kernel(kernel: Tensor, axis: int | Sequence[int]) -> Tensor:
    """Rounds a kernel to int8 with one symmetric scale per output channel.

        scale = max |w| / 127,    out = scale * round(w / scale)

    A batch normalisation after the convolution multiplies whole channels. The kernel may therefore
    be rounded before or after it is folded in: the result is the same.

    Args:
        kernel: tensor `(height, width, channels, channels)`.
        axis: int or ints, the axes of the output channels; negative ones count from the end.

    Returns:
        Tensor like `kernel`. Its gradient passes to `kernel` unchanged.
    """
    channels = {axis % 4} if isinstance(axis, int) else {each % 4 for each in axis}
    others = [i for i in range(len(kernel.shape)) if i not in channels]
    largest = ops.max(ops.abs(kernel), axis=others, keepdims=True)
    scale = ops.stop_gradient(ops.maximum(largest / KERNEL_STEPS, TINY))
    return _straight_through(kernel, ops.round(kernel / scale) * scale)


@keras.saving.register_keras_serializable(package="keras_det")
class FakeQuantize(keras.layers.Layer):
    """Rounds activations to int8 with one asymmetric scale for the whole tensor.

    In training, moving averages follow the smallest and the largest value of each batch, corrected
    for the bias of their start as in Adam. The range always contains 0, which stays exact:

        scale = (high - low) / 255,    zero = round(-low / scale)
        out = scale * (clip(round(x / scale) + zero, 0, 255) - zero)

    Before the first training step the layer returns its inputs unchanged. The gradient is 1 inside
    the range and 0 outside.

    Args:
        momentum: float in 0..1. Share of the moving averages that is kept at each step.

    Call arguments:
        inputs: tensor of any shape.
        training: bool. True updates the range with this batch.

    Returns:
        Tensor like `inputs`.
    """

    def __init__(self, momentum: float = 0.98, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum

    def build(self, input_shape: Shape) -> None:
        def add(name: str) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(),
                initializer="zeros",
                trainable=False,
                dtype="float32",
                autocast=False,
            )

        # Weighted sums, and the sum of the weights that divides them.
        self.low_sum, self.high_sum, self.weight = add("low"), add("high"), add("weight")

    def range(self) -> tuple[Tensor, Tensor]:
        """Returns the scalars (low, high) in activation units; both are 0 before training."""
        total = ops.maximum(self.weight, TINY)
        return self.low_sum / total, self.high_sum / total

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if training:
            self._follow(inputs)
        x = ops.cast(inputs, "float32")
        low, high = self.range()
        scale = ops.maximum((high - low) / ACTIVATION_STEPS, TINY)
        zero = ops.round(-low / scale)
        bottom, top = -zero * scale, (ACTIVATION_STEPS - zero) * scale
        inside = ops.clip(x, bottom, top)
        rounded = _straight_through(inside, ops.round(inside / scale) * scale)
        seen = ops.cast(self.weight > 0, "float32")
        return ops.cast(seen * rounded + (1.0 - seen) * x, inputs.dtype)

    def _follow(self, inputs: Tensor) -> None:
        """Updates the moving averages of the range."""
        x = ops.cast(ops.stop_gradient(inputs), "float32")
        news = (ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0), 1.0)
        for total, new in zip((self.low_sum, self.high_sum, self.weight), news, strict=True):
            total.assign(total * self.momentum + new * (1.0 - self.momentum))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        return {**super().get_config(), "momentum": self.momentum}
