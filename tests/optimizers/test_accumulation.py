"""Several steps per update: one update of the whole batch, in weights, averages and schedule."""

import keras
import numpy as np
import pytest

from keras_det import EfficientDet
from keras_det.optimizers import SGD, AdamW
from keras_det.training.recipes import adamw, published
from tests.export.tiny import tiny
from tests.optimizers.test_optimizers import AVERAGED, PUBLISHED, SETTINGS, network

UPDATES = 5


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2)


MAKERS = {
    "adamw": lambda **more: AdamW(schedule(), **SETTINGS, **more),
    "amsgrad": lambda **more: AdamW(schedule(), amsgrad=True, **SETTINGS, **more),
    "factors": lambda **more: AdamW(schedule(), rate_factors=[0.1, 1, 1, 0.5], **SETTINGS, **more),
    "published": lambda **more: SGD(schedule(), **PUBLISHED, **AVERAGED, **more),
}


def values(model):
    averages = model.optimizer._model_variables_moving_average
    return model.get_weights() + [np.array(each) for each in averages]


def states(optimizer, parts):
    """What weights, averages and rate are after each step, with each batch in so many parts."""
    model, rng, found = network(), np.random.default_rng(1), []
    model.compile(optimizer, loss="mse")
    inputs, outputs = rng.normal(size=(UPDATES, 8, 3)), rng.normal(size=(UPDATES, 8, 2))
    for x, y in zip(inputs, outputs, strict=True):
        for some_x, some_y in zip(np.split(x, parts), np.split(y, parts), strict=True):
            model.train_on_batch(some_x, some_y)
            found.append((values(model), float(optimizer.learning_rate)))
    return found


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_four_steps_of_two_are_a_step_of_eight(make):
    whole, parts = states(make(), 1), states(make(gradient_accumulation_steps=4), 4)
    for (expected, rate), (found, same_rate) in zip(whole, parts[3::4], strict=True):
        assert same_rate == pytest.approx(rate)
        for one, four in zip(expected, found, strict=True):
            np.testing.assert_allclose(four, one, rtol=1e-5, atol=1e-6)
    for before, after in zip(parts[3:-1:4], parts[4::4], strict=True):  # within an update
        for one, other in zip(before[0], after[0], strict=True):
            np.testing.assert_array_equal(one, other)


# Keras replaces the weights by their averages when `fit` ends, even before the first update.
def test_a_training_that_ends_before_its_first_update_keeps_its_weights():
    model = network()
    model.compile(MAKERS["adamw"](gradient_accumulation_steps=4), loss="mse")
    before = model.get_weights()
    model.fit(np.ones((6, 3)), np.ones((6, 2)), batch_size=2, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# 2e-3 at 8 images, so 4e-3 at 4 * 8 after 1,000 / 4 / 20 = 12 updates of warm-up. The original
# EfficientDet: 0.08 at 64 images, here 0.04 at 2 * 16.
def test_the_recipes_take_the_rate_of_the_whole_update():
    optimizer = adamw(None, 8, 1000, accumulate=4)
    np.testing.assert_allclose(optimizer._learning_rate(12), 4e-3, rtol=1e-6)
    assert optimizer.gradient_accumulation_steps == 4
    assert optimizer.ema_momentum == pytest.approx(1 - 20 / 250)
    optimizer = published(EfficientDet, 16, 6000, accumulate=2)
    np.testing.assert_allclose(optimizer._learning_rate(10), 0.04, rtol=1e-6)
    assert optimizer.gradient_accumulation_steps == 2
    assert adamw(None, 8, 1000).gradient_accumulation_steps is None
    again = AdamW.from_config(adamw(None, 8, 1000, accumulate=4).get_config())
    assert again.gradient_accumulation_steps == 4


class WithKerasOwn:
    def published_optimizer(self, *_):
        return keras.optimizers.Adam(0.1)


def test_what_cannot_be_accumulated_is_refused():
    for wrong in (0, 1.5, 101):
        with pytest.raises(ValueError, match="number of steps of the training. Received: accumul"):
            adamw(None, 8, 100, accumulate=wrong)
    with pytest.raises(TypeError, match="an optimizer of keras_det.optimizers.*Received: Adam"):
        published(WithKerasOwn(), 8, 100, accumulate=2)


def frozen_norm():
    model = tiny(seed=1, max_level=5)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return model


def batch(objects):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(objects), 96, 128, 3)).astype("float32")
    box = np.array([[10, 10, 40, 50], [60, 20, 110, 80]], "float32")
    labels = np.array([[0, 1][:n] + [-1] * (2 - n) for n in objects], "int32")
    return images, {"boxes": np.tile(box, (len(objects), 1, 1)), "labels": labels}


def part(data, start, end):
    images, targets = data
    return images[start:end], {name: value[start:end] for name, value in targets.items()}


# All images have the same objects, so all parts have the same number of positives.
def test_a_detector_learns_as_from_the_whole_batch():
    data, trained, start = batch([2] * 8), [], frozen_norm().get_weights()
    for size in (8, 2):
        model = frozen_norm()
        model.compile(adamw(model, size, 40 * 8 // size, accumulate=8 // size, warmup_steps=1))
        for _ in range(2):
            for first in range(0, 8, size):
                model.train_on_batch(*part(data, first, first + size))
        trained.append(model.get_weights())
    moved = max(abs(a - b).max() for a, b in zip(start, trained[0], strict=True))
    assert moved > 1e-3
    for one, four in zip(*trained, strict=True):
        np.testing.assert_allclose(four, one, rtol=1e-4, atol=2e-3 * moved)


# Losses are divided by the positives of a step. Parts with 1 and 2 images that have objects: the
# whole batch has their mean weighted by positives, an accumulated update their plain mean.
def test_parts_with_other_numbers_of_positives_count_alike():
    model, data = frozen_norm(), batch([1, 0, 1, 1])
    parts = [data, part(data, 0, 2), part(data, 2, 4)]
    found = [model.losses_of(targets, model(images)) for images, targets in parts]
    whole, *halves = [float(losses["class_loss"]) for losses in found]
    counts = [float(losses["positives_per_image"]) for losses in found[1:]]
    assert counts[1] == pytest.approx(2 * counts[0])
    assert whole == pytest.approx(np.average(halves, weights=counts), rel=1e-4)
    assert whole != pytest.approx(np.mean(halves), rel=2e-3)
