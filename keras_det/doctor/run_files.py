"""Reads what the files of a run folder hold."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_det.errors import DataError
from keras_det.training.callbacks import read_history


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
    if not (path / "history.csv").is_file():
        raise DataError(
            f"A run folder must hold history.csv. Received: {path}. Give the folder that "
            "`keras-det train --out` filled; history.csv is written when the first epoch has ended."
        )
    try:
        rows = read_history(path / "history.csv")
        names = list(rows[0]) if rows else ["epoch"]
        columns = {n: np.array([float(row[n] or "nan") for row in rows]) for n in names if n}
        columns.setdefault("epoch", np.arange(1.0, len(rows) + 1))
        recipe, metrics = (_json(path / f"{name}.json") for name in ("recipe", "metrics"))
        _check_values(recipe, metrics)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise DataError(
            f"The files of a run must be as the training wrote them. Received: {path}: {error}. "
            "Restore history.csv, recipe.json and metrics.json, or delete the damaged one of the "
            "last two."
        ) from None
    return Run(recipe, metrics, columns, (path / "best.keras").is_file())


def _json(path: pathlib.Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return content


def _check_values(recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """ValueError where a value that is used below is of another kind than the training writes."""
    for key in ("epochs", "batch_size", "learning_rate", "training_images", "training_objects"):
        value = recipe.get(key)
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value < 1e12):
            raise ValueError(f"{key} of recipe.json is {value!r:.40}, not a number")
    if not isinstance(recipe.get("chosen") or {}, dict):
        raise ValueError("chosen of recipe.json is not a JSON object")
    counts, per_class = recipe.get("objects_per_class"), metrics.get("AP_per_class")
    if not isinstance(per_class or {}, dict):
        raise ValueError("AP_per_class of metrics.json is not a JSON object")
    if not isinstance(counts or {}, dict) or not all(
        isinstance(count, (int, float)) for count in (counts or {}).values()
    ):
        raise ValueError("objects_per_class of recipe.json holds no numbers")
