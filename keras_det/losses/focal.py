"""Focal losses of the class head, where few objects meet a hundred thousand background anchors."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_det.types import Config, Tensor
from keras_det.words import counted


class _FocalLoss(keras.losses.Loss):
    """What both losses share: their arguments, and the weight of every entry."""

    def __init__(
        self,
        alpha: float | Sequence[float],
        gamma: float,
        class_weights: Sequence[float] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Tuples of plain floats are hashable, can be saved, and do not share the caller's list.
        given: Any = alpha
        self.alpha: float | tuple[float, ...] = (
            given if np.ndim(given) == 0 else tuple(float(a) for a in given)
        )
        self.gamma = gamma
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))
        self._check()

    def _check(self) -> None:
        alphas = np.asarray(self.alpha)
        if not (alphas.size and np.all((alphas >= 0) & (alphas <= 1)) and self.gamma >= 0):
            raise ValueError(
                "`alpha` must lie in [0, 1] and `gamma` must not be negative. Received: "
                f"alpha={self.alpha!r}, gamma={self.gamma!r}. RetinaNet uses 0.25 and 2, "
                "EfficientDet 0.25 and 1.5. `alpha` may also be a list with one number per class."
            )
        weights = np.asarray(1.0 if self.class_weights is None else self.class_weights)
        if not (weights.size and np.all((weights > 0) & np.isfinite(weights))):
            raise ValueError(
                "`class_weights` must be None or one positive number per class. Received: "
                f"class_weights={self.class_weights!r}. A weight of 1 changes nothing."
            )

    def _entry_weights(self, num_classes: int) -> tuple[Any, Any]:
        """Weights of positives and of negatives: two floats, or two `(classes,)` arrays."""
        for name in ("alpha", "class_weights"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != num_classes:
                raise ValueError(
                    f"`{name}` must hold one number for each class of the logits ({num_classes} in "
                    f"all). Received: {counted(len(value), 'number')}, {value}. Follow the order "
                    "of the model's `class_names`; there is no background class."
                )
        if self.class_weights is None and not isinstance(self.alpha, tuple):
            return self.alpha, 1.0 - self.alpha
        weights = np.asarray(self.class_weights or (1.0,) * num_classes)
        alpha = np.asarray(self.alpha)
        # PyTorch does not multiply a NumPy array by a tensor.
        positive = ops.convert_to_tensor(weights * alpha, "float32")
        return positive, ops.convert_to_tensor(weights * (1.0 - alpha), "float32")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "alpha": list(self.alpha) if isinstance(self.alpha, tuple) else self.alpha,
            "gamma": self.gamma,
            "class_weights": self.class_weights and list(self.class_weights),
        }


@keras.saving.register_keras_serializable(package="keras_det")
class SigmoidFocalLoss(_FocalLoss):
    """Focal loss per anchor, summed over classes, computed from logits.

    RetinaNet equation 5 (https://arxiv.org/abs/1708.02002), times the weight w_c of the class:

        FL = -w_c * alpha_t * (1 - p_t)^gamma * log(p_t)

    With s = logit for a positive entry and -logit for a negative one, p_t = sigmoid(s), hence
    log(p_t) = -softplus(-s) and log(1 - p_t) = -softplus(s): no clipping and no overflow at any
    logit. Keras' `BinaryFocalCrossentropy` averages over the classes. This loss sums, so dividing
    by the number of positive anchors gives the paper's loss.

    Args:
        alpha: float in [0, 1], or one per class. Weight of positives; negatives get 1 - alpha.
        gamma: float >= 0. Focusing power; 0 is weighted cross-entropy.
        class_weights: None, or one float > 0 per class. Multiplies every entry of that class,
            positive or negative; the paper has none.

    Call arguments:
        y_true: `(batch, anchors, classes)`, exactly 0 or 1 (no smoothing).
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        reduction: str | None = "sum",
        name: str = "sigmoid_focal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(alpha, gamma, class_weights, reduction=reduction, name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        as_positive, as_negative = self._entry_weights(y_pred.shape[-1])
        sign = 2.0 * y_true - 1.0
        weight = as_positive * y_true + as_negative * (1.0 - y_true)
        modulator = ops.exp(-self.gamma * ops.softplus(sign * y_pred))
        cross_entropy = ops.softplus(-sign * y_pred)
        return ops.sum(weight * modulator * cross_entropy, axis=-1)


@keras.saving.register_keras_serializable(package="keras_det")
class SparseSigmoidFocalLoss(_FocalLoss):
    """`SigmoidFocalLoss` for integer targets, without a one-hot tensor.

    Almost every entry is a negative. So the loss is written as

        sum over all classes of FL(entry as negative)
        + FL(entry of the true class as positive) - FL(that entry as negative)

    where the second line touches one entry per anchor.

    Args:
        alpha: float in [0, 1], or one per class. Weight of positives; negatives get 1 - alpha.
        gamma: float >= 0. Focusing power; 0 is weighted cross-entropy.
        class_weights: None, or one float > 0 per class. Multiplies every entry of that class,
            positive or negative; the paper has none.

    Call arguments:
        y_true: `(batch, anchors)` class ids in 0 .. classes - 1, or -1 for background. Anchors to
            ignore get `sample_weight` 0.
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        reduction: str | None = "sum",
        name: str = "sparse_sigmoid_focal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(alpha, gamma, class_weights, reduction=reduction, name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels = ops.cast(y_true, "int32")
        return with_slope(y_pred, lambda logits: self._loss_and_slope(logits, labels))

    def _loss_and_slope(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss `(batch, anchors)` and its slope for each logit."""
        positive = labels >= 0
        true_class = ops.maximum(labels, 0)
        true_logits = ops.take_along_axis(logits, true_class[..., None], axis=-1)[..., 0]
        as_positive, positive_slope = focal_term(-true_logits, self.gamma)
        as_negative, _ = focal_term(true_logits, self.gamma)
        terms, slopes = focal_term(logits, self.gamma)
        positive_weight, weight = self._entry_weights(logits.shape[-1])
        if np.ndim(weight) == 0:
            background, true_weight = weight * ops.sum(terms, axis=-1), weight
        else:
            background = ops.sum(weight * terms, axis=-1)
            positive_weight, true_weight = (
                ops.take(ops.convert_to_tensor(w), true_class) for w in (positive_weight, weight)
            )
        correction = positive_weight * as_positive - true_weight * as_negative
        loss = background + ops.where(positive, correction, 0.0)
        classes = ops.arange(logits.shape[-1], dtype="int32")
        slope = ops.where(
            classes == labels[..., None],
            (-positive_weight * positive_slope)[..., None],
            weight * slopes,
        )
        return loss, slope


def with_slope(logits: Tensor, loss_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """A loss that is summed over the classes, with a slope that is computed beside it.

    Takes half to three quarters of the time of automatic differentiation on a CPU: the slope shares
    its sigmoid, softplus and power with the loss, and only the slope is kept for the backward pass.

    Args:
        logits: `(…, classes)`.
        loss_and_slope: function from float32 logits to the loss `(…)` and its slope for each logit.

    Returns:
        The loss `(…)`.
    """

    @ops.custom_gradient
    def sum_over_classes(logits: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        loss, slope = loss_and_slope(logits)

        def gradient(*args: Tensor, upstream: Tensor = None) -> Tensor:
            upstream = args[0] if upstream is None else upstream
            return upstream[..., None] * slope

        return loss, gradient

    return sum_over_classes(ops.cast(logits, "float32"))


def focal_term(logits: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The unweighted loss of negative entries, -p^gamma log(1 - p), and its slope.

    With p = sigmoid(x), d softplus(x) / dx = p and d log(p) / dx = 1 - p, so that

        slope = p^gamma (gamma (1 - p) softplus(x) + p).

    A positive entry equals a negative one with the signs of its logit and its slope reversed.
    """
    probability, cross_entropy = ops.sigmoid(logits), ops.softplus(logits)
    if gamma == 0:
        return cross_entropy, probability
    modulator = ops.exp(gamma * (logits - cross_entropy))  # log(p) = x - softplus(x)
    term = modulator * cross_entropy
    return term, gamma * (1.0 - probability) * term + modulator * probability
