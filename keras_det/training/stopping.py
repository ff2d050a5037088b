"""The ends of a training that is not finished: what it says, and how it is continued."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_det.run_folder import read_history
from keras_det.training.recipe import Recipe


@contextlib.contextmanager
def terminating_like_ctrl_c() -> Iterator[None]:
    """Context manager: inside, SIGTERM raises KeyboardInterrupt, as Ctrl-C does.

    A handler of the program's own stays. Only the main thread can set handlers: elsewhere nothing
    happens.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def saying_how_to_continue(
    out: pathlib.Path, how_to_resume: str | None, say: Callable[[str], object]
) -> Iterator[None]:
    """Context manager: an interrupted training says how it is continued.

    Args:
        out: the run folder.
        how_to_resume: the shell command that does it. None: a call in Python.
        say: function that gets the lines of text to show.
    """
    try:
        yield
    except KeyboardInterrupt:
        how = how_to_resume or f"call train again with the same arguments and resume=True ({out})"
        say(f"\nInterrupted. The finished epochs are saved. To continue:\n{how}")
        raise


def advice(chosen: Recipe, how_to_resume: str | None) -> str:
    """What to do if the training diverges: sentences.

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
