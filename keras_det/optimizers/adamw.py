"""AdamW for detectors."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_det.keras_private import adam_slots, decays, variable_index
from keras_det.optimizers.kernel_decay import KernelDecay
from keras_det.types import Tensor, TFTensor
from keras_det.words import counted


@keras.saving.register_keras_serializable(package="keras_det")
class AdamW(KernelDecay, keras.optimizers.AdamW):
    """Keras' AdamW (https://arxiv.org/abs/1711.05101) with weight decay on kernels only.

    Args:
        *args: those of `keras.optimizers.AdamW`.
        rate_factors: one float >= 0 per trainable variable of the model, in its order, or None.
            The learning rate of variable i, and with it its weight decay, is multiplied by
            `rate_factors[i]`. 0 keeps the variable as it is.
        **kwargs: those of `keras.optimizers.AdamW`.
    """

    def __init__(
        self, *args: Any, rate_factors: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if rate_factors is not None and not all(factor >= 0 for factor in rate_factors):
            raise ValueError(
                "`rate_factors` must be 0 or more. Received: "
                f"{[factor for factor in rate_factors if not factor >= 0][:3]}. Give 1 for the "
                "whole learning rate."
            )
        self.rate_factors = None if rate_factors is None else [float(f) for f in rate_factors]

    def build(self, variables: Sequence[keras.Variable]) -> None:
        factors = self.rate_factors
        if factors is not None and len(factors) != len(variables):
            raise ValueError(
                "`rate_factors` must have one number per trainable variable. Received: "
                f"{counted(len(factors), 'number')} for {counted(len(variables), 'variable')}. "
                "Make them after freezing, from model.trainable_variables."
            )
        super().build(variables)

    def _factor(self, variable: Any) -> float:
        if self.rate_factors is None:
            return 1.0
        return self.rate_factors[variable_index(self, variable)]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return (
            config if self.rate_factors is None else {**config, "rate_factors": self.rate_factors}
        )

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        factor = self._factor(variable)
        super().update_step(gradient, variable, learning_rate * factor)

    def decay_elsewhere(self, variables: Sequence[Any]) -> bool:
        if self.rate_factors is None:
            return False
        for variable in variables:
            if decays(self, variable):
                rate = ops.cast(self.learning_rate * self._factor(variable), variable.dtype)
                variable.assign(variable - variable * self.weight_decay * rate)
        return True

    def decay_on_tensorflow(self) -> Callable:
        if self.rate_factors is None:
            return super().decay_on_tensorflow()
        shares = {
            factor: ops.cast(self.learning_rate * self.weight_decay * factor, "float32")
            for factor in set(self.rate_factors)
        }
        return lambda variable: variable.assign_sub(variable * shares[self._factor(variable)])

    def update_on_tensorflow(self, learning_rate: Any) -> Callable | None:
        if self.amsgrad:
            return None
        import tensorflow as tf

        # One number per factor, not per variable: the graph of the step stays small.
        rates = {
            factor: tf.cast(learning_rate, tf.float32) * factor
            for factor in set(self.rate_factors or [])
        }
        rates.setdefault(1.0, tf.cast(learning_rate, tf.float32))
        step = tf.cast(self.iterations + 1, tf.float32)
        powers = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]
        # Made once: a Python number becomes a constant of the graph for each variable.
        shared = {
            **{"beta1_power": powers[0], "beta2_power": powers[1]},
            "beta1": tf.constant(self.beta_1, tf.float32),
            "beta2": tf.constant(self.beta_2, tf.float32),
            "epsilon": tf.constant(self.epsilon, tf.float32),
        }

        def update(variable: Any, gradient: TFTensor) -> None:
            momentum, velocity = adam_slots(self, variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                lr=rates[self._factor(variable)],
                grad=gradient,
                **shared,
            )

        return update
