"""Our optimizers take Keras' own steps, and decay kernels only, after loading too."""

import keras
import numpy as np
import pytest

from keras_det.models.optimizers import SGD, AdamW

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
