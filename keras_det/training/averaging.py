"""Puts the moving average of the weights into the model for a while."""

import contextlib


@contextlib.contextmanager
def averaged_weights(model):
    """Inside, the model's trainable weights are the optimizer's moving averages; afterwards not.

    Does nothing where the optimizer keeps no average, or has not taken a step. Batch-normalisation
    statistics are not averaged; they are moving averages themselves.
    """
    optimizer = getattr(model, "optimizer", None)
    # Under mixed_float16 Keras puts the one that keeps the average into a LossScaleOptimizer.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", None)
    if not getattr(optimizer, "use_ema", False) or not averages or int(optimizer.iterations) == 0:
        yield
        return
    variables = optimizer._trainable_variables
    kept = [variable.numpy() for variable in variables]
    for variable, average in zip(variables, averages, strict=True):
        variable.assign(average.value)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
