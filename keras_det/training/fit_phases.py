"""Trains what is left of a run: phase by phase, from a saved state on."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.layers.replicas import is_chief, strategy_of, worker_of
from keras_det.models import Detector
from keras_det.models.shared_stream import scope_of, training_stream
from keras_det.models.streams import own_errors
from keras_det.run_folder import HISTORY, REPORT, read_history
from keras_det.training.callbacks import (
    Diverged,
    EpochSeeds,
    EvaluateAP,
    History,
    SaveBest,
    StopDiverged,
)
from keras_det.training.early_stop import StopWithoutGain
from keras_det.training.guard import go_back
from keras_det.training.phases import begin_phase, phases, plan_anew
from keras_det.training.progress import Measure, Progress, clock
from keras_det.training.recipe import Recipe
from keras_det.training.saving import SaveState, Saving
from keras_det.training.seeing import Curves, ReportPage, TensorBoard
from keras_det.training.states import CHECKPOINTS, State, save_state
from keras_det.training.stopping import StopRequest, advice, best_so_far, lowest_loss
from keras_det.training.within_epoch import RestOfEpoch
from keras_det.words import counted


@dataclasses.dataclass
class Training:
    """A run that goes on.

    Attributes:
        model, pipeline, validation_set, out, chosen: detector, data, run folder and recipe.
        state: the saved state that the model is from; None for a new one.
        noted: with the state, see `within_epoch.running`; `{}` without steps.
        changed_after: epochs after which the schedule was last planned anew; see `planned_anew`.
        how_to_resume: the shell command that continues the run, or None.
        saving, request: as for `SaveState`.
        say: function that gets the lines of text to show.
        tensorboard: whether logs and pictures are written for TensorBoard.
        epochs, steps: done so far: whole epochs, and steps of the next one.
    """

    model: Detector
    pipeline: Pipeline
    validation_set: Dataset | None
    out: pathlib.Path
    chosen: Recipe
    state: State | None
    noted: dict[str, Any]
    changed_after: int
    how_to_resume: str | None
    saving: Saving
    request: StopRequest
    say: Callable[[str], object]
    tensorboard: bool = False
    epochs: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.state is not None:
            self.epochs, self.steps = self.state.epochs, self.state.steps

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch of the run, which may have several passes over the images."""
        return self.chosen.passes * self.pipeline.steps_per_epoch

    def in_pipeline(self, epoch: int, step: int) -> tuple[int, int]:
        """The epoch and the step of the pipeline, for those of the run, all from 0."""
        passes, step = divmod(step, self.pipeline.steps_per_epoch)
        return epoch * self.chosen.passes + passes, step


def fit_rest(training: Training, gone_back: int, record: Callable[..., None]) -> None:
    """Trains the epochs that are left; a run that diverges goes back, see `guard.go_back`.

    Args:
        training: the run; afterwards its model is the trained one.
        gone_back: how often it has gone back already.
        record: as for `go_back`.

    Raises:
        DataError: it has diverged for good.
    """
    while True:
        try:
            return _fit(training)
        except Diverged as error:
            go_back(training, error, gone_back, record)
            gone_back += 1


def _fit(training: Training) -> None:
    """Trains the epochs that are left, phase by phase."""
    chosen, say = training.chosen, training.say
    # An epoch whose state is missing is trained again: its row counts then.
    rows = read_history(training.out / HISTORY) if training.epochs or training.steps else []
    rows = [row for row in rows if int(row["epoch"]) <= training.epochs]
    patience = chosen.patience or chosen.epochs + 1
    stop = StopWithoutGain(patience, rows, training.changed_after)
    if training.epochs >= chosen.epochs or stop.exhausted:
        done = counted(training.epochs, "epoch")
        say(f"The run is already finished: it has trained for {done}. Extend it with --epochs.")
        return
    progress = Progress(epochs=chosen.epochs, batch_size=training.pipeline.batch_size)
    callbacks = _callbacks(training, rows, stop)
    callbacks += [progress] if is_chief(training.model) else []
    started = time.monotonic()
    with contextlib.closing(progress):
        _fit_phases(training, callbacks, stop)
    if stop.exhausted:
        say(f"Stopped: val_AP has not risen for {counted(stop.waited, 'epoch')}.")
    say(f"Trained for {clock(time.monotonic() - started)}.")


def _fit_phases(
    training: Training, callbacks: list[keras.callbacks.Callback], stop: StopWithoutGain
) -> None:
    """Trains phase by phase, until the last one or until `stop` has had enough."""
    model, chosen = training.model, training.chosen
    for first, last in phases(chosen):
        if training.epochs >= last or stop.exhausted:
            continue
        if training.epochs == first and not training.steps:
            with scope_of(model):
                begin_phase(model, chosen, first, last)
            # For a run that diverges at once.
            if not training.epochs and training.state is None and is_chief(model):
                training.state = save_state(model, training.out / CHECKPOINTS, 0)
        elif training.changed_after >= training.epochs:  # the state is from before the change
            training.say(plan_anew(model, chosen, first, last))
        if training.steps:
            _finish_epoch(training, callbacks, last, stop)
        if training.epochs < last and not stop.exhausted:
            model.fit(
                training.pipeline,
                initial_epoch=training.epochs,
                epochs=last,
                steps_per_epoch=training.steps_per_epoch,
                verbose=0,
                callbacks=callbacks,
            )
        training.epochs = last


def _callbacks(
    training: Training, rows: list[dict[str, str]], stop: StopWithoutGain
) -> list[keras.callbacks.Callback]:
    """The callbacks of a run; `rows` is its history so far."""
    chosen, pipeline, out = training.chosen, training.pipeline, training.out
    diverged = StopDiverged(advice(chosen, training.how_to_resume), lowest_loss(rows))
    callbacks: list[keras.callbacks.Callback] = [diverged, EpochSeeds(pipeline.seed)]
    seeing: list[keras.callbacks.Callback] = [Curves(out)]
    if training.validation_set is not None:
        before = rows[-1] if rows else None
        # The images that fill up the last batch have the weight 0.
        every, with_losses = chosen.evaluate_every, training.model.takes_weights()
        measured = EvaluateAP(
            training.validation_set, pipeline.batch_size, every, before, with_losses
        )
        seeing.append(ReportPage(out / REPORT, measured, out / HISTORY))
        callbacks += [
            measured,
            SaveBest(out / "best.keras", best=best_so_far(out)),
            stop,
        ]
    callbacks.append(Measure(pipeline.batch_size))
    # All workers take part in saving, but only the chief writes.
    save = SaveState(out / CHECKPOINTS, training.saving, pipeline, training.request)
    if not is_chief(training.model):
        return [*callbacks, save]
    if training.tensorboard:
        where = out / "tensorboard"
        callbacks.append(TensorBoard(where, training.validation_set, pipeline.batch_size))
    return [
        *callbacks,
        History(out / HISTORY),
        # After `History`: a run interrupted between them trains that epoch again, and its row is
        # replaced.
        save,
        *seeing,
    ]


def _finish_epoch(
    training: Training,
    callbacks: list[keras.callbacks.Callback],
    last: int,
    stop: StopWithoutGain,
) -> None:
    """Trains the steps that are left of an epoch, exactly as `fit` would have gone on."""
    pipeline, whole = training.pipeline, training.steps_per_epoch
    place = training.in_pipeline(training.epochs, training.steps)
    # The chief does not know which images the other workers could not read.
    several = worker_of(strategy_of(training.model))[1] > 1
    pipeline.start(*place, broken=several or bool(training.noted.get("unread")))
    rest = RestOfEpoch(callbacks, training.steps, whole, last, training.noted)
    with own_errors(pipeline):
        training.model.fit(
            training_stream(pipeline, training.model),
            initial_epoch=training.epochs,
            epochs=training.epochs + 1,
            steps_per_epoch=whole - training.steps,
            verbose=0,
            callbacks=[rest],
        )
    training.epochs, training.steps = training.epochs + 1, 0
    if training.epochs < last and not stop.exhausted:
        rest.undo_averaging()
