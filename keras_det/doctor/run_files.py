"""Reads what the files of a run folder hold."""

import math
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_det.errors import DataError
from keras_det.files import read_object
from keras_det.run_folder import HISTORY, RECIPE, read_history, read_recipe

CURE = "Restore the file as the training wrote it, or move it away."


@dataclass(frozen=True)
class Run:
    """What the files of a run folder hold.

    Attributes:
        recipe: `recipe.json`, empty where it is missing.
        metrics: `metrics.json`, empty where it is missing: the run did not end.
        columns: the columns of `history.csv`, one number per epoch, NaN where there is none.
        has_best: whether it holds `best.keras`.
    """

    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    columns: Mapping[str, np.ndarray]
    has_best: bool = False

    @property
    def epochs(self) -> int:
        """Number of epochs that ended."""
        return len(self.columns["epoch"])

    @property
    def planned(self) -> int:
        """Number of epochs that were planned."""
        return int(self.recipe.get("epochs") or self.epochs)

    @property
    def counts(self) -> tuple[int, int]:
        """(images, objects) of the training set; zeros where the recipe lacks them."""
        images, objects = (self.recipe.get(f"training_{what}") for what in ("images", "objects"))
        return int(images or 0), int(objects or 0)

    @property
    def steps(self) -> int:
        """Training steps so far; 0 where they are unknown."""
        images, batch = self.counts[0], int(self.recipe.get("batch_size") or 0)
        passes = int((self.recipe.get("chosen") or {}).get("passes") or 1)
        return self.epochs * passes * math.ceil(images / batch) if images and batch else 0

    def column(self, name: str) -> np.ndarray | None:
        """A column of the history, or None where it has no number."""
        values = self.columns.get(name)
        return None if values is None or np.isnan(values).all() and name != "loss" else values


def read_run(folder: str | os.PathLike) -> Run:
    """Reads the files of a run folder; see `check_run`."""
    path = pathlib.Path(folder)
    if not os.path.lexists(path / HISTORY):
        raise DataError(
            f"A run folder must hold history.csv. Received: {path}. Give the folder that "
            "`keras-det train --out` filled; history.csv is written when the first epoch has ended."
        )
    rows = read_history(path / HISTORY)
    names = list(rows[0]) if rows else ["epoch"]
    columns = {n: np.array([float(row[n] or "nan") for row in rows]) for n in names if n}
    columns.setdefault("epoch", np.arange(1.0, len(rows) + 1))
    recipe = read_recipe(path, CURE) if os.path.lexists(path / RECIPE) else {}
    metrics = _metrics(path / "metrics.json")
    return Run(recipe, metrics, columns, (path / "best.keras").is_file())


def _metrics(path: pathlib.Path) -> dict[str, Any]:
    """The content of metrics.json; empty where it is missing."""
    if not os.path.lexists(path):
        return {}
    metrics = read_object(path, CURE)
    per_class = metrics.get("AP_per_class")
    measured = {n: v for n, v in metrics.items() if n[:2] in ("AP", "AR") and n != "AP_per_class"}
    for name, value in {**measured, "AP_per_class": per_class}.items():
        numbers = [value]
        if name == "AP_per_class" and value is not None:
            numbers = [*value.values()] if isinstance(value, dict) else [""]
        if not all(map(_is_precision, numbers)):
            what = "a JSON object of numbers" if name == "AP_per_class" else "a number"
            raise DataError(
                f"`{name}` of metrics.json must be {what} in 0..1, or null. Received: "
                f"{value!r:.60} in {path}. {CURE}"
            )
    return metrics


def _is_precision(value: Any) -> bool:
    """Whether a value may be an average precision or recall: COCO's -1 means none, as null does."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and (0 <= value <= 1 or value == -1))
