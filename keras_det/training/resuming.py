"""Whether a run can start or be resumed in a folder, and from which state."""

import dataclasses
import os
import pathlib
from typing import Any

from keras_det.errors import DataError
from keras_det.files import opening, plain
from keras_det.names import AUGMENT_NAMES
from keras_det.run_folder import CURE, RECIPE, read_recipe
from keras_det.training.callbacks import newest_state
from keras_det.training.recipe import Recipe

# A resumed run must have the same values: with others, it would be a different run.
FIXED = (
    "model",
    "model_arguments",
    "image_size",
    "resize_mode",
    "batch_size",
    "epochs",
    "augment",
    "recipe",
    "max_boxes",
    "seed",
)
# Of these, what the recipe chooses if it is not given.
CHOSEN = ("batch_size", "epochs", "augment", "image_size")
# Fields of a recipe that may change: they do not change the training.
FREE = ("evaluate_every", "patience", "calibrate")


def state_of(
    out: pathlib.Path, settings: dict[str, Any], resume: bool
) -> tuple[pathlib.Path | None, int]:
    """Returns the state to continue from and its number of epochs; `(None, 0)` for a new run."""
    if not resume:
        if out.exists() and (out.is_file() or any(out.iterdir())):
            raise DataError(
                f"The output folder must be new or empty. Received: {out}. Choose another one, or "
                "continue the run in it with --resume."
            )
        return None, 0
    if not os.path.lexists(out / RECIPE):
        raise DataError(
            f"A run to resume must have a recipe.json. Received: {out}. Check the folder, or start "
            "a new run without --resume."
        )
    before = read_recipe(out)
    for name in FIXED:
        if settings[name] is None and name in CHOSEN:  # as the run has chosen it
            if name == "augment":
                _check_named(before.get(name))
            continue
        if name in before and before[name] != plain(settings[name]):
            longer = " with these weights (--weights)" if name == "epochs" else ""
            raise DataError(
                f"A resumed run must keep its settings. Received: {name}={settings[name]!r}, but "
                f"the run has {before[name]!r}. Give the same settings as before, or start a new "
                f"run in another folder{longer}."
            )
    _check_classes(before.get("class_names"), settings["class_names"], out)
    return newest_state(out / "checkpoints")


def chosen_before(out: pathlib.Path, given: dict[str, Any]) -> Recipe | None:
    """The chosen recipe of a run to resume; None for a run of an earlier version.

    Args:
        out: the run folder.
        given: fields of the recipe that are given now; None for the others.

    Raises:
        DataError: one of them differs.
    """
    before = read_recipe(out)
    content = before.get("chosen")
    if content is None:
        return None
    for name in ("augment", "image_size"):  # earlier versions store them only outside `chosen`
        content.setdefault(name, before.get(name))
    with opening(out / RECIPE, "`chosen` of recipe.json must be a recipe of this version", CURE):
        chosen = Recipe(**content)
    for name, value in given.items():
        if value is not None and name not in FREE and plain(value) != content.get(name):
            raise DataError(
                f"A resumed run must keep its settings. Received: {name}={value!r}, but the run "
                f"has {content.get(name)!r}. Leave it out, or start a new run in another folder."
            )
    free = {name: given[name] for name in FREE if given.get(name) is not None}
    return dataclasses.replace(chosen, **free)


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
