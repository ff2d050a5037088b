"""Keras' AdamW and SGD for detectors: they decay kernels only, and start quickly on TensorFlow.

Keras writes one update as some forty graph operations for each of several hundred variables, most
of them the same numbers again; tracing and optimising that graph takes longer than everything else
before the first step. Under the TensorFlow backend the classes here compute the shared numbers once
and use TensorFlow's own update kernel, one operation per variable. The arithmetic, the slots and
the saved files are Keras' own; other backends run Keras' code.
"""

import keras
from keras import ops

# Biases, batch normalisation and fusion weights are not decayed, as in the original EfficientDet.
NOT_DECAYED = ("bias", "gamma", "beta", "fusion_weights")


class _KernelDecay:
    """Decay of kernels only, and the parts of a step that every variable shares, computed once.

    Keras forgets `exclude_from_weight_decay` when it saves an optimizer: a training that goes on
    after loading would decay biases and batch normalisation too. Here the rule is the class.
    """

    def build(self, variables):
        if not self.built:
            self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        super().build(variables)

    def _apply_weight_decay(self, variables):
        if keras.backend.backend() != "tensorflow":
            super()._apply_weight_decay(variables)
        elif self.weight_decay is not None:
            decayed = [v.value for v in variables if self._use_weight_decay(v)]
            factor = ops.cast(self.learning_rate * self.weight_decay, "float32")
            _in_cross_replica(
                self, lambda variable: variable.assign_sub(variable * factor), decayed
            )

    def _update_model_variables_moving_average(self, trainable_variables):
        if keras.backend.backend() != "tensorflow":
            super()._update_model_variables_moving_average(trainable_variables)
            return
        # The first step copies; Keras' rule, momentum * average + (1 - momentum) * variable.
        started = ops.cast(ops.not_equal(self.iterations, 0), "float32")
        share = 1.0 - started * self.ema_momentum
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            average.value.assign_sub(share * (average.value - variable.value))


def _in_cross_replica(optimizer, update, variables):
    """Runs `update(variable)` for each variable as `tf.distribute` wants it."""
    import tensorflow as tf

    def run(distribution, variables):
        for variable in variables:
            distribution.extended.update(variable, update, group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(
        run, optimizer._distribution_strategy, variables
    )


@keras.saving.register_keras_serializable(package="keras_det")
class AdamW(_KernelDecay, keras.optimizers.AdamW):
    """Keras' AdamW (https://arxiv.org/abs/1711.05101) that decays kernels only.

    Args: those of `keras.optimizers.AdamW`.
    """

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        if self.amsgrad:
            super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return
        import tensorflow as tf

        rate = tf.cast(learning_rate, tf.float32)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        powers = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]

        def update(variable, gradient):
            index = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

        for gradient, variable in grads_and_vars:
            distribution.extended.update(variable, update, args=(gradient,), group=False)


@keras.saving.register_keras_serializable(package="keras_det")
class SGD(_KernelDecay, keras.optimizers.SGD):
    """Keras' SGD with momentum that decays kernels only.

    Args: those of `keras.optimizers.SGD`.
    """

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        if not self.momentum:
            super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
            return
        import tensorflow as tf

        rate = tf.cast(learning_rate, tf.float32)

        def update(variable, gradient):
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=self.momentums[self._get_variable_index(variable)].value.handle,
                lr=rate,
                grad=gradient,
                momentum=self.momentum,
                use_nesterov=self.nesterov,
            )

        for gradient, variable in grads_and_vars:
            distribution.extended.update(variable, update, args=(gradient,), group=False)


@keras.saving.register_keras_serializable(package="keras_det")
class WarmupThenDrops(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to a rate that is divided by ten at given steps.

    RetinaNet section 4.1 (https://arxiv.org/abs/1708.02002): 0.01, divided by 10 at 60k and at
    80k of 90k steps. The warm-up is detectron2's, from a thousandth of the rate.

    Args:
        learning_rate: rate between the warm-up and the first drop.
        drops: steps at which the rate is divided by ten, ascending.
        warmup_steps: steps of the warm-up.
    """

    def __init__(self, learning_rate, drops, warmup_steps):
        self.learning_rate = learning_rate
        self.drops = list(drops)
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = ops.convert_to_tensor(self.learning_rate, "float32")
        for drop in self.drops:
            rate = ops.where(step >= drop, rate / 10.0, rate)
        done = ops.minimum(step / max(self.warmup_steps, 1), 1.0)
        return rate * (0.001 + 0.999 * done)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "drops": self.drops,
            "warmup_steps": self.warmup_steps,
        }
