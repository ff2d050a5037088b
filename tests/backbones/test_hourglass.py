"""The hourglass: sizes, parameters, the path of one pixel, and rows of one's own."""

import keras
import numpy as np
import pytest

from keras_det.backbones import HOURGLASSES, Hourglass, hourglass
from keras_det.layers.residual_block import ResidualBlock


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


# pre 938,112 + 2 x 92,134,400 (kps) + 1,180,672 (cnvs) + 1,180,672 (inters) + 66,048 (inters_) +
# 66,048 (cnvs_): counted in the original by instantiating it.
@pytest.mark.slow
def test_hourglass104_has_the_parameters_of_the_original():
    model = hourglass("hourglass104")
    assert count(model) == 938_112 + 2 * 92_134_400 + 1_180_672 * 2 + 66_048 * 2
    shapes = model.compute_output_shape((None, 511, 511, 3))
    assert list(shapes) == ["stack_0", "stack_1"]
    assert shapes["stack_1"] == (None, 128, 128, 256)


# One stack: the half of kps and cnvs (590,336), and nothing between stacks.
@pytest.mark.slow
def test_hourglass52_is_one_of_the_two():
    assert count(hourglass("hourglass52")) == 938_112 + 92_134_400 + 590_336


# Residual a -> b: 9ab + 9bb + 4b, and ab + 2b where it changes size or channels. Stem 7x7x3x2 + 4,
# block 2 -> 4; one size down 4 -> 6, 3 in the middle at 6, up 6 -> 4, beside 4 -> 4, output 3x3.
def test_a_network_of_ones_own_counts_by_hand():
    def block(a, b, changes):
        return 9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if changes else 0)

    model = hourglass(Hourglass(1, (4, 6), (1, 3), 2))
    wanted = 7 * 7 * 3 * 2 + 4 + block(2, 4, True)
    wanted += block(4, 4, False) + block(4, 6, True) + 3 * block(6, 6, False) + block(6, 4, True)
    wanted += 9 * 4 * 4 + 8
    assert count(model) == wanted
    out = model(np.zeros((1, 21, 31, 3), "float32"))["stack_0"]
    assert out.shape == (1, 6, 8, 4)  # ceil(21 / 4), ceil(31 / 4), both even


# Every hourglass adds to what it got: with the last block of every way up at 0, the output is the
# 3x3 convolution of `beside`.
def test_ways_meet_by_addition():
    model = hourglass(Hourglass(1, (4, 6), (1, 1), 2))
    layers = {layer.name: layer for layer in model.layers}
    add = keras.Model(model.inputs, [layers["stack_0_add0"].output, *layers["stack_0_add0"].input])
    total, beside, inside = add(np.random.default_rng(0).normal(size=(1, 16, 16, 3)))
    np.testing.assert_allclose(total, beside + inside, rtol=1e-6)
    assert np.array(inside)[0, 0, 0].tolist() == np.array(inside)[0, 1, 1].tolist()  # repeated


def test_divisors_are_the_largest_strides():
    found = {name: row.divisor for name, row in HOURGLASSES.items()}
    assert found == {"hourglass104": 128, "hourglass52": 128, "tiny": 32}


def test_remat_reaches_every_block_and_the_model_its_name():
    row = Hourglass(1, (4, 6), (1, 1), 2)
    for remat in (False, True):
        model = hourglass(row, remat, name="mine")
        blocks = [layer for layer in model.layers if isinstance(layer, ResidualBlock)]
        assert {block.remat for block in blocks} == {remat} and model.name == "mine"


def test_remat_changes_no_output():
    x = np.random.default_rng(0).normal(size=(1, 15, 15, 3)).astype("float32")
    plain, again = (hourglass(Hourglass(2, (4, 6), (1, 1), 2), remat) for remat in (False, True))
    again.set_weights(plain.get_weights())
    for name, value in plain(x, training=True).items():
        np.testing.assert_allclose(again(x, training=True)[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "variant, message",
    [
        ("hourglas104", "Did you mean 'hourglass104'"),
        (Hourglass(1, (4, 6), (1,), 2), "one value of `channels` and one of `repeats` per size"),
        (Hourglass(0, (4, 6), (1, 1), 2), "one or more stacks"),
        (Hourglass(1, (4, 0), (1, 1), 2), "must be at least 1"),
    ],
)
def test_wrong_rows_are_refused(variant, message):
    with pytest.raises(ValueError, match=message):
        hourglass(variant)
