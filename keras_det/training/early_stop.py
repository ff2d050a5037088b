"""Stops a training whose average precision no longer rises, also after a resume."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np


class StopWithoutGain(keras.callbacks.Callback):
    """Stops when `val_AP` has not risen for some epochs.

    Epochs of a model that has learned too little (`val_learned` 0) do not count, because its
    average precision means nothing. Epochs that were not measured (`val_measured` 0) count once the
    next measurement shows no gain. Put this callback after `EvaluateAP`.

    Args:
        patience: epochs without a higher `val_AP` before training stops.
        rows: for a resumed run, the rows of its `history.csv`.
        fresh_after: for a run whose length or learning rate was changed, the number of epochs
            trained before the change. The waiting starts again there.
    """

    def __init__(
        self, patience: int, rows: Sequence[Mapping[str, Any]] = (), fresh_after: int = 0
    ) -> None:
        super().__init__()
        self.patience = patience
        self.best, self.waited, self.unmeasured = -np.inf, 0, 0
        for number, row in enumerate(rows, 1):
            self._count(row)
            if number == fresh_after:
                self.waited = self.unmeasured = 0

    def _count(self, row: Mapping[str, Any]) -> None:
        value = float(row.get("val_AP") or 0.0)
        if not float(row.get("val_learned") or 0.0):
            return
        self.unmeasured += 1
        if float(row.get("val_measured") or 1.0) == 0.0:
            return
        if value > self.best:
            self.best, self.waited = value, 0
        else:
            self.waited += self.unmeasured
        self.unmeasured = 0

    @property
    def exhausted(self) -> bool:
        """Whether training must stop: the patience is used up."""
        return self.waited >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # `history.csv` has six digits: a resumed run must count the same numbers.
        rounded = {name: f"{float(value):.6g}" for name, value in (logs or {}).items()}
        self._count(rounded)
        if self.exhausted:
            self.model.stop_training = True
