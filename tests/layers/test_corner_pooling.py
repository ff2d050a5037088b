"""Corner pooling against the original's numbers, brute force, and a converter."""

import itertools

import keras
import numpy as np
import pytest

from keras_det.layers.corner_pooling import DIRECTIONS, CornerPooling, running_maximum
from tests.helpers import check_layer, golden
from tests.losses.gradients import value_and_gradients


def numbers(case):
    """The golden arrays of a case, channels last."""
    values = golden("cornernet/cornernet.npz")
    keys = [key for key in values.files if key.startswith(f"pool/{case}/")]
    return {key.split("/")[-1]: values[key].transpose(0, 2, 3, 1) for key in keys}


# By hand: from row 0 down 1, 3, 3, 5; from row 3 up 5, 5, 5, 5.
def test_columns_by_hand():
    x = np.array([1, 3, 2, 5], "float32").reshape(1, 4, 1, 1)
    found = {d: np.array(CornerPooling(d)(x)).ravel().tolist() for d in DIRECTIONS}
    assert found == {
        "bottom": [1, 3, 3, 5],
        "top": [5, 5, 5, 5],
        "right": [1, 3, 2, 5],
        "left": [1, 3, 2, 5],
    }


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", ["rand", "ties"])
def test_forward_equals_the_original(case, direction):
    wanted = numbers(case)
    found = CornerPooling(direction)(wanted["input"])
    np.testing.assert_array_equal(found, wanted[direction])


# Of equal values TensorFlow gives the gradient to the one met first, as the original does. JAX
# gives each its share.
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", ["rand", "ties"])
def test_gradient_equals_the_original(case, direction):
    if case == "ties" and keras.backend.backend() != "tensorflow":
        pytest.skip("another choice among equal values")
    wanted, pool = numbers(case), CornerPooling(direction)

    def weighted(images):
        return pool(images) * wanted["grad_out"]

    _, (gradient,) = value_and_gradients(weighted, wanted["input"])
    np.testing.assert_allclose(gradient, wanted[f"{direction}_grad"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 12, 13, 16, 17, 30, 127, 128])
def test_every_size_is_a_running_maximum(size):
    rng = np.random.default_rng(size)
    for axis, reverse in itertools.product((1, 2), (False, True)):
        x = rng.normal(size=(2, size, 5, 3) if axis == 1 else (2, 5, size, 3)).astype("float32")
        turned = np.flip(x, axis) if reverse else x
        wanted = np.maximum.accumulate(turned, axis)
        wanted = np.flip(wanted, axis) if reverse else wanted
        np.testing.assert_array_equal(running_maximum(x, axis, reverse), wanted)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_layer(direction):
    x = np.random.default_rng(0).normal(size=(2, 7, 10, 3)).astype("float32")
    check_layer(CornerPooling, {"direction": direction}, x)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
def test_xla_gives_the_same():
    tf = pytest.importorskip("tensorflow")
    x = np.random.default_rng(0).normal(size=(1, 7, 12, 3)).astype("float32")
    layer = CornerPooling("top")
    compiled = tf.function(lambda images: layer(images), jit_compile=True)
    np.testing.assert_array_equal(compiled(x), layer(x))


def test_unknown_direction_is_named():
    with pytest.raises(ValueError, match="Received: 'up'"):
        CornerPooling("up")


def test_a_size_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="static height and width"):
        CornerPooling("top").call(keras.KerasTensor((None, None, 4, 3)))
