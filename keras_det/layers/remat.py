"""Gradient checkpointing: compute again in the backward pass what would fill the memory."""

import keras


def rematerialized(function, layers, inputs):
    """`function(inputs)`, whose intermediate results are not kept for the gradient.

    Training with sublinear memory (https://arxiv.org/abs/1604.06174): one more forward pass for the
    memory of all that lies between `inputs` and the result. Batch-norm statistics are updated once,
    from the first pass; Keras' own `RematScope` updates them in both under TensorFlow.

    Args:
        function: from a tensor to a tensor, of `layers` and `keras.ops` only.
        layers: built layers whose variables it uses.
        inputs: tensor.

    Returns:
        What `function` returns.
    """
    trainable = [v for layer in layers for v in layer.trainable_variables]
    fixed = [v for layer in layers for v in layer.non_trainable_variables]

    def run(inputs, trainable_values, fixed_values):
        values = [*zip(trainable, trainable_values, strict=True)]
        values += zip(fixed, fixed_values, strict=True)
        with keras.StatelessScope(state_mapping=values) as scope:
            outputs = function(inputs)
        updates = [scope.get_current_value(variable) for variable in fixed]
        return outputs, updates

    # Copies: TensorFlow would count the gradient of a variable once more than that of a tensor.
    values = [[keras.ops.copy(v) for v in group] for group in (trainable, fixed)]
    outputs, updates = keras.remat(run)(inputs, *values)
    for variable, before, update in zip(fixed, values[1], updates, strict=True):
        if update is not before:
            variable.assign(update)
    return outputs
