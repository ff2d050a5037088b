"""Ctrl-C, SIGTERM and divergence: how they end, and what is said then."""

import os
import signal
import threading

import keras
import pytest

from keras_det.training import saving
from keras_det.training.recipe import choose_recipe
from keras_det.training.saving import SaveState
from keras_det.training.stopping import (
    StopRequest,
    advice,
    best_so_far,
    lowest_loss,
    saying_how_to_continue,
    stopping_after_a_step,
)
from tests.training.test_gathering import Together


def test_sigterm_ends_like_ctrl_c(tmp_path):
    lines = []
    with pytest.raises(KeyboardInterrupt):
        with stopping_after_a_step():
            with saying_how_to_continue(tmp_path, "keras-det train x --resume", lines.append):
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    said = "\nInterrupted. No state is saved yet. To continue:\nkeras-det train x --resume"
    assert lines == [said]


def test_a_handler_of_the_program_stays_and_threads_set_none():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("own"))
    try:
        with stopping_after_a_step():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["own"]

    def inside():
        with stopping_after_a_step():
            calls.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert calls[1:] == [signal.SIG_DFL]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_step_waits_for_its_end_and_a_second_does_not(number):
    lines = []
    # A program that was started in the background may ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with stopping_after_a_step(lines.append) as request:
        request.in_step = True
        os.kill(os.getpid(), number)
        assert request.wanted and lines[0].startswith("\nStopping after this step, to save it.")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            signal.pause()
    assert signal.signal(signal.SIGINT, before) == signal.default_int_handler


def test_a_signal_while_an_epoch_is_measured_waits_until_it_is_saved(tmp_path):
    lines, model = [], keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    with stopping_after_a_step(lines.append) as request:
        saver = SaveState(tmp_path, request=request)
        saver.set_model(model)
        saver.set_params({"steps": 1})
        saver.on_epoch_begin(0)
        saver.on_train_batch_begin(0)
        saver.on_train_batch_end(0)
        os.kill(os.getpid(), signal.SIGTERM)  # in the callbacks that measure the epoch
        assert "Stopping after the evaluation, to save this epoch." in lines[0]
        with pytest.raises(KeyboardInterrupt):
            saver.on_epoch_end(0)
    assert (tmp_path / "epoch_0001.keras").exists()


MOMENTS = ("before a step", "in a step", "agreeing", "measuring", "after an epoch", "at the end")


# Worker 1 gets the signal in epoch 2: at step 1 of 2 where a moment is of a step.
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_to_one_worker_stops_all_after_the_same_step(monkeypatch, moment):
    together, ends = Together(monkeypatch, 2, saving), {}

    def worker(index):
        lines, saved = [], []
        request = StopRequest(lines.append)

        def now(name, epoch=1, step=0):
            if (index, name, epoch, step) == (1, moment, 1, 0):
                request()

        saver = SaveState("unused", request=request)
        saver.set_model(None)
        saver.set_params({"steps": 2})
        saver._save = lambda epochs, steps=0: saved.append((epochs, steps))
        agreed = saver._agreed
        saver._agreed = lambda due=False: (now("agreeing", saver.epoch), agreed(due))[1]
        try:
            saver.on_train_begin()
            for epoch in range(3):
                saver.on_epoch_begin(epoch)
                for step in range(2):
                    now("before a step", epoch, step)
                    saver.on_train_batch_begin(step)
                    now("in a step", epoch, step)
                    saver.on_train_batch_end(step)
                now("measuring", epoch)
                saver.on_epoch_end(epoch)
                now("after an epoch", epoch)
            now("at the end")
            saver.on_train_end()
        except KeyboardInterrupt:
            ends[index] = saved[-1], lines

    together.run(worker)
    last = {"measuring": (2, 0), "after an epoch": (2, 1), "at the end": (3, 0)}
    assert [ends[i][0] for i in range(2)] == [last.get(moment, (1, 1))] * 2
    why = "\nAll workers stop here, because worker 1 got a signal to stop."
    assert ends[0][1] == [why] and ends[1][1][-1] == why
    assert ends[1][1][0].startswith("\nStopping after ")


def test_what_is_saved_is_said(tmp_path):
    lines, folder = [], tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "epoch_0003_step_001200.keras").touch()
    (folder / "epoch_0003.keras").touch()
    with pytest.raises(KeyboardInterrupt), saying_how_to_continue(tmp_path, "x", lines.append):
        raise KeyboardInterrupt
    assert lines == ["\nInterrupted. Saved up to step 1,200 of epoch 4. To continue:\nx"]


def test_a_script_is_told_what_to_call(tmp_path):
    lines = []
    with pytest.raises(KeyboardInterrupt), saying_how_to_continue(tmp_path, None, lines.append):
        raise KeyboardInterrupt
    assert "call train again with the same arguments and resume=True" in lines[0]


def test_the_advice_has_a_lower_rate_where_there_is_one():
    recipe = choose_recipe("adamw", 100, 500, learning_rate=0.01)
    command = "keras-det train x --out y --resume"
    assert advice(recipe, command).endswith(f"lower learning rate: {command} --learning-rate 0.002")
    assert advice(recipe, None).endswith("resume=True and learning_rate=0.002")
    assert "such as auto" in advice(choose_recipe("published", 100, 500), command)


def test_the_lowest_loss_and_the_best_ap_of_a_history(tmp_path):
    rows = [{"loss": "3"}, {"loss": "nan"}, {"loss": "2.5"}, {}]
    assert lowest_loss(rows) == 2.5 and lowest_loss([]) == float("inf")
    text = "epoch,val_AP,val_learned\n1,0.9,0\n2,0.3,1\n3,0.2,1\n"
    (tmp_path / "history.csv").write_text(text)
    assert best_so_far(tmp_path) == float("-inf"), "without best.keras"
    (tmp_path / "best.keras").touch()
    assert best_so_far(tmp_path) == 0.3
