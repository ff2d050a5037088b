"""Task-aligned matching: anchors with both a good score and a good box learn the object."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_det.targets.predictions import PredictionMatcher, Scene
from keras_det.targets.search import (
    NO_CLAIM,
    Pairs,
    best_anchors,
    best_claims,
    inside,
    overlaps,
)
from keras_det.types import Config, Tensor

# Keeps t / max(t) finite. Alignments at or below it are not taken.
LEAST_ALIGNMENT = 1e-30


@keras.saving.register_keras_serializable(package="keras_det")
class TaskAlignedTargets(PredictionMatcher):
    """Assigns ground-truth boxes to the anchors that predict them best (TOOD).

    Feng et al., section 3.2 (https://arxiv.org/abs/2108.07755). With s the predicted score of the
    object's class at an anchor, and u the IoU of its predicted box with the object, the alignment
    of anchor and object is

        t = s^alpha * u^beta

    Of the anchors whose centre lies inside the object, the `num_candidates` with the largest t > 0
    are positive. All others are background; none is ignored. An anchor that several objects choose
    goes to the one with the larger u, the first on ties. The soft target of a positive anchor is

        quality = t / max(t) * max(u)    (the paper's normalised t)

    with the maxima over the positive anchors of the object: its best anchor gets the largest IoU.
    It is the target of a class loss with soft targets (the paper uses `QualityFocalLoss`), and the
    box loss is weighted with it.

    The paper does not say where candidates lie. Here only anchors inside the object are ranked; the
    authors' code ranks all anchors and drops those outside. An object with no anchor centre inside
    gets no anchor.

    Args:
        num_candidates: int >= 1. m, the largest number of anchors of an object.
        alpha: float >= 0. Exponent of the score.
        beta: float > 0. Exponent of the IoU.
    """

    def __init__(self, num_candidates: int = 13, alpha: float = 1.0, beta: float = 6.0) -> None:
        if num_candidates < 1 or num_candidates != int(num_candidates):
            raise ValueError(
                "`num_candidates` must be an integer of at least 1. Received: "
                f"num_candidates={num_candidates!r}. Use 13, as the paper does."
            )
        if not (0 <= alpha < float("inf") and 0 < beta < float("inf")):
            raise ValueError(
                "`alpha` must be a number of at least 0, and `beta` a positive number. Received: "
                f"alpha={alpha!r}, beta={beta!r}. The paper uses 1 and 6."
            )
        self.num_candidates = int(num_candidates)
        self.alpha = alpha
        self.beta = beta

    def match_scene(
        self, anchors: Tensor, scene: Scene, level_sizes: Sequence[int] | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        def alignment(pairs: Pairs) -> tuple[Tensor]:
            box = scene.boxes_of(pairs)
            iou = overlaps(scene.predicted_of(pairs), box)
            score = ops.sigmoid(scene.logits_of(pairs))
            aligned = _power(score, self.alpha) * _power(iou, self.beta)
            chosen = ops.logical_and(
                inside(*scene.centres_of(pairs), box), aligned > LEAST_ALIGNMENT
            )
            return (ops.where(chosen, aligned, NO_CLAIM),)

        [[aligned, candidates]] = best_anchors(_live(scene), alignment, (self.num_candidates,))
        candidates = ops.minimum(candidates, anchors.shape[0] - 1)
        iou = _overlaps_of(scene, candidates)
        claims = ops.where(aligned > 0.0, iou, NO_CLAIM)
        slot, positive = best_claims(candidates, claims, anchors.shape[0])
        quality = _normalised(candidates, aligned, iou, slot, positive)
        return slot, positive, {"quality": quality}

    def get_config(self) -> Config:
        return {
            "num_candidates": self.num_candidates,
            "alpha": self.alpha,
            "beta": self.beta,
        }


def _power(values: Tensor, exponent: float) -> Tensor:
    """values ** exponent; small whole numbers by products, which take a tenth of the time."""
    if exponent != int(exponent) or not 0 < exponent <= 8:
        return ops.power(values, exponent)
    result, square, rest = None, values, int(exponent)
    while rest:
        if rest % 2:
            result = square if result is None else result * square
        rest //= 2
        square = square * square if rest else square
    return result


def _live(scene: Scene) -> Tensor:
    """Whether a block may hold a centre inside an object, `(batch, slots, blocks)`."""
    x, y = scene.centres[0], scene.centres[1]
    left, top, right, bottom = ops.split(scene.boxes, 4, axis=-1)
    # The padding lies far to the right and below: it only widens the last block.
    live = ops.logical_and(ops.min(x, axis=-1) < right, ops.max(x, axis=-1) > left)
    live = ops.logical_and(live, ops.min(y, axis=-1) < bottom)
    live = ops.logical_and(live, ops.max(y, axis=-1) > top)
    return ops.logical_and(live, scene.valid[..., None])


def _overlaps_of(scene: Scene, candidates: Tensor) -> Tensor:
    """IoU `(batch, slots, candidates)` of the boxes that the candidates predict with the object."""
    batch, slots, count = ops.shape(scene.boxes)[0], ops.shape(scene.boxes)[1], candidates.shape[2]
    blocks, size = scene.centres.shape[1:]
    image = ops.arange(batch, dtype="int32")[:, None, None]
    row = ops.reshape((image * blocks + candidates // size) * 4, (-1, 1))
    flat = ops.reshape(scene.predicted, (-1,))
    column = ops.reshape(candidates % size, (-1, 1))
    index = (row + ops.arange(4, dtype="int32")) * size + column
    predicted = ops.reshape(ops.take(flat, index, axis=0), (batch * slots, count, 4))
    iou = overlaps(ops.transpose(predicted, (0, 2, 1)), ops.reshape(scene.boxes, (-1, 4)))
    return ops.reshape(iou, (batch, slots, count))


def _normalised(
    candidates: Tensor, aligned: Tensor, iou: Tensor, slot: Tensor, positive: Tensor
) -> Tensor:
    """The quality of every anchor, `(batch, anchors)`, 0 where not positive."""
    batch, slots = ops.shape(candidates)[0], ops.shape(candidates)[1]
    num_anchors = slot.shape[1]
    image = ops.arange(batch, dtype="int32")[:, None, None]
    index = image * num_anchors + candidates
    owner = ops.where(positive, slot, -1)
    own = ops.take(ops.reshape(owner, (-1,)), index, axis=0)
    won = own == ops.arange(slots, dtype="int32")[None, :, None]
    # A padding candidate is clipped to the last anchor, which the object may own.
    won = ops.logical_and(won, aligned > 0.0)
    aligned, iou = (ops.where(won, x, 0.0) for x in (aligned, iou))
    best, best_iou = (ops.max(x, axis=-1, keepdims=True) for x in (aligned, iou))
    quality = aligned / ops.maximum(best, LEAST_ALIGNMENT) * best_iou
    nothing = ops.zeros_like(positive, "float32")
    flat = ops.scatter_update(
        ops.reshape(nothing, (-1,)),
        ops.reshape(index, (-1, 1)),
        ops.reshape(quality, (-1,)),
        reduction="max",
    )
    return ops.reshape(flat, ops.shape(nothing))
