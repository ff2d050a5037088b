"""Losses of the box head: how far predicted deltas are from the matched box."""

from typing import Any

import keras
from keras import ops

from keras_det.losses.contract import check_box_loss
from keras_det.losses.iou import CIoULoss, DIoULoss, GIoULoss
from keras_det.types import Config, Tensor


@keras.saving.register_keras_serializable(package="keras_det")
class BoxHuberLoss(keras.losses.Loss):
    """Huber loss per anchor, summed over the four coordinates.

    Quadratic for small errors, linear for large ones, with e = prediction - target:

        loss = sum over coordinates of  e^2 / 2             where |e| <= delta
                                        delta |e| - delta^2 / 2   elsewhere

    The original EfficientDet divides the sum over its positive anchors by 4 (positives + 1) and
    weights it by 50. It also drops each coordinate whose target is exactly 0.0, as if that meant
    "not positive". Here such a coordinate counts like any other: `sample_weight` says which anchors
    are positive. Keras' `Huber` averages over the coordinates instead.

    Args:
        delta: float > 0. Error at which the loss turns from quadratic to linear, in units of the
            deltas.

    Call arguments:
        y_true: `(batch, anchors, 4)` box deltas.
        y_pred: `(batch, anchors, 4)` box deltas.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    inputs = "deltas"

    def __init__(
        self,
        delta: float = 0.1,
        reduction: str | None = "sum",
        name: str = "box_huber_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not delta > 0:
            raise ValueError(
                f"`delta` must be positive. Received: delta={delta!r}. EfficientDet uses 0.1."
            )
        self.delta = delta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _huber(y_true, y_pred, self.delta)

    def get_config(self) -> Config:
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable(package="keras_det")
class BoxSmoothL1Loss(keras.losses.Loss):
    """Smooth L1 loss per anchor, summed over the four coordinates.

    Fast R-CNN equation 3 (https://arxiv.org/abs/1504.08083), with e = prediction - target. The
    width of the quadratic part is an argument:

        loss = sum over coordinates of  e^2 / (2 beta)   where |e| < beta
                                        |e| - beta / 2   elsewhere

    This is the form of torch and Detectron: `BoxHuberLoss(delta=beta)` divided by beta. The slope
    of the linear part is 1 for every beta. Detectron's RetinaNet uses beta 0.11, torchvision's
    plain L1 (a beta near 0), and Fast R-CNN beta 1.

    Args:
        beta: float > 0. Error at which the loss turns from quadratic to linear, in units of the
            deltas.

    Call arguments:
        y_true: `(batch, anchors, 4)` box deltas.
        y_pred: `(batch, anchors, 4)` box deltas.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    inputs = "deltas"

    def __init__(
        self,
        beta: float = 1 / 9,
        reduction: str | None = "sum",
        name: str = "box_smooth_l1_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not beta > 0:
            raise ValueError(
                f"`beta` must be positive. Received: beta={beta!r}. RetinaNet uses 1/9 (0.11). For "
                "plain L1, use a small value such as 1e-6."
            )
        self.beta = beta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _huber(y_true, y_pred, self.beta) / self.beta

    def get_config(self) -> Config:
        return {**super().get_config(), "beta": self.beta}


def _huber(y_true: Tensor, y_pred: Tensor, delta: float) -> Tensor:
    error = ops.abs(ops.cast(y_pred, "float32") - ops.cast(y_true, "float32"))
    near = ops.minimum(error, delta)
    # near * (error - near / 2) is e^2 / 2 up to delta, and delta e - delta^2 / 2 beyond it.
    return ops.sum(near * (error - 0.5 * near), axis=-1)


BOX_LOSSES = {
    "huber": BoxHuberLoss,
    "smooth_l1": BoxSmoothL1Loss,
    "giou": GIoULoss,
    "diou": DIoULoss,
    "ciou": CIoULoss,
}


def make_box_loss(loss: str | keras.losses.Loss) -> keras.losses.Loss:
    """Returns a box loss by its name with default arguments, or a given loss after a check.

    Args:
        loss: "huber", "smooth_l1", "giou", "diou", "ciou", or an instance of a Keras loss. The
            attribute `inputs` of an instance says what it compares: "deltas"
            `(batch, anchors, 4)`, or "boxes", the same decoded to xyxy pixels. It must sum, as
            `check_box_loss` says.

    Raises:
        ValueError: there is no such name, the instance lacks `inputs`, or it does not sum.
    """
    if isinstance(loss, str) and loss in BOX_LOSSES:
        return BOX_LOSSES[loss]()
    if isinstance(loss, keras.losses.Loss) and getattr(loss, "inputs", None) in ("deltas", "boxes"):
        return check_box_loss(loss)
    raise ValueError(
        f"A box loss must be one of {sorted(BOX_LOSSES)}, or a loss whose attribute `inputs` is "
        f'"deltas" or "boxes". Received: {loss!r}. Use a name from the list. In a loss class of '
        "your own, set `inputs` to what it compares."
    )
