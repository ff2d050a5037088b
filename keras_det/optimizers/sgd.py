"""Keras' AdamW and SGD for detectors: they decay kernels only, and start quickly on TensorFlow.

SGD also takes the steps of the original EfficientDet: decay as a term of the loss, gradients
clipped one by one and then together, and a moving average whose decay warms up.

Keras writes one update as some forty graph operations for each of several hundred variables, most
of them the same numbers again; tracing and optimising that graph takes longer than everything else
before the first step. Under the TensorFlow backend the classes here compute the shared numbers once
and use TensorFlow's own update kernel, one operation per variable. The arithmetic, the slots and
the saved files are Keras' own; other backends run Keras' code.
"""

import keras
import numpy as np
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
        elif self.weight_decay:
            decayed = [v.value for v in variables if self._use_weight_decay(v)]
            factor = ops.cast(self.learning_rate * self.weight_decay, "float32")
            _in_cross_replica(
                self, lambda variable: variable.assign_sub(variable * factor), decayed
            )

    def _clip_gradients(self, grads):
        return grads  # Left to `_backend_update_step`, which has the sum over the devices.

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        # Keras clips each device's share of a gradient; here the gradient of the whole batch is
        # clipped, so that several devices take the steps of one.
        if keras.backend.backend() == "tensorflow":
            pairs = list(zip(grads, trainable_variables, strict=True))
            grads = [gradient for gradient, _ in super()._all_reduce_sum_gradients(pairs)]
        grads = self._clipped(grads, trainable_variables)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # They are summed already.

    def _clipped(self, grads, variables):
        return super()._clip_gradients(grads)

    def _ema_decay(self):
        return self.ema_momentum

    def _update_model_variables_moving_average(self, trainable_variables):
        # The first step copies; Keras' rule, decay * average + (1 - decay) * variable.
        started = ops.cast(ops.not_equal(self.iterations, 0), "float32")
        share = 1.0 - started * self._ema_decay()
        averages = self._model_variables_moving_average
        for variable, average in zip(trainable_variables, averages, strict=True):
            self.assign_sub(average, share * (average.value - variable.value))


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
    """Keras' SGD with momentum that decays kernels only, as the original EfficientDet trains.

    Beside Keras' arguments, each off by default:

        g_i = gradient_i + kernel_l2 * w_i                      for kernels
        g_i = g_i * min(1, tensor_clipnorm / |g_i|)             each tensor by itself
        g   = g * min(1, global_clipnorm / |g|)                 all together

    and then Keras' step, velocity = momentum * velocity - rate * g. The first line is the slope of
    `kernel_l2 / 2 * (sum of squares of all kernels)`, which the original adds to its loss; here it
    is part of the step only, and the logged losses are without it. Keras' `weight_decay` acts on
    the weights past momentum and clipping: at momentum 0.9 it decays ten times less for one rate.

    The original's fusion weights are scalars, a tensor each: of our vectors every element is
    clipped by itself.

    Args:
        *args: those of `keras.optimizers.SGD`.
        kernel_l2: float >= 0. Decay of kernels, not of biases, normalisation and fusion weights.
        tensor_clipnorm: float > 0 or None. Largest norm of one tensor's gradient. Keras' `clipnorm`
            does not combine with `global_clipnorm`; this one does and comes first.
        ema_warmup: bool. With `use_ema`, the decay at step t = 0, 1 … is
            `min(ema_momentum, (1 + t) / (10 + t))`, so that an average over thousands of steps does
            not hold on to the start. As in Keras the first step copies the weights; the original
            takes 0.1 of the weights before it, of which a ten-millionth is left after 20 steps.
        **kwargs: those of `keras.optimizers.SGD`.
    """

    def __init__(self, *args, kernel_l2=0.0, tensor_clipnorm=None, ema_warmup=False, **kwargs):
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
                "`tensor_clipnorm` combines with `global_clipnorm` only. Received: "
                f"clipnorm={self.clipnorm!r}, clipvalue={self.clipvalue!r}. Leave them out."
            )
        self.kernel_l2 = kernel_l2
        self.tensor_clipnorm = tensor_clipnorm
        self.ema_warmup = ema_warmup

    def _clipped(self, grads, variables):
        grads, limit = list(grads), self.tensor_clipnorm
        if self.kernel_l2:
            for i, variable in enumerate(variables):
                if self._use_weight_decay(variable):
                    grads[i] = grads[i] + self.kernel_l2 * variable.value
        if limit is None:
            return super()._clipped(grads, variables)
        limits = np.full(len(grads), limit, "float32")
        for i, variable in enumerate(variables):
            if variable.name == "fusion_weights":
                grads[i] = ops.clip(grads[i], -limit, limit)
                limits[i] *= variable.shape[0] ** 0.5  # the most that this vector can reach now
        # One norm per tensor serves both limits.
        norms = ops.sqrt(ops.stack([ops.sum(ops.square(g)) for g in grads]))
        factors = limits / ops.maximum(norms, limits)
        if self.global_clipnorm:
            norm = ops.sqrt(ops.sum(ops.square(norms * factors)))
            factors = factors * (self.global_clipnorm / ops.maximum(norm, self.global_clipnorm))
        return [g * f for g, f in zip(grads, ops.unstack(factors), strict=True)]

    def _ema_decay(self):
        if not self.ema_warmup:
            return self.ema_momentum
        step = ops.cast(self.iterations, "float32")
        return ops.minimum((1.0 + step) / (10.0 + step), self.ema_momentum)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_l2": self.kernel_l2,
            "tensor_clipnorm": self.tensor_clipnorm,
            "ema_warmup": self.ema_warmup,
        }

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
        if not self.warmup_steps:
            return rate
        done = ops.minimum(step / self.warmup_steps, 1.0)
        return rate * (0.001 + 0.999 * done)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "drops": self.drops,
            "warmup_steps": self.warmup_steps,
        }
