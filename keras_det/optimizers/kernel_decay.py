"""Decay of kernels only, and the parts of a step that every variable shares, computed once."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_det.keras_private import OptimizerStep

# Biases, batch normalisation and fusion weights are not decayed, as in the original EfficientDet.
NOT_DECAYED = ("bias", "gamma", "beta", "fusion_weights")


class KernelDecay(OptimizerStep):
    """Goes before a Keras optimizer in the list of bases: it decays kernels only.

    Keras forgets `exclude_from_weight_decay` when it saves an optimizer: a training that goes on
    after loading would decay biases and batch normalisation too. Here the rule is the class.

    Keras writes one update as some forty graph operations for each of several hundred variables,
    most of them the same numbers again; tracing and optimising that graph takes longer than
    everything else before the first step. Under the TensorFlow backend the subclasses compute the
    shared numbers once and use TensorFlow's own update kernel, one operation per variable. The
    arithmetic, the slots and the saved files are Keras' own; other backends run Keras' code.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        super().build(variables)

    def decay_on_tensorflow(self) -> Callable:
        factor = ops.cast(self.learning_rate * self.weight_decay, "float32")
        return lambda variable: variable.assign_sub(variable * factor)
