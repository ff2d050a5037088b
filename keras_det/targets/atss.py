"""Adaptive matching: every object sets its own threshold from the anchors around its centre."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_det.boxes import pairwise_iou
from keras_det.targets.matcher import Matcher, checked_level_sizes
from keras_det.targets.search import FAR, NO_CLAIM, best_claims, centres_of, rounded_centres
from keras_det.types import Config, Tensor

# Anchors per block; only the smallest distance of each block is kept at first.
BLOCK = 16
# Overlaps closer than this count as equal: above float32 rounding, below the effect of a pixel.
IOU_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable(package="keras_det")
class ATSSTargets(Matcher):
    """Assigns ground-truth boxes to anchors by adaptive training sample selection (ATSS).

    Zhang et al., algorithm 1 (https://arxiv.org/abs/1912.02424). For every object g, the candidates
    are the k anchors of each level whose centres are closest to the centre of g. With their IoUs D
    with g,

        threshold = mean(D) + std(D)
        positive  where IoU(a, g) >= threshold and the centre of a lies inside g

    An anchor that is positive for several objects goes to the one it overlaps most (the first on
    ties). All other anchors are background; none is ignored. std divides by n - 1, as the authors'
    code does; the paper does not specify it. A centre on the edge of g is outside. An object
    without an anchor centre inside it gets no anchor.

    k counts anchors, as in the paper, whose detector has one anchor per cell. Anchors of one cell
    share their centre. Of equally distant anchors, the first in anchor order are taken. With 9
    anchors per cell, k = 9 therefore takes a single cell per level. The authors' code takes k cells
    in this case, which is `num_candidates=9 * 9` here.

    Args:
        num_candidates: int >= 1. k, the candidates per object and level. Levels with fewer anchors
            use all of them.
    """

    def __init__(self, num_candidates: int = 9) -> None:
        if num_candidates < 1 or num_candidates != int(num_candidates):
            raise ValueError(
                "`num_candidates` must be an integer of at least 1. Received: "
                f"num_candidates={num_candidates!r}. Use 9 per level, as the paper does."
            )
        self.num_candidates = int(num_candidates)

    def match(
        self,
        anchors: Tensor,
        boxes: Tensor,
        valid: Tensor,
        level_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        level_sizes = checked_level_sizes("ATSSTargets", level_sizes, anchors.shape[0])
        centres = rounded_centres(anchors)
        candidates = _nearest(centres, centres_of(boxes), valid, level_sizes, self.num_candidates)
        iou = pairwise_iou(ops.take(anchors, candidates, axis=0), boxes[:, :, None])[..., 0]
        mean = ops.mean(iou, axis=-1, keepdims=True)
        variance = ops.sum(ops.square(iou - mean), axis=-1, keepdims=True) / max(
            iou.shape[-1] - 1, 1
        )
        # An empty slot has the box 0, which contains no centre.
        points = ops.take(centres, candidates, axis=0)
        inside = ops.logical_and(points > boxes[:, :, None, :2], points < boxes[:, :, None, 2:])
        chosen = ops.logical_and(
            iou >= mean + ops.sqrt(variance) - IOU_TOLERANCE, ops.all(inside, axis=-1)
        )
        claims = ops.where(chosen, iou, NO_CLAIM)
        slot, positive = best_claims(candidates, claims, anchors.shape[0], IOU_TOLERANCE)
        return slot, positive, ops.zeros_like(positive)

    def get_config(self) -> Config:
        return {"num_candidates": self.num_candidates}


def _squared_distances(points: Tensor, centre: Tensor) -> Tensor:
    difference = points - centre
    return difference[..., 0] * difference[..., 0] + difference[..., 1] * difference[..., 1]


def _nearest(
    centres: Tensor,
    box_centres: Tensor,
    valid: Tensor,
    level_sizes: Sequence[int],
    num_candidates: int,
) -> Tensor:
    """Indices `(batch, slots, candidates)` of the anchors closest to every object, by level.

    The distances of all anchors to all objects take 157 MB for 8 images of 49,104 anchors and 100
    slots. So only the smallest distance in each block of anchors is kept. The k closest anchors lie
    in the k blocks with the smallest of these, and only those blocks are searched again.
    """
    parts, start = [], 0
    for size in level_sizes:
        level = centres[start : start + size]
        parts.append(ops.pad(level, ((0, -size % BLOCK), (0, 0)), constant_values=FAR))
        start += size
    blocks = ops.reshape(ops.concatenate(parts), (-1, BLOCK, 2))
    smallest = _smallest_of_blocks(blocks, box_centres, valid)
    candidates, start, first = [], 0, 0
    for size in level_sizes:
        num_blocks = -(-size // BLOCK)
        near = smallest[..., first : first + num_blocks]
        _, chosen = ops.top_k(-near, min(num_candidates, num_blocks))
        # Sorted into anchor order, because top_k takes the first of equal values.
        chosen = first + ops.sort(chosen, axis=-1)
        distances = _squared_distances(
            ops.take(blocks, chosen, axis=0), box_centres[:, :, None, None]
        )
        distances = ops.reshape(distances, (*ops.shape(distances)[:2], -1))
        _, position = ops.top_k(-distances, min(num_candidates, size))
        block = ops.take_along_axis(chosen, position // BLOCK, axis=-1)
        candidates.append(start + (block - first) * BLOCK + position % BLOCK)
        start, first = start + size, first + num_blocks
    return ops.concatenate(candidates, axis=-1)


def _smallest_of_blocks(blocks: Tensor, box_centres: Tensor, valid: Tensor) -> Tensor:
    """Squared distance of every slot's centre to the closest centre of every block.

    Loops over the slots up to the last one that any image uses.

    Returns:
        `(batch, slots, blocks)`, square pixels.
    """
    x, y = blocks[None, :, :, 0], blocks[None, :, :, 1]
    batch, slots = ops.shape(valid)[0], ops.shape(valid)[1]
    last = ops.max(ops.where(valid, ops.arange(slots, dtype="int32") + 1, 0))

    def step(slot: Tensor, smallest: Tensor) -> tuple[Tensor, Tensor]:
        centre = ops.take(box_centres, slot, axis=1)[:, None, None]
        dx, dy = x - centre[..., 0], y - centre[..., 1]
        row = ops.min(dx * dx + dy * dy, axis=-1)
        index = ops.reshape(slot, (1, 1))
        return slot + 1, ops.scatter_update(smallest, index, row[None])

    state = (0, ops.zeros((slots, batch, blocks.shape[0])))
    _, smallest = ops.while_loop(lambda slot, _: slot < last, step, state)
    return ops.transpose(smallest, (1, 0, 2))
