"""What a person sees of a training: one line with AP, time left, losses and speed."""

import collections
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

import keras
import numpy as np

from keras_det.training.averaging import number_of, optimizer_of
from keras_det.types import Logs

RECENT = 50  # steps that the speed is measured over
# Parts of the loss, as the line calls them.
PARTS = {
    "class_loss": "class",
    "box_loss": "box",
    "pull_loss": "pull",
    "push_loss": "push",
    "offset_loss": "offset",
}


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Speed:
    """The time of the last steps, and what an epoch takes besides its steps."""

    def __init__(self) -> None:
        self.steps: collections.deque[float] = collections.deque(maxlen=RECENT)
        self.between = 0.0  # seconds from the last step of an epoch to its end
        self._last: float | None = None

    def forget(self) -> None:
        """The next step is not timed: it compiles, or follows something else."""
        self._last = None

    def step(self, now: float) -> None:
        """Notes the end of a step."""
        if self._last is not None:
            self.steps.append(now - self._last)
        self._last = now

    def epoch(self, now: float) -> None:
        """Notes the end of an epoch."""
        if self._last is not None:
            self.between = now - self._last
        self.forget()

    @property
    def per_step(self) -> float | None:
        """Median seconds of the last steps; None before the second step."""
        return float(np.median(self.steps)) if self.steps else None

    def left(self, steps: int, epochs: int) -> float | None:
        """Seconds for so many steps and ends of epochs; None while nothing is known."""
        return None if self.per_step is None else steps * self.per_step + epochs * self.between


class Measure(keras.callbacks.Callback):
    """Adds `learning_rate`, `seconds`, `images_per_second` and `input_share` to an epoch's logs.

    `seconds` is the time of the steps. `images_per_second` comes from the median of the last 50.
    `input_share` is the share of the time in which steps waited for their images, 0..1, without
    the first step. If it is high, the input pipeline limits the speed. It is logged only if a step
    is one TensorFlow function on one device. A GPU still computes during a part of that time.

    Args:
        batch_size: images per step.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.speed = Speed()
        self.begun = self.ended = 0.0
        self.first: tuple[float, float] | None = None  # end of the first step, and waited until it

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.begun = self.ended = time.monotonic()
        self.first = None

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ended = time.monotonic()
        self.speed.step(self.ended)
        if self.first is None:
            self.first = self.ended, waited_by(self.model)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.speed.forget()
        if logs is None:
            return
        logs |= {"learning_rate": rate_of(self.model), "seconds": self.ended - self.begun}
        if self.speed.per_step:
            logs["images_per_second"] = self.batch_size / self.speed.per_step
        if self.first is not None and self.ended > self.first[0] and waited_by(self.model):
            waited = waited_by(self.model) - self.first[1]
            logs["input_share"] = min(1.0, waited / (self.ended - self.first[0]))


def waited_by(model: keras.Model) -> float:
    """Seconds that the steps of a model have waited for their images; 0 if that is not known."""
    return float(getattr(model, "seconds_waited", 0.0))


def rate_of(model: keras.Model) -> float:
    """The learning rate of the next step."""
    return number_of(optimizer_of(model).learning_rate)


class Ticker:
    """Writes how long something takes, once a second, from a thread of its own.

    Args:
        write: function that gets the text.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
        self._stop: threading.Event | None = None

    def start(self, what: str) -> None:
        """Writes `what` and the seconds until `stop` is called."""
        self.stop()
        stop, begun = threading.Event(), time.monotonic()

        def tick() -> None:
            while not stop.is_set():
                self.write(f"{what}: {time.monotonic() - begun:.0f} s")
                stop.wait(1.0)

        self._stop, self._thread = stop, threading.Thread(target=tick, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is written any more when this returns."""
        if self._stop is not None:
            self._stop.set()
            self._thread.join()
            self._stop = None


class Progress(keras.callbacks.Callback):
    """Shows epoch, AP, time left, losses and speed in one line.

    On a terminal the line is rewritten several times a second, and says what happens while the
    first step compiles and after the last step of an epoch. If it is too long for the terminal,
    the last parts are left out: epoch, AP, time left and loss come first. Elsewhere one line is
    written per epoch. AP is that of the last measurement. "waits" is `input_share` of `Measure`.

    Call `close` when `fit` has ended, even with an error.

    Args:
        stream: where to write. Default: standard error.
        epochs: of the whole training, if it has phases. Default: those of this call of `fit`.
        batch_size: images per step, for the speed. None: the speed is not shown.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.epochs, self.batch_size = epochs, batch_size
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.speed = Speed()
        self.shown, self.compiled, self.ended = 0.0, False, False
        self.measured: dict[str, float] = {}
        self.ticker = Ticker(lambda text: self._write(text, "\r"))

    def on_train_begin(self, logs: Logs = None) -> None:
        self.compiled = False  # each phase compiles
        self.speed.forget()

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch, self.ended = epoch, False

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self.live and not self.compiled:
            self.ticker.start(f"{self._where(self.epoch)}  compiling the first step")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ticker.stop()
        now = time.monotonic()
        self.compiled = True
        self.speed.step(now)  # the first one compiles, and is not timed
        if self.live and now - self.shown > 0.2:
            self.shown = now
            self._write(self._line(self.epoch, batch + 1, logs), "\r")
        if self.live and batch + 1 == self.params.get("steps"):
            self.ticker.start(f"{self._where(self.epoch)}  measuring and saving")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.ticker.stop()
        self.speed.epoch(time.monotonic())
        self.ended = True
        logs = logs or {}
        if logs.get("val_measured", 1):
            self.measured = {k: logs[k] for k in ("val_AP", "val_AP50") if k in logs}
        self._write(self._line(epoch, self.params.get("steps") or 0, logs), "\n")

    def close(self) -> None:
        """Ends the line of a training that was stopped."""
        self.ticker.stop()

    def _where(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.epochs or self.params['epochs']}"

    def _line(self, epoch: int, step: int, logs: Logs) -> str:
        """The line; on a terminal, without the parts that do not fit."""
        logs, steps = logs or {}, self.params.get("steps") or 0
        epochs = (self.epochs or self.params["epochs"]) - epoch
        left = self.speed.left(epochs * steps - step, epochs - self.ended)
        names = {"loss": "loss", **PARTS}
        numbers = [f"{names[k]} {logs[k]:.3f}" for k in names if k in logs]
        parts = [self._where(epoch)]
        parts += [f"{k} {v:.3f}" for k, v in self.measured.items() if k == "val_AP"]
        parts += [] if left is None else [f"{clock(left)} left"]
        parts += numbers[:1] + [f"step {step}/{steps}"] + numbers[1:]
        parts += [f"{k} {v:.3f}" for k, v in self.measured.items() if k != "val_AP"]
        if self.batch_size and self.speed.per_step:
            parts.append(f"{self.batch_size / self.speed.per_step:.3g} images/s")
        if "input_share" in logs:
            parts.append(f"waits {logs['input_share']:.0%}")
        if "learning_rate" in logs:
            parts.append(f"rate {logs['learning_rate']:.2g}")
        while self.live and len("  ".join(parts)) >= self._columns() and len(parts) > 1:
            parts.pop()
        return "  ".join(parts)

    def _columns(self) -> int:
        return shutil.get_terminal_size().columns

    def _write(self, line: str, end: str) -> None:
        if self.live:
            line = f"\r{line[: self._columns() - 1]}\x1b[K"
        self.stream.write(line + ("\n" if end == "\n" else ""))
        self.stream.flush()
