"""Callbacks and averaged weights on a model of one weight."""

import keras
import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.training import callbacks
from keras_det.training.averaging import averaged_weights


def one_weight(use_ema=True):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((1, 1))])
    model.check_dataset = lambda dataset: None  # as a detector has it
    model.compile(
        keras.optimizers.SGD(0.1, use_ema=use_ema, ema_momentum=0.5), loss="mse", run_eagerly=True
    )
    return model


# w = 1, x = 1, y = 0: gradient 2w, so w: 1 -> 0.8 -> 0.64. Average: 0.8, then (0.8 + 0.64) / 2.
def test_averaged_weights_are_swapped_in_and_out():
    model = one_weight()
    for _ in range(2):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    np.testing.assert_allclose(model.get_weights()[0], 0.64, rtol=1e-5)
    with averaged_weights(model):
        np.testing.assert_allclose(model.get_weights()[0], 0.72, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], 0.64, rtol=1e-5)


@pytest.mark.parametrize("use_ema, steps", [(False, 1), (True, 0)])
def test_without_an_average_nothing_is_swapped(use_ema, steps):
    model = one_weight(use_ema)
    for _ in range(steps):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    before = model.get_weights()[0]
    with averaged_weights(model):
        np.testing.assert_array_equal(model.get_weights()[0], before)


def test_the_average_is_found_behind_a_loss_scale():
    model = one_weight()
    model.optimizer = keras.optimizers.LossScaleOptimizer(model.optimizer, initial_scale=1.0)
    model.optimizer.build(model.trainable_variables)
    for _ in range(2):
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    with averaged_weights(model):
        np.testing.assert_allclose(model.get_weights()[0], 0.72, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], 0.64, rtol=1e-5)


FACTS = {"highest_score": 0.9, "learned": True}


class Known:
    """A measurement with these metrics."""

    def __init__(self, metrics):
        self.as_metrics = lambda: metrics


def measured(monkeypatch, every, epochs, name="val_AP", first=0, before=None):
    """One value of each epoch's logs with an `EvaluateAP` whose measurements are 0.1, 0.2, …"""
    results = iter({"AP": k / 10, "AP50": k / 5, "AP75": k / 20, **FACTS} for k in range(1, 10))
    monkeypatch.setattr(callbacks, "measure_together", lambda *_, **__: Known(next(results)))
    callback, seen = callbacks.EvaluateAP("data", every=every, before=before), []
    callback.set_model(one_weight())
    callback.set_params({"epochs": epochs})
    for epoch in range(first, epochs):
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        seen.append(logs[name])
        assert set(logs) == {"loss", "val_measured", *callbacks.MEASURED}
    return seen


def test_ap_is_in_the_logs_of_every_epoch(monkeypatch):
    assert measured(monkeypatch, 1, 3) == [0.1, 0.2, 0.3]


def test_ap_is_repeated_between_measurements_and_measured_last(monkeypatch):
    assert measured(monkeypatch, 3, 5) == [0.0, 0.0, 0.1, 0.1, 0.2]
    assert measured(monkeypatch, 3, 5, "val_measured") == [0, 0, 1, 0, 1]
    assert measured(monkeypatch, 3, 5, "val_learned") == [0, 0, 1, 1, 1]


def test_a_resumed_run_repeats_the_numbers_of_its_history(monkeypatch):
    row = {"epoch": "3", "val_AP": "0.7", "val_learned": "1", "val_highest_score": ""}
    assert measured(monkeypatch, 3, 7, first=3, before=row) == [0.7, 0.7, 0.1, 0.2]
    assert measured(monkeypatch, 3, 5, "val_learned", 3, row) == [1.0, 1.0]
    assert measured(monkeypatch, 3, 5, "val_highest_score", 3, row) == [0.0, 0.9]


def test_the_history_has_the_columns_of_all_epochs(tmp_path):
    for epoch, logs in enumerate(({"loss": 2.0, "val_AP": 0.1}, {"loss": 1.0, "more": 3.0})):
        callbacks.History(tmp_path / "history.csv").on_epoch_end(epoch, logs)
    assert callbacks.read_history(tmp_path / "history.csv") == [
        {"epoch": "1", "loss": "2", "val_AP": "0.1", "more": ""},
        {"epoch": "2", "loss": "1", "val_AP": "", "more": "3"},
    ]


def test_ap_reaches_keras_own_early_stopping(monkeypatch):
    values = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(
        callbacks,
        "measure_together",
        lambda *_, **__: Known({**dict.fromkeys(("AP", "AP50", "AP75"), next(values)), **FACTS}),
    )
    stop = keras.callbacks.EarlyStopping(monitor="val_AP", mode="max", patience=2)
    data = np.ones((2, 1)), np.zeros((2, 1))
    watchers = [callbacks.EvaluateAP("data"), stop]
    history = one_weight().fit(*data, epochs=4, verbose=0, callbacks=watchers)
    assert history.history["val_AP"] == [0.5, 0.4, 0.3]


def test_settings_and_batch_size_reach_the_measurement(monkeypatch):
    given = []

    def measure(model, dataset, batch_size, losses, settings):
        given.append((dataset, batch_size, settings))
        return Known({**dict.fromkeys(("AP", "AP50", "AP75"), 0.5), **FACTS})

    monkeypatch.setattr(callbacks, "measure_together", measure)
    callback = callbacks.EvaluateAP("data", 3, method="hard")
    callback.set_model(one_weight())
    callback.set_params({"epochs": 1})
    callback.on_epoch_end(0, {})
    assert given == [("data", 3, {"method": "hard"})]


def test_wrong_settings_stop_before_the_first_epoch():
    from tests.export.tiny import tiny

    with pytest.raises(TypeError, match=r"^EvaluateAP\(\) takes no argument 'methode'.*'method'"):
        callbacks.EvaluateAP("data", methode="hard")
    for settings, error in (({"corner_top_k": 3}, TypeError), ({"sigma": -1}, ValueError)):
        callback = callbacks.EvaluateAP("data", **settings)
        callback.set_model(tiny(image_size=(64, 64)))
        with pytest.raises(error, match=f"{next(iter(settings))}"):
            callback.on_train_begin()
    for name in ("every", "batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1"):
            callbacks.EvaluateAP("data", **{name: 0})


def test_the_best_model_is_kept_and_a_log_that_is_not_there_is_named(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(callbacks, "save_averaged", lambda model, path: saved.append(path))
    best = callbacks.SaveBest(tmp_path / "best.keras", best=0.2)
    best.set_model(one_weight())
    for value in (0.1, 0.3, float("nan"), 0.25, 0.4):
        best.on_epoch_end(0, {"val_AP": value, "loss": -value})
    assert len(saved) == 2 and best.best == 0.4
    other = callbacks.SaveBest(tmp_path / "best.keras", monitor="val_ap")
    with pytest.raises(ValueError, match="`monitor` must be in the logs.*monitor='val_ap'"):
        other.on_epoch_end(0, {"val_AP": 0.5})


def test_history_replaces_epochs_that_are_trained_again(tmp_path):
    path = tmp_path / "history.csv"
    for epochs in ([0, 1, 2], [1, 2, 3]):
        history = callbacks.History(path)
        for epoch in epochs:
            history.on_epoch_end(epoch, {"loss": epoch + len(epochs) / 10})
    assert [row["epoch"] for row in callbacks.read_history(path)] == ["1", "2", "3", "4"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_no_number_stops_the_training():
    for loss in ("nan", "inf"):
        with pytest.raises(DataError, match=f"must stay finite. Received: {loss} at step 3 .* Low"):
            callbacks.StopDiverged().on_train_batch_end(2, {"loss": float(loss)})


# The first step of a run that learns has a loss between 1 and some thousands.
@pytest.mark.parametrize(
    "first, means, stops",
    [
        (2.0, [1.5, 2e6], True),
        (2.0, [1e10], True),
        (2.0, [9e5, 1.0], False),  # below 1e6: steep, but it comes back
        (3e7, [2e7, 1e7], False),  # a loss of the user's own, in another unit
        (3e7, [2e7, 3e10], True),
    ],
)
def test_a_loss_that_rises_without_end_stops_the_training(first, means, stops):
    stop = callbacks.StopDiverged("Do this.")
    stop.set_model(one_weight())
    stop.on_train_batch_end(0, {"loss": first})

    def epochs():
        for epoch, mean in enumerate(means):
            stop.on_epoch_end(epoch, {"loss": mean})

    if not stops:
        return epochs()
    with pytest.raises(DataError, match=r"must not rise without limit. Received: .* Do this\.$"):
        epochs()


def test_weights_that_are_no_numbers_stop_the_training_before_they_are_measured(monkeypatch):
    monkeypatch.setattr(callbacks, "measure_together", lambda *_, **__: pytest.fail("measured"))
    model = one_weight()

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.set_weights([np.full((1, 1), np.inf)])

    watchers = [callbacks.StopDiverged(), callbacks.EvaluateAP("data"), Spoil()]
    with pytest.raises(DataError, match="All weights must stay finite. Received: .*kernel after"):
        model.fit(np.ones((2, 1)), np.zeros((2, 1)), verbose=0, callbacks=watchers)
