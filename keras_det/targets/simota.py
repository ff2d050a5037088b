"""SimOTA matching: every object takes the anchors with the lowest cost; their number varies."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_det.targets.matcher import checked_level_sizes
from keras_det.targets.predictions import PredictionMatcher, Scene
from keras_det.targets.search import (
    FAR,
    LEAST_CLAIM,
    NO_CLAIM,
    Pairs,
    best_anchors,
    best_claims,
    centres_of,
    in_blocks,
    inside,
    overlaps,
    rounded_centres,
)
from keras_det.types import Config, Tensor

# As in the authors' code: keeps the logarithm of an IoU of 0 finite.
EPSILON = 1e-8
# Larger logits count as this one, so that products of their exponentials stay finite.
LARGEST_LOGIT = 20.0
LARGEST_PRODUCT = 1e38
# Logits per step of a loop: they stay in the cache, which saves three quarters of the time.
CHUNK = 2**20


@keras.saving.register_keras_serializable(package="keras_det")
class SimOTATargets(PredictionMatcher):
    """Assigns ground-truth boxes to the anchors with the lowest cost (SimOTA).

    YOLOX section 2.1 (https://arxiv.org/abs/2107.08430), from OTA (https://arxiv.org/abs/2103.14259).
    The cost of anchor a for object g, from the predicted class scores p and the IoU u of the
    predicted box with the object, is

        c = L_cls + iou_weight * L_iou                                        (equation 1)
        L_cls = -log(p_g) - sum over the other classes of log(1 - p),    L_iou = -log(u + 1e-8)

    Candidates are the anchors whose centre lies less than `centre_radius` strides of their level
    from the centre of the object, along both axes. The object takes the k cheapest of them, where

        k = max(1, floor(sum of its `num_overlaps` largest u among the candidates)).

    Candidates outside the object are taken only after all those inside it: the authors' code adds
    1e5 to their cost. So an object with no anchor centre inside still gets anchors. An anchor that
    several objects take goes to the one with the lowest cost, the first on ties. All other anchors
    are background; none is ignored.

    YOLOX has one anchor per cell and multiplies p with a predicted objectness. Here there is no
    objectness, and all anchors of a cell are candidates. In the authors' code, anchors inside the
    object but far from its centre are also candidates, after all others. The paper has only the
    centre region.

    Args:
        centre_radius: float > 0, in strides. The paper's code uses 2.5, its later versions 1.5. On
            a level with one cell, every anchor is a candidate.
        iou_weight: float >= 0. Weight of the IoU in the cost.
        num_overlaps: int >= 1. The number of overlaps that are added up, and the largest k.
    """

    def __init__(
        self, centre_radius: float = 2.5, iou_weight: float = 3.0, num_overlaps: int = 10
    ) -> None:
        if not (0 < centre_radius < float("inf") and 0 <= iou_weight < float("inf")):
            raise ValueError(
                "`centre_radius` must be a positive number and `iou_weight` one of at least 0. "
                f"Received: centre_radius={centre_radius!r}, iou_weight={iou_weight!r}. YOLOX "
                "uses 2.5 and 3."
            )
        if num_overlaps < 1 or num_overlaps != int(num_overlaps):
            raise ValueError(
                "`num_overlaps` must be an integer of at least 1. Received: "
                f"num_overlaps={num_overlaps!r}. YOLOX uses 10."
            )
        self.centre_radius = centre_radius
        self.iou_weight = iou_weight
        self.num_overlaps = int(num_overlaps)

    def match_scene(
        self, anchors: Tensor, scene: Scene, level_sizes: Sequence[int] | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        level_sizes = checked_level_sizes("SimOTATargets", level_sizes, anchors.shape[0])
        regions = _regions(rounded_centres(anchors), level_sizes, self.centre_radius)
        background = _background_costs(scene.logits)

        def strengths(pairs: Pairs) -> tuple[Tensor, Tensor]:
            box, (x, y) = scene.boxes_of(pairs), scene.centres_of(pairs)
            iou = overlaps(scene.predicted_of(pairs), box)
            # One class as positive instead of negative: -log(p) + log(1 - p) = -logit.
            logits = ops.minimum(scene.logits_of(pairs), LARGEST_LOGIT)
            cost = ops.take(background, scene.anchors_of(pairs)) - logits
            cost = cost - self.iou_weight * ops.log(iou + EPSILON)
            cost = 1.0 + ops.maximum(cost, 0.0)
            strength = ops.where(inside(x, y, box), 1.0 / cost, -cost)
            near = _is_near(regions, pairs, centres_of(box))
            return ops.where(near, strength, NO_CLAIM), ops.where(near, iou, NO_CLAIM)

        count = self.num_overlaps
        live = _live(regions, scene)
        [strength, candidates], [iou, _] = best_anchors(live, strengths, (count, count))
        k = ops.floor(ops.sum(ops.maximum(iou, 0.0), axis=-1, keepdims=True))
        rank = ops.arange(strength.shape[2], dtype="float32")
        taken = ops.logical_and(rank < ops.maximum(k, 1.0), strength > LEAST_CLAIM)
        candidates = ops.minimum(candidates, anchors.shape[0] - 1)
        claims = ops.where(taken, strength, NO_CLAIM)
        slot, positive = best_claims(candidates, claims, anchors.shape[0])
        return slot, positive, {}

    def get_config(self) -> Config:
        return {
            "centre_radius": self.centre_radius,
            "iou_weight": self.iou_weight,
            "num_overlaps": self.num_overlaps,
        }


def _background_costs(logits: Tensor) -> Tensor:
    """-sum of log(1 - p) over all classes, flat `(batch * anchors,)`.

    The sum is the logarithm of the product of 1 + exp(logit), which takes a third of the time of a
    sum of softplus. It ends at 87: five classes with a score of almost 1.
    """
    flat = ops.reshape(logits, (-1, logits.shape[-1]))
    total = ops.shape(flat)[0]
    rows = max(CHUNK // logits.shape[-1], 1)
    # The batch is unknown in some graphs; XLA needs a number where it is known.
    rows = min(rows, total) if isinstance(total, int) else ops.minimum(rows, total)

    def step(start: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        # The last step goes back to be whole.
        first = ops.minimum(start, total - rows)
        part = ops.slice(flat, (first, 0), (rows, logits.shape[-1]))
        product = ops.prod(1.0 + ops.exp(ops.minimum(part, LARGEST_LOGIT)), axis=-1)
        return start + rows, ops.slice_update(products, (first,), product)

    state = (0, ops.zeros((total,)))
    _, products = ops.while_loop(lambda start, _: start < total, step, state)
    return ops.log(ops.minimum(products, LARGEST_PRODUCT))


def _regions(centres: Tensor, level_sizes: Sequence[int], radius: float) -> Tensor:
    """Where the centre of an object must lie for each anchor: xyxy, `(4, blocks, BLOCK)`."""
    reach, start = [], 0
    for size in level_sizes:
        level = centres[start : start + size]
        # The stride: the smallest distance between centres of different columns, or rows.
        steps = ops.abs(level - level[:1])
        stride = ops.min(ops.where(steps > 0.0, steps, FAR), axis=0)
        # A level of one row or column has the stride of the other axis.
        stride = ops.where(stride < FAR, stride, ops.min(stride))
        reach.append(ops.broadcast_to(radius * stride, (size, 2)))
        start += size
    reach = ops.concatenate(reach)
    low, high = (ops.transpose(x) for x in (centres - reach, centres + reach))
    # Nothing is near the padding.
    return ops.concatenate([in_blocks(low, FAR), in_blocks(high, -FAR)])


def _is_near(regions: Tensor, pairs: Pairs, point: Tensor) -> Tensor:
    """Whether points `(n, 2)` lie in the regions of the anchors, `(n, BLOCK)`."""
    left, top, right, bottom = (ops.take(regions[i], pairs.blocks, axis=0) for i in range(4))
    x, y = ops.split(point, 2, axis=-1)
    across, down = ops.minimum(x - left, right - x), ops.minimum(y - top, bottom - y)
    return ops.minimum(across, down) > 0.0


def _live(regions: Tensor, scene: Scene) -> Tensor:
    """Whether a block may hold an anchor near an object, `(batch, slots, blocks)`."""
    left, top = (ops.min(regions[i], axis=-1) for i in (0, 1))
    right, bottom = (ops.max(regions[i], axis=-1) for i in (2, 3))
    x, y = ops.split(centres_of(scene.boxes), 2, axis=-1)
    live = ops.logical_and(ops.logical_and(x > left, x < right), y > top)
    return ops.logical_and(ops.logical_and(live, y < bottom), scene.valid[..., None])
