"""IoU losses against torchvision's values and gradients, and numbers by hand."""

import keras
import numpy as np
import pytest

from keras_det.boxes import decode_deltas
from keras_det.losses import CIoULoss, DIoULoss, GIoULoss
from tests.helpers import golden
from tests.losses.gradients import value_and_gradients

LOSSES = [GIoULoss, DIoULoss, CIoULoss]
NAMES = ["giou", "diou", "ciou"]


def value_and_slope(loss, y_true, y_pred):
    values, gradients = value_and_gradients(lambda x: loss.call(y_true, x), y_pred)
    return values, gradients[0]


@pytest.mark.parametrize("cls, name", list(zip(LOSSES, NAMES, strict=True)))
def test_values_and_gradients_equal_torchvision(cls, name):
    file = golden("ops/misc_ops.npz")
    y_true, y_pred = (file[f"iou/{part}_xyxy"].reshape(4, 16, 4) for part in ("target", "pred"))
    values, gradient = value_and_slope(cls(), y_true, y_pred)
    np.testing.assert_allclose(values.ravel(), file[f"iou/{name}_loss"], atol=5e-7)
    expected = file[f"iou/{name}_grad_of_sum"]
    np.testing.assert_allclose(gradient.reshape(-1, 4), expected, rtol=2e-4, atol=2e-7)


# One true box (0, 0, 4, 2). IoU, area around both C, union U, squared distance d2, diagonal c2:
#   itself           IoU 1,    C 8 = U
#   (2, 0, 6, 2)     IoU 1/3,  C 12 = U 12,  d2 4,   c2 36 + 4
#   (6, 0, 10, 2)    IoU 0,    C 20, U 16,   d2 36,  c2 100 + 4
#   (0, 0, 2, 4)     IoU 1/3,  C 16, U 12,   d2 2,   c2 16 + 16, arctan 2 - arctan 1/2
BOXES = [[0, 0, 4, 2], [2, 0, 6, 2], [6, 0, 10, 2], [0, 0, 2, 4]]
V = 4 / np.pi**2 * (np.arctan(2) - np.arctan(0.5)) ** 2
BY_HAND = {
    GIoULoss: [0, 2 / 3, 1 + 4 / 20, 2 / 3 + 4 / 16],
    DIoULoss: [0, 2 / 3 + 4 / 40, 1 + 36 / 104, 2 / 3 + 2 / 32],
    CIoULoss: [0, 2 / 3 + 4 / 40, 1 + 36 / 104, 2 / 3 + 2 / 32 + V**2 / (2 / 3 + V)],
}


@pytest.mark.parametrize("cls", LOSSES)
def test_values_by_hand(cls):
    y_pred = np.array([BOXES], "float32")
    y_true = np.tile(y_pred[:, :1], (1, 4, 1))
    loss = cls(reduction=None)(y_true, y_pred)
    np.testing.assert_allclose(loss, [BY_HAND[cls]], rtol=1e-6, atol=1e-6)
    weighted = cls()(y_true, y_pred, sample_weight=np.array([[0.0, 2.0, 1.0, 0.0]]))
    expected = 2 * BY_HAND[cls][1] + BY_HAND[cls][2]
    np.testing.assert_allclose(weighted, expected, rtol=1e-6)


# True box (0, 0, 1, 2), prediction (0, 0, 2, 2) with right side x: IoU = 2 / 2x = 1/x, slope of
# 1 - IoU: 1 / x^2 = 1/4. C = U. d^2 / c^2 = ((x - 1) / 2)^2 / (x^2 + 4): at 2, (1/4) / 8 with slope
# (1/2 - 4 / 8 / 4) / 8 ... by the quotient rule ((x - 1) / 2 * 8 - 4 / 4) / 64 = 3/64.
# v = 4/pi^2 (arctan(1/2) - pi/4)^2, slope -8/pi^2 (arctan(1/2) - pi/4) * 2 / (2^2 + 2^2), and alpha
# = v / (1/2 + v) stays constant.
def test_gradients_by_hand():
    y_true, y_pred = np.float32([[[0, 0, 1, 2]]]), np.float32([[[0, 0, 2, 2]]])
    angle = np.arctan(0.5) - np.pi / 4
    v = 4 / np.pi**2 * angle**2
    aspect = v / (0.5 + v) * -8 / np.pi**2 * angle * 0.25
    for cls, expected in zip(LOSSES, [0.25, 0.25 + 3 / 64, 0.25 + 3 / 64 + aspect], strict=True):
        gradient = value_and_slope(cls(), y_true, y_pred)[1]
        np.testing.assert_allclose(gradient[0, 0, 2], expected, rtol=1e-5)


# TensorFlow's maximum would hand the whole slope of equal sides to one of the two boxes.
@pytest.mark.parametrize("cls", LOSSES)
def test_identical_boxes_do_not_move(cls):
    boxes = np.float32([[[0, 0, 4, 2], [3, 5, 10, 700], [-3, -1, -2, 0], [1e3, 0, 1.1e3, 9]]])
    values, gradient = value_and_slope(cls(), boxes, boxes)
    np.testing.assert_allclose(values, np.zeros((1, 4)), atol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((1, 4, 4)), atol=1e-6)


POINT, TALL, FLAT = [5, 5, 5, 5], [5, 0, 5, 10], [0, 5, 10, 5]
SQUARE, FAR, HUGE = [0, 0, 10, 10], [1e6, 1e6, 1e6 + 10, 1e6 + 20], [-1e6, -1e6, 1e6, 1e6]
INVERTED = [10, 10, 0, 0]


@pytest.mark.parametrize("cls", LOSSES)
def test_degenerate_boxes_stay_finite(cls):
    kinds = np.array([POINT, TALL, FLAT, SQUARE, FAR, HUGE, INVERTED], "float32")
    y_true, y_pred = (np.stack(m) for m in (np.repeat(kinds[:, None], 7, 1), [kinds] * 7))
    values, gradient = value_and_slope(cls(), y_true, y_pred)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()
    assert values.min() > -1e-6 and values[:6, :6].max() < 3.0
    # A box without area overlaps nothing, not even itself.
    np.testing.assert_allclose(np.diag(values)[:6], [1, 1, 1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(values[3, 4], 2.0, atol=0.1)


# What the box head sees: slopes of pixels are as steep as boxes are small, those of deltas are not.
@pytest.mark.parametrize("cls", LOSSES)
def test_gradients_of_extreme_deltas_are_moderate(cls):
    anchors = np.float32([[0, 0, 32, 32], [990, 990, 1022, 1022], [0, 0, 500, 9]])[None]
    rng = np.random.default_rng(0)
    for scale in (1.0, 30.0, 1e3):
        deltas = rng.normal(0, scale, (50, 3, 4)).astype("float32")
        y_true = anchors + rng.uniform(-4, 4, (50, 3, 4)).astype("float32")
        _, gradients = value_and_gradients(
            lambda x, y=y_true: cls().call(y, decode_deltas(anchors, x)), deltas
        )
        assert np.isfinite(gradients[0]).all() and np.abs(gradients[0]).max() < 10.0


@pytest.mark.parametrize("cls", LOSSES)
def test_half_precision_is_computed_in_float32(cls):
    y_true, y_pred = np.array([[[0, 0, 300, 300]]]), np.array([[[150, 0, 450, 300]]], "float16")
    values = np.array(cls(dtype="float16").call(y_true, y_pred))
    expected = {GIoULoss: 2 / 3, DIoULoss: 2 / 3 + 1 / 13, CIoULoss: 2 / 3 + 1 / 13}[cls]
    np.testing.assert_allclose(values, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("cls", LOSSES)
def test_config_round_trip(cls):
    config = keras.losses.serialize(cls(reduction=None, name="b"))
    loss = keras.losses.deserialize(config)
    assert type(loss) is cls and loss.inputs == "boxes"
    assert loss.get_config() == {"name": "b", "reduction": None}
