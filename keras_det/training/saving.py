"""The callback that saves the states of a run: after each epoch, and within epochs."""

import dataclasses
import os
import pathlib
import time

import keras
import numpy as np

from keras_det.data.pipeline import Pipeline
from keras_det.layers.replicas import is_chief, strategy_of, sum_over_workers, worker_of
from keras_det.training.recipe import check_numbers
from keras_det.training.states import save_state
from keras_det.training.stopping import StopRequest
from keras_det.training.within_epoch import running
from keras_det.types import Logs

MINUTES = 10.0  # between two states within an epoch


@dataclasses.dataclass(frozen=True)
class Saving:
    """When a run saves its state within an epoch, besides at the end of each epoch.

    Attributes:
        steps: number of steps between two states; None: time alone decides.
        minutes: longest time between two states, at least 0; None: 10.

    Raises:
        DataError: a number is out of its range.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        check_numbers({"save_every": self.steps, "save_minutes": self.minutes})


class SaveState(keras.callbacks.Callback):
    """Saves the model with its optimizer, so that a run can be resumed.

    It saves after each epoch, within epochs as `saving` says, and when a signal asks for it. In the
    last case, KeyboardInterrupt is raised after the state is saved.

    Args:
        folder: where the states are written; see `keras_det.training.states`. The last three are
            kept.
        saving: when. Default: after at most 10 minutes.
        pipeline: of the training. It knows whether images could not be read.
        request: as from `stopping_after_a_step`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        saving: Saving | None = None,
        pipeline: Pipeline | None = None,
        request: StopRequest | None = None,
    ) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.saving = saving or Saving()
        self.pipeline = pipeline
        self.request = request or StopRequest()
        self.saved: tuple[int, float] | None = None  # step of the epoch, time

    def _save(self, epochs: int, steps: int = 0) -> None:
        """Saves a state. Only the chief writes, but every worker holds a part of the means."""
        if is_chief(self.model):
            noted = {"unread": len(self.pipeline.failed) if self.pipeline else 0} if steps else None
            save_state(self.model, self.folder, epochs, steps, noted)
        elif steps:
            running(self.model)

    def _agreed(self, due: bool = False) -> tuple[bool, list[int]]:
        """Whether all workers save now (the chief decides), and which were asked to stop."""
        strategy = strategy_of(self.model)
        worker, workers = worker_of(strategy)
        asked = [float(self.request.wanted and i == worker) for i in range(workers)]
        sums = sum_over_workers(strategy, [float(due and worker == 0), *asked])
        return bool(sums[0]), np.flatnonzero(sums[1:]).tolist()

    def _stop(self, asked: list[int]) -> None:
        """Ends the training on all workers if some of them were asked to stop."""
        if not asked:
            return
        if worker_of(strategy_of(self.model))[1] > 1:
            names = " and ".join(f"worker {i}" for i in asked)
            self.request.say(f"\nAll workers stop here, because {names} got a signal to stop.")
        raise KeyboardInterrupt

    def on_train_begin(self, logs: Logs = None) -> None:
        self.request.together = worker_of(strategy_of(self.model))[1] > 1

    def on_train_end(self, logs: Logs = None) -> None:
        self.request.together = False
        self._stop(self._agreed()[1])

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, self.saved = epoch, None

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.request.in_step = True
        if self.saved is None:
            self.saved = batch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        done = batch + 1
        if done == self.params.get("steps"):
            self.request.epoch_ends, self.request.in_step = True, False
            return  # the end of the epoch saves
        steps, since = self.saved or (0, time.monotonic())
        due = self.saving.steps is not None and done - steps >= self.saving.steps
        minutes = MINUTES if self.saving.minutes is None else self.saving.minutes
        due = due or time.monotonic() - since >= 60 * minutes
        due, asked = self._agreed(due)
        if due or asked:
            self._save(self.epoch, done)
            self.saved = done, time.monotonic()
            asked = asked or self._agreed()[1]  # a signal may have come meanwhile
        self.request.in_step = False
        self._stop(asked)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._save(epoch + 1)
        self.request.epoch_ends = False
        self._stop(self._agreed()[1])
