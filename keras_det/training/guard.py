"""When a training diverges: the batches are kept, and the run continues from an earlier state."""

import dataclasses
import pathlib
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_det.errors import DataError
from keras_det.layers.replicas import is_chief
from keras_det.models.shared_stream import scope_of
from keras_det.training import replay
from keras_det.training.callbacks import Diverged
from keras_det.training.recipe import Recipe
from keras_det.training.states import CHECKPOINTS, load_newest, place_of, states_in

if TYPE_CHECKING:
    from keras_det.training.fit_phases import Training

MOST = 2  # times that a run goes back
LOWER = 5.0  # the learning rate is divided by this


def keep_batches(training: "Training", error: Diverged) -> pathlib.Path:
    """Writes the last batches before a divergence into the run folder; returns the file."""
    pipeline = training.pipeline
    place = training.in_pipeline(error.epoch, error.step - 1)
    batches = replay.batches_before(pipeline, *place)
    paths = [[pipeline.dataset.image_paths[i] for i in batch["image_index"]] for batch in batches]
    steps = list(range(error.step - len(batches) + 1, error.step + 1))
    states = states_in(training.out / CHECKPOINTS)
    state = states[0].path.name if states else None
    where = place_of(error.epoch, error.step)
    kept = replay.Kept(batches, paths, where, error.loss, state, steps)
    path = training.out / f"diverged_epoch_{error.epoch + 1:04d}_step_{error.step:06d}.npz"
    replay.save(path, kept)
    return path


def go_back(
    training: "Training",
    error: Diverged,
    before: int,
    record: Callable[[Recipe, int, str], None],
) -> None:
    """Returns a diverged run to its last good state, with a lower learning rate.

    Args:
        training: the run; its model, its recipe and its place are changed.
        error: why and where it has diverged.
        before: number of times that the run has already gone back.
        record: `record(recipe, epochs, why)` notes the change in `recipe.json`.

    Raises:
        DataError: it has gone back `MOST` times, its recipe has no rate to lower, or it has no
            state.
    """
    look = "The chief keeps the batch."
    if is_chief(training.model):
        path = keep_batches(training, error)
        look = f"To see the batch: keras-det train --replay {shlex.quote(str(path))}"
    rate, out = training.chosen.learning_rate, training.out
    if rate is None or before >= MOST:
        raise _for_good(error, look) from error
    names = training.model.class_names
    with scope_of(training.model):
        model, state, noted = load_newest(states_in(out / CHECKPOINTS), names, lambda line: None)
    if model is None or state is None:
        raise _for_good(error, look) from error
    lower = float(f"{rate / LOWER:.2g}")
    training.chosen = dataclasses.replace(training.chosen, learning_rate=lower)
    training.model, training.noted = model, noted
    training.state, training.epochs, training.steps = state, state.epochs, state.steps
    training.changed_after = state.epochs
    record(training.chosen, state.epochs, error.reason)
    training.say(
        f"{error.reason}\nThe run goes back and continues {state.after} with the learning rate "
        f"{lower:g} instead of {rate:g} (attempt {before + 1} of {MOST}).\n{look}"
    )


def _for_good(error: Diverged, look: str) -> DataError:
    return DataError(f"{error.reason}\n{look}\n{error.advice}")


def times_gone_back(changes: list[dict[str, Any]]) -> int:
    """How often a run has gone back, from the `changes` of its recipe.json."""
    return sum("diverged" in each for each in changes)
