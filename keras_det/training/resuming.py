"""Whether a run can start or be resumed in a folder, from which states, and with which changes."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from keras_det.errors import DataError
from keras_det.files import holds_something, opening, plain
from keras_det.names import AUGMENT_NAMES, RUN_LOCK
from keras_det.run_folder import CURE, HISTORY, RECIPE, read_history, read_recipe, was_edited
from keras_det.training.recipe import Recipe, check_numbers
from keras_det.training.states import CHECKPOINTS, State, states_in
from keras_det.words import counted

# A resumed run must have the same values: with others, it would be a different run.
FIXED = (
    "model",
    "model_arguments",
    "image_size",
    "resize_mode",
    "batch_size",
    "augment",
    "recipe",
    "max_boxes",
    "seed",
    "weights",
)
# Of these, what may be left out: the run has chosen or used it.
CHOSEN = ("batch_size", "augment", "image_size", "weights")
# Fields of a recipe that may change: they do not change what is trained.
FREE = ("evaluate_every", "patience", "calibrate")
# Those that may change too, and give the rest of the training another schedule.
PLANNED = ("epochs", "learning_rate")
CHANGES = "changes"  # key in recipe.json


def refuse_used(out: pathlib.Path) -> None:
    """Raises a DataError if a new run would start in a folder that holds something."""
    if holds_something(out, but=RUN_LOCK):
        raise DataError(
            f"The output folder must be new or empty. Received: {out}. Choose another one, or "
            "continue the run in it with --resume."
        )


def recipe_before(out: pathlib.Path) -> dict[str, Any]:
    """The recipe.json of a run to resume; DataError if there is none, or it is damaged."""
    if not os.path.lexists(out / RECIPE):
        raise DataError(
            f"A run to resume must have a recipe.json. Received: {out}. Check the folder, or start "
            "a new run without --resume."
        )
    return read_recipe(out)


def states_of(
    out: pathlib.Path, settings: dict[str, Any], say: Callable[[str], object]
) -> list[State]:
    """The states that a run may be resumed from, the newest first.

    Files that are named after an epoch which the run never had are left out, with a line.

    Raises:
        DataError: the run has other settings, of those that must stay.
    """
    before = recipe_before(out)
    if was_edited(before):
        say(
            f"Note: {out / RECIPE} was changed after training wrote it. The run continues with the "
            "values in it, except those of the model: the model is that of the saved state."
        )
    for name in FIXED:
        if settings[name] is None and name in CHOSEN:
            if name == "augment":
                _check_named(before.get(name))
            continue
        if name in before and before[name] != plain(settings[name]):
            raise DataError(
                f"A resumed run must keep its settings. Received: {name}={settings[name]!r}, but "
                f"the run has {before[name]!r}. Give the same settings as before, or start a new "
                "run in another folder."
            )
    _check_classes(before.get("class_names"), settings["class_names"], out)
    if not {"epochs", "chosen"} & before.keys():
        raise DataError(
            f"The {RECIPE} of a run to resume must hold `epochs` or `chosen`. Received: "
            f"{out / RECIPE}, without them. {CURE}"
        )
    states, planned = states_in(out / CHECKPOINTS), before.get("epochs")
    while states and isinstance(planned, int) and states[0][1:] > (planned, 0):
        say(f"Note: {states[0].path} is not used: the run has {counted(planned, 'epoch')}.")
        del states[0]
    trained = len(read_history(out / HISTORY))
    if not states and trained > 1:  # a run that is killed in its first epoch has no state yet
        raise DataError(
            f"A run to resume must have a state in {out / CHECKPOINTS}. Received: none, but "
            f"{HISTORY} has {trained} epochs. Restore the folder, or start a new run from the "
            f"saved weights (--weights {out} --out ANOTHER_FOLDER)."
        )
    if states and trained < states[0].epochs:
        say(
            f"Note: {HISTORY} has {counted(trained, 'row')}, but the run has trained for "
            f"{counted(states[0].epochs, 'epoch')}. The missing epochs stay missing there, and "
            "their AP does not count when the best model is chosen."
        )
    return states


def chosen_before(out: pathlib.Path, given: dict[str, Any]) -> Recipe | None:
    """The recipe of a run to resume, with what may change; None for a run of an earlier version.

    Args:
        out: the run folder.
        given: fields of the recipe that are given now; None for the others.

    Raises:
        DataError: one of them differs that must stay.
    """
    before = recipe_before(out)
    content = before.get("chosen")
    if content is None:
        return None
    for name in ("augment", "image_size"):  # earlier versions store them only outside `chosen`
        content.setdefault(name, before.get(name))
    content.setdefault("accumulate", 1)  # earlier versions had no other
    given = {name: value for name, value in given.items() if value is not None}
    check_numbers(given)
    for name, value in given.items():
        may_change = name in FREE or name in PLANNED and content.get(name) is not None
        if not may_change and plain(value) != content.get(name):
            raise DataError(
                f"A resumed run must keep its settings. Received: {name}={value!r}, but the run "
                f"has {content.get(name)!r}. Leave it out, or start a new run in another folder."
            )
    with opening(out / RECIPE, "`chosen` of recipe.json must be a recipe of this version", CURE):
        chosen = Recipe(**content)
        if chosen.steps % chosen.epochs:
            raise ValueError(
                f"{chosen.steps} steps cannot be divided into {chosen.epochs} equal epochs"
            )
    return _changed(chosen, given)


def _changed(recipe: Recipe, given: dict[str, Any]) -> Recipe:
    """The recipe with other values of what may change; an epoch has as many steps as before."""
    values = {name: given[name] for name in (*FREE, *PLANNED) if name in given}
    epochs = values.get("epochs", recipe.epochs)
    values |= {
        "steps": recipe.steps // recipe.epochs * epochs,
        "plain_epochs": min(recipe.plain_epochs, epochs),
    }
    return dataclasses.replace(recipe, **values)


def changes_of(out: pathlib.Path, chosen: Recipe, epochs_done: int) -> list[dict[str, Any]]:
    """What was changed in a run, from its start to now, for its recipe.json.

    Args:
        out: the run folder, with the recipe.json from before.
        chosen: the recipe from now on.
        epochs_done: epochs that are trained; the changes are for the later ones.

    Returns:
        Dicts of `after_epoch` and, of each changed value, `[before, now]`.

    Raises:
        DataError: the run has trained for more epochs than it is to have.
    """
    if chosen.epochs < epochs_done:
        raise DataError(
            "The number of epochs must be at least the number already trained. Received: "
            f"epochs={chosen.epochs}, but the run has trained for {epochs_done}. Give at least "
            f"{epochs_done}."
        )
    recipe = recipe_before(out)
    before, now = recipe.get("chosen") or {}, plain(dataclasses.asdict(chosen))
    if not before:  # of an earlier version: what it has not noted was the default
        before = {n: recipe.get(n) if recipe.get(n) is not None else now[n] for n in PLANNED}
    names = [name for name in (*PLANNED, *FREE) if name in before and before[name] != now[name]]
    made = [{"after_epoch": epochs_done, **{n: [before[n], now[n]] for n in names}}]
    return [*recipe.get(CHANGES, []), *(made if names else [])]


def kept_of(out: pathlib.Path, chosen: Recipe, epochs_done: int) -> dict[str, Any]:
    """What the recipe.json of a resumed run keeps from before, with the changes of now.

    Args, Raises: as `changes_of`.
    """
    kept = {"anchors_fitted": recipe_before(out).get("anchors_fitted")}
    kept[CHANGES] = changes_of(out, chosen, epochs_done)
    return {name: value for name, value in kept.items() if value}


def planned_anew(changes: list[dict[str, Any]]) -> int:
    """Epochs after which the schedule was last recomputed; -1 if it never was."""
    found = [each["after_epoch"] for each in changes if any(name in each for name in PLANNED)]
    return max(found, default=-1)


def _check_named(augment: Any) -> None:
    """Raises a DataError if the run used a list of steps or an `Augment`, stored as text only."""
    if augment is not None and augment not in AUGMENT_NAMES:
        raise DataError(
            "`augment` must be given again to resume a run whose augmentation was a list of steps "
            f"or an Augment. Received: None, but the run has {augment}. Give the same one."
        )


def _check_classes(before: list[str] | None, now: list[str], out: pathlib.Path) -> None:
    """Raises a DataError where a resumed run would get other classes."""
    if before is None or before == now:
        return
    if sorted(before) == sorted(now):
        what, advice = "in another order", f"class_names={before} (--classes {','.join(before)})"
        advice = f"Read the data with {advice}."
    else:
        new = ", ".join(name for name in now if name not in before) or "none"
        gone = ", ".join(name for name in before if name not in now) or "none"
        what = f"new: {new}; missing: {gone}"
        advice = (
            "Start a new run from the weights of this one (--weights "
            f"{out} --out ANOTHER_FOLDER): classes of the same name keep their predictions."
        )
    raise DataError(
        f"A resumed run must keep its classes. Received: {_few(now)}, but the run has "
        f"{_few(before)} ({what}). {advice}"
    )


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
