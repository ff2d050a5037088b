"""Callbacks that show how training goes: curves as a picture, the report, and TensorBoard."""

import importlib.util
import io
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.errors import DataError, install_hint
from keras_det.files import write_whole
from keras_det.run_folder import HISTORY, read_history
from keras_det.training.averaging import averaged_weights
from keras_det.training.callbacks import EvaluateAP
from keras_det.training.evaluate import Measured, detect_dataset
from keras_det.training.pictures import truth_and_found
from keras_det.training.progress import PARTS
from keras_det.training.report import write_report
from keras_det.types import Logs

LOSSES = ("loss", *PARTS)
# The panels of the curves: title, and the columns of `history.csv` that are drawn in it.
PANELS = (
    ("loss", LOSSES),
    ("loss on the validation set", tuple(f"val_{name}" for name in LOSSES)),
    ("average precision on the validation set", ("val_AP", "val_AP50", "val_AP75")),
    ("learning rate", ("learning_rate",)),
)
REPORT_SHARE = 0.03  # largest share of the training time that is spent on the report
PAUSE = 20.0  # seconds between two pictures or reports, so that short epochs are not slowed down


def draw_curves(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Losses, average precision and learning rate over the epochs, as a PNG file.

    Needs matplotlib (extra `plots`).

    Args:
        rows: of `history.csv`, at least one.
    """
    from matplotlib.figure import Figure

    panels = [(title, [n for n in names if n in rows[0]]) for title, names in PANELS]
    panels = [(title, names) for title, names in panels if names]
    figure = Figure(figsize=(7, 2.4 * len(panels)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(panels), sharex=True))
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in names:
            kept = [row for row in rows if row.get(name) and _counts(row, name)]
            epochs = [int(row["epoch"]) for row in kept]
            axis.plot(epochs, [float(row[name]) for row in kept], marker=".", label=name)
        axis.set_title(title, loc="left")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(loc="best", frameon=False)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _counts(row: Mapping[str, str], name: str) -> bool:
    """Whether a value was measured in this epoch: AP may repeat that of an earlier one."""
    return not name.startswith("val_") or float(row.get("val_measured") or 1) > 0


class Curves(keras.callbacks.Callback):
    """Draws `curves.png` from `history.csv`, at most every 20 seconds and at the end.

    Put it after `History`. Without matplotlib nothing is drawn.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.possible = importlib.util.find_spec("matplotlib") is not None
        self.drawn = -PAUSE

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if time.monotonic() - self.drawn >= PAUSE:
            self.draw()

    def on_train_end(self, logs: Logs = None) -> None:
        self.draw()

    def draw(self) -> None:
        """Draws the file now."""
        rows = read_history(self.folder / HISTORY) if self.possible else []
        if rows:
            write_whole(self.folder / "curves.png", draw_curves(rows))
            self.drawn = time.monotonic()


class ReportPage(keras.callbacks.Callback):
    """Writes the report of the latest measurement, in at most 3% of the training time.

    Put it after `EvaluateAP` and `History`.

    Args:
        folder: of the report.
        measured: the callback that measures AP.
        history: path of `history.csv`.
        clock: function that returns the time in seconds.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        measured: EvaluateAP,
        history: str | os.PathLike,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.folder, self.history = pathlib.Path(folder), pathlib.Path(history)
        self.measured, self.clock = measured, clock
        self.written: Measured | None = None
        self.last, self.cost = clock(), 0.0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        found, start = self.measured.found, self.clock()
        if found is None or found is self.written:
            return
        if start - self.last < max(PAUSE, self.cost / REPORT_SHARE):
            return
        names = self.measured.model.class_names
        rows = read_history(self.history)
        title = f"After epoch {epoch + 1}"
        write_report(self.folder, found, self.measured.dataset, names, title, history=rows)
        self.written, self.last = found, self.clock()
        self.cost = self.last - start


def need_tensorboard() -> None:
    """Raises a DataError with the command that installs TensorBoard, if it is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise DataError(
            "Writing for TensorBoard needs the package tensorboard. Received: a Python without "
            f"that package. Install it with {install_hint('tensorboard')}."
        )


class TensorBoard(keras.callbacks.Callback):
    """Writes the logs of each epoch, and pictures of validation images, for TensorBoard.

    The pictures show the truth on the left and the detections on the right. They are drawn after
    the epochs that measured AP. Needs TensorFlow and the extra `tensorboard`. To look at them:
    `tensorboard --logdir FOLDER`.

    Args:
        folder: where the event files are written.
        dataset: the validation set, or None for no pictures.
        batch_size: images per call.
        pictures: number of images, spread evenly over the data set.

    Raises:
        DataError: the package tensorboard is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        dataset: Dataset | None = None,
        batch_size: int = 8,
        pictures: int = 4,
    ) -> None:
        super().__init__()
        need_tensorboard()
        import tensorflow as tf

        self.writer = tf.summary.create_file_writer(str(folder))
        self.batch_size = batch_size
        self.dataset = dataset
        if dataset is not None:
            count = min(pictures, len(dataset))
            rows = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
            self.dataset = dataset.select(rows)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        import tensorflow as tf

        with self.writer.as_default(step=epoch + 1):
            for name, value in (logs or {}).items():
                if _counts({"val_measured": str((logs or {}).get("val_measured", 1))}, name):
                    tf.summary.scalar(_group(name), float(value))
            if self.dataset is not None and (logs or {}).get("val_measured", 1):
                self._draw(self.dataset)
        self.writer.flush()

    def _draw(self, dataset: Dataset) -> None:
        import tensorflow as tf

        model: Any = self.model
        with averaged_weights(model):
            indices, found = detect_dataset(model, dataset, self.batch_size)
        for index, detections in zip(indices, found, strict=True):
            sample = dataset[index]
            picture = truth_and_found(model, sample, detections)
            if picture is not None:
                tf.summary.image(pathlib.Path(sample.image_path).name, picture[None])

    def on_train_end(self, logs: Logs = None) -> None:
        self.writer.flush()


def _group(name: str) -> str:
    """The name of a log with the group that TensorBoard shows it in."""
    if name.startswith("val_"):
        return f"validation/{name.removeprefix('val_')}"
    return f"{'loss' if name.endswith('loss') else 'training'}/{name}"
