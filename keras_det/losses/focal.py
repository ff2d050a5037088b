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
        labels = ops.cast(y_true, "int32")

        # Half the time of automatic differentiation on a CPU: the slope shares its sigmoid,
        # softplus and power with the loss and is all that waits for the backward pass.
        @ops.custom_gradient
        def sum_over_classes(logits):
            loss, slope = self._loss_and_slope(logits, labels)

            def gradient(*args, upstream=None):
                upstream = args[0] if upstream is None else upstream
                return upstream[..., None] * slope

            return loss, gradient

        return sum_over_classes(ops.cast(y_pred, "float32"))

    def _loss_and_slope(self, logits, labels):
        positive = labels >= 0
        true_class = ops.maximum(labels, 0)[..., None]
        true_logits = ops.take_along_axis(logits, true_class, axis=-1)[..., 0]
        as_positive, positive_slope = _focal_term(-true_logits, self.gamma)
        as_negative, _ = _focal_term(true_logits, self.gamma)
        terms, slopes = _focal_term(logits, self.gamma)
        weight = 1.0 - self.alpha
        correction = self.alpha * as_positive - weight * as_negative
        loss = weight * ops.sum(terms, axis=-1) + ops.where(positive, correction, 0.0)
        classes = ops.arange(logits.shape[-1], dtype="int32")
        slope = ops.where(
            classes == labels[..., None],
            (-self.alpha * positive_slope)[..., None],
            weight * slopes,
        )
        return loss, slope

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


def _focal_term(logits, gamma):
    """The unweighted loss of negative entries, -p^gamma log(1 - p), and its slope.

    As d softplus(x) / dx = p and d log(p) / dx = 1 - p, where p = sigmoid(x),

        slope = p^gamma (gamma (1 - p) softplus(x) + p).

    A positive entry is a negative one with its logit and the sign of its slope turned round.
    """
    probability, cross_entropy = ops.sigmoid(logits), ops.softplus(logits)
    modulator = ops.exp(gamma * (logits - cross_entropy))  # log(p) = x - softplus(x)
    term = modulator * cross_entropy
    return term, gamma * (1.0 - probability) * term + modulator * probability
