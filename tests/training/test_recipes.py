"""Schedules and settings of the recipes against numbers by hand."""

import numpy as np
import pytest

from keras_det.training.recipes import adamw, average_momentum, published, warmup_cosine


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
    schedule = published(None, 16, 3000)._learning_rate
    np.testing.assert_allclose(schedule(10), 0.02, rtol=1e-6)
    np.testing.assert_allclose(schedule(0), 0.008, rtol=1e-6)


# A window of a twentieth: 1 - 20 / 2000; the published 0.9998 from 100,000 steps on.
@pytest.mark.parametrize("steps, momentum", [(2000, 0.99), (1_000_000, 0.9998), (10, 0.5)])
def test_average_momentum_follows_the_length(steps, momentum):
    assert average_momentum(steps) == pytest.approx(momentum)


def test_one_step_is_a_valid_training():
    assert np.isfinite(float(adamw(None, 8, 1)._learning_rate(0)))
