"""A training that stops before its end: what it prints, and how to continue it."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.errors import Interrupted
from keras_det.run_folder import read_history
from keras_det.training.recipe import Recipe
from keras_det.training.states import CHECKPOINTS, states_in


class StopRequest:
    """A handler of signals: Ctrl-C and SIGTERM stop a training where it can be saved.

    A step cannot be interrupted in the middle, and after it everything can be saved. After the last
    step of an epoch, the epoch is measured and saved first. Several workers must stop after the
    same step, so between two steps a signal waits for the next one. The second signal, and one that
    comes at any other time, raises KeyboardInterrupt at once.

    Attributes:
        in_step: bool, whether a step is running or saved; `SaveState` sets all three.
        epoch_ends: bool, whether the steps of an epoch are done and it is not saved yet.
        together: bool, whether other workers train the same steps now.
        wanted: bool, whether a signal came at such a time.
    """

    def __init__(self, say: Callable[[str], object] = print) -> None:
        self.in_step = self.epoch_ends = self.together = self.wanted = False
        self.say = say

    def __call__(self, number: int = 0, frame: Any = None) -> None:
        if self.wanted or not (self.in_step or self.epoch_ends or self.together):
            raise KeyboardInterrupt
        self.wanted = True
        what = "the evaluation, to save this epoch" if self.epoch_ends else "this step, to save it"
        self.say(f"\nStopping after {what}. Press Ctrl-C again to stop at once.")


@contextlib.contextmanager
def stopping_after_a_step(say: Callable[[str], object] = print) -> Iterator[StopRequest]:
    """Context manager: inside, Ctrl-C and SIGTERM are handled by the `StopRequest` that it gives.

    Handlers that the program itself has set stay. Only the main thread can set handlers: in other
    threads, none is set.

    Args:
        say: function that gets the lines of text to show.
    """
    request = StopRequest(say)
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    if threading.current_thread() is not threading.main_thread():
        defaults = {}
    taken = {each: old for each, old in defaults.items() if signal.getsignal(each) == old}
    for each in taken:
        signal.signal(each, request)
    try:
        yield request
    finally:
        for each, old in taken.items():
            signal.signal(each, old)


@contextlib.contextmanager
def saying_how_to_continue(
    out: pathlib.Path, how_to_resume: str | None, say: Callable[[str], object]
) -> Iterator[None]:
    """Context manager: an interrupted training says what is saved and how to continue.

    Args:
        out: the run folder.
        how_to_resume: the shell command that continues it. None: say how to do it in Python.
        say: function that gets the lines of text to show.
    """
    try:
        yield
    except KeyboardInterrupt:
        how = how_to_resume or f"call train again with the same arguments and resume=True ({out})"
        states = [state for state in states_in(out / CHECKPOINTS) if any(state[1:])]
        kept = f"Saved up to {states[0].place}." if states else "No state is saved yet."
        say(f"\nInterrupted. {kept} To continue:\n{how}")
        raise Interrupted from None


def advice(chosen: Recipe, how_to_resume: str | None) -> str:
    """Sentences that say what to do if the training diverges.

    Args:
        chosen: the recipe of the run.
        how_to_resume: as in `saying_how_to_continue`.
    """
    kept = "The states of earlier epochs are kept. Check the data set with `keras-det doctor`, or"
    if chosen.learning_rate is None:
        return f"{kept} start a new run with another recipe, such as auto."
    rate = float(f"{chosen.learning_rate / 5:.1g}")
    how = f"call train again with resume=True and learning_rate={rate:g}"
    if how_to_resume:
        how = f"{how_to_resume} --learning-rate {rate:g}"
    return f"{kept} continue with a lower learning rate: {how}"


def lowest_loss(rows: Sequence[Mapping[str, str]]) -> float:
    """The lowest loss in a history; infinity without one."""
    losses = [float(row.get("loss") or np.inf) for row in rows]
    return min((loss for loss in losses if np.isfinite(loss)), default=np.inf)


def best_so_far(out: pathlib.Path) -> float:
    """The highest val_AP of a model that has learned, in the history of a resumed run."""
    rows = read_history(out / "history.csv")
    values = [
        float(row["val_AP"])
        for row in rows
        if row.get("val_AP") and float(row.get("val_learned") or 1.0)
    ]
    return max(values, default=-np.inf) if (out / "best.keras").exists() else -np.inf
