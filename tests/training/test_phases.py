"""Parts that are frozen and thawed: every number of the optimizer belongs to its own variable."""

import keras
import numpy as np
import pytest

from keras_det import load_model
from keras_det.keras_private import adam_slots
from keras_det.training.phases import begin_phase
from keras_det.training.recipe import choose_recipe
from tests.export.tiny import TinyDetector

BATCH = (
    np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32"),
    {
        "boxes": np.tile(np.array([[[8, 8, 40, 30]]], "float32"), (2, 1, 1)),
        "labels": np.zeros((2, 1), "int32"),
    },
)


def made():
    keras.utils.set_random_seed(0)
    return TinyDetector(["cat"], (64, 64), max_level=5)


def by_variable(model):
    """Adam's averages by the path of the variable that Keras pairs them with."""
    slots = ((v, adam_slots(model.optimizer, v)) for v in model.trainable_variables)
    return {v.path: [np.array(each) for each in pair] for v, pair in slots}


# Frozen parts learn nothing in the first phase. In the second, Adam starts anew for all: averages
# that were kept would be too large for its correction of the first steps, which counts from 0.
@pytest.mark.slow
def test_the_phases_pair_every_variable_with_its_own_moments(tmp_path):
    model = made()
    recipe = choose_recipe(
        "adamw", 8, 8, batch_size=2, heads_first=1, epochs=3, accumulate=2, backbone_rate=0.5
    )
    begin_phase(model, recipe, 0, 1)
    start = {v.path: np.array(v) for v in model.weights}
    for _ in range(4):
        model.train_on_batch(*BATCH)
    moved = {v.path for v in model.weights if not np.array_equal(np.array(v), start[v.path])}
    heads = {v.path for v in (*model.class_head.weights, *model.box_head.weights)}
    assert moved and moved <= heads
    first = by_variable(model)
    learned = {path for path, pair in first.items() if np.abs(pair[1]).max() > 0}
    assert set(first) <= heads and {path for path in first if path.endswith("kernel")} <= learned
    model.save(tmp_path / "heads.keras")  # a state of the first phase
    again = load_model(tmp_path / "heads.keras")
    for path, pair in by_variable(again).items():
        for value, expected in zip(pair, first[path], strict=True):
            np.testing.assert_array_equal(value, expected)

    begin_phase(model, recipe, 1, 3)
    own = {id(v) for v in model.backbone.trainable_variables}
    factors = zip(model.trainable_variables, model.optimizer.rate_factors, strict=True)
    assert own and all(factor == (0.5 if id(v) in own else 1.0) for v, factor in factors)
    second = by_variable(model)
    assert set(second) > set(first)
    assert max(np.abs(each).max() for pair in second.values() for each in pair) == 0
    for _ in range(2):
        model.train_on_batch(*BATCH)
    for variable in model.trainable_variables:
        moments = adam_slots(model.optimizer, variable)
        assert all(each.shape == variable.shape for each in moments)
        if variable.path.endswith("kernel"):
            assert np.abs(np.array(moments[1])).max() > 0, variable.path


def test_as_many_variables_that_are_others_are_refused():
    model = made()
    one, other = model.class_head.convolutions[0], model.box_head.convolutions[0]
    one.trainable = False
    model.compile()
    one.trainable, other.trainable = True, False
    assert len(one.weights) == len(other.weights)
    with pytest.raises(ValueError, match=r"\d+ other trainable variables?\. Call model\.comp"):
        model.fit(*BATCH, epochs=1, verbose=0)
