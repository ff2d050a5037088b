"""The step of `fit` is one TensorFlow function, and computes what Keras' two functions compute."""

import keras
import numpy as np
import pytest

from keras_det.keras_private import StepFunctions
from keras_det.optimizers import AdamW
from tests.export.tiny import tiny

tf = pytest.importorskip("tensorflow")
if keras.backend.backend() != "tensorflow":
    pytest.skip("functions of TensorFlow", allow_module_level=True)


def batches(count, size=2):
    """A stream of so many batches; the objects differ."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (count * size, 64, 64, 3)).astype("float32")
    corners = rng.uniform(0, 30, (count * size, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 30, corners.shape)], axis=-1)
    labels = rng.integers(-1, 2, (count * size, 3)).astype("int32")
    targets = {"boxes": boxes.astype("float32"), "labels": labels}
    return tf.data.Dataset.from_tensor_slices((images, targets)).batch(size)


def trained(**compiling):
    keras.utils.set_random_seed(3)
    model = tiny(image_size=(64, 64))
    model.compile(AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0, use_ema=True), **compiling)
    logs = model.fit(batches(4), epochs=2, verbose=0).history
    return model, logs


def test_the_steps_are_those_of_keras(monkeypatch):
    model, logs = trained()
    assert model.one_function() and model.seconds_waited > 0
    monkeypatch.setattr(StepFunctions, "one_function", lambda self: False)
    reference, expected = trained()
    assert reference.seconds_waited == 0
    assert logs.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-5, err_msg=name)
    for value, target in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(value, target, rtol=1e-4, atol=1e-5)


# Several steps in one call, eager steps and several devices need Keras' own functions.
@pytest.mark.parametrize("compiling", [{"steps_per_execution": 2}, {"run_eagerly": True}])
def test_other_ways_to_run_are_keras_own(compiling):
    model = tiny(image_size=(64, 64))
    model.compile("sgd", **compiling)
    assert not model.one_function()
    if "steps_per_execution" in compiling:
        history = model.fit(batches(4), verbose=0).history
        assert np.isfinite(history["loss"]).all() and model.seconds_waited == 0


def test_a_strategy_is_keras_own():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = tiny(image_size=(64, 64))
        model.compile("sgd")
    assert not model.one_function()


# A constant batch size would also count a batch that never came.
def test_the_logged_loss_is_the_mean_of_a_stream_of_unknown_length():
    model = tiny(image_size=(64, 64))
    model.compile(keras.optimizers.SGD(0.0))
    stream = batches(3).filter(lambda *_: True)
    assert stream.cardinality() == tf.data.UNKNOWN_CARDINALITY
    one_by_one = [model.test_on_batch(*batch, return_dict=True)["loss"] for batch in batches(3)]
    logs = model.evaluate(stream, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(np.mean(one_by_one), rel=1e-5)
