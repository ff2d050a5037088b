"""Puts the moving average of the weights into a model temporarily."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_det.keras_private import optimized_variables


def optimizer_of(model: keras.Model) -> Any:
    """The optimizer that has the rate and the averages; None for a model that is not compiled.

    Under mixed_float16 Keras wraps it in a LossScaleOptimizer.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    return getattr(optimizer, "inner_optimizer", optimizer)


def number_of(value: Any) -> float:
    """A variable or tensor as a number; `float` fails for a variable on several devices."""
    return float(keras.ops.convert_to_numpy(value))


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Inside the context, the trainable weights are the moving averages that the optimizer keeps.

    Afterwards the model has its own weights again. Nothing happens if the optimizer keeps no
    average or has not taken a step. Batch normalisation statistics are not averaged: they are
    moving averages themselves.

    Args:
        model: a model, compiled or not.
    """
    optimizer = optimizer_of(model)
    if not getattr(optimizer, "use_ema", False) or number_of(optimizer.iterations) == 0:
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
