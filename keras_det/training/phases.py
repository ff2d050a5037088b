"""The phases of a run: first the heads, then all layers; and what a recipe changes in the model."""

from typing import Any

import keras

from keras_det.data.augment import get_augment
from keras_det.data.dataset import Dataset
from keras_det.models import AnchorDetector, Detector
from keras_det.training.anchor_fit import AnchorFit, fit_anchors
from keras_det.training.averaging import number_of, optimizer_of
from keras_det.training.recipe import Recipe
from keras_det.words import counted


def phases(chosen: Recipe) -> list[tuple[int, int]]:
    """(first epoch, epoch after the last) of each phase of a run."""
    heads = min(chosen.heads_first, chosen.epochs)
    found = [(0, heads), (heads, chosen.epochs)]
    return [(first, last) for first, last in found if first < last]


def begin_phase(model: Detector, chosen: Recipe, first: int, last: int) -> None:
    """Freezes what a phase freezes, and compiles the model with a new optimizer.

    The phase after the heads starts from the averaged weights, which `fit` leaves in the model.

    Args:
        model: the detector; a resumed one has the optimizer of the phase before.
        chosen: the recipe.
        first, last: as from `phases`.
    """
    optimizer = optimizer_of(model)
    if first and optimizer is not None:  # after a resume `fit` has not done it
        optimizer.finalize_variable_values(model.trainable_variables)
    heads = first == 0 and chosen.heads_first > 0
    wanted = ("neck" if hasattr(model, "neck") else "backbone") if heads else chosen.freeze
    if model.__dict__.get("frozen_parts", "none") != wanted:
        model.freeze(wanted)
    model.compile(_optimizer(model, chosen, first, last))


def _optimizer(
    model: Detector, chosen: Recipe, first: int, last: int
) -> keras.optimizers.Optimizer:
    whole = (first, last) == (0, chosen.epochs)
    return chosen.optimizer(model, None if whole else last - first)


def plan_anew(model: Detector, chosen: Recipe, first: int, last: int) -> str:
    """Gives the optimizer of a resumed model the schedule of a recipe that was changed.

    Its momentum, its averages and its number of steps stay. So the rate continues as if the changed
    recipe had been used from the start of the phase.

    Args:
        model: the detector of the state, compiled.
        chosen: the changed recipe.
        first, last: the phase, as from `phases`.

    Returns:
        A sentence on the learning rate.
    """
    optimizer = optimizer_of(model)
    before = number_of(optimizer.learning_rate)
    rate: Any = _optimizer(model, chosen, first, last).get_config()["learning_rate"]
    if isinstance(rate, dict):
        rate = keras.optimizers.schedules.deserialize(rate)
    optimizer.learning_rate = rate
    now = number_of(optimizer.learning_rate)
    return (
        f"Learning rate schedule recomputed for {counted(chosen.epochs, 'epoch')}, as if the run "
        f"had started with it. The rate continues at {now:.2g} instead "
        f"of {before:.2g}, and the schedule ends with epoch {last}."
    )


def plain_end(chosen: Recipe) -> dict[str, Any]:
    """The argument of `Pipeline` that leaves strong augmentation out at the end.

    `plain_after` counts passes over the images.
    """
    if not chosen.plain_epochs:
        return {}
    return {"plain_after": (chosen.epochs - chosen.plain_epochs) * chosen.passes}


def with_fitted_anchors(model: Any, dataset: Dataset, augment: Any = None) -> tuple[Any, AnchorFit]:
    """The model with anchors that fit the objects, and how well they fit; weights do not change.

    Args:
        model: an `AnchorDetector`.
        dataset: the training data.
        augment: the augmentation of the training, as of `Pipeline`.
    """
    fitted = fit_anchors(dataset, model, get_augment(augment, model))
    if not fitted.arguments:
        return model, fitted
    changed: AnchorDetector = model.with_changes(**fitted.arguments)
    changed.__dict__["load_report"] = model.load_report
    return changed, fitted
