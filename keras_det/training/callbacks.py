"""Training callbacks: average precision, the best model, history, seeds, divergence."""

import csv
import io
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Unpack

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
from keras_det.layers.replicas import is_chief, strategy_of, sum_over_workers
from keras_det.run_folder import read_history as read_history
from keras_det.training.averaging import averaged_weights
from keras_det.training.evaluate import Measured
from keras_det.training.gathering import measure_together
from keras_det.training.states import not_finite, save_averaged
from keras_det.training.within_epoch import generators
from keras_det.types import Logs

# What `EvaluateAP` logs of the metrics; for the last two see `keras_det.metrics.score_facts`.
MEASURED = ("val_AP", "val_AP50", "val_AP75", "val_highest_score", "val_learned")
# No detector that learns has such a loss: it starts between 1 and some thousands.
TOO_HIGH = 1e6
CHECK = "and check the data set with `keras-det doctor`"


class EvaluateAP(keras.callbacks.Callback):
    """Adds `val_AP`, `val_AP50`, `val_AP75` to the logs of an epoch.

    The logs also hold `val_highest_score`, the highest score in any image, and `val_learned`, 0 for
    a model that has learned too little.

    Put it before Keras' `ModelCheckpoint(monitor="val_AP", mode="max")` or `EarlyStopping`, so that
    they see the numbers of the same epoch. Where the optimizer keeps an average of the weights
    (`use_ema`), AP is measured with the averaged weights. At the end, `fit` leaves the averaged
    weights in the model. `SaveBest` saves them too. Keras' callbacks save the weights of the last
    step, unless `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` comes before them.

    Args:
        dataset: `keras_det.data.Dataset`, or a `Pipeline` for its data set.
        batch_size: images per call.
        every: epochs between two measurements. AP is also measured after the last epoch. The logs
            of the epochs in between repeat the last numbers (0 before the first measurement), with
            `val_measured` 0.
        before: for a resumed run, the last row of its `history.csv`.
        losses: bool. True also logs `val_loss` and its parts, such as `val_box_loss`: means over
            the images, without a penalty on the weights. AP and losses come from one pass.
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
        before: Mapping[str, str] | None = None,
        losses: bool = False,
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
        self.losses = losses
        self.metrics: dict | None = None
        self.found: Measured | None = None
        known = before or {}
        self.logged = {name: float(known.get(name) or 0.0) for name in MEASURED}
        if losses:  # the last row of the history holds them, if there is one
            self.logged |= {k: float(v) for k, v in known.items() if _is_loss(k) and v}

    def on_train_begin(self, logs: Logs = None) -> None:
        # A wrong setting or data set must fail here, not after the first epoch.
        accepted = getattr(self.model, "detect_settings", ALL_SETTINGS)
        check_names("EvaluateAP", self.settings, accepted)
        if self.settings:
            self.model.detect_function(**self.settings)
        self.model.check_dataset(self.dataset)
        if self.losses:
            names = [f"val_{name}" for name in ("loss", *self.model.LOSSES)]
            self.logged = {**dict.fromkeys(names, math.nan), **self.logged}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        last = epoch + 1 == self.params.get("epochs")
        measured = last or (epoch + 1) % self.every == 0
        if measured:
            self.logged = dict(zip(self.logged, self._measured(), strict=True))
        if logs is not None:
            logs |= {**self.logged, "val_measured": float(measured)}

    def _measured(self) -> list[float]:
        """The numbers to log. Each worker detects in its share; the chief measures and tells."""
        found = [0.0] * len(self.logged)
        asked = (self.dataset, self.batch_size, self.losses, self.settings)
        with averaged_weights(self.model):
            self.found = measure_together(self.model, *asked)
        if self.found is not None:
            self.metrics = self.found.as_metrics()
            found = [float(self.metrics[name.removeprefix("val_")]) for name in self.logged]
        return [float(value) for value in sum_over_workers(strategy_of(self.model), found)]


def _is_loss(name: str) -> bool:
    return name.startswith("val_") and name.endswith("loss")


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
        if is_chief(self.model):
            save_averaged(self.model, self.path)


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
        if not is_chief(self.model):
            return
        row = {"epoch": str(epoch + 1)}
        row |= {name: f"{float(value):.6g}" for name, value in (logs or {}).items()}
        self.rows = [kept for kept in self.rows if int(kept["epoch"]) <= epoch] + [row]
        text = io.StringIO(newline="")
        names = dict.fromkeys(name for each in self.rows for name in each)
        writer = csv.DictWriter(text, fieldnames=list(names), restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.path, text.getvalue().encode(), durable=True)


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
        for i, state in enumerate(generators(self.model)):
            state.assign(np.array([self.seed * 100_003 + i, epoch * 1_000_003], state.dtype))


class Diverged(DataError):
    """A training has diverged.

    Args:
        reason: a sentence: what happened, and where.
        advice: sentences on what to do.
        epoch: from 0.
        step: of the epoch, from 1.
        loss: the logs of the losses there, by name.
    """

    def __init__(
        self, reason: str, advice: str, epoch: int, step: int, loss: dict[str, float]
    ) -> None:
        super().__init__(f"{reason} {advice}")
        self.reason, self.advice = reason, advice
        self.epoch, self.step, self.loss = epoch, step, loss


class StopDiverged(keras.callbacks.Callback):
    """Stops the training with `Diverged` when it has diverged, before anything is saved.

    It has diverged if the loss is NaN or infinite, if a weight or an optimizer value is NaN or
    infinite after an epoch, or if the mean loss of an epoch is above both `TOO_HIGH` and a thousand
    times the lowest loss before.

    Put it before every callback that measures or saves.

    Args:
        advice: sentences on what to do, for the end of the message.
        lowest: for a resumed run, the lowest loss so far.
    """

    def __init__(self, advice: str = "", lowest: float = np.inf) -> None:
        super().__init__()
        self.advice = advice or f"Lower the learning rate, {CHECK}."
        self.lowest = lowest
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            parts = [name for name, value in (logs or {}).items() if not np.isfinite(value)]
            which = ", ".join(parts[1:]) or "loss"
            raise self._error(
                f"The loss must stay finite. Received: {loss} at step {batch + 1} of epoch "
                f"{self.epoch + 1}, in {which}.",
                batch + 1,
                logs,
            )
        if batch == 0:  # the mean of the first step alone; later ones may hide a steep rise
            self.lowest = min(self.lowest, float(loss))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, steps = epoch, (self.params or {}).get("steps") or 1
        loss = float((logs or {}).get("loss", 0.0))
        if loss > max(TOO_HIGH, 1000 * abs(self.lowest)):
            raise self._error(
                f"The loss must not rise without limit. Received: {loss:.3g} in epoch {epoch + 1}, "
                f"after a lowest loss of {self.lowest:.3g}. The training has diverged.",
                steps,
                logs,
            )
        self.lowest = min(self.lowest, loss)
        if name := not_finite(self.model):
            raise self._error(
                f"All weights must stay finite. Received: NaN or infinity in {name} after epoch "
                f"{epoch + 1}.",
                steps,
                logs,
            )

    def _error(self, reason: str, step: int, logs: Logs) -> Diverged:
        loss = {name: float(v) for name, v in (logs or {}).items() if name.endswith("loss")}
        return Diverged(reason, self.advice, self.epoch, step, loss)
