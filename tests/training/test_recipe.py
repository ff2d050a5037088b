"""What the recipes choose, with the numbers by hand."""

import dataclasses

import numpy as np
import pytest

from keras_det.errors import DataError
from keras_det.losses import GIoULoss
from keras_det.models import EfficientDet
from keras_det.training.choosing import given_parts, own_parts
from keras_det.training.phases import phases, plain_end
from keras_det.training.recipe import choose_recipe
from tests.export.tiny import tiny


# 1,500 steps up to 100 images, then 1,500 * sqrt(images / 100); twice as many from random weights.
# 10 images: 2 steps per pass, 750 passes, 25 per epoch. 292: 37 per pass, 2,563.2 / 37 = 69.3, so
# 70 passes, 2 per epoch. 2,000: 250 per pass, 6,708 / 250 = 27 passes. 100,000: 12,500 per pass,
# 47,434 / 12,500 = 4, so 12 passes, the fewest.
@pytest.mark.parametrize(
    "images, trained, epochs, passes, steps",
    [
        (10, "backbone", 30, 25, 1500),
        (10, "nothing", 30, 50, 3000),
        (292, "backbone", 35, 2, 2590),
        (2000, "detector", 27, 1, 6750),
        (100_000, "backbone", 12, 1, 150_000),
    ],
)
def test_the_number_of_steps_has_a_floor(images, trained, epochs, passes, steps):
    recipe = choose_recipe("auto", images, 10 * images, trained)
    assert (recipe.epochs, recipe.passes, recipe.steps) == (epochs, passes, steps)


def test_few_objects_in_many_images_need_few_steps():
    assert choose_recipe("auto", 400, 100, "backbone").steps == 1500
    assert choose_recipe("auto", 400, 400, "backbone").steps == 3000


# The model's rate at 8 images, 2e-3 for a trained detector, with the square root of the batch size;
# 4 images per step below 8 images.
@pytest.mark.parametrize(
    "images, trained, batch, rate",
    [
        (7, "backbone", 4, 7.07107e-3),
        (8, "backbone", 8, 1e-2),
        (8, "nothing", 8, 1e-2),
        (8, "detector", 8, 2e-3),
    ],
)
def test_the_batch_and_the_rate_follow_the_images(images, trained, batch, rate):
    recipe = choose_recipe("auto", images, 50, trained, rate=EfficientDet.auto_rate)
    assert recipe.batch_size == batch and recipe.learning_rate == pytest.approx(rate, rel=1e-5)


# 40 images, 1,500 steps: 5 per pass, 10 passes per epoch, 30 epochs, 400 images per epoch.
def test_auto_chooses_the_rest_from_the_length():
    recipe = choose_recipe("auto", 40, 500, "backbone", validation_images=10)
    assert (recipe.epochs, recipe.passes, recipe.steps) == (30, 10, 1500)
    assert recipe.warmup_steps == 75, "a twentieth"
    assert recipe.average == pytest.approx(1 - 20 / 1500)
    assert recipe.patience == 12, "four tenths of the epochs, at least ten"
    assert recipe.plain_epochs == 0, "nothing strong to leave out"
    strong = choose_recipe("auto", 40, 500, "backbone", validation_images=10, strong=True)
    assert strong.plain_epochs == 3, "a tenth"
    assert choose_recipe("auto", 40, 500, "nothing", augment="strong").plain_epochs == 3
    assert recipe.evaluate_every == 1 and recipe.calibrate and recipe.anchors == "auto"
    assert (recipe.freeze, recipe.heads_first, recipe.backbone_rate) == ("none", 0, 1.0)
    assert recipe.assignment == {"box_loss": "giou"}
    assert choose_recipe("adamw", 40, 500).assignment == {}


# Half of 5,000 validation images against 400 trained ones per epoch: 6.25, so every 7 epochs.
def test_a_large_validation_set_is_measured_seldom():
    recipe = choose_recipe("auto", 40, 500, "backbone", validation_images=5000)
    assert recipe.evaluate_every == 7


# Ten measurements, but not more than there are epochs: a patience that never ends is none.
def test_the_patience_ends_before_the_training():
    assert choose_recipe("auto", 40, 500, "backbone", 10, epochs=11).patience == 10
    assert choose_recipe("auto", 40, 500, "backbone", 10, epochs=10).patience is None


def test_a_trained_detector_keeps_its_anchors():
    assert choose_recipe("auto", 40, 500, "detector").anchors == "published"
    assert choose_recipe("auto", 40, 500, "nothing").anchors == "auto"


def test_without_a_validation_set_nothing_is_measured():
    assert choose_recipe("auto", 40, 500, "backbone").patience is None
    for name in ("patience", "evaluate_every"):
        with pytest.raises(DataError, match=f"`{name}` must be left out without a validation set"):
            choose_recipe("auto", 40, 500, **{name: 3})


@pytest.mark.parametrize(
    "field, value",
    [
        ("batch_size", 2), ("accumulate", 2), ("learning_rate", 0.5), ("backbone_rate", 0.25),
        ("warmup_steps", 3), ("average", 0.5), ("freeze", "backbone"), ("heads_first", 2),
        ("plain_epochs", 2),
        ("evaluate_every", 9), ("patience", 99), ("anchors", "published"), ("calibrate", False),
        ("augment", "flip"), ("image_size", (64, 96)), ("matcher", "atss"),
        ("class_loss", "varifocal"), ("box_loss", "ciou"),
    ],
)  # fmt: skip
def test_each_value_can_be_overruled(field, value):
    own = choose_recipe("auto", 40, 500, "backbone", 10, strong=True)
    changed = choose_recipe("auto", 40, 500, "backbone", 10, strong=True, **{field: value})
    assert getattr(own, field) != value and getattr(changed, field) == value


# In batches of 2, four of them per update, as many updates and images as in batches of 8. With 8
# images per step and two steps per update, twice the steps. In 10 epochs of 20 steps, 200 in all,
# there are 50 updates: 2 of warm-up.
def test_accumulated_steps_count_as_one_batch():
    whole = choose_recipe("auto", 40, 500, "backbone")
    parts = choose_recipe("auto", 40, 500, "backbone", batch_size=2, accumulate=4)
    assert (parts.epochs, parts.passes) == (whole.epochs, whole.passes)
    assert (parts.steps, parts.learning_rate) == (4 * whole.steps, whole.learning_rate)
    assert (parts.warmup_steps, parts.average) == (whole.warmup_steps, whole.average)
    twice = choose_recipe("auto", 40, 500, "backbone", accumulate=2)
    assert twice.steps == 2 * whole.steps and twice.warmup_steps == whole.warmup_steps
    assert twice.learning_rate == pytest.approx(2**0.5 * whole.learning_rate)
    short = choose_recipe("adamw", 40, 500, batch_size=2, accumulate=4, epochs=10)
    assert (short.steps, short.warmup_steps, short.average) == (200, 2, pytest.approx(0.6))
    assert "an update every 4 steps (8 images); learning rate 0.002, 2 updates" in str(short)
    assert short.optimizer(tiny()).gradient_accumulation_steps == 4
    for more in ({"epochs": 1, "accumulate": 6}, {"epochs": 9, "heads_first": 1, "accumulate": 6}):
        with pytest.raises(DataError, match="number of steps of each part.*, 5. Received: 6"):
            choose_recipe("adamw", 40, 500, **more)


# --epochs are passes over the images: 40 images in batches of 8, so 5 steps each.
def test_epochs_that_are_given_are_passes():
    recipe = choose_recipe("auto", 40, 500, "backbone", 10, epochs=3)
    assert (recipe.epochs, recipe.passes, recipe.steps) == (3, 1, 15)


def test_adamw_is_as_before():
    recipe = choose_recipe("adamw", 40, 500, "backbone", 10)
    assert (recipe.epochs, recipe.passes, recipe.batch_size) == (50, 1, 8)
    assert (recipe.patience, recipe.evaluate_every, recipe.calibrate) == (None, 1, False)
    optimizer, model = recipe.optimizer(tiny()), tiny()
    np.testing.assert_allclose(optimizer._learning_rate(12), 2e-3, rtol=1e-6)  # 250 // 20
    assert optimizer.ema_momentum == pytest.approx(0.92) and optimizer.rate_factors is None
    slow = dataclasses.replace(recipe, backbone_rate=0.3).optimizer(model)
    assert set(slow.rate_factors) == {0.3, 1.0}


def test_the_published_recipe_refuses_what_its_optimizer_has_of_its_own():
    recipe = choose_recipe("published", 40, 500)
    assert (recipe.learning_rate, recipe.average, recipe.calibrate) == (None, None, False)
    for field in ("learning_rate", "backbone_rate", "average"):
        with pytest.raises(DataError, match=f"`{field}` is for the recipes auto and adamw"):
            choose_recipe("published", 40, 500, **{field: 0.1})


def test_unknown_recipes_and_contradictions_are_refused():
    with pytest.raises(DataError, match="must be one of auto, adamw, published.*'sgd'"):
        choose_recipe("sgd", 1, 1)
    with pytest.raises(DataError, match="`heads_first` must be less than .* epochs, 5. Rec.*: 5"):
        choose_recipe("auto", 1, 1, heads_first=5, epochs=5)
    with pytest.raises(DataError, match="`heads_first` and `freeze` must not be used"):
        choose_recipe("auto", 1, 1, heads_first=1, freeze="backbone")


# 40 images: 30 epochs. None to all of them may be plain.
def test_plain_epochs_lie_within_the_epochs_and_need_strong_steps():
    for plain in (0, 30):
        recipe = choose_recipe("auto", 40, 500, "backbone", strong=True, plain_epochs=plain)
        assert recipe.plain_epochs == plain and plain_end(recipe) == {
            0: {}, 30: {"plain_after": 0},
        }[plain]  # fmt: skip
    for plain, more in ((31, {}), (-1, {}), (6, {"epochs": 5})):
        message = rf"must lie in 0\.\.{more.get('epochs', 30)}, .*Received: {plain}\."
        with pytest.raises(DataError, match=message):
            choose_recipe("auto", 40, 500, strong=True, plain_epochs=plain, **more)
    assert choose_recipe("adamw", 40, 500, strong=True, plain_epochs=7).plain_epochs == 7
    assert choose_recipe("auto", 40, 500, plain_epochs=0).plain_epochs == 0
    with pytest.raises(DataError, match="with mosaic, mixup.*Received: plain_epochs=2 without one"):
        choose_recipe("auto", 40, 500, plain_epochs=2)


def test_the_recipe_is_one_line_of_plain_words():
    line = str(
        choose_recipe(
            "auto", 40, 500, "backbone", 10, True, heads_first=1, backbone_rate=0.5, plain_epochs=3
        )
    )
    assert line == (
        "Recipe auto: 1,500 steps of 8 images in 30 epochs, each showing every image 10 times; "
        "learning rate 0.002 (backbone 0.001), 75 steps of warm-up; only the heads in the first "
        "epoch; stops after 12 epochs without a higher AP; augmentation ssj; last 3 epochs without "
        "strong augmentation; box loss giou; scores calibrated."
    )


def test_one_is_written_in_the_singular_and_zero_warmup_is_not_written():
    line = str(choose_recipe("auto", 4, 9, validation_images=1, patience=1, warmup_steps=1))
    assert "1 step of warm-up; stops after 1 epoch without" in line
    assert "warm-up" not in str(choose_recipe("auto", 4, 9, warmup_steps=0))


# Only what a model by name takes, and what is no object, is left to the recipe.
def test_a_recipe_chooses_no_losses_of_built_models():
    every = ["matcher", "class_loss", "box_loss"]
    assert own_parts("efficientdet_lite0", {}) == own_parts("retinanet_resnet18", {}) == []
    assert own_parts("cornernet_tiny", {}) == own_parts(tiny(), {}) == every
    given = {"box_loss": GIoULoss(), "matcher": "atss", "neck": "fpn"}
    assert own_parts("efficientdet_lite0", given) == ["box_loss"]
    assert given_parts("efficientdet_d0", given, ["box_loss"]) == {"matcher": "atss"}
    with pytest.raises(DataError, match="a name only in models with anchors.*'atss' for cornernet"):
        given_parts("cornernet_tiny", given, every)


def test_phases_cover_all_epochs():
    recipe = choose_recipe("auto", 40, 500, "backbone")
    assert phases(recipe) == [(0, 30)]
    assert phases(dataclasses.replace(recipe, heads_first=4)) == [(0, 4), (4, 30)]
    assert phases(dataclasses.replace(recipe, heads_first=99)) == [(0, 30)]


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("learning_rate", float("nan"), "a finite number above 0. Received: learning_rate=nan"),
        ("learning_rate", float("inf"), "a finite number above 0. Received: learning_rate=inf"),
        ("learning_rate", 0, "a finite number above 0. Received: learning_rate=0"),
        ("backbone_rate", -1, "a finite number of at least 0. Received: backbone_rate=-1"),
        ("average", 1, "a number of at least 0 and below 1. Received: average=1"),
        ("epochs", 2.5, "a whole number of at least 1. Received: epochs=2.5"),
        ("epochs", float("inf"), "a whole number of at least 1. Received: epochs=inf"),
        ("batch_size", 0, "a whole number of at least 1. Received: batch_size=0"),
        ("evaluate_every", 0, "a whole number of at least 1. Received: evaluate_every=0"),
        ("patience", "x", "a whole number of at least 1. Received: patience='x'"),
        ("heads_first", -1, "a whole number of at least 0. Received: heads_first=-1"),
    ],
)
def test_numbers_out_of_their_range_are_refused(field, value, sentence):
    with pytest.raises(DataError, match=f"`{field}` must be {sentence}. Choose another value, or"):
        choose_recipe("auto", 100, 500, validation_images=9, **{field: value})
