"""Training targets of anchors by overlap: a class and a box, background, or ignored."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_det.boxes import SIDE_FLOOR, box_areas, pairwise_iou
from keras_det.targets.matcher import Matcher
from keras_det.types import Config, Tensor

# Anchors per block in the search for the best anchor of an object.
BLOCK = 64


@keras.saving.register_keras_serializable(package="keras_det")
class AnchorTargets(Matcher):
    """Assigns ground-truth boxes to anchors by overlap.

    RetinaNet section 4.1 (https://arxiv.org/abs/1708.02002); the defaults are the original
    EfficientDet's. With IoU(a, g) the overlap of anchor a and object g, and g* = argmax_g IoU(a, g)
    (the lowest g on ties), the anchor is

        positive, for g*,  where IoU(a, g*) >= matched_threshold,
        background         where IoU(a, g*) <  unmatched_threshold,
        ignored            between the two.

    With `force_match` every object also gets its best anchor, argmax_a IoU(a, g) (the lowest a on
    ties, even at IoU 0), even if that anchor matched another object. If two objects have the same
    best anchor, the first one gets it, and the other gets no forced anchor. Pyramid levels do not
    matter.

    Args:
        matched_threshold: float in (0, 1]. Smallest IoU of a positive anchor.
        unmatched_threshold: float in (0, matched_threshold]. Anchors with a smaller IoU are
            background.
        force_match: bool. True gives every object its best anchor, however small the IoU.
    """

    def __init__(
        self,
        matched_threshold: float = 0.5,
        unmatched_threshold: float = 0.5,
        force_match: bool = True,
    ) -> None:
        if not 0 < unmatched_threshold <= matched_threshold <= 1:
            raise ValueError(
                "Thresholds must satisfy 0 < unmatched_threshold <= matched_threshold <= 1. "
                f"Received: matched_threshold={matched_threshold!r}, "
                f"unmatched_threshold={unmatched_threshold!r}. With equal thresholds, no anchor is "
                "ignored."
            )
        self.matched_threshold = matched_threshold
        self.unmatched_threshold = unmatched_threshold
        self.force_match = force_match

    def match(
        self,
        anchors: Tensor,
        boxes: Tensor,
        valid: Tensor,
        level_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        overlap, slot, best_anchor = _best_overlaps(anchors, boxes, valid)
        positive = overlap >= self.matched_threshold
        ignore = ops.logical_and(overlap >= self.unmatched_threshold, ops.logical_not(positive))
        if self.force_match:
            owner = _owners(best_anchor, valid, ops.shape(anchors)[0])
            forced = owner < ops.shape(valid)[1]
            slot = ops.where(forced, owner, slot)
            positive = ops.logical_or(positive, forced)
            ignore = ops.logical_and(ignore, ops.logical_not(forced))
        return slot, positive, ignore

    def get_config(self) -> Config:
        return {
            "matched_threshold": self.matched_threshold,
            "unmatched_threshold": self.unmatched_threshold,
            "force_match": self.force_match,
        }


def _best_overlaps(anchors: Tensor, boxes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loops over the slots once and keeps the best overlap of every anchor so far.

    A dense `(batch, anchors, slots)` tensor takes 157 MB for 8 images of 49,104 anchors and passes
    through memory a dozen times. One column of it, `(batch, anchors)`, stays in the cache. The loop
    ends at the last slot that any image of the batch uses.

    Returns:
        `(batch, anchors)` best IoU, `(batch, anchors)` int32 slot of it, and
        `(batch, slots)` int32 best anchor of every slot.
    """
    num_anchors = anchors.shape[0]
    # The last block is padded with points at the origin, which overlap nothing.
    blocks = ops.pad(anchors, ((0, -num_anchors % BLOCK), (0, 0)))
    x1, y1, x2, y2 = (blocks[:, i] for i in range(4))
    anchor_areas = ops.maximum(box_areas(blocks), SIDE_FLOOR)
    box_columns = ops.concatenate([boxes, box_areas(boxes)[..., None]], axis=-1)
    batch, num_slots = ops.shape(boxes)[0], ops.shape(boxes)[1]
    positions = ops.arange(num_slots, dtype="int32")
    last = ops.max(ops.where(valid, positions + 1, 0))

    def step(
        slot: Tensor, overlap: Tensor, match: Tensor, block: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        left, top, right, bottom, area = ops.split(ops.take(box_columns, slot, axis=1), 5, axis=1)
        width = ops.maximum(ops.minimum(x2, right) - ops.maximum(x1, left), 0.0)
        height = ops.maximum(ops.minimum(y2, bottom) - ops.maximum(y1, top), 0.0)
        common = width * height
        iou = common / (anchor_areas + area - common)
        # An argmax over all anchors would double the time of the step.
        block_best = ops.max(ops.reshape(iou, (-1, blocks.shape[0] // BLOCK, BLOCK)), axis=-1)
        best = ops.cast(ops.argmax(block_best, axis=1, keepdims=True), "int32")
        block = ops.where(positions == slot, best, block)
        return slot + 1, ops.maximum(overlap, iou), ops.where(iou > overlap, slot, match), block

    columns = (batch, blocks.shape[0])
    state = (0, ops.zeros(columns), ops.zeros(columns, "int32"), ops.zeros_like(valid, "int32"))
    _, overlap, match, block = ops.while_loop(lambda slot, *_: slot < last, step, state)
    return overlap[:, :num_anchors], match[:, :num_anchors], _best_in_block(blocks, block, boxes)


def _best_in_block(anchors: Tensor, block: Tensor, boxes: Tensor) -> Tensor:
    """Index of the anchor in block `block` `(batch, slots)` that overlaps the box most."""
    candidates = ops.take(ops.reshape(anchors, (-1, BLOCK, 4)), block, axis=0)
    iou = pairwise_iou(candidates, boxes[:, :, None])[..., 0]
    return block * BLOCK + ops.cast(ops.argmax(iou, axis=-1), "int32")


def _owners(best_anchor: Tensor, valid: Tensor, num_anchors: int) -> Tensor:
    """The slot that each anchor gets by force, `(batch, anchors)`; the number of slots if none."""
    batch, slots = ops.shape(best_anchor)[0], ops.shape(best_anchor)[1]
    image = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, slots))
    indices = ops.reshape(ops.stack([image, best_anchor], axis=-1), (-1, 2))
    slot = ops.where(valid, ops.arange(slots, dtype="int32"), slots)
    nobody = ops.full((batch, num_anchors), slots, dtype="int32")
    return ops.scatter_update(nobody, indices, ops.reshape(slot, (-1,)), reduction="min")
