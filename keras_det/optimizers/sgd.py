"""SGD for detectors, as used to train the original EfficientDet."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.keras_private import decays, momentum_slot
from keras_det.optimizers.kernel_decay import KernelDecay
from keras_det.types import TFTensor


@keras.saving.register_keras_serializable(package="keras_det")
class SGD(KernelDecay, keras.optimizers.SGD):
    """Keras' SGD with the weight decay and the clipping of the original EfficientDet.

    Weight decay acts on kernels only. Three steps are added, each off by default:

        g_i = gradient_i + kernel_l2 * w_i                      for kernels
        g_i = g_i * min(1, tensor_clipnorm / |g_i|)             each tensor by itself
        g   = g * min(1, global_clipnorm / |g|)                 all together

    Then follows Keras' step, velocity = momentum * velocity - rate * g. The first line is the slope
    of `kernel_l2 / 2 * (sum of squares of all kernels)`. The original adds this term to its loss;
    here it is part of the step only, and the logged losses do not contain it. Keras' `weight_decay`
    is different: it acts on the weights directly, without momentum and clipping. At momentum 0.9 it
    decays ten times less for the same rate.

    In the original each fusion weight is a scalar tensor of its own. Here they are vectors, so each
    element of them is clipped by itself.

    Args:
        *args: those of `keras.optimizers.SGD`.
        kernel_l2: float >= 0. Decay of kernels, not of biases, normalisation and fusion weights.
        tensor_clipnorm: float > 0 or None. Largest norm of the gradient of one tensor. Keras'
            `clipnorm` cannot be combined with `global_clipnorm`; this argument can, and is applied
            first.
        ema_warmup: bool. With `use_ema`, the decay at step t = 0, 1 … is
            `min(ema_momentum, (1 + t) / (10 + t))`. So an average over thousands of steps soon
            forgets the initial weights. As in Keras the first step copies the weights. The original
            keeps 0.1 of the weights before that step; a ten-millionth of them is left after 20
            steps.
        **kwargs: those of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        *args: Any,
        kernel_l2: float = 0.0,
        tensor_clipnorm: float | None = None,
        ema_warmup: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not kernel_l2 >= 0:
            raise ValueError(
                f"`kernel_l2` must be 0 or more. Received: kernel_l2={kernel_l2!r}. EfficientDet "
                "was trained with 4e-5."
            )
        if tensor_clipnorm is not None and not tensor_clipnorm > 0:
            raise ValueError(
                "`tensor_clipnorm` must be above 0, or None for no limit. Received: "
                f"tensor_clipnorm={tensor_clipnorm!r}. EfficientDet was trained with 10."
            )
        if tensor_clipnorm is not None and (self.clipnorm or self.clipvalue):
            raise ValueError(
                "`tensor_clipnorm` can be combined with `global_clipnorm` only. Received: "
                f"clipnorm={self.clipnorm!r}, clipvalue={self.clipvalue!r}. Leave them out."
            )
        self.kernel_l2 = kernel_l2
        self.tensor_clipnorm = tensor_clipnorm
        self.ema_warmup = ema_warmup

    def clipped(self, gradients: list, variables: list) -> list:
        grads, limit = list(gradients), self.tensor_clipnorm
        if self.kernel_l2:
            for i, variable in enumerate(variables):
                if decays(self, variable):
                    grads[i] = grads[i] + self.kernel_l2 * variable.value
        if limit is None:
            return super().clipped(grads, variables)
        limits = np.full(len(grads), limit, "float32")
        for i, variable in enumerate(variables):
            if variable.name == "fusion_weights":
                grads[i] = ops.clip(grads[i], -limit, limit)
                limits[i] *= variable.shape[0] ** 0.5  # the largest norm left after this clipping
        # Both limits use the same norm of each tensor.
        norms = ops.sqrt(ops.stack([ops.sum(ops.square(g)) for g in grads]))
        factors = limits / ops.maximum(norms, limits)
        if self.global_clipnorm:
            norm = ops.sqrt(ops.sum(ops.square(norms * factors)))
            factors = factors * (self.global_clipnorm / ops.maximum(norm, self.global_clipnorm))
        return [g * f for g, f in zip(grads, ops.unstack(factors), strict=True)]

    def average_decay(self) -> Any:
        if not self.ema_warmup:
            return super().average_decay()
        step = ops.cast(self.iterations, "float32")
        return ops.minimum((1.0 + step) / (10.0 + step), self.ema_momentum)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_l2": self.kernel_l2,
            "tensor_clipnorm": self.tensor_clipnorm,
            "ema_warmup": self.ema_warmup,
        }

    def update_on_tensorflow(self, learning_rate: Any) -> Callable | None:
        if not self.momentum:
            return None
        import tensorflow as tf

        rate = tf.cast(learning_rate, tf.float32)
        momentum = tf.constant(self.momentum, tf.float32)

        def update(variable: Any, gradient: TFTensor) -> None:
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=momentum_slot(self, variable).handle,
                lr=rate,
                grad=gradient,
                momentum=momentum,
                use_nesterov=self.nesterov,
            )

        return update
