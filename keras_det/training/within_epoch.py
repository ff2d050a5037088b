"""Continuing in the middle of an epoch: the part of a model's state that Keras does not save."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_det.types import Logs


def generators(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators of the layers; Keras saves none of them."""
    return [v for v in model.variables if v.name == "seed_generator_state"]


def running(model: keras.Model) -> dict[str, Any]:
    """The random numbers and the means of the logs of a model in the middle of an epoch.

    Returns:
        dict of lists of numbers, for JSON: "generators", and "means" by the name of the metric.
    """
    means = {m.name: [np.asarray(v).tolist() for v in m.variables] for m in model.metrics}
    return {"generators": [np.asarray(v).tolist() for v in generators(model)], "means": means}


def set_running(model: keras.Model, values: dict[str, Any]) -> None:
    """Gives a model what `running` has noted. What the model does not have is left out."""
    for variable, value in zip(generators(model), values["generators"], strict=True):
        variable.assign(np.array(value, variable.dtype))
    for metric in model.metrics:
        noted = values["means"].get(metric.name, [])
        if len(noted) == len(metric.variables):
            for variable, value in zip(metric.variables, noted, strict=True):
                variable.assign(np.array(value, variable.dtype))


def fits(model: keras.Model, values: dict[str, Any]) -> bool:
    """Whether a model can be given these values; it then has them."""
    try:
        set_running(model, values)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return False
    return True


class RestOfEpoch(keras.callbacks.Callback):
    """Calls other callbacks as if `fit` ran the whole epoch, of which it runs only the rest.

    They see the number of the step in the epoch, and the number of steps and epochs of the phase.
    The model gets the random numbers and the means of the logs that were noted with the state.

    Args:
        callbacks: the others.
        steps_done: steps of the epoch that are done already.
        steps: of a whole epoch.
        epochs: the epoch after the last one of the phase.
        noted: as from `running`.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        steps_done: int,
        steps: int,
        epochs: int,
        noted: dict[str, Any],
    ) -> None:
        super().__init__()
        self.callbacks = callbacks
        self.steps_done, self.whole = steps_done, {"steps": steps, "epochs": epochs}
        self.noted = noted
        self.weights: list[np.ndarray] = []

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params({**params, **self.whole})
        for each in self.callbacks:
            each.set_params(self.params)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for each in self.callbacks:
            each.set_model(model)

    def on_train_begin(self, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_train_begin(logs)

    def on_train_end(self, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_epoch_begin(epoch, logs)
        set_running(self.model, self.noted)  # Keras and `EpochSeeds` have reset them

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_epoch_end(epoch, logs)
        self.weights = [np.array(each) for each in self.model.trainable_variables]

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_train_batch_begin(batch + self.steps_done, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        for each in self.callbacks:
            each.on_train_batch_end(batch + self.steps_done, logs)

    def undo_averaging(self) -> None:
        """Gives the model the weights of the last step: `fit` has left their average in it."""
        for variable, value in zip(self.model.trainable_variables, self.weights, strict=True):
            variable.assign(value)
