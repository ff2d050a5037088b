"""Keras' callbacks that keep weights keep those whose average precision was measured."""

import warnings

import keras
import numpy as np
import pytest

from keras_det.models import load_model
from keras_det.models.callbacks_of_fit import warn_of_own_weights
from keras_det.training import SaveBest
from tests.export.tiny import tiny

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype("uint8")
TARGETS = {"boxes": np.float32([[[5, 6, 40, 45]]] * 4), "labels": np.int32([[0], [1], [2], [0]])}
MONITOR = {"monitor": "val_AP", "mode": "max"}
ADVICE = "val_AP is measured with the averaged weights.*SwapEMAWeights.*SaveBest"


def averaging():
    return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)


def swap():
    return keras.callbacks.SwapEMAWeights(swap_on_epoch=True)


def saved(path, *others):
    """The weights in the file of a `ModelCheckpoint`, and the averaged ones, which `fit` leaves."""
    model = tiny(image_size=(64, 64))
    model.compile(averaging(), run_eagerly=True)
    measured = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(val_AP=0.5)
    )
    best = keras.callbacks.ModelCheckpoint(path, save_best_only=True, **MONITOR)
    callbacks = [measured, *others, best]
    model.fit(IMAGES, TARGETS, batch_size=2, verbose=0, callbacks=callbacks)
    return load_model(path).get_weights(), model.get_weights()


def differences(pair):
    return [float(np.abs(a - b).max()) for a, b in zip(*pair, strict=True)]


@pytest.mark.parametrize("keep", [swap, lambda: SaveBest("averaged.keras")])
def test_the_averaged_weights_are_saved_as_the_advice_says(tmp_path, monkeypatch, keep):
    monkeypatch.chdir(tmp_path)
    kept = keep()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = saved("best.keras", kept)
    told = [each for each in caught if "averaged weights" in str(each.message)]
    if isinstance(kept, SaveBest):  # it saves the averaged weights, ModelCheckpoint still its own
        assert len(told) == 1 and max(differences(found)) > 1e-3
        found = load_model("averaged.keras").get_weights(), found[1]
    else:
        assert not told
    assert max(differences(found)) < 1e-6


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True, **MONITOR),
        keras.callbacks.EarlyStopping(restore_best_weights=True, **MONITOR),
    ],
)
def test_a_callback_that_keeps_other_weights_is_named(callback):
    message = f"{type(callback).__name__} keeps the weights of the last step, but {ADVICE}"
    scaled = keras.optimizers.LossScaleOptimizer(averaging())
    for callbacks in (callback, [None, callback], keras.callbacks.CallbackList([callback])):
        for optimizer in (averaging(), scaled):
            with pytest.warns(UserWarning, match=message):
                warn_of_own_weights(callbacks, optimizer)
    with pytest.warns(UserWarning, match=message):  # too late
        warn_of_own_weights([callback, swap()], averaging())


def test_callbacks_that_keep_the_right_weights_are_not_named():
    best = keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True, **MONITOR)
    early = keras.callbacks.EarlyStopping(**MONITOR)
    every = keras.callbacks.ModelCheckpoint("x.keras")
    loss = keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_own_weights([best], keras.optimizers.SGD())
        warn_of_own_weights([best], None)
        warn_of_own_weights(None, averaging())
        warn_of_own_weights([early, every, loss, swap(), best], averaging())
