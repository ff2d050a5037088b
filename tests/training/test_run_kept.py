"""A run is never lost: killed, damaged and lengthened runs, on a detector of a few layers."""

import json
import shutil

import keras
import numpy as np
import pytest

from keras_det.data import draw_shapes_dataset, load
from keras_det.models import load_model
from keras_det.training import callbacks, saving, train
from tests.export.tiny import TinyDetector


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes_dataset(folder, num_train=6, num_val=3, image_size=64, seed=0)
    return load(folder, split="train"), load(folder, split="val")


@pytest.fixture(scope="module")
def drawn_more(tmp_path_factory):
    folder = tmp_path_factory.mktemp("more_shapes")
    draw_shapes_dataset(folder, num_train=20, num_val=2, image_size=64, seed=0)
    return load(folder, split="train"), load(folder, split="val")


class Killed(BaseException):
    pass


class KilledAfterSaving(saving.SaveState):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        raise Killed


@pytest.mark.slow
def test_a_lengthened_run_that_is_killed_and_damaged_ends_with_the_same_weights(
    drawn, tmp_path, monkeypatch
):
    whole, killed, lines = tmp_path / "whole", tmp_path / "killed", []

    def run(out, epochs, **more):
        keras.utils.set_random_seed(0)
        model = TinyDetector(drawn[0].class_names, (64, 64))
        settings = dict(batch_size=4, seed=1, recipe="adamw", say=lines.append)
        return train(model, drawn[0], None, out, epochs=epochs, **settings, **more)

    run(whole, 2)
    shutil.copytree(whole, killed)
    run(whole, 4, resume=True)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("keras_det.training.fit_phases.SaveState", KilledAfterSaving)
        run(killed, 4, resume=True)
    path = killed / "checkpoints" / "epoch_0003.keras"
    path.write_bytes(path.read_bytes()[:5000])
    lines.clear()
    run(killed, None, resume=True)
    assert lines[0].startswith(f"Note: {path} is not used: it is damaged")
    assert lines[1] == "The run continues from the previous state, after epoch 2."
    assert any(line.startswith("Learning rate schedule recomputed for 4 epochs") for line in lines)
    expected, found = (load_model(out / "last.keras") for out in (whole, killed))
    for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    recipes = [json.loads((out / "recipe.json").read_text()) for out in (whole, killed)]
    assert recipes[0] == recipes[1]
    assert len(callbacks.read_history(killed / "history.csv")) == 4


class KilledInEpoch(saving.SaveState):
    """Ends at once, three steps after the start of the second epoch."""

    how = None

    def on_train_batch_end(self, batch, logs=None):
        if self.how == "asked" and self.epoch == 1 and batch == 2:
            self.request()  # as Ctrl-C in a step
        super().on_train_batch_end(batch, logs)
        if self.epoch == 1 and batch == 2:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "asked"])
def test_a_run_goes_on_within_an_epoch_as_if_it_had_not_stopped(
    drawn_more, tmp_path, monkeypatch, how
):
    lines, epochs = [], 3 if how == "killed" else 2

    def run(out, **more):
        keras.utils.set_random_seed(0)
        model = TinyDetector(drawn_more[0].class_names, (64, 64), dropout=0.3)
        settings = dict(batch_size=4, seed=1, recipe="adamw", say=lines.append, evaluate_every=2)
        return train(model, *drawn_more, out, epochs=epochs, **settings, **more)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(whole)
    stop = KeyboardInterrupt if how == "asked" else Killed
    KilledInEpoch.how = how
    with monkeypatch.context() as patch, pytest.raises(stop):
        patch.setattr("keras_det.training.fit_phases.SaveState", KilledInEpoch)
        run(stopped, save_every=2)
    names = sorted(path.name for path in (stopped / "checkpoints").glob("*.keras"))
    step = 3 if how == "asked" else 2
    assert names[-1] == f"epoch_0001_step_{step:06d}.keras"
    lines.clear()
    run(stopped, resume=True)
    assert lines[0] == f"The run continues after step {step} of epoch 2."
    for name in ("last.keras", "best.keras", f"checkpoints/epoch_{epochs:04d}.keras"):
        expected, found = (load_model(out / name) for out in (whole, stopped))
        for a, b in zip(expected.get_weights(), found.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    rows = [callbacks.read_history(out / "history.csv") for out in (whole, stopped)]
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys()
        a.pop("input_share", None), b.pop("input_share", None)
        for name in ("seconds", "images_per_second"):
            assert float(a.pop(name)) > 0 < float(b.pop(name))
        np.testing.assert_allclose(*([float(v) for v in r.values()] for r in (a, b)), rtol=1e-4)


# Three steps per update, and five per epoch: the state is from between two updates, after the
# first epoch, in which only the heads learn.
@pytest.mark.slow
def test_a_run_goes_on_between_two_updates_bit_for_bit(drawn_more, tmp_path, monkeypatch):
    def run(out, **more):
        keras.utils.set_random_seed(0)
        model = TinyDetector(drawn_more[0].class_names, (64, 64), dropout=0.3)
        settings = dict(batch_size=4, accumulate=3, heads_first=1, recipe="adamw", seed=1)
        settings |= dict(say=lambda line: None, backbone_rate=0.5)
        return train(model, drawn_more[0], None, out, epochs=2, **settings, **more)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(whole)
    KilledInEpoch.how = "killed"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("keras_det.training.fit_phases.SaveState", KilledInEpoch)
        run(stopped, save_every=2)
    state = load_model(stopped / "checkpoints" / "epoch_0001_step_000002.keras")
    assert int(state.optimizer._iterations) == 2 and int(state.optimizer.iterations) == 0
    assert max(np.abs(each).max() for each in state.optimizer._accumulated_gradients) > 0
    assert set(state.optimizer.rate_factors) == {0.5, 1.0}
    run(stopped, resume=True)
    models = [load_model(out / "checkpoints" / "epoch_0002.keras") for out in (whole, stopped)]
    assert int(models[0].optimizer._iterations) == 5  # of the second phase: an update, two steps
    held = [[*model.weights, *model.optimizer.variables] for model in models]
    for a, b in zip(*held, strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b), err_msg=a.path)


# Killed after the row of epoch 3 was written and before its state was: the row must not count
# twice, or the run stops an epoch earlier than one that was not killed.
def test_a_row_without_its_state_does_not_use_up_the_patience(drawn, tmp_path, monkeypatch):
    calls, out = [], tmp_path / "run"

    def fit(model, pipeline, initial_epoch, epochs, callbacks, **_):
        calls.append((initial_epoch, epochs))
        if initial_epoch == 0:
            model.optimizer.build(model.trainable_variables)
            state = next(c for c in callbacks if type(c).__name__ == "SaveState")
            state.set_model(model)
            state.on_epoch_end(1)

    monkeypatch.setattr(TinyDetector, "fit", fit)
    monkeypatch.setattr("keras_det.training.run.finish", lambda *_: {})
    model = TinyDetector(drawn[0].class_names, (64, 64))
    settings = dict(epochs=9, batch_size=4, patience=1, say=lambda line: None)
    train(model, *drawn, out, **settings)
    text = "epoch,loss,val_AP,val_learned\n1,1,0.1,1\n2,1,0.2,1\n3,1,0.2,1\n"
    (out / "history.csv").write_text(text)
    train(model, *drawn, out, resume=True, **settings)
    assert calls == [(0, 9), (2, 9)]
