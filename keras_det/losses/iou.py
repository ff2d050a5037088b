"""Losses of the box head by overlap: how well a decoded box covers the matched box."""

import math
from typing import Any

import keras
from keras import ops

from keras_det.boxes import SIDE_FLOOR, box_areas
from keras_det.types import Tensor

# As in torchvision, in pixels squared. It keeps the fractions of empty boxes finite.
EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="keras_det")
class GIoULoss(keras.losses.Loss):
    """Generalised IoU loss per anchor: it has a gradient even where boxes do not overlap.

    Rezatofighi et al., algorithms 1 and 2 (https://arxiv.org/abs/1902.09630), with U the area of
    the union and C the area of the smallest box around both:

        GIoU = IoU - (C - U) / C,    loss = 1 - GIoU    in 0 .. 2

    It equals torchvision's `generalized_box_iou_loss`, including the 1e-7 in both denominators. A
    box without area overlaps nothing, not even itself; values and gradients stay finite there.
    Where sides of both boxes coincide, each box gets half of the slope, as in torch and JAX.

    Call arguments:
        y_true: `(batch, anchors, 4)` boxes, xyxy pixels.
        y_pred: `(batch, anchors, 4)` boxes, xyxy pixels, decoded and not clipped.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    inputs = "boxes"

    def __init__(
        self, reduction: str | None = "sum", name: str = "giou_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _float32(y_true, y_pred)
        iou, union = _iou_and_union(y_true, y_pred)
        width, height = _enclosing_sides(y_true, y_pred)
        enclosing = width * height
        return 1.0 - iou + (enclosing - union) / (enclosing + EPSILON)


@keras.saving.register_keras_serializable(package="keras_det")
class DIoULoss(keras.losses.Loss):
    """Distance-IoU loss per anchor: pulls the centres together.

    Zheng et al., equation 7 (https://arxiv.org/abs/1911.08287), with d the distance of the centres
    and c the diagonal of the smallest box around both:

        loss = 1 - IoU + d^2 / c^2    in 0 .. 2

    It equals torchvision's `distance_box_iou_loss`. Boxes without area are treated as in
    `GIoULoss`.

    Call arguments:
        y_true: `(batch, anchors, 4)` boxes, xyxy pixels.
        y_pred: `(batch, anchors, 4)` boxes, xyxy pixels, decoded and not clipped.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    inputs = "boxes"

    def __init__(
        self, reduction: str | None = "sum", name: str = "diou_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _float32(y_true, y_pred)
        iou, _ = _iou_and_union(y_true, y_pred)
        return 1.0 - iou + _centre_penalty(y_true, y_pred)


@keras.saving.register_keras_serializable(package="keras_det")
class CIoULoss(keras.losses.Loss):
    """Complete IoU loss per anchor: overlap, centre distance and aspect ratio.

    Zheng et al., equations 9 to 11 (https://arxiv.org/abs/1911.08287), with `*` the true box:

        loss  = 1 - IoU + d^2 / c^2 + alpha v    (d, c: `DIoULoss`)
        v     = 4 / pi^2 (arctan(w* / h*) - arctan(w / h))^2
        alpha = v / ((1 - IoU) + v)

    alpha is a trade-off weight: the gradient treats it as a constant. The paper also drops
    1 / (w^2 + h^2) from the slope of v; here it stays, as in torchvision's
    `complete_box_iou_loss`. Boxes without area are treated as in `GIoULoss`.

    Call arguments:
        y_true: `(batch, anchors, 4)` boxes, xyxy pixels.
        y_pred: `(batch, anchors, 4)` boxes, xyxy pixels, decoded and not clipped.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    inputs = "boxes"

    def __init__(
        self, reduction: str | None = "sum", name: str = "ciou_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _float32(y_true, y_pred)
        iou, _ = _iou_and_union(y_true, y_pred)
        v = ops.square(_diagonal_angle(y_true) - _diagonal_angle(y_pred)) * (4.0 / math.pi**2)
        # An IoU rounded to 1 + 1e-7 must not cancel epsilon.
        alpha = v / (ops.relu(1.0 - iou) + v + EPSILON)
        return 1.0 - iou + _centre_penalty(y_true, y_pred) + ops.stop_gradient(alpha) * v


def _float32(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    return ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")


def _split(boxes: Tensor) -> tuple[Tensor, ...]:
    """x1, y1, x2 and y2 of the boxes."""
    return tuple(boxes[..., i] for i in range(4))


def _larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two. Equal ones share the slope; TensorFlow would give it to the first."""
    return 0.5 * (ops.maximum(a, b) + ops.maximum(b, a))


def _smaller(a: Tensor, b: Tensor) -> Tensor:
    return 0.5 * (ops.minimum(a, b) + ops.minimum(b, a))


def _iou_and_union(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    a_x1, a_y1, a_x2, a_y2 = _split(boxes_a)
    b_x1, b_y1, b_x2, b_y2 = _split(boxes_b)
    # Unlike maximum, relu has no slope at 0: boxes that touch do not attract each other.
    width = ops.relu(_smaller(a_x2, b_x2) - _larger(a_x1, b_x1))
    height = ops.relu(_smaller(a_y2, b_y2) - _larger(a_y1, b_y1))
    common = width * height
    union = box_areas(boxes_a) + box_areas(boxes_b) - common
    return common / (union + EPSILON), union


def _enclosing_sides(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    a_x1, a_y1, a_x2, a_y2 = _split(boxes_a)
    b_x1, b_y1, b_x2, b_y2 = _split(boxes_b)
    width = _larger(a_x2, b_x2) - _smaller(a_x1, b_x1)
    height = _larger(a_y2, b_y2) - _smaller(a_y1, b_y1)
    return ops.maximum(width, 0.0), ops.maximum(height, 0.0)


def _centre_penalty(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """d^2 / c^2 of `DIoULoss`."""
    width, height = _enclosing_sides(boxes_a, boxes_b)
    a_x1, a_y1, a_x2, a_y2 = _split(boxes_a)
    b_x1, b_y1, b_x2, b_y2 = _split(boxes_b)
    dx, dy = (a_x1 + a_x2 - b_x1 - b_x2) / 2.0, (a_y1 + a_y2 - b_y1 - b_y2) / 2.0
    return (dx * dx + dy * dy) / (width * width + height * height + EPSILON)


def _diagonal_angle(boxes: Tensor) -> Tensor:
    """arctan(width / height), with a finite slope for boxes without sides."""
    x1, y1, x2, y2 = _split(boxes)
    # Both sides have a lower bound: 0 beside 1e-8 would have a slope of 1e8.
    width, height = (ops.maximum(side, SIDE_FLOOR) for side in (x2 - x1, y2 - y1))
    return ops.arctan2(width, height)
