"""Our optimizers take Keras' own steps or the original EfficientDet's, and decay kernels only."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_det.optimizers import SGD, AdamW

SETTINGS = dict(global_clipnorm=1.0, weight_decay=0.1, use_ema=True, ema_momentum=0.9)


def network(seed=0):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def trained(optimizer, steps=4):
    """Weights and averages after a few steps of `fit` on fixed numbers."""
    model, rng = network(), np.random.default_rng(1)
    model.compile(optimizer, loss="mse")
    inputs, outputs = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    for _ in range(steps):
        model.train_on_batch(inputs, outputs)
    return model.get_weights() + [np.array(a) for a in optimizer._model_variables_moving_average]


@pytest.mark.parametrize(
    "ours, theirs, arguments",
    [
        (AdamW, keras.optimizers.AdamW, {}),
        (AdamW, keras.optimizers.AdamW, {"amsgrad": True}),
        (SGD, keras.optimizers.SGD, {"momentum": 0.9}),
        (SGD, keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        (SGD, keras.optimizers.SGD, {}),
    ],
)
def test_steps_equal_keras_own(ours, theirs, arguments):
    def schedule():
        return keras.optimizers.schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2)

    reference = theirs(schedule(), **SETTINGS, **arguments)
    reference.exclude_from_weight_decay(var_names=["bias"])
    expected = trained(reference)
    found = trained(ours(schedule(), **SETTINGS, **arguments))
    for value, target in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, target, rtol=1e-5, atol=1e-6)


# Without gradients only the decay moves a weight: 1 - 0.5 * 0.1 = 0.95 of it after one step.
@pytest.mark.parametrize("optimizer_class", [AdamW, SGD])
def test_kernels_decay_and_biases_do_not(optimizer_class):
    model = network()
    before = model.get_weights()
    optimizer = optimizer_class(0.5, weight_decay=0.1)
    optimizer.build(model.trainable_variables)
    optimizer.apply([np.zeros(w.shape, "float32") for w in before])
    for old, new, variable in zip(before, model.get_weights(), model.weights, strict=True):
        np.testing.assert_allclose(new, old * (0.95 if variable.name == "kernel" else 1), rtol=1e-6)


def test_the_rule_survives_saving():
    config = keras.saving.serialize_keras_object(AdamW(0.1, weight_decay=0.1))
    optimizer, model = keras.saving.deserialize_keras_object(config), network()
    optimizer.build(model.trainable_variables)
    decayed = [v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)]
    assert decayed == ["kernel", "kernel"]


def test_steps_under_a_distribution_strategy_are_the_same():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.distribute")
    expected = trained(AdamW(0.1, **SETTINGS))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        found = trained(AdamW(0.1, **SETTINGS))
    for value, target in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, target, rtol=1e-5, atol=1e-6)


PUBLISHED = dict(momentum=0.9, kernel_l2=0.1, tensor_clipnorm=2.0, global_clipnorm=3.0)
AVERAGED = dict(use_ema=True, ema_momentum=0.3, ema_warmup=True)
SHAPES = {"kernel": (3, 2), "bias": (2,), "fusion_weights": (3,), "gamma": (2,)}


def gradients(steps=6):
    """Gradients above and below both limits; the fusion weights' in some elements only."""
    rng = np.random.default_rng(2)
    for scale in np.array([0.1, 1.0, 5.0, 50.0, 0.0, 0.5])[:steps]:
        yield {name: scale * rng.normal(size=shape) for name, shape in SHAPES.items()}


def original_steps(weights, rate, momentum, kernel_l2, tensor_clipnorm, global_clipnorm):
    """The original EfficientDet in NumPy: yields the weights and their averages of every step."""
    weights, average = dict(weights), dict(weights)
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step, slopes in enumerate(gradients()):
        slopes["kernel"] = slopes["kernel"] + kernel_l2 * weights["kernel"]
        # Its fusion weights are scalars: a tensor each.
        tensors = [(n, i) for n in SHAPES for i in (range(3) if n == "fusion_weights" else [...])]
        for name, i in tensors:
            length = np.linalg.norm(slopes[name][i])
            slopes[name][i] *= min(1.0, tensor_clipnorm / max(length, 1e-12))
        length = np.sqrt(sum((g**2).sum() for g in slopes.values()))
        decay = min(AVERAGED["ema_momentum"], (1 + step) / (10 + step)) if step else 0.0
        for name, slope in slopes.items():
            slope = slope * min(1.0, global_clipnorm / max(length, 1e-12))
            velocity[name] = momentum * velocity[name] - rate * slope
            weights[name] = weights[name] + velocity[name]
            average[name] = decay * average[name] + (1 - decay) * weights[name]
        yield dict(weights), dict(average)


def test_published_steps_equal_an_oracle():
    rng = np.random.default_rng(3)
    start = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    variables = [keras.Variable(value, name=name, dtype="float32") for name, value in start.items()]
    optimizer = SGD(0.1, **PUBLISHED, **AVERAGED)
    optimizer = SGD.from_config(optimizer.get_config())  # every setting is saved
    optimizer.build(variables)
    expected = original_steps(start, 0.1, **PUBLISHED)
    for slopes, (weights, average) in zip(gradients(), expected, strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in slopes.values()])
        for name, variable, found in zip(
            SHAPES, variables, optimizer._model_variables_moving_average, strict=True
        ):
            value, found = (keras.ops.convert_to_numpy(v) for v in (variable, found))
            np.testing.assert_allclose(value, weights[name], rtol=2e-5, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(found, average[name], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_published_steps_equal_the_oracle_on_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install .[jax]")
    test = f"{__file__}::{test_published_steps_equal_an_oracle.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


# 0.9998 is reached where (1 + t) / (10 + t) = 0.9998, at t = 44,990.
@pytest.mark.parametrize(
    "step, decay", [(0, 0.1), (5, 0.4), (90, 0.91), (44_980, 0.999799956), (50_000, 0.9998)]
)
def test_the_decay_of_the_average_warms_up(step, decay):
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.9998, ema_warmup=True)
    optimizer._iterations.assign(step)
    np.testing.assert_allclose(optimizer.average_decay(), decay, rtol=1e-7)


TWO_DEVICES = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_det.optimizers import SGD, AdamW
from tests.optimizers.test_optimizers import AVERAGED, PUBLISHED, SETTINGS, trained

def makers():
    yield SGD(0.1, **{**PUBLISHED, "tensor_clipnorm": 0.3, "global_clipnorm": 0.4}, **AVERAGED)
    yield AdamW(0.1, **{**SETTINGS, "global_clipnorm": 0.1}, epsilon=0.1)

expected = [trained(optimizer) for optimizer in makers()]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    found = [trained(optimizer) for optimizer in makers()]
for one, two in zip(expected, found):
    for value, target in zip(two, one):
        np.testing.assert_allclose(value, target, rtol=1e-4, atol=1e-5)
print("equal")
"""


# Keras would clip each device's half of the gradient by itself.
@pytest.mark.slow
def test_two_devices_clip_and_decay_as_one():
    pytest.importorskip("tensorflow")
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True)
    assert "equal" in done.stdout, done.stderr[-3000:]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kernel_l2": -1.0}, r"`kernel_l2` must be 0 or more. Received: kernel_l2=-1.0"),
        ({"tensor_clipnorm": 0}, r"`tensor_clipnorm` must be above 0.*tensor_clipnorm=0"),
        ({"tensor_clipnorm": 1.0, "clipnorm": 1.0}, r"with `global_clipnorm` only.*clipnorm=1.0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SGD(0.1, **settings)
