"""AdamW for detectors."""

from collections.abc import Callable
from typing import Any

import keras

from keras_det.keras_private import adam_slots
from keras_det.optimizers.kernel_decay import KernelDecay
from keras_det.types import TFTensor


@keras.saving.register_keras_serializable(package="keras_det")
class AdamW(KernelDecay, keras.optimizers.AdamW):
    """Keras' AdamW (https://arxiv.org/abs/1711.05101) with weight decay on kernels only.

    Args: those of `keras.optimizers.AdamW`.
    """

    def update_on_tensorflow(self, learning_rate: Any) -> Callable | None:
        if self.amsgrad:
            return None
        import tensorflow as tf

        rate = tf.cast(learning_rate, tf.float32)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        powers = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]

        def update(variable: Any, gradient: TFTensor) -> None:
            momentum, velocity = adam_slots(self, variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

        return update
