"""Chooses the recipe of a run from its data sets, its model and the values that are given."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from keras_det.data.augment import get_augment
from keras_det.data.dataset import Dataset
from keras_det.errors import DataError
from keras_det.models import AnchorDetector, Detector, model_class
from keras_det.names import MODEL_NAMES
from keras_det.training.recipe import ASSIGNMENT_IN_WORDS, Recipe, Trained, choose_recipe


def chooser(
    recipe: str,
    model: str | Detector,
    training_set: Dataset,
    validation_set: Dataset | None,
    augment: Any,
    own: Iterable[str],
) -> Callable[..., Recipe]:
    """`choose_recipe` for these data sets: a function of what is already trained and what is given.

    Args:
        recipe: name of the recipe.
        model: a name or a detector.
        training_set, validation_set: `keras_det.data.Dataset`.
        augment: as in `training.run.train`.
        own: fields that stay None, as `own_parts` lists them.
    """
    counts = {"images": len(training_set), "objects": len(training_set.labels)}
    measured = 0 if validation_set is None else len(validation_set)
    strong = get_augment(augment, model).strong
    named = augment is None or isinstance(augment, str)
    own = own if named else [*own, "augment"]
    rate = (model_class(model) if isinstance(model, str) else model).auto_rate

    def choose(trained: Trained, **given: Any) -> Recipe:
        chosen = choose_recipe(
            recipe,
            **counts,
            trained=trained,
            validation_images=measured,
            strong=strong,
            rate=rate,
            augment=augment if named else "none",
            **given,
        )
        none: dict[str, Any] = dict.fromkeys(own)
        return dataclasses.replace(chosen, **none)

    return choose


def refuse_wrong(choose: Callable[..., Recipe], given: dict[str, Any]) -> Recipe:
    """Refuses wrong values before weights are downloaded; returns the recipe for random weights.

    The number of epochs of "auto" depends on the weights, so `plain_epochs` and `heads_first` are
    not compared with it here.

    Args:
        choose: as `chooser` returns it.
        given: fields of the recipe that are given.
    """
    few = {name: 1 for name in ("plain_epochs", "heads_first") if (given[name] or 0) > 0}
    return choose("nothing", **{**given, **({} if given["epochs"] else few)})


def own_parts(model: str | Detector, options: dict[str, Any]) -> list[str]:
    """Which of matcher and losses a recipe does not choose.

    These are the ones given as objects, and all three if the model is already built or has no
    anchors.

    Args:
        model: a name or a detector.
        options: arguments of the model's constructor that are given.
    """
    # CornerNet has a class loss too, but another one.
    if not (isinstance(model, str) and issubclass(model_class(model), AnchorDetector)):
        return list(ASSIGNMENT_IN_WORDS)
    return [x for x in ASSIGNMENT_IN_WORDS if not isinstance(options.get(x), str | None)]


def given_parts(
    model: str | Detector, options: dict[str, Any], own: Iterable[str]
) -> dict[str, str]:
    """Matcher and losses that are given by name, without those in `own`.

    Raises:
        DataError: one of them is given by name for a model without anchors.
    """
    given = {name: options[name] for name in ASSIGNMENT_IN_WORDS if name in options}
    for name, value in given.items():
        if name in own and isinstance(value, str) and model in MODEL_NAMES:
            raise DataError(
                f"`{name}` takes a name only in models with anchors. Received: {name}={value!r} "
                f"for {model}. Leave it out, or choose an EfficientDet or a RetinaNet."
            )
    return {name: value for name, value in given.items() if name not in own}
