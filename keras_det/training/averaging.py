"""Puts the moving average of the weights into the model for a while."""

import contextlib

from keras_det.keras_private import optimized_variables


@contextlib.contextmanager
def averaged_weights(model):
    """Inside, the model's trainable weights are the optimizer's moving averages; afterwards not.

    Does nothing where the optimizer keeps no average, or has not taken a step. Batch-normalisation
    statistics are not averaged; they are moving averages themselves.
    """
    optimizer = getattr(model, "optimizer", None)
    # Under mixed_float16 Keras puts the one that keeps the average into a LossScaleOptimizer.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(optimizer, "use_ema", False) or int(optimizer.iterations) == 0:
        yield
        return
    variables = optimized_variables(optimizer)
    kept = [variable.numpy() for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
