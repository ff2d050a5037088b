"""Focal losses of the class head: rare objects against a hundred thousand background anchors."""

import keras
from keras import ops


def _check_focal(alpha, gamma):
    if not 0 <= alpha <= 1 or gamma < 0:
        raise ValueError(
            "`alpha` must lie in [0, 1] and `gamma` must not be negative. Received: "
            f"alpha={alpha!r}, gamma={gamma!r}. RetinaNet uses 0.25 and 2, EfficientDet 0.25 and "
            "1.5."
        )


@keras.saving.register_keras_serializable(package="keras_det")
class SigmoidFocalLoss(keras.losses.Loss):
    """Focal loss per anchor, summed over classes, computed from logits.

    RetinaNet equation 5 (https://arxiv.org/abs/1708.02002):

        FL = -alpha_t * (1 - p_t)^gamma * log(p_t)

    With s = logit for a positive entry and -logit for a negative one, p_t = sigmoid(s), hence
    log(p_t) = -softplus(-s) and log(1 - p_t) = -softplus(s): no clipping and no overflow at any
    logit. Keras' `BinaryFocalCrossentropy` averages over classes; this one sums, so dividing by
    the number of positive anchors gives the paper's loss.

    Args:
        alpha: float in [0, 1]. Weight of positives; negatives get 1 - alpha.
        gamma: float >= 0. Focusing power; 0 is weighted cross-entropy.

    Call arguments:
        y_true: `(batch, anchors, classes)`, exactly 0 or 1 (no smoothing).
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(self, alpha=0.25, gamma=2.0, reduction="sum", name="sigmoid_focal_loss", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        _check_focal(alpha, gamma)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true, y_pred):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        sign = 2.0 * y_true - 1.0
        alpha_t = self.alpha * y_true + (1.0 - self.alpha) * (1.0 - y_true)
        modulator = ops.exp(-self.gamma * ops.softplus(sign * y_pred))
        cross_entropy = ops.softplus(-sign * y_pred)
        return ops.sum(alpha_t * modulator * cross_entropy, axis=-1)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="keras_det")
class SparseSigmoidFocalLoss(keras.losses.Loss):
    """`SigmoidFocalLoss` for integer targets, without a one-hot tensor.

    Almost every entry is a negative, so the loss is written as

        sum over all classes of FL(entry as negative)
        + FL(entry of the true class as positive) - FL(that entry as negative)

    where the second line touches one entry per anchor.

    Args:
        alpha: float in [0, 1]. Weight of positives; negatives get 1 - alpha.
        gamma: float >= 0. Focusing power; 0 is weighted cross-entropy.

    Call arguments:
        y_true: `(batch, anchors)` class ids in 0 .. classes - 1, or -1 for background. Anchors to
            ignore get `sample_weight` 0.
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self, alpha=0.25, gamma=2.0, reduction="sum", name="sparse_sigmoid_focal_loss", **kwargs
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        _check_focal(alpha, gamma)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true, y_pred):
        logits, labels = ops.cast(y_pred, "float32"), ops.cast(y_true, "int32")
        slots = ops.maximum(labels, 0)[..., None]
        true_logits = ops.take_along_axis(logits, slots, axis=-1)[..., 0]
        correction = self._positive(true_logits) - self._negative(true_logits)
        background = ops.sum(self._negative(logits), axis=-1)
        return background + ops.where(labels >= 0, correction, 0.0)

    def _negative(self, logits):
        modulator = ops.exp(-self.gamma * ops.softplus(-logits))
        return (1.0 - self.alpha) * modulator * ops.softplus(logits)

    def _positive(self, logits):
        modulator = ops.exp(-self.gamma * ops.softplus(logits))
        return self.alpha * modulator * ops.softplus(-logits)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}
