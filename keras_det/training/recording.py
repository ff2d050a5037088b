"""Writes what a run notes about itself: `recipe.json` and `class_names.txt`."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from keras_det.files import write_whole
from keras_det.run_folder import write_recipe
from keras_det.training.recipe import Recipe
from keras_det.training.resuming import CHANGES, changes_of
from keras_det.training.states import remove_left_over
from keras_det.words import printable


def write_settings(out: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a run, and the names of its classes, one per line."""
    remove_left_over(out)
    write_recipe(out, settings)
    names = "".join(f"{printable(name)}\n" for name in settings["class_names"])
    write_whole(out / "class_names.txt", names.encode())


def recorder(
    out: pathlib.Path, settings: dict[str, Any], writes: bool
) -> Callable[[Recipe, int, str], None]:
    """A function that notes in `recipe.json` that a run has gone back; see `guard.go_back`.

    Args:
        out: the run folder.
        settings: of the run, as they stand in `recipe.json`.
        writes: bool. False for a worker that writes nothing.
    """

    def record(chosen: Recipe, epochs: int, why: str) -> None:
        if not writes:
            return
        changes = changes_of(out, chosen, epochs)
        changes[-1]["diverged"] = why
        settings[CHANGES] = changes
        settings["learning_rate"] = chosen.learning_rate
        settings["chosen"] = dataclasses.asdict(chosen)
        write_recipe(out, settings)

    return record
