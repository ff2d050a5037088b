"""How learning rate, warm-up and length follow the batch size, with the numbers by hand."""

import numpy as np
import pytest

from keras_det import CornerNet, EfficientDet, RetinaNet
from keras_det.optimizers import rate_for_batch
from keras_det.training.recipe import choose_recipe
from keras_det.training.recipes import adamw, published


# Four times the images: four times the rate of SGD, twice that of Adam. A quarter: 1/4 and 1/2.
@pytest.mark.parametrize(
    "batch, adaptive, rate",
    [(8, False, 0.1), (32, False, 0.4), (32, True, 0.2), (2, False, 0.025), (2, True, 0.05)],
)
def test_the_rate_is_linear_for_sgd_and_a_square_root_for_adam(batch, adaptive, rate):
    assert rate_for_batch(0.1, 8, batch, adaptive) == pytest.approx(rate)


# EfficientDet 0.08 per 64 and RetinaNet 0.01 per 16 with SGD; CornerNet 2.5e-4 per 49 with Adam.
@pytest.mark.parametrize(
    "model, batch, peak",
    [
        (EfficientDet, 64, 0.08), (EfficientDet, 8, 0.01),
        (RetinaNet, 16, 0.01), (RetinaNet, 4, 0.0025),
        (CornerNet, 49, 2.5e-4), (CornerNet, 12.25, 1.25e-4),
    ],
)  # fmt: skip
def test_the_published_rates_follow_the_batch(model, batch, peak):
    schedule = published(model, batch, 9000, warmup_steps=100)._learning_rate
    np.testing.assert_allclose(float(schedule(100)), peak, rtol=1e-6)


# 100 epochs of 1,600 images: 20,000 updates of 8 or 5,000 of 32. The rate is halfway up after the
# same 4,000 images with AdamW (a twentieth), 267 with EfficientDet (a three-hundredth), 889 with
# RetinaNet (a ninetieth): 160,000 images times half of the share.
@pytest.mark.parametrize("batch", [8, 32])
@pytest.mark.parametrize("model, share", [(None, 20), (EfficientDet, 300), (RetinaNet, 90)])
def test_the_warmup_is_the_same_number_of_images(model, share, batch):
    updates = 160_000 // batch
    make = adamw if model is None else published
    schedule = make(model, batch, updates)._learning_rate
    peak = float(schedule(updates // share))
    images = 160_000 / share / 2
    start = float(schedule(0)) / peak
    reached = np.interp(images / batch, range(updates // share), map_of(schedule, updates // share))
    np.testing.assert_allclose(reached / peak, start + (1 - start) / 2, atol=0.02)


def map_of(schedule, updates):
    return [float(schedule(update)) for update in range(updates)]


# 100 images, 1,500 steps of 8: 12,000 images. In batches of 2 that takes 6,000 steps; larger
# batches take the 1,500 steps, and see more images.
@pytest.mark.parametrize("batch, steps", [(8, 1500), (2, 6000), (4, 3000), (20, 1500)])
def test_auto_shows_as_many_images_and_takes_as_many_steps(batch, steps):
    recipe = choose_recipe("auto", 100, 500, "backbone", batch_size=batch)
    assert recipe.steps == pytest.approx(steps, rel=0.05)
    assert recipe.steps * batch >= 12_000 and recipe.steps >= 1500
    assert recipe.warmup_steps == recipe.steps // 20
    assert recipe.learning_rate == pytest.approx(2e-3 * (batch / 8) ** 0.5)
