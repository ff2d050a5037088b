"""ResampleToLevel and nearest upsampling against the formula and numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.layers.resample import ResampleToLevel, max_pool_downsample, nearest_upsample
from tests.helpers import check_layer, trainable_count

# Twice, other whole ratios, one axis only, ratios between 1 and 2.
SIZES = [((2, 3), (4, 6)), ((3, 2), (9, 10)), ((2, 3), (2, 24)), ((2, 2), (3, 4)), ((5, 4), (9, 7))]


@pytest.mark.parametrize("source, target", SIZES)
def test_nearest_rows_are_floor_of_i_in_over_out(source, target):
    x = np.random.default_rng(0).normal(size=(2, *source, 3)).astype("float32")
    rows = [i * source[0] // target[0] for i in range(target[0])]
    columns = [i * source[1] // target[1] for i in range(target[1])]
    np.testing.assert_array_equal(nearest_upsample(x, target), x[:, rows][:, :, columns])


# Two rows to three: [0, 0, 1]. A half-pixel resize would give [0, 1, 1].
def test_two_rows_to_three():
    x = np.array([10.0, 20.0], "float32").reshape(1, 2, 1, 1)
    np.testing.assert_array_equal(np.ravel(nearest_upsample(x, (3, 1))), [10, 10, 20])


# 4 -> 2: stride 2, window 3, "same" pads the bottom and the right only: cells max over rows 0..2
# and 2..3. 5 -> 3: pads both sides: rows 0..1, 1..3, 3..4.
@pytest.mark.parametrize(
    "rows, expected", [([1, 2, 3, 4], [3, 4]), ([5, 1, 2, 1, 7], [5, 2, 7]), ([9, 8], [9])]
)
def test_shrinking_is_max_pooling_as_tensorflow_pads(rows, expected):
    x = np.array(rows, "float32").reshape(1, -1, 1, 1) * np.ones((1, 1, len(rows), 1), "float32")
    layer = ResampleToLevel((len(expected), len(expected)), 1)
    np.testing.assert_array_equal(layer(x)[0, :, 0, 0], expected)


# Stride 2 on 1 2 3 | 4 ...: "same" pads an odd side at the end. Stride 4 on 5 pixels pads 3: one
# before, two after, so that the windows hold 3 and 2 pixels.
@pytest.mark.parametrize(
    "rows, stride, expected", [([1, 2, 3], 2, [2, 3]), ([5, 1, 2, -4, -3], 4, [5, -3])]
)
def test_max_pooling_by_hand(rows, stride, expected):
    x = np.array(rows, "float32").reshape(1, -1, 1, 1)
    np.testing.assert_array_equal(np.ravel(max_pool_downsample(x, stride)), expected)


def test_projection_only_where_channels_differ():
    x = np.zeros((1, 4, 4, 3), "float32")
    same, other = ResampleToLevel((2, 2), 3), ResampleToLevel((2, 2), 5)
    same(x), other(x)
    assert len(same.weights) == 0
    # kernel 3 * 5, bias 5, gamma and beta 10
    assert trainable_count(other) == 30


@pytest.mark.parametrize("size", [(3, 2), (5, 7), (10, 12)])
def test_resample_is_a_good_layer(size):
    x = np.random.default_rng(0).normal(size=(2, 5, 6 if size[1] != 7 else 7, 3))
    check_layer(ResampleToLevel, {"size": size, "channels": 4}, x)


def test_unknown_size_and_mixed_directions_are_refused():
    with pytest.raises(ValueError, match=r"static height and width. Received shape: \(None, None"):
        ResampleToLevel((2, 2), 3).build((None, None, 4, 3))
    with pytest.raises(
        ValueError, match=r"both grow or both shrink. Received: \(4, 4\) to \(2, 8\)"
    ):
        ResampleToLevel((2, 8), 3).build((None, 4, 4, 3))


def test_resample_trains_under_the_default_backend():
    layer = ResampleToLevel((3, 4), 2)
    model = keras.Sequential([keras.Input((2, 2, 1)), layer])
    assert model.output_shape == (None, 3, 4, 2)
