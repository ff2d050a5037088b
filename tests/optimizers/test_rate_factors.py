"""Learning rates per variable: AdamW against itself with another rate."""

import keras
import numpy as np
import pytest

from keras_det.optimizers import AdamW
from keras_det.training.recipes import adamw, rate_factors
from tests.export.tiny import tiny

GRADIENTS = [np.array([0.5, -2.0], "float32"), np.array([1.0, 3.0], "float32")]


def after_steps(optimizer, steps=3):
    """Two kernels after steps with fixed gradients."""
    variables = [keras.Variable([1.0, 2.0], name=f"kernel_{i}") for i in range(2)]
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in GRADIENTS], variables)
    return [np.array(variable) for variable in variables]


# A factor multiplies the rate, and the weight decay is multiplied by the rate: variable 0 must be
# where an optimizer of a tenth of the rate leaves it, variable 1 where the whole rate does.
def test_a_factor_is_another_rate():
    mixed = after_steps(AdamW(0.1, weight_decay=0.5, rate_factors=[0.1, 1.0]))
    slow, fast = (after_steps(AdamW(rate, weight_decay=0.5)) for rate in (0.01, 0.1))
    np.testing.assert_allclose(mixed[0], slow[0], rtol=1e-6)
    np.testing.assert_allclose(mixed[1], fast[1], rtol=1e-6)
    assert not np.allclose(slow[0], fast[0])


# Rate 0.1 * 0.5. Decay first: 1 * (1 - 0.05 * 0.2) = 0.99. Adam's first step is the rate: - 0.05.
def test_the_first_step_is_that_by_hand():
    (first, _) = after_steps(AdamW(0.1, weight_decay=0.2, rate_factors=[0.5, 1.0]), steps=1)
    np.testing.assert_allclose(first[0], 0.99 - 0.05, rtol=1e-5)


def test_keras_own_code_gives_the_same(monkeypatch):
    expected = after_steps(AdamW(0.1, weight_decay=0.5, rate_factors=[0.1, 1.0]))
    monkeypatch.setattr(AdamW, "update_on_tensorflow", lambda *_: None)
    monkeypatch.setattr(AdamW, "decay_on_tensorflow", lambda *_: None)
    monkeypatch.setattr("keras_det.keras_private.keras.backend.backend", lambda: "other")
    found = after_steps(AdamW(0.1, weight_decay=0.5, rate_factors=[0.1, 1.0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_zero_keeps_a_variable():
    found = after_steps(AdamW(0.1, weight_decay=0.5, rate_factors=[0.0, 1.0]))
    np.testing.assert_array_equal(found[0], [1.0, 2.0])


def test_factors_are_saved_and_left_out_where_there_are_none():
    optimizer = AdamW(0.1, rate_factors=[0.1, 1.0])
    assert AdamW.from_config(optimizer.get_config()).rate_factors == [0.1, 1.0]
    assert "rate_factors" not in AdamW(0.1).get_config(), "as saved by earlier versions"


def test_wrong_factors_are_refused():
    with pytest.raises(ValueError, match=r"must be 0 or more. Received: \[-0.1\]"):
        AdamW(0.1, rate_factors=[1.0, -0.1])
    with pytest.raises(ValueError, match="one number per trainable variable. Received: 1 number"):
        after_steps(AdamW(0.1, rate_factors=[1.0]))
    with pytest.raises(ValueError, match="with a backbone. Received: backbone_rate=0.3"):
        adamw(None, 8, 100, backbone_rate=0.3)


def test_the_backbone_has_its_own_rate():
    model = tiny()
    factors = rate_factors(model, 0.3)
    own = {id(variable) for variable in model.backbone.trainable_variables}
    assert len(own) and len(factors) == len(model.trainable_variables)
    for variable, factor in zip(model.trainable_variables, factors, strict=True):
        assert factor == (0.3 if id(variable) in own else 1.0)
    assert adamw(model, 8, 100, backbone_rate=0.3).rate_factors == factors
    assert adamw(model, 8, 100).rate_factors is None
