"""EfficientNet: parameter counts of the reference, shapes at odd sizes, errors."""

import keras
import numpy as np
import pytest

from keras_det.backbones.efficientnet import efficientnet, round_filters, scaled_stages
from tests.helpers import trainable_count


# Counted on the original implementation (trainable parameters of its backbones).
@pytest.mark.parametrize(
    "variant, expected",
    [("b0", 3_595_388), ("b3", 10_103_336), ("lite0", 2_958_848), ("lite4", 11_149_568)],
)
def test_parameter_counts_equal_the_originals(variant, expected):
    assert trainable_count(efficientnet(variant)) == expected


# 40 * 1.4 = 56; 16 * 1.1 = 17.6 -> 16, which is 91% of it: stays.
# 24 * 1.4 = 33.6 -> 32; 8 * 1.8 = 14.4 -> 16.
@pytest.mark.parametrize(
    "filters, width, expected",
    [(40, 1.4, 56), (16, 1.1, 16), (24, 1.4, 32), (8, 1.8, 16), (8, 0.1, 8)],
)
def test_filters_are_rounded_to_multiples_of_8(filters, width, expected):
    assert round_filters(filters, width) == expected


def test_lite_keeps_first_and_last_stage():
    assert [s.repeats for s in scaled_stages("lite4")] == [1, 4, 4, 6, 6, 8, 1]
    assert [s.repeats for s in scaled_stages("b4")] == [2, 4, 4, 6, 6, 8, 2]


def test_levels_have_ceiled_sizes_at_odd_image_sizes():
    model = efficientnet("lite0", (130, 100))
    sizes = {level: x.shape[1:3] for level, x in model.pyramid_outputs.items()}
    assert sizes == {"P1": (65, 50), "P2": (33, 25), "P3": (17, 13), "P4": (9, 7), "P5": (5, 4)}


def test_drop_connect_is_off_for_b0_and_on_for_lite0():
    def rates(variant):
        layers = efficientnet(variant).layers
        return [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]

    assert rates("b0") == []
    # lite0 has 16 blocks; the residual ones are 2, 4, 6, 7, 9, 10, 12, 13, 14.
    np.testing.assert_allclose(rates("lite0"), 0.2 * np.array([2, 4, 6, 7, 9, 10, 12, 13, 14]) / 16)


# Block 2 of 16 is the first residual one: 0.32 * 2 / 16 = 0.04.
def test_drop_connect_rate_and_name_are_used():
    model = efficientnet("b0", drop_connect_rate=0.32, name="mine")
    assert model.get_layer("block2_drop").rate == pytest.approx(0.04) and model.name == "mine"


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'lite_0'. Did you mean 'lite0'\?"):
        efficientnet("lite_0")
