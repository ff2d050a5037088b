"""Losses of the box head: how far predicted deltas are from the matched box."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_det")
class BoxHuberLoss(keras.losses.Loss):
    """Huber loss per anchor, summed over the four coordinates.

    Quadratic for small errors, linear for large ones, with e = prediction - target:

        loss = sum over coordinates of  e^2 / 2             where |e| <= delta
                                        delta |e| - delta^2 / 2   elsewhere

    The original EfficientDet divides the sum over its positive anchors by 4 (positives + 1) and
    weights it by 50. It also drops each coordinate whose target is exactly 0.0, as if that meant
    "not positive"; here such a coordinate counts like any other, and `sample_weight` says which
    anchors are positive. Keras' `Huber` averages over the coordinates instead.

    Args:
        delta: float > 0. Error at which the loss turns from quadratic to linear, in units of the
            deltas.

    Call arguments:
        y_true: `(batch, anchors, 4)` box deltas.
        y_pred: `(batch, anchors, 4)` box deltas.

    Returns:
        `(batch, anchors)`, before `sample_weight` and `reduction`.
    """

    def __init__(self, delta=0.1, reduction="sum", name="box_huber_loss", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        if delta <= 0:
            raise ValueError(
                f"`delta` must be positive. Received: delta={delta!r}. EfficientDet uses 0.1."
            )
        self.delta = delta

    def call(self, y_true, y_pred):
        error = ops.abs(ops.cast(y_pred, "float32") - ops.cast(y_true, "float32"))
        near = ops.minimum(error, self.delta)
        # near * (error - near / 2) is e^2 / 2 up to delta and delta e - delta^2 / 2 from there.
        return ops.sum(near * (error - 0.5 * near), axis=-1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}
