"""What happens between the epochs: average precision, checkpoints, the progress line."""

import csv
import io
import os
import pathlib
import shutil
import sys
import time
from typing import Any, Unpack

import keras
import numpy as np

from keras_det.decode.settings import (
    ALL_SETTINGS,
    DecoderSettings,
    check_names,
    takes_settings,
)
from keras_det.errors import DataError, suggest
from keras_det.files import write_whole
from keras_det.training.averaging import averaged_weights
from keras_det.training.evaluate import evaluate


class EvaluateAP(keras.callbacks.Callback):
    """Adds `val_AP`, `val_AP50`, `val_AP75` to the logs of an epoch.

    Put it before Keras' `ModelCheckpoint(monitor="val_AP", mode="max")` or `EarlyStopping`: they
    see the numbers of the same epoch. Measured with the averaged weights where the optimizer keeps
    an average (`use_ema`), which are what `fit` leaves in the model.

    Args:
        dataset: `keras_det.data.Dataset` (or a `Pipeline`, whose data set is taken).
        batch_size: images per call.
        every: measure after every this many epochs and after the last one. In the epochs between,
            the logs repeat the last numbers (0 before the first).
        **settings: of the decoder, as of `keras_det.training.evaluate`.
    """

    @takes_settings(ALL_SETTINGS)
    def __init__(
        self,
        dataset: Any,
        batch_size: int = 8,
        every: int = 1,
        **settings: Unpack[DecoderSettings],
    ):
        super().__init__()
        for name, value in (("batch_size", batch_size), ("every", every)):
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(
                    f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}. "
                    "Leave it out for the default."
                )
        self.dataset = getattr(dataset, "dataset", dataset)
        self.batch_size = batch_size
        self.every = every
        self.settings = settings
        self.metrics: dict | None = None

    def on_train_begin(self, logs=None):
        # Before the first epoch rather than after it.
        accepted = getattr(self.model, "detect_settings", ALL_SETTINGS)
        check_names("EvaluateAP", self.settings, accepted)
        if self.settings:
            self.model.detect_function(**self.settings)

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params.get("epochs")
        if last or (epoch + 1) % self.every == 0:
            with averaged_weights(self.model):
                self.metrics = evaluate(self.model, self.dataset, self.batch_size, **self.settings)
        for name in ("AP", "AP50", "AP75"):
            if logs is not None:
                logs[f"val_{name}"] = float(self.metrics[name]) if self.metrics else 0.0


class SaveBest(keras.callbacks.Callback):
    """Writes the (averaged) model with the highest value of a log so far.

    Args:
        path: `.keras` file, replaced as a whole.
        monitor: name of a log of every epoch, higher is better.
        best: the highest value so far, of a run that is resumed.
    """

    def __init__(self, path, monitor="val_AP", best=-np.inf):
        super().__init__()
        self.path = pathlib.Path(path)
        self.monitor = monitor
        self.best = best

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                "`monitor` must be a log of every epoch. Received: "
                f"monitor={self.monitor!r}, logs {sorted(logs)}.{suggest(self.monitor, logs)} "
                "Put EvaluateAP before SaveBest for val_AP."
            )
        value = logs[self.monitor]
        if value > self.best:
            self.best = float(value)
            save_averaged(self.model, self.path)


class SaveState(keras.callbacks.Callback):
    """Writes model, optimizer and epoch after each epoch, so that a run can be resumed.

    Args:
        folder: gets `epoch_<number>.keras`; the one before is deleted once the new one is whole.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)

    def on_epoch_end(self, epoch, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epoch + 1:04d}.keras"
        save_whole(self.model, path)
        for other in self.folder.glob("epoch_*.keras"):
            if other != path:
                other.unlink()


class History(keras.callbacks.Callback):
    """Writes the logs of every epoch to a CSV file, replaced as a whole.

    Rows of epochs that are trained again, after a resume, are written anew.

    Args:
        path: the file; its rows of earlier epochs are kept.
    """

    def __init__(self, path):
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = read_history(self.path)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{k: f"{float(v):.6g}" for k, v in (logs or {}).items()}}
        self.rows = [kept for kept in self.rows if int(kept["epoch"]) <= epoch] + [row]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(row), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.path, text.getvalue().encode())


def read_history(path):
    """The rows of a `history.csv` as dicts of text; none where there is no file."""
    if not pathlib.Path(path).is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest_state(folder):
    """Returns `(path, epochs done)` of the last state in a folder, `(None, 0)` where none is."""
    paths = sorted(pathlib.Path(folder).glob("epoch_*.keras"))
    return (paths[-1], int(paths[-1].stem.split("_")[1])) if paths else (None, 0)


def save_whole(model, path):
    """Saves a `.keras` so that the file is whole or not there, whatever interrupts."""
    partial = pathlib.Path(path).with_name(f".{pathlib.Path(path).stem}.partial.keras")
    model.save(partial)
    os.replace(partial, path)


def save_averaged(model, path):
    """Saves the model with the averaged weights and without the optimizer."""
    with averaged_weights(model):
        save_whole(model.with_changes(), path)


class EpochSeeds(keras.callbacks.Callback):
    """Seeds drop-connect anew each epoch, so that a resumed run draws what a whole one would.

    Keras does not save where its random generators stand.

    Args:
        seed: of the run.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        for i, state in enumerate(states):
            state.assign(np.array([self.seed * 100_003 + i, epoch * 1_000_003], state.dtype))


class StopOnNaN(keras.callbacks.Callback):
    """Stops with a clear error when the loss is no longer a number."""

    def on_train_batch_end(self, batch, logs=None):
        if logs and not np.isfinite(logs.get("loss", 0.0)):
            raise DataError(
                f"The loss must stay finite. Received: {logs['loss']} at step {batch + 1} of the "
                "epoch. Lower the learning rate, and check the boxes of the data set."
            )


def clock(seconds):
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress(keras.callbacks.Callback):
    """One line for the whole training: epoch, step, losses, time left.

    On a terminal the line is rewritten several times a second; elsewhere one line per epoch.
    """

    SHOWN = (
        "loss",
        "class_loss",
        "box_loss",
        "pull_loss",
        "push_loss",
        "offset_loss",
        "val_AP",
        "val_AP50",
    )

    def __init__(self, stream=None):
        super().__init__()
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = self.shown = 0.0
        self.first_step = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        step = self.epoch * (self.params.get("steps") or 0) + batch + 1
        if self.first_step is None:  # the first step compiles: it would spoil the estimate
            self.first_step, self.started = step, now
        if self.live and now - self.shown > 0.2:
            self.shown = now
            self._write(self._line(self.epoch, batch + 1, step, now, logs), "\r")

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params.get("steps") or 0
        now = time.monotonic()
        self._write(self._line(epoch, steps, (epoch + 1) * steps, now, logs), "\n")

    def _line(self, epoch, step_of_epoch, step, now, logs):
        epochs, steps = self.params.get("epochs"), self.params.get("steps") or 0
        numbers = "  ".join(f"{k} {logs[k]:.3f}" for k in self.SHOWN if k in (logs or {}))
        line = f"epoch {epoch + 1}/{epochs}  step {step_of_epoch}/{steps}  {numbers}"
        done = step - (self.first_step or step)
        if done > 0:
            left = (now - self.started) / done * (epochs * steps - step)
            line += f"  {clock(left)} left"
        return line

    def _write(self, line, end):
        if self.live:
            line = line[: shutil.get_terminal_size().columns - 1]
            line = f"\r{line}\x1b[K"
        self.stream.write(line + ("\n" if end == "\n" else ""))
        self.stream.flush()
