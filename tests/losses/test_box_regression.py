"""Box losses against torch, the original EfficientDet, and numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.losses import BOX_LOSSES, BoxHuberLoss, BoxSmoothL1Loss, GIoULoss, make_box_loss
from tests.helpers import golden
from tests.losses.gradients import value_and_gradients


# delta 0.5: errors 0.2, -0.5, 2, 0 -> 0.02, 0.125, 0.5 * 2 - 0.125 = 0.875, 0; the sum is 1.02.
def test_huber_equals_values_by_hand():
    y_true = np.array([[[0.0, 1.0, 0.0, 7.0]]])
    y_pred = np.array([[[0.2, 0.5, 2.0, 7.0]]])
    loss = BoxHuberLoss(delta=0.5, reduction=None)(y_true, y_pred)
    np.testing.assert_allclose(loss, [[1.02]], rtol=1e-6)


@pytest.mark.parametrize("delta", [0.1, 1.0])
def test_huber_equals_torch(delta):
    file = golden("ops/misc_ops.npz")
    x, y = (file[f"reg/{name}"].reshape(2, 5, 4) for name in "xy")
    loss = BoxHuberLoss(delta=delta, reduction=None)(y, x)
    expected = file[f"reg/huber_delta{delta}"].reshape(2, 5, 4).sum(-1)
    np.testing.assert_allclose(loss, expected, rtol=2e-6)


# The original drops coordinates whose target is exactly 0; here the caller weights anchors, so
# the test leaves out those coordinates by predicting them exactly.
def test_huber_equals_the_originals_box_loss():
    file = golden("efficientdet/losses.npz")
    y_true = file["box_targets"].reshape(2, -1, 4)
    y_pred = np.where(y_true == 0, 0, file["box_outputs"].reshape(2, -1, 4))
    loss = BoxHuberLoss()(y_true, y_pred) / (4 * file["box_num_positives"])
    np.testing.assert_allclose(loss, file["box_loss"], rtol=1e-5)


def test_a_target_of_exactly_zero_counts():
    assert float(BoxHuberLoss(delta=1.0)(np.zeros((1, 1, 4)), np.full((1, 1, 4), 0.5))) == 0.5


def test_sample_weight_and_reduction_work_per_anchor():
    y_true, y_pred = np.zeros((1, 3, 4)), np.array([[[1.0] * 4, [2.0] * 4, [0.1] * 4]])
    loss = BoxHuberLoss(delta=1.0)(y_true, y_pred, sample_weight=np.array([[1.0, 0.0, 2.0]]))
    np.testing.assert_allclose(loss, 4 * 0.5 + 2 * 4 * 0.005, rtol=1e-6)


def test_half_precision_is_computed_in_float32():
    y_pred = np.full((1, 1, 4), 600.0, "float16")
    loss = BoxHuberLoss(delta=1000.0, dtype="float16").call(np.zeros((1, 1, 4)), y_pred)
    np.testing.assert_allclose(loss, [[4 * 180000.0]])  # float16 ends at 65504


def test_config_round_trip():
    config = keras.losses.serialize(BoxHuberLoss(delta=0.3, reduction=None, name="b"))
    assert keras.losses.deserialize(config).get_config() == {
        "name": "b",
        "reduction": None,
        "delta": 0.3,
    }


def test_bad_delta_is_named():
    with pytest.raises(ValueError, match="`delta` must be positive. Received: delta=0"):
        BoxHuberLoss(delta=0)


# beta 0.5: errors 0.2, -0.5, 2, 0 -> 0.04 / 2 / 0.5 = 0.04, 0.25, 2 - 0.25, 0; the sum is 2.04.
def test_smooth_l1_equals_values_by_hand():
    y_true = np.array([[[0.0, 1.0, 0.0, 7.0]]])
    y_pred = np.array([[[0.2, 0.5, 2.0, 7.0]]])
    loss = BoxSmoothL1Loss(beta=0.5, reduction=None)(y_true, y_pred)
    np.testing.assert_allclose(loss, [[2.04]], rtol=1e-6)


@pytest.mark.parametrize(
    "loss, key",
    [
        (BoxSmoothL1Loss(beta=1.0), "beta1.0000"),
        (BoxSmoothL1Loss(beta=0.11), "beta0.1100"),
        (BoxSmoothL1Loss(), "beta0.1111"),
    ],
)
def test_smooth_l1_equals_torch(loss, key):
    file = golden("ops/misc_ops.npz")
    x, y = (file[f"reg/{name}"].reshape(2, 5, 4) for name in "xy")
    expected = file[f"reg/smooth_l1_{key}"].reshape(2, 5, 4).sum(-1)
    np.testing.assert_allclose(loss.call(y, x), expected, rtol=2e-6)


# Slope e / beta inside, the sign of e outside, and 1 at beta itself; Huber's is beta times that.
def test_slopes_by_hand():
    y_pred = np.array([[[0.05, -0.25, 3.0, -2.0]]], "float32")
    slope = np.array([[[0.2, -1.0, 1.0, -1.0]]])
    for loss, scale in ((BoxSmoothL1Loss(beta=0.25), 1.0), (BoxHuberLoss(delta=0.25), 0.25)):
        _, gradients = value_and_gradients(
            lambda x, loss=loss: loss(np.zeros((1, 1, 4), "float32"), x), y_pred
        )
        np.testing.assert_allclose(gradients[0], scale * slope, rtol=1e-6)


def test_smooth_l1_config_round_trip():
    config = keras.losses.serialize(BoxSmoothL1Loss(beta=0.3, reduction=None, name="b"))
    assert keras.losses.deserialize(config).get_config() == {
        "name": "b",
        "reduction": None,
        "beta": 0.3,
    }


@pytest.mark.parametrize("beta", [0, -1.0, float("nan")])
def test_bad_beta_is_named(beta):
    with pytest.raises(ValueError, match="`beta` must be positive. Received: beta="):
        BoxSmoothL1Loss(beta=beta)


def test_box_losses_by_name():
    for name, cls in BOX_LOSSES.items():
        loss = make_box_loss(name)
        assert type(loss) is cls and loss.inputs == ("boxes" if "iou" in name else "deltas")
        assert loss.reduction == "sum"
    own = GIoULoss(name="own")
    assert make_box_loss(own) is own


@pytest.mark.parametrize("loss", ["iou", GIoULoss, keras.losses.Huber(), None])
def test_what_is_no_box_loss_is_named(loss):
    with pytest.raises(ValueError, match="one of .'ciou', 'diou', 'giou'.*Received"):
        make_box_loss(loss)
