"""Schedules and settings of the recipes against numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det import CornerNet, EfficientDet, RetinaNet, load_model
from keras_det.optimizers import WarmupThenDrops, warmup_cosine
from keras_det.training.recipes import adamw, average_momentum, published
from tests.export.tiny import tiny
from tests.helpers import golden


# 100 steps, 20 of warm-up to 1: linear, then (1 + cos(pi * t / 80)) / 2: half at step 60, 0 at 100.
@pytest.mark.parametrize("step, rate", [(0, 0.0), (10, 0.5), (20, 1.0), (60, 0.5), (100, 0.0)])
def test_warmup_is_linear_and_the_cosine_ends_at_zero(step, rate):
    np.testing.assert_allclose(warmup_cosine(1.0, 100, 20)(step), rate, atol=1e-6)


def test_the_rate_never_rises_after_the_warmup():
    schedule = warmup_cosine(1.0, 50, 5)
    rates = [float(schedule(step)) for step in range(5, 55)]
    assert all(a >= b for a, b in zip(rates, rates[1:], strict=False))


# 2e-3 at 8 images; with the square root of the batch: sqrt(32 / 8) = 2.
@pytest.mark.parametrize("batch_size, peak", [(8, 2e-3), (32, 4e-3)])
def test_adamw_peaks_by_the_batch_size(batch_size, peak):
    optimizer = adamw(None, batch_size, 1000)
    schedule = optimizer._learning_rate
    np.testing.assert_allclose(schedule(50), peak, rtol=1e-6)
    assert optimizer.global_clipnorm == 10 and optimizer.use_ema


# 0.08 * 16 / 64 = 0.02 after the warm-up.
def test_published_rate_is_scaled_by_the_batch():
    schedule = published(EfficientDet, 16, 3000)._learning_rate
    np.testing.assert_allclose(schedule(10), 0.02, rtol=1e-6)
    np.testing.assert_allclose(schedule(0), 0.008, rtol=1e-6)


# The original: 0.5 * 0.08 * (1 + cos(pi * step / 29,900)) after the warm-up, with the steps counted
# from the first one: 0 at step 29,900 of 30,000, and up again. Ours starts the cosine at step 100;
# the slope of either is at most 0.04 * pi / 29,900, hence 100 steps apart 4.2e-4 of a rate of 0.08.
def test_published_rates_equal_the_originals_but_for_the_end():
    file = golden("efficientdet/lr.npz")
    batch, steps_per_epoch, epochs = file["params"][:3].astype(int)
    schedule = published(EfficientDet, batch, steps_per_epoch * epochs)._learning_rate
    steps, expected = file["steps"], file["lr_cosine"]
    rates = np.array([float(schedule(step)) for step in steps])
    warmup = steps < steps_per_epoch
    assert warmup.sum() == 4
    np.testing.assert_allclose(rates[warmup], expected[warmup], rtol=1e-6)
    assert np.abs(rates - expected).max() <= 0.04 * np.pi * 100 / 29_900
    assert expected[-1] > expected[steps == 29_900][0] and rates[-1] == 0.0


@pytest.mark.slow
def test_published_training_of_efficientdet_is_saved_with_the_model(tmp_path):
    model = tiny()
    model.compile(published(EfficientDet, 8, 1000))
    model.save(tmp_path / "model.keras")
    optimizer = load_model(tmp_path / "model.keras").optimizer
    assert (optimizer.momentum, optimizer.kernel_l2) == (0.9, 4e-5)
    assert (optimizer.tensor_clipnorm, optimizer.global_clipnorm) == (10.0, 10.0)
    assert (optimizer.use_ema, optimizer.ema_momentum, optimizer.ema_warmup) == (True, 0.9998, True)
    assert optimizer.weight_decay is None and optimizer.ema_overwrite_frequency is None


# A window of a twentieth: 1 - 20 / 2000; the published 0.9998 from 100,000 steps on.
@pytest.mark.parametrize("steps, momentum", [(2000, 0.99), (1_000_000, 0.9998), (10, 0.5)])
def test_average_momentum_follows_the_length(steps, momentum):
    assert average_momentum(steps) == pytest.approx(momentum)


def test_one_step_is_a_valid_training():
    assert np.isfinite(float(adamw(None, 8, 1)._learning_rate(0)))


# Warm-up of 10 steps from a thousandth: 0.001 + 0.999 * 5 / 10 = 0.5005 half-way; then a tenth from
# step 60 on and a hundredth from step 80 on.
@pytest.mark.parametrize(
    "step, rate", [(0, 1e-3), (5, 0.5005), (10, 1.0), (59, 1.0), (60, 0.1), (79, 0.1), (80, 0.01)]
)
def test_the_rate_warms_up_and_drops(step, rate):
    schedule = WarmupThenDrops(1.0, [60, 80], 10)
    copy = WarmupThenDrops.from_config(schedule.get_config())
    np.testing.assert_allclose([schedule(step), copy(step)], rate, rtol=1e-6)


def test_the_rate_without_warmup_is_whole_after_a_step():
    np.testing.assert_allclose(WarmupThenDrops(1.0, [], 0)(1), 1.0, rtol=1e-6)


# RetinaNet, section 4.1: 0.01 for 16 images, drops at 60k and 80k of 90k steps; 0.005 for 8.
def test_published_training_of_retinanet_is_its_papers():
    model = RetinaNet("resnet18", num_classes=1, image_size=64, neck_channels=8, head_repeats=1)
    optimizer = published(model, 8, 90_000)
    schedule = optimizer._learning_rate
    assert (schedule.drops, schedule.warmup_steps) == ([60_000, 80_000], 1000)
    steps = [1000, 59_999, 60_000, 80_000]
    rates = [schedule(step) for step in steps]
    np.testing.assert_allclose(rates, [5e-3, 5e-3, 5e-4, 5e-5], rtol=1e-6)
    assert (optimizer.momentum, optimizer.kernel_l2) == (0.9, 1e-4)
    assert optimizer.weight_decay is None and not optimizer.use_ema
    assert optimizer.tensor_clipnorm is None and optimizer.global_clipnorm is None
    # What a checkpoint of the training holds goes on with the same rates.
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    np.testing.assert_allclose([again._learning_rate(s) for s in steps], rates)


def test_a_model_without_a_published_training_says_so():
    with pytest.raises(TypeError, match="TinyDetector has no published training.*recipes.adamw"):
        published(tiny(), 8, 100)


# CornerNet: 2.5e-4 for 49 images, so 5e-4 for 196; a tenth from nine tenths of the steps on.
def test_published_training_of_cornernet_is_its_papers():
    optimizer = published(CornerNet, 196, 1000)
    rates = [optimizer._learning_rate(step) for step in (0, 899, 900)]
    np.testing.assert_allclose(rates, [5e-4, 5e-4, 5e-5], rtol=1e-6)
    assert optimizer.weight_decay == 0.0 and optimizer.global_clipnorm is None


# Half of the way up: 0.5 of the peak from 0, 0.5005 from a thousandth, 0.525 from 0.008 of 0.16.
@pytest.mark.parametrize("model", [EfficientDet, RetinaNet, CornerNet])
def test_the_warmup_of_a_published_training_can_be_chosen(model):
    schedule = published(model, 128, 1000, warmup_steps=100)._learning_rate
    peak, half = float(schedule(100)), float(schedule(50))
    np.testing.assert_allclose(half / peak, 0.5, atol=0.026)
