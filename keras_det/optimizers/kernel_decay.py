"""Weight decay of kernels only, and a faster optimizer step under TensorFlow."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_det.keras_private import OptimizerStep

# Biases, batch normalisation and fusion weights are not decayed, as in the original EfficientDet.
NOT_DECAYED = ("bias", "gamma", "beta", "fusion_weights")


class KernelDecay(OptimizerStep):
    """Mixin that limits the weight decay of a Keras optimizer to kernels.

    It stands before the Keras optimizer in the list of bases.

    Keras does not save `exclude_from_weight_decay` with an optimizer: if training continued after
    loading, biases and batch normalisation would decay too. Here the rule belongs to the class.

    The update is also faster to build. Keras writes one update as some forty graph operations for
    each of several hundred variables, and most of them compute the same numbers again. Tracing and
    optimising that graph takes longer than everything else before the first step. Under the
    TensorFlow backend the subclasses compute the shared numbers once and use TensorFlow's own
    update kernel, one operation per variable. The arithmetic, the slots and the saved files are
    Keras' own; other backends run Keras' code.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        super().build(variables)

    def decay_on_tensorflow(self) -> Callable:
        factor = ops.cast(self.learning_rate * self.weight_decay, "float32")
        return lambda variable: variable.assign_sub(variable * factor)
