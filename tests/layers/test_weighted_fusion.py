"""WeightedFusion against numbers by hand."""

import numpy as np
import pytest

from keras_det.layers.weighted_fusion import WeightedFusion
from tests.helpers import check_layer


def constant_maps(*values):
    return [np.full((1, 2, 3, 4), value, "float32") for value in values]


# weights (2, -5, 2) -> relu (2, 0, 2); (2*1 + 2*7) / (4 + 1e-4) = 3.99990
def test_fusion_ignores_negative_weight():
    maps = constant_maps(1, 50, 7)
    layer = WeightedFusion()
    layer(maps)
    layer.fusion_weights.assign([2.0, -5.0, 2.0])
    np.testing.assert_allclose(layer(maps), np.full((1, 2, 3, 4), 3.9999), rtol=1e-6)


# All weights 1: (1 + 7) / (2 + 1e-4) = 3.99980
def test_untrained_fusion_is_the_mean():
    np.testing.assert_allclose(
        WeightedFusion()(constant_maps(1, 7)), np.full((1, 2, 3, 4), 8 / 2.0001), rtol=1e-6
    )


def test_fusion_with_every_weight_off_is_zero():
    layer = WeightedFusion()
    layer(constant_maps(1, 7))
    layer.fusion_weights.assign([-1.0, 0.0])
    np.testing.assert_array_equal(layer(constant_maps(1, 7)), np.zeros((1, 2, 3, 4)))


# exp(ln 1, ln 2, ln 5) = 1, 2, 5: (1*1 + 2*50 + 5*7) / 8 = 17. No epsilon in it.
def test_softmax_fusion_by_hand():
    maps = constant_maps(1, 50, 7)
    layer = WeightedFusion(method="softmax")
    np.testing.assert_allclose(layer(maps), np.full((1, 2, 3, 4), 58 / 3), rtol=1e-6)
    layer.fusion_weights.assign(np.log([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(layer(maps), np.full((1, 2, 3, 4), 17), rtol=1e-6)


def test_softmax_fusion_keeps_finite_at_large_weights():
    layer = WeightedFusion(method="softmax")
    layer(constant_maps(1, 7))
    layer.fusion_weights.assign([-500.0, 500.0])
    np.testing.assert_allclose(layer(constant_maps(1, 7)), np.full((1, 2, 3, 4), 7), rtol=1e-6)


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match=r"Received: 'soft'. Did you mean 'softmax'\?"):
        WeightedFusion(method="soft")


# Files of release 0.1.0 were written before there was a choice.
def test_a_config_without_method_is_fast():
    config = WeightedFusion().get_config()
    del config["method"]
    assert WeightedFusion.from_config(config).method == "fast"


def test_epsilon_is_for_fast():
    message = "`epsilon` is for method=\"fast\". Received: epsilon=0.0001, method='softmax'"
    with pytest.raises(ValueError, match=message):
        WeightedFusion(epsilon=1e-4, method="softmax")
    assert WeightedFusion().get_config()["epsilon"] == 1e-4


def test_a_stored_epsilon_of_softmax_loads():
    config = WeightedFusion(method="softmax").get_config()
    assert config["epsilon"] is None
    again = WeightedFusion.from_config({**config, "epsilon": 1e-4})
    assert again.get_config() == config


@pytest.mark.parametrize("method", ["fast", "softmax"])
def test_fusion_is_a_good_layer(method):
    rng = np.random.default_rng(0)
    check_layer(
        WeightedFusion, {"method": method}, [rng.normal(size=(2, 3, 5, 4)) for _ in range(3)]
    )


@pytest.mark.parametrize("shapes", [[(1, 2, 2, 3)], [(1, 2, 2, 3), (1, 2, 3, 3)]])
def test_fusion_refuses_maps_of_different_shape(shapes):
    with pytest.raises(ValueError, match=r"two or more feature maps of one shape. Received"):
        WeightedFusion().build(shapes)


# (1 * 2 + 1 * 7) / (1 + 1 + epsilon 1) = 3.
def test_epsilon_by_hand():
    maps = [np.full((1, 1, 1, 1), value, "float32") for value in (2, 7)]
    np.testing.assert_allclose(WeightedFusion(epsilon=1.0)(maps), [[[[3.0]]]], rtol=1e-6)
