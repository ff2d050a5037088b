"""The optimizer that detectors train with unless told otherwise."""

import keras

# Biases, batch normalisation and fusion weights are not decayed, as in the original EfficientDet.
NOT_DECAYED = ("bias", "gamma", "beta", "fusion_weights")


@keras.saving.register_keras_serializable(package="keras_det")
class AdamW(keras.optimizers.AdamW):
    """Keras' AdamW that decays kernels only.

    Keras forgets `exclude_from_weight_decay` when it saves an optimizer: a training that goes on
    after loading would decay biases and batch normalisation too. Here the rule is the class.

    Args: those of `keras.optimizers.AdamW`.
    """

    def build(self, variables):
        if not self.built:
            self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        super().build(variables)


@keras.saving.register_keras_serializable(package="keras_det")
class SGD(keras.optimizers.SGD):
    """Keras' SGD that decays kernels only; see `AdamW`.

    Args: those of `keras.optimizers.SGD`.
    """

    def build(self, variables):
        if not self.built:
            self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        super().build(variables)
