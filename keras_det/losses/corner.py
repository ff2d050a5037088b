"""CornerNet's losses: heat maps of corners, their grouping in pairs, offsets within a cell."""

from typing import Any

import keras
from keras import ops

from keras_det.losses.box_regression import BoxSmoothL1Loss
from keras_det.losses.focal import focal_term, with_slope
from keras_det.types import Config, Tensor

# As in the original code. It keeps the mean over zero objects or zero pairs finite.
EPSILON = 1e-4


@keras.saving.register_keras_serializable(package="keras_det")
class CornerFocalLoss(keras.losses.Loss):
    """Focal loss of heat maps per cell, summed over classes, computed from logits.

    CornerNet equation 1 (https://arxiv.org/abs/1808.01244), with p = sigmoid(logit) and y the
    target:

        -(1 - p)^alpha log(p)                   where y is exactly 1, a corner
        -(1 - y)^beta p^alpha log(1 - p)        elsewhere: little close to a corner

    It is computed with softplus, as log(1 - p) = -softplus(logit): no clipping, and no overflow at
    any logit. The original clamps p to 1e-4 .. 1 - 1e-4. That changes the loss, and stops the
    gradient beyond logits of +-9.21; here the gradient continues.

    Nothing is divided. For the paper's loss the caller divides the sum by the number of cells in
    the whole batch whose target is exactly 1. Where there are none, the original does not divide.

    Args:
        alpha: float >= 0. Focusing power; 0 is weighted cross-entropy.
        beta: float >= 0. How much less a negative close to a corner counts.

    Call arguments:
        y_true: `(batch, height, width, classes)` heat maps in 0..1, float32: half precision would
            round the neighbours of a corner up to 1.
        y_pred: `(batch, height, width, classes)` logits.

    Returns:
        `(batch, height, width)` in nats, before `sample_weight` and `reduction`.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 4.0,
        reduction: str | None = "sum",
        name: str = "corner_focal_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not (alpha >= 0 and beta >= 0):
            raise ValueError(
                "`alpha` and `beta` must not be negative. Received: "
                f"alpha={alpha!r}, beta={beta!r}. CornerNet uses 2 and 4."
            )
        self.alpha = alpha
        self.beta = beta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = ops.stop_gradient(ops.cast(y_true, "float32"))
        corner = y_true == 1.0
        # Takes half the time of ops.power. The infinite logarithm at a corner is not used.
        weight = ops.where(corner, 1.0, ops.exp(self.beta * ops.log(1.0 - y_true)))

        def loss_and_slope(logits: Tensor) -> tuple[Tensor, Tensor]:
            # A corner equals a negative with the signs of its logit and its slope reversed.
            term, slope = focal_term(ops.where(corner, -logits, logits), self.alpha)
            return ops.sum(weight * term, axis=-1), weight * ops.where(corner, -slope, slope)

        return with_slope(y_pred, loss_and_slope)

    def get_config(self) -> Config:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


def pull_push(
    top_left: Tensor, bottom_right: Tensor, mask: Tensor, sample_weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Losses that group corners by their embeddings.

    The pull loss draws the two corners of an object together. The push loss drives the objects of
    an image apart.

    CornerNet equations 4 and 5 (https://arxiv.org/abs/1808.01244), for an image of n objects with
    embeddings t_k and b_k, whose mean is e_k:

        pull = sum_k ((t_k - e_k)^2 + (b_k - e_k)^2) / n
        push = sum_k sum_{j != k} max(0, 1 - |e_k - e_j|) / (n (n - 1))

    The arithmetic is the original's. 1e-4 is added to n and to n (n - 1). The sum includes the
    terms j = k, which are all 1; to make up for them, 1 / (n + 1e-4) is subtracted from each of the
    n^2 terms. Both losses are summed over the images, not averaged; the original weights both by
    0.1. There is one difference: an image with a single object has nothing to push, but the
    original's arithmetic gives a constant of 1.0. Here it is 0, as for an image without objects.

    Args:
        top_left, bottom_right: `(batch, max_boxes, 1)` or `(batch, max_boxes)`, the embeddings at
            the corners of each object. Empty slots may hold any finite number.
        mask: `(batch, max_boxes)` bool, True for the slots that hold an object.
        sample_weight: `(batch,)`, multiplies the losses of each image. None: 1.

    Returns:
        (pull, push), float32 scalars.
    """
    first, second = (
        ops.reshape(ops.cast(x, "float32"), ops.shape(mask)) for x in (top_left, bottom_right)
    )
    count = ops.sum(ops.cast(mask, "float32"), axis=1, keepdims=True)
    mean = (first + second) / 2.0
    pull = (ops.square(first - mean) + ops.square(second - mean)) / (count + EPSILON)
    count = count[..., None]
    closeness = ops.relu(1.0 - ops.abs(mean[:, :, None] - mean[:, None, :]))
    push = (closeness - 1.0 / (count + EPSILON)) / (count * (count - 1.0) + EPSILON)
    pairs = ops.logical_and(ops.logical_and(mask[:, :, None], mask[:, None, :]), count > 1.5)
    pull, push = ops.where(mask, pull, 0.0), ops.where(pairs, push, 0.0)
    if sample_weight is not None:
        sample_weight = ops.cast(sample_weight, "float32")[:, None]
        pull, push = pull * sample_weight, push * sample_weight[..., None]
    return ops.sum(pull), ops.sum(push)


def offset_loss(
    y_true: Tensor,
    y_pred: Tensor,
    mask: Tensor,
    num_objects: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Smooth L1 loss of the offsets of one kind of corner, divided by the number of objects.

    CornerNet equation 3 (https://arxiv.org/abs/1808.01244), summed over x and y; the width of the
    quadratic part is 1. As in the original, 1e-4 is added to the number of objects, so a batch
    without objects gives 0.

    Args:
        y_true: `(batch, max_boxes, 2)` offsets in cells.
        y_pred: `(batch, max_boxes, 2)`, the output at the corners of each object. Empty slots may
            hold any finite number.
        mask: `(batch, max_boxes)` bool, True for the slots that hold an object.
        num_objects: scalar, the number to divide by. Where the call sees only a part of the batch
            (one device under `tf.distribute`), give the objects of all parts: the losses of the
            parts then add up to the loss of the batch. None: the objects of `mask`, each counted
            with the weight of its image.
        sample_weight: `(batch,)`, multiplies the loss of each image. None: 1.

    Returns:
        float32 scalar.
    """
    counted = ops.cast(mask, "float32")
    if sample_weight is not None:
        counted = counted * ops.cast(sample_weight, "float32")[:, None]
    if num_objects is None:
        num_objects = ops.sum(counted)
    total = ops.sum(counted * BoxSmoothL1Loss(beta=1.0).call(y_true, y_pred))
    return total / (ops.cast(num_objects, "float32") + EPSILON)
