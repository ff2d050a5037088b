"""CornerNet's heads: parameters of the original, names, biases, and what pooling does."""

import numpy as np
import pytest

from keras_det.heads.corner_head import CornerHead, CornerPoolingBlock
from tests.helpers import check_layer


def count(layer):
    return sum(int(np.prod(v.shape)) for v in layer.trainable_variables)


# Of the original with 80 classes, per stack: corner block 1,542,144, heat maps 610,640 (1,221,280
# in two stacks), embeddings 590,337, offsets 590,594; each for both corners.
def test_parameters_are_those_of_the_original():
    head = CornerHead(80)
    head.build((None, 8, 8, 256))
    assert count(head.blocks[0]) == 1_542_144
    assert count(head) == 2 * (1_542_144 + 610_640 + 590_337 + 590_594)


def test_layers():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")
    check_layer(CornerPoolingBlock, {"corner": "bottom_right"}, x, half_tolerance=0.1)
    check_layer(CornerHead, {"num_classes": 3}, x, output_dtype="float32", half_tolerance=0.1)


# sigmoid(-2.19) = 0.1: with kernels at 0 every cell starts there, embeddings and offsets at 0.
def test_untrained_heat_maps_start_at_a_tenth():
    head = CornerHead(2)
    x = np.ones((1, 3, 4, 8), "float32")
    head(x)
    for prediction in head.predictions:
        prediction.kernel.assign(np.zeros(prediction.kernel.shape))
    for name, value in head(x).items():
        wanted = -2.19 if name.endswith("heatmaps") else 0.0
        np.testing.assert_allclose(value, np.full(value.shape, wanted, "float32"))
    assert value.shape == (1, 3, 4, 2)


# One pixel in the middle: a top-left corner sees it from above and from the left, nowhere else; a
# bottom-right corner from below and from the right.
@pytest.mark.parametrize(
    "corner, seen_from", [("top_left", slice(None, 3)), ("bottom_right", slice(2, None))]
)
def test_a_corner_sees_what_lies_in_its_directions(corner, seen_from):
    block = CornerPoolingBlock(corner)
    x = np.zeros((1, 5, 5, 2), "float32")
    x[0, 2, 2] = 1
    block(x)
    centre = np.zeros((3, 3, 2, 1))
    centre[1, 1, 0] = 1  # passes channel 0 on
    for layer in block.before:
        layer.convolution.kernel.assign(centre)
    passed = {}
    block.merge.call = lambda inputs, training=None: passed.setdefault("sum", inputs)
    block.shortcut.call = lambda inputs, training=None: inputs
    block.after.call = lambda inputs, training=None: inputs
    block.call(x)
    seen = np.array(passed["sum"])[0, :, :, 0] / np.float32(1 / np.sqrt(1 + 1e-5))
    wanted = np.zeros((5, 5))
    wanted[seen_from, 2] += 1  # top or bottom pooling
    wanted[2, seen_from] += 1  # left or right pooling
    np.testing.assert_allclose(seen, wanted, rtol=1e-6)


def test_without_pooling_the_parameters_stay():
    plain, pooled = CornerHead(3, pooling=False), CornerHead(3)
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 8)).astype("float32")
    plain(x), pooled(x)
    plain.set_weights(pooled.get_weights())
    assert np.abs(plain(x)["top_left_heatmaps"] - pooled(x)["top_left_heatmaps"]).max() > 1e-3


# Two blocks forward; with remat both once more in the backward pass.
@pytest.mark.parametrize("remat, expected", [(False, 2), (True, 4)])
def test_remat_runs_the_blocks_again_in_the_backward_pass(remat, expected, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    x = tf.constant(np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype("float32"))
    head, calls = CornerHead(1, remat=remat), []
    head(x)
    for block in head.blocks:
        merge = block.merge.convolution
        monkeypatch.setattr(
            merge, "call", lambda inputs, call=merge.call: calls.append(1) or call(inputs)
        )
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = sum(tf.reduce_sum(value) for value in head(x, training=True).values())
    tape.gradient(total, x)
    assert len(calls) == expected


def test_unknown_corner_is_refused():
    with pytest.raises(ValueError, match="Received: 'left'"):
        CornerPoolingBlock("left")
