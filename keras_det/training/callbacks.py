"""Training callbacks: average precision, checkpoints, history, the progress line."""

import csv
import io
import os
import pathlib
import shutil
import sys
import time
from typing import Any, TextIO, TypeAlias, Unpack

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.decode.settings import (
    ALL_SETTINGS,
    DecoderSettings,
    check_names,
    takes_settings,
)
from keras_det.errors import DataError, suggest
from keras_det.files import write_whole
from keras_det.models.detector import Detector
from keras_det.run_folder import read_history as read_history
from keras_det.training.averaging import averaged_weights
from keras_det.training.evaluate import evaluate

Logs: TypeAlias = dict[str, Any] | None
# What `evaluate` says about the scores; see `keras_det.metrics.score_facts`.
SCORES = ("highest_score", "learned")


class EvaluateAP(keras.callbacks.Callback):
    """Adds `val_AP`, `val_AP50`, `val_AP75` to the logs of an epoch.

    Once measured, the logs also hold `val_highest_score`, the highest score in any image, and
    `val_learned`, 0 for a model that has learned too little.

    Put it before Keras' `ModelCheckpoint(monitor="val_AP", mode="max")` or `EarlyStopping`, so that
    they see the numbers of the same epoch. Where the optimizer keeps an average of the weights
    (`use_ema`), AP is measured with the averaged weights. At the end, `fit` leaves the averaged
    weights in the model.

    Args:
        dataset: `keras_det.data.Dataset`, or a `Pipeline` for its data set.
        batch_size: images per call.
        every: epochs between two measurements. AP is also measured after the last epoch. The logs
            of the epochs in between repeat the last numbers (0 before the first measurement), with
            `val_measured` 0.
        **settings: settings of the decoder, as in `keras_det.training.evaluate`.

    Raises:
        TypeError: a setting does not exist; at the start of training, also if the model's decoder
            does not have it.
        ValueError: `batch_size` or `every` is not a whole number of at least 1.
    """

    @takes_settings(ALL_SETTINGS)
    def __init__(
        self,
        dataset: Dataset | Pipeline,
        batch_size: int = 8,
        every: int = 1,
        **settings: Unpack[DecoderSettings],
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("every", every)):
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(
                    f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}. "
                    "Leave it out for the default."
                )
        self.dataset = dataset.dataset if isinstance(dataset, Pipeline) else dataset
        self.batch_size = batch_size
        self.every = every
        self.settings = settings
        self.metrics: dict | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        # A wrong setting or data set must fail here, not after the first epoch.
        accepted = getattr(self.model, "detect_settings", ALL_SETTINGS)
        check_names("EvaluateAP", self.settings, accepted)
        if self.settings:
            self.model.detect_function(**self.settings)
        self.model.check_dataset(self.dataset)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        last = epoch + 1 == self.params.get("epochs")
        measured = last or (epoch + 1) % self.every == 0
        if measured:
            with averaged_weights(self.model):
                self.metrics = evaluate(self.model, self.dataset, self.batch_size, **self.settings)
        found = self.metrics or {}
        if logs is not None:
            for name in ("AP", "AP50", "AP75"):
                logs[f"val_{name}"] = float(found.get(name, 0.0))
            logs |= {f"val_{name}": float(found[name]) for name in SCORES if name in found}
            logs["val_measured"] = float(measured)


class SaveBest(keras.callbacks.Callback):
    """Saves the model when a logged value is higher than ever before, with averaged weights.

    While the model has learned too little (`val_learned` 0), its average precision means nothing:
    then the newest model is saved, until one has learned enough.

    Args:
        path: the `.keras` file. It is never left half written.
        monitor: name of a value that is logged after every epoch; higher is better.
        best: for a resumed run, the highest value so far.
    """

    def __init__(
        self, path: str | os.PathLike, monitor: str = "val_AP", best: float = -np.inf
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.monitor = monitor
        self.best = best

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                "`monitor` must be in the logs of every epoch. Received: "
                f"monitor={self.monitor!r}, logs {sorted(logs)}.{suggest(self.monitor, logs)} Put "
                "EvaluateAP before SaveBest for val_AP."
            )
        value, learned = logs[self.monitor], bool(logs.get("val_learned", 1.0))
        if learned and value > self.best:
            self.best = float(value)
        elif learned or self.best > -np.inf:
            return
        save_averaged(self.model, self.path)


class SaveState(keras.callbacks.Callback):
    """Saves the model with its optimizer after each epoch, so that a run can be resumed.

    Args:
        folder: where `epoch_<number>.keras` is written. The file of the epoch before is deleted
            when the new one is complete.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epoch + 1:04d}.keras"
        save_whole(self.model, path)
        for other in self.folder.glob("epoch_*.keras"):
            if other != path:
                other.unlink()


class History(keras.callbacks.Callback):
    """Writes the logs of every epoch to a CSV file, which is never left half written.

    After a resume, the rows of epochs that are trained again are replaced.

    Args:
        path: the file. Its rows of earlier epochs are kept.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.rows = read_history(self.path)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        row = {"epoch": str(epoch + 1)}
        row |= {name: f"{float(value):.6g}" for name, value in (logs or {}).items()}
        self.rows = [kept for kept in self.rows if int(kept["epoch"]) <= epoch] + [row]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(row), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.path, text.getvalue().encode())


def newest_state(folder: str | os.PathLike) -> tuple[pathlib.Path | None, int]:
    """Returns `(path, epochs done)` of the newest state in a folder, `(None, 0)` without one."""
    paths = sorted(pathlib.Path(folder).glob("epoch_*.keras"))
    return (paths[-1], int(paths[-1].stem.split("_")[1])) if paths else (None, 0)


def save_whole(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a `.keras` file completely or not at all, even when it is interrupted."""
    partial = pathlib.Path(path).with_name(f".{pathlib.Path(path).stem}.partial.keras")
    model.save(partial)
    os.replace(partial, path)


def save_averaged(model: Detector, path: str | os.PathLike) -> None:
    """Saves the model with the averaged weights and without the optimizer."""
    with averaged_weights(model):
        save_whole(model.with_changes(), path)


class EpochSeeds(keras.callbacks.Callback):
    """Seeds the random generators of the layers at each epoch (drop-connect uses them).

    A resumed run thus has the same random numbers as an uninterrupted one. Keras does not save the
    state of its random generators.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        for i, state in enumerate(states):
            state.assign(np.array([self.seed * 100_003 + i, epoch * 1_000_003], state.dtype))


class StopOnNaN(keras.callbacks.Callback):
    """Stops the training with a DataError when the loss is no longer finite."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if logs and not np.isfinite(logs.get("loss", 0.0)):
            raise DataError(
                f"The loss must stay finite. Received: {logs['loss']} at step {batch + 1} of the "
                "epoch. Lower the learning rate, and check the boxes of the data set."
            )


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress(keras.callbacks.Callback):
    """Shows epoch, step, losses and the time left in one line.

    On a terminal the line is rewritten several times a second. Where it is too long for the
    terminal, the parts of the loss are left out, so that AP and the time left stay visible.
    Elsewhere one line is written per epoch. AP is shown after the epochs that measured it.

    Args:
        stream: where to write. Default: standard error.
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

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = self.shown = 0.0
        self.first_step: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        now = time.monotonic()
        step = self.epoch * (self.params.get("steps") or 0) + batch + 1
        if self.first_step is None:  # The first step compiles: it would spoil the estimate.
            self.first_step, self.started = step, now
        if self.live and now - self.shown > 0.2:
            self.shown = now
            self._write(self._line(self.epoch, batch + 1, step, now, logs), "\r")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        steps = self.params.get("steps") or 0
        now = time.monotonic()
        self._write(self._line(epoch, steps, (epoch + 1) * steps, now, logs), "\n")

    def _line(self, epoch: int, step_of_epoch: int, step: int, now: float, logs: Logs) -> str:
        """The line; on a narrow terminal without the parts of the loss, then without the step."""
        logs, epochs, steps = logs or {}, self.params.get("epochs"), self.params.get("steps") or 0
        where, at = f"epoch {epoch + 1}/{epochs}", f"step {step_of_epoch}/{steps}"
        # AP that was measured after an earlier epoch is not shown again.
        measured = logs.get("val_measured", 1)
        shown = [k for k in self.SHOWN if k in logs and (measured or not k.startswith("val_"))]
        numbers = {k: f"{k} {logs[k]:.3f}" for k in shown}
        short = [numbers[k] for k in numbers if k == "loss" or not k.endswith("_loss")]
        left, done = [], step - (self.first_step or step)
        if done > 0:
            left = [f"{clock((now - self.started) / done * (epochs * steps - step))} left"]
        line = "  ".join([where, at, *numbers.values(), *left])
        for fewer in ([where, at, *short, *left], [where, *short, *left]):
            if not self.live or len(line) < shutil.get_terminal_size().columns:
                break
            line = "  ".join(fewer)
        return line

    def _write(self, line: str, end: str) -> None:
        if self.live:
            line = line[: shutil.get_terminal_size().columns - 1]
            line = f"\r{line}\x1b[K"
        self.stream.write(line + ("\n" if end == "\n" else ""))
        self.stream.flush()
