"""Class losses with soft targets: a score also says how good the predicted box is."""

from typing import Any

import keras
from keras import ops

from keras_det.losses.focal import focal_term, with_slope
from keras_det.types import Config, Tensor

# Keeps the logarithm of a difference of 0 finite.
LEAST_DIFFERENCE = 1e-30


class _QualityLoss(keras.losses.Loss):
    """What both losses share: a sum over the classes with a correction for positive anchors.

    Almost every entry is negative. So all entries are summed as negatives. For a positive anchor,
    the entry of the true class is then corrected: its loss as a positive minus that as a negative.
    """

    # The detector gives labels and qualities, not labels alone.
    targets = "quality"

    def _positive(self, logits: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the true class's entries and its slope for the logit."""
        raise TypeError(f"{type(self).__name__} does not define `_positive`. Override it.")

    def _negative(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of entries with quality 0 and its slope."""
        raise TypeError(f"{type(self).__name__} does not define `_negative`. Override it.")

    def call(self, y_true: dict[str, Tensor], y_pred: Tensor) -> Tensor:
        labels = ops.cast(y_true["labels"], "int32")
        quality = ops.stop_gradient(ops.cast(y_true["quality"], "float32"))
        return with_slope(y_pred, lambda logits: self._loss_and_slope(logits, labels, quality))

    def _loss_and_slope(
        self, logits: Tensor, labels: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss `(batch, anchors)` and its slope for each logit."""
        positive = ops.logical_and(labels >= 0, quality > 0.0)
        true_class = ops.maximum(labels, 0)[..., None]
        true_logits = ops.take_along_axis(logits, true_class, axis=-1)[..., 0]
        as_positive, positive_slope = self._positive(true_logits, quality)
        as_negative, _ = self._negative(true_logits)
        terms, slopes = self._negative(logits)
        loss = ops.sum(terms, axis=-1) + ops.where(positive, as_positive - as_negative, 0.0)
        entry = ops.where(positive, labels, -1)[..., None]
        classes = ops.arange(logits.shape[-1], dtype="int32")
        return loss, ops.where(classes == entry, positive_slope[..., None], slopes)


@keras.saving.register_keras_serializable(package="keras_det")
class QualityFocalLoss(_QualityLoss):
    """Quality focal loss per anchor, summed over classes, computed from logits.

    Li et al., "Generalized Focal Loss", section 3.2 (https://arxiv.org/abs/2006.04388). With p the
    score of a class, and y its soft target: the quality of the box for the anchor's own class,
    0 for all other classes and for background,

        QFL = -|y - p|^beta * ((1 - y) log(1 - p) + y log(p))

    It is lowest at p = y. Entries far from their target count most, as in the focal loss. The
    cross-entropy is computed as softplus(logit) - y * logit: no clipping, finite at any logit.

    Args:
        beta: float, 0 or at least 1. Focusing power; 0 is cross-entropy. Between 0 and 1 the slope
            at p = y would be infinite.

    Call arguments:
        y_true: dict of `labels` `(batch, anchors)`, class ids in 0 .. classes - 1, or -1 for
            background; and `quality` `(batch, anchors)` in 0..1, for example the IoU of the
            predicted box with its object. Its values for background do not matter.
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self,
        beta: float = 2.0,
        reduction: str | None = "sum",
        name: str = "quality_focal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not (beta == 0 or 1 <= beta < float("inf")):
            raise ValueError(
                f"`beta` must be 0 or a number of at least 1. Received: beta={beta!r}. The paper "
                "uses 2."
            )
        self.beta = beta

    def _positive(self, logits: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        probability = ops.sigmoid(logits)
        difference = probability - quality
        cross_entropy = ops.softplus(logits) - quality * logits
        if self.beta == 0:
            return cross_entropy, difference
        distance = ops.abs(difference)
        # |y - p|^(beta - 1), once for the loss and its slope.
        power = ops.exp((self.beta - 1.0) * ops.log(ops.maximum(distance, LEAST_DIFFERENCE)))
        of_modulator = self.beta * power * probability * (1.0 - probability)
        slope = power * distance * difference + ops.sign(difference) * of_modulator * cross_entropy
        return power * distance * cross_entropy, slope

    def _negative(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return focal_term(logits, self.beta)

    def get_config(self) -> Config:
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable(package="keras_det")
class VarifocalLoss(_QualityLoss):
    """Varifocal loss per anchor, summed over classes, computed from logits.

    Zhang et al., "VarifocalNet", equation 2 (https://arxiv.org/abs/2008.13367). With p the score of
    a class, and q its soft target: the quality of the box for the anchor's own class, 0 for all
    other classes and for background,

        VFL = -q (q log(p) + (1 - q) log(1 - p))    where q > 0
              -alpha p^gamma log(1 - p)             where q = 0

    Only negatives have a focusing factor. Positives are weighted by their quality, so good boxes
    count most.

    Args:
        alpha: float >= 0. Weight of negatives.
        gamma: float >= 0. Focusing power of negatives.

    Call arguments:
        y_true: dict of `labels` `(batch, anchors)`, class ids in 0 .. classes - 1, or -1 for
            background; and `quality` `(batch, anchors)` in 0..1, for example the IoU of the
            predicted box with its object. Its values for background do not matter.
        y_pred: `(batch, anchors, classes)` class logits.

    Returns:
        `(batch, anchors)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self,
        alpha: float = 0.75,
        gamma: float = 2.0,
        reduction: str | None = "sum",
        name: str = "varifocal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not (0 <= alpha < float("inf") and 0 <= gamma < float("inf")):
            raise ValueError(
                "`alpha` and `gamma` must be numbers of at least 0. Received: "
                f"alpha={alpha!r}, gamma={gamma!r}. The paper uses 0.75 and 2."
            )
        self.alpha = alpha
        self.gamma = gamma

    def _positive(self, logits: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        cross_entropy = ops.softplus(logits) - quality * logits
        return quality * cross_entropy, quality * (ops.sigmoid(logits) - quality)

    def _negative(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        term, slope = focal_term(logits, self.gamma)
        return self.alpha * term, self.alpha * slope

    def get_config(self) -> Config:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}
