"""The callback that saves the states of a run: after each epoch, and within epochs."""

import dataclasses
import os
import pathlib
import time

import keras

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

    def _agreed(self, due: bool, wanted: bool) -> tuple[bool, bool]:
        """Whether all workers save now (the chief decides) and stop now (if one is asked to)."""
        strategy = strategy_of(self.model)
        if worker_of(strategy)[1] == 1:
            return due, wanted
        due, wanted = sum_over_workers(strategy, [due and is_chief(self.model), wanted]) > 0
        return bool(due), bool(wanted)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, self.saved = epoch, None

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.request.in_step = True
        if self.saved is None:
            self.saved = batch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.request.in_step = False
        done = batch + 1
        if done == self.params.get("steps"):
            self.request.epoch_ends = True
            return  # the end of the epoch saves
        steps, since = self.saved or (0, time.monotonic())
        due = self.saving.steps is not None and done - steps >= self.saving.steps
        minutes = MINUTES if self.saving.minutes is None else self.saving.minutes
        due = due or time.monotonic() - since >= 60 * minutes
        due, wanted = self._agreed(due, self.request.wanted)
        if due or wanted:
            self._save(self.epoch, done)
            self.saved = done, time.monotonic()
        if wanted:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._save(epoch + 1)
        self.request.epoch_ends = False
        if self._agreed(False, self.request.wanted)[1]:
            raise KeyboardInterrupt
