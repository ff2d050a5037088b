"""Gradient checkpointing: saves memory by recomputing activations in the backward pass."""

from collections.abc import Callable, Sequence

import keras

from keras_det.types import Tensor


def rematerialized(
    function: Callable[[Tensor], Tensor], layers: Sequence[keras.layers.Layer], inputs: Tensor
) -> Tensor:
    """Computes `function(inputs)` without storing its activations for the gradient.

    Training with sublinear memory (https://arxiv.org/abs/1604.06174): costs one more forward pass
    and saves the memory of all activations between `inputs` and the result. The statistics of batch
    normalisation are updated once, in the first pass. Under TensorFlow, Keras' own `RematScope`
    updates them in both passes.

    Args:
        function: maps a tensor to a tensor, using only `layers` and `keras.ops`.
        layers: built layers whose variables `function` uses.
        inputs: tensor.

    Returns:
        The result of `function`.
    """
    trainable = [v for layer in layers for v in layer.trainable_variables]
    fixed = [v for layer in layers for v in layer.non_trainable_variables]

    def run(
        inputs: Tensor, trainable_values: list[Tensor], fixed_values: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        values = [*zip(trainable, trainable_values, strict=True)]
        values += zip(fixed, fixed_values, strict=True)
        with keras.StatelessScope(state_mapping=values) as scope:
            outputs = function(inputs)
        updates = [scope.get_current_value(variable) for variable in fixed]
        return outputs, updates

    # Copies, because TensorFlow would count the gradient of a variable twice.
    values = [[keras.ops.copy(v) for v in group] for group in (trainable, fixed)]
    outputs, updates = keras.remat(run)(inputs, *values)
    for variable, before, update in zip(fixed, values[1], updates, strict=True):
        if update is not before:
            variable.assign(update)
    return outputs
