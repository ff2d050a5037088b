"""SeparableHead: prior on the class logits, order of the anchors, sharing over levels."""

import keras
import numpy as np
import pytest

from keras_det.heads.anchor_head import SeparableHead, prior_bias
from tests.helpers import check_layer, trainable_count


def pyramid():
    rng = np.random.default_rng(0)
    return {
        "P3": rng.normal(size=(2, 4, 3, 8)).astype("float32"),
        "P4": rng.normal(size=(2, 2, 2, 8)).astype("float32"),
    }


# -ln(0.99 / 0.01) = -4.59512
def test_prior_is_on_the_class_logits_only():
    assert prior_bias(0.01) == pytest.approx(-4.59512, abs=1e-5)
    zeros = {level: np.zeros_like(x) for level, x in pyramid().items()}
    logits = SeparableHead(5, 9, 8, 2, prior_probability=0.01)(zeros)
    np.testing.assert_allclose(logits, np.full((2, 16 * 9, 5), -4.59512), atol=1e-5)
    np.testing.assert_array_equal(SeparableHead(4, 9, 8, 2)(zeros), np.zeros((2, 16 * 9, 4)))


def test_order_is_level_row_column_anchor():
    head, maps = SeparableHead(2, 3, 8, 0), pyramid()
    outputs = keras.ops.convert_to_numpy(head(maps))
    last = keras.ops.convert_to_numpy(head.prediction(maps["P4"]))  # (2, 2, 2, 3 * 2)
    # Row 1, column 0, anchor 2 of P4, behind the 4 * 3 cells of P3.
    place = (12 + 1 * 2 + 0) * 3 + 2
    np.testing.assert_allclose(outputs[:, place], last[:, 1, 0, 4:6], rtol=1e-5)


def test_convolutions_are_shared_and_norms_are_not():
    head = SeparableHead(4, 9, 8, 2)
    head(pyramid())
    assert len(head.convolutions) == 2
    assert len(head.norms) == 4
    # Two hidden: 9*8 + 64 + 8 each; four norms: 16 each; prediction: 72 + 8 * 36 + 36.
    assert trainable_count(head) == 2 * 144 + 4 * 16 + 396


def test_head_is_a_good_layer():
    arguments = {"outputs_per_anchor": 3, "num_anchors": 2, "channels": 8, "num_repeats": 1}
    check_layer(SeparableHead, arguments, pyramid(), output_dtype="float32", half_tolerance=None)
