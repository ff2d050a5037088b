"""Rounding to 8 bits in floats, so that a network can learn to live with it.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference (https://arxiv.org/abs/1712.05877), section 3; gradients pass the rounding as if it were
not there (the straight-through estimator, https://arxiv.org/abs/1308.3432).
"""

import keras
from keras import ops

# int8: kernels use -127 … 127, so that 0 is in the middle; activations all 256 values.
KERNEL_STEPS, ACTIVATION_STEPS = 127.0, 255.0
TINY = 1e-9


def _straight_through(x, rounded):
    return x + ops.stop_gradient(rounded - x)


def fake_quantized_kernel(kernel, axis):
    """A kernel rounded to int8 with one symmetric scale per output channel.

        scale = max |w| / 127,    out = scale * round(w / scale)

    A batch normalisation behind the convolution multiplies whole channels, so rounding the kernel
    before or after folding it is the same.

    Args:
        kernel: tensor.
        axis: int or tuple: the axes of the output channels.

    Returns:
        Tensor like `kernel`; its gradient is that of `kernel`.
    """
    channels = {axis % 4} if isinstance(axis, int) else {each % 4 for each in axis}
    others = [i for i in range(len(kernel.shape)) if i not in channels]
    largest = ops.max(ops.abs(kernel), axis=others, keepdims=True)
    scale = ops.stop_gradient(ops.maximum(largest / KERNEL_STEPS, TINY))
    return _straight_through(kernel, ops.round(kernel / scale) * scale)


@keras.saving.register_keras_serializable(package="keras_det")
class FakeQuantize(keras.layers.Layer):
    """Rounds activations to int8 with one asymmetric scale for the whole tensor.

    In training it follows the smallest and the largest number of each batch with moving averages,
    free of the bias of their start (Adam's correction); 0 is always inside and exact:

        scale = (high - low) / 255,    zero = round(-low / scale)
        out = scale * (clip(round(x / scale) + zero, 0, 255) - zero)

    Before the first training step it passes numbers on as they are. The gradient is 1 inside the
    range and 0 outside.

    Args:
        momentum: float in 0..1, of the moving averages.

    Call arguments:
        inputs: tensor of any shape.
        training: bool. Whether the range follows this batch.

    Returns:
        Tensor like `inputs`.
    """

    def __init__(self, momentum=0.98, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum

    def build(self, input_shape):
        def add(name):
            return self.add_weight(
                name=name,
                shape=(),
                initializer="zeros",
                trainable=False,
                dtype="float32",
                autocast=False,
            )

        # Sums that are divided by what their weights add up to.
        self.low_sum, self.high_sum, self.weight = add("low"), add("high"), add("weight")

    def range(self):
        """(low, high), scalars; 0 and 0 before training."""
        total = ops.maximum(self.weight, TINY)
        return self.low_sum / total, self.high_sum / total

    def call(self, inputs, training=None):
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

    def _follow(self, inputs):
        x = ops.cast(ops.stop_gradient(inputs), "float32")
        news = (ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0), 1.0)
        for total, new in zip((self.low_sum, self.high_sum, self.weight), news, strict=True):
            total.assign(total * self.momentum + new * (1.0 - self.momentum))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
