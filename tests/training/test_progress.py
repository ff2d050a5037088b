"""The line that a person sees while a model trains."""

import io
import time

import pytest

from keras_det.training import progress
from keras_det.training.progress import Measure, Progress, Speed, clock


def shown(stream):
    """What stands on the terminal at the end of each line."""
    return [line.split("\r")[-1].removesuffix("\x1b[K") for line in stream.getvalue().split("\n")]


def test_one_line_an_epoch_where_there_is_no_terminal(monkeypatch):
    now = iter([0.0, *range(100, 200)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    line = Progress(stream, batch_size=8)
    line.set_params({"epochs": 2, "steps": 3})
    next(now)
    for epoch in range(2):
        line.on_epoch_begin(epoch)
        for step in range(3):
            line.on_train_batch_begin(step)
            line.on_train_batch_end(step, {"loss": 1.0})
        line.on_epoch_end(epoch, {"loss": 0.5, "class_loss": 0.3, "val_AP": 0.25, "val_AP50": 0.5})
    first, second = stream.getvalue().splitlines()
    # A step takes 1 s, and so does the end of an epoch: 3 steps and one end are left.
    assert first == (
        "epoch 1/2  val_AP 0.250  0:04 left  loss 0.500  step 3/3  class 0.300  val_AP50 0.500  "
        "8 images/s"
    )
    assert second.startswith("epoch 2/2  val_AP 0.250  0:00 left")


# An AP of 0 that was never measured looks like a model that learns nothing.
def test_ap_is_shown_from_its_first_measurement_on():
    stream = io.StringIO()
    line = Progress(stream)
    line.set_params({"epochs": 3, "steps": 1})
    for epoch, measured in enumerate((0.0, 1.0, 0.0)):
        line.on_epoch_begin(epoch)
        line.on_epoch_end(epoch, {"loss": 0.5, "val_AP": 0.25, "val_measured": measured})
    first, second, third = stream.getvalue().splitlines()
    assert "val_AP" not in first and "val_AP 0.250" in second and "val_AP 0.250" in third


@pytest.mark.parametrize(
    "columns, expected",
    [
        (
            120,
            "epoch 1/9  val_AP 0.250  0:00 left  loss 1.000  step 3/3  class 0.600  box 0.400  "
            "val_AP50 0.500  rate 0.005",
        ),
        (80, "epoch 1/9  val_AP 0.250  0:00 left  loss 1.000  step 3/3  class 0.600"),
        (60, "epoch 1/9  val_AP 0.250  0:00 left  loss 1.000  step 3/3"),
        (50, "epoch 1/9  val_AP 0.250  0:00 left  loss 1.000"),
        (30, "epoch 1/9  val_AP 0.250"),
    ],
)
def test_a_narrow_terminal_loses_the_last_parts_first(monkeypatch, columns, expected):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    stream.isatty = lambda: True
    line = Progress(stream)
    line.set_params({"epochs": 9, "steps": 3})
    line.on_epoch_begin(0)
    for step in range(2):
        line.on_train_batch_end(step, {"loss": 1.0})
    logs = {"loss": 1.0, "class_loss": 0.6, "box_loss": 0.4, "val_AP": 0.25, "val_AP50": 0.5}
    line.on_epoch_end(0, {**logs, "learning_rate": 0.005})
    last = shown(stream)[0]
    assert last == expected and len(last) < columns


def test_waiting_is_seen_and_ends_with_an_error(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    stream.isatty = lambda: True
    line = Progress(stream)
    line.set_params({"epochs": 9, "steps": 1})
    line.on_train_begin()
    line.on_epoch_begin(2)
    line.on_train_batch_begin(0)
    line.ticker.stop()
    assert "epoch 3/9  compiling the first step: 0 s" in stream.getvalue()
    line.on_train_batch_begin(0)
    line.on_train_batch_end(0, {"loss": 1.0})
    assert "epoch 3/9  measuring and saving: 0 s" in stream.getvalue()
    line.close()  # what measures has failed
    written = stream.getvalue()
    time.sleep(1.2)
    assert stream.getvalue() == written
    line.on_train_batch_begin(0)
    assert line.ticker._stop is None, "only the first step compiles"


def test_the_time_left_is_that_of_the_last_steps():
    speed, now = Speed(), 0.0
    assert speed.left(10, 1) is None
    for seconds in [100.0, *[5.0] * 60, *[2.0] * progress.RECENT]:
        now += seconds
        speed.step(now)
    assert speed.per_step == 2.0
    speed.epoch(now + 30)
    speed.step(now + 500)  # the first step of the next epoch
    assert speed.per_step == 2.0 and speed.left(10, 3) == 10 * 2 + 3 * 30


class Model:
    class optimizer:  # noqa: N801
        learning_rate = 0.125


def test_speed_and_rate_are_logged(monkeypatch):
    now = iter([0.0, 10.0, 11.0, 13.0, 16.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    measure, logs = Measure(8), {}
    measure.set_model(Model)
    measure.on_epoch_begin(0)
    for step in range(4):
        measure.on_train_batch_end(step)
    measure.on_epoch_end(0, logs)
    assert logs == {"learning_rate": 0.125, "seconds": 16.0, "images_per_second": 4.0}


def test_the_time_that_steps_wait_for_images_is_logged_without_the_first_step(monkeypatch):
    now, waited = iter([0.0, 10.0, 11.0, 14.0]), iter([9.0, 9.5, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    measure, logs = Measure(8), {}
    model = Model()
    measure.set_model(model)
    measure.on_epoch_begin(0)
    for step in range(3):
        model.seconds_waited = next(waited)
        measure.on_train_batch_end(step)
    measure.on_epoch_end(0, logs)
    assert logs["input_share"] == (10.0 - 9.0) / (14.0 - 10.0)


@pytest.mark.parametrize("seconds, text", [(5, "0:05"), (65, "1:05"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
