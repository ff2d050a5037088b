"""Search for the best anchors of every object, without scoring all anchors for each object.

An object of 100 pixels contains the centres of about 1,000 of 49,104 anchors. Consecutive anchors
therefore form blocks, and a block is scored for an object only if it can hold a candidate. Scores
of all anchors for all objects would take 157 MB for 8 images and 100 slots.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_det.boxes import SIDE_FLOOR, box_areas
from keras_det.types import Tensor

# Anchors per block.
BLOCK = 32
# Pairs of a block and an object that are scored at once: their arrays stay in the cache.
PAIRS = 1024
# Centres are rounded to 1/256 pixel. Computed from their corners, the centres of anchors of one
# cell differ by up to 1e-4 pixel, and rounding would decide ties in distance.
CENTRES_PER_PIXEL = 256.0
# Coordinate of padding: farther away than any pixel, and its square fits in float32.
FAR = 1e9
# Strength of an anchor that is not a candidate, and a lower limit for the strength of candidates.
NO_CLAIM = -1e30
LEAST_CLAIM = -1e29


def centres_of(boxes: Tensor) -> Tensor:
    """Centres `(…, 2)` of boxes `(…, 4)`, not rounded."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2.0


def rounded_centres(anchors: Tensor) -> Tensor:
    """Centres `(…, 2)` of anchors `(…, 4)`: those of one cell are equal."""
    return ops.round(centres_of(anchors) * CENTRES_PER_PIXEL) / CENTRES_PER_PIXEL


def in_blocks(values: Tensor, fill: float = 0.0) -> Tensor:
    """Cuts `(…, anchors)` into `(…, blocks, BLOCK)`; the last block is filled up."""
    missing = -values.shape[-1] % BLOCK
    paddings = [(0, 0)] * (len(values.shape) - 1) + [(0, missing)]
    padded = ops.pad(values, paddings, constant_values=fill)
    return ops.reshape(padded, (*ops.shape(values)[:-1], -1, BLOCK))


def inside(x: Tensor, y: Tensor, box: Tensor) -> Tensor:
    """Whether points `(n, BLOCK)` lie inside the boxes `(n, 4)`, not on their edges."""
    left, top, right, bottom = ops.split(box, 4, axis=-1)
    across = ops.minimum(x - left, right - x)
    down = ops.minimum(y - top, bottom - y)
    return ops.minimum(across, down) > 0.0


def overlaps(predicted: Tensor, box: Tensor) -> Tensor:
    """IoU `(n, BLOCK)` of predicted boxes, `(n, 4, BLOCK)`, with one box `(n, 4)` a row."""
    x1, y1, x2, y2 = (predicted[:, i] for i in range(4))
    left, top, right, bottom = ops.split(box, 4, axis=-1)
    width = ops.maximum(ops.minimum(x2, right) - ops.maximum(x1, left), 0.0)
    height = ops.maximum(ops.minimum(y2, bottom) - ops.maximum(y1, top), 0.0)
    common = width * height
    areas = (x2 - x1) * (y2 - y1) + box_areas(box)[:, None]
    return common / ops.maximum(areas - common, SIDE_FLOOR)


class Pairs(NamedTuple):
    """Some pairs of an object and a block of anchors.

    Attributes:
        objects: `(n,)` int32, image * slots + slot.
        images: `(n,)` int32.
        blocks: `(n,)` int32.
    """

    objects: Tensor
    images: Tensor
    blocks: Tensor


# From pairs to one score of every anchor in the block, `(n, BLOCK)`, `NO_CLAIM` for no candidate;
# several scores rank the candidates in several ways.
Scores = Callable[[Pairs], tuple[Tensor, ...]]


def best_anchors(live: Tensor, scores: Scores, counts: tuple[int, ...]) -> list[list[Tensor]]:
    """The best candidates of every object, for each of several scores.

    First the best score of every live block is found. The k best anchors lie in the k blocks with
    the best of these, and only those are searched again.

    Args:
        live: `(batch, slots, blocks)` bool. False where the block holds no candidate of the object.
        scores: see `Scores`. It is called with pairs that are not live, too.
        counts: how many candidates to find, for each score.

    Returns:
        For each score a list of `(batch, slots, count)` scores, highest first, the first anchor on
        ties, and `(batch, slots, count)` int32 anchors. Where an object has fewer candidates, the
        last scores are `NO_CLAIM`, and the anchors beside them have no meaning.
    """
    best = _best_of_blocks(live, scores, len(counts))
    found = []
    for i, (of_blocks, count) in enumerate(zip(best, counts, strict=True)):
        _, chosen = ops.top_k(of_blocks, min(count, of_blocks.shape[-1]))
        # Sorted into anchor order, because top_k takes the first of equal values.
        chosen = ops.sort(chosen, axis=-1)
        known = ops.take_along_axis(of_blocks, chosen, axis=-1) > LEAST_CLAIM
        found.append(_best_in_blocks(ops.cast(chosen, "int32"), known, scores, i, count))
    return found


def _best_of_blocks(live: Tensor, scores: Scores, num_scores: int) -> list[Tensor]:
    """The highest scores of every object's blocks, `(batch, slots, blocks)` each."""
    slots, blocks = ops.shape(live)[1], live.shape[2]
    flat = ops.reshape(live, (-1,))
    ends = ops.cumsum(ops.cast(flat, "int32"))
    length = ends[-1]

    def step(start: Tensor, *best: Tensor) -> tuple[Tensor, ...]:
        places = start + ops.arange(PAIRS, dtype="int32")
        index = ops.cast(ops.searchsorted(ends, places, side="right"), "int32")
        # Behind the last live pair comes another one, which gets no score.
        index = ops.minimum(index, ops.shape(flat)[0] - 1)
        counts = ops.take(flat, index)
        pairs = Pairs(index // blocks, index // (blocks * slots), index % blocks)
        rows = index[:, None]
        best = tuple(
            ops.scatter_update(x, rows, ops.where(counts, ops.max(score, axis=-1), NO_CLAIM))
            for x, score in zip(best, scores(pairs), strict=True)
        )
        return start + PAIRS, *best

    nothing = ops.where(flat, NO_CLAIM, NO_CLAIM)
    state = (0, *(nothing for _ in range(num_scores)))
    _, *best = ops.while_loop(lambda start, *_: start < length, step, state)
    return [ops.reshape(x, ops.shape(live)) for x in best]


def _best_in_blocks(
    chosen: Tensor, known: Tensor, scores: Scores, which: int, count: int
) -> list[Tensor]:
    """The `count` best anchors in some blocks of every object, by score `which`.

    Args:
        chosen: `(batch, slots, n)` int32 blocks.
        known: whether the block holds a candidate, the same shape.
        scores, count: as for `best_anchors`.
    """
    batch, slots, n = ops.shape(chosen)[0], ops.shape(chosen)[1], chosen.shape[2]
    objects = ops.repeat(ops.arange(batch * slots, dtype="int32"), n)
    blocks = ops.reshape(chosen, (-1,))
    score = scores(Pairs(objects, objects // slots, blocks))[which]
    score = ops.where(ops.reshape(known, (-1, 1)), score, NO_CLAIM)
    score = ops.reshape(score, (batch, slots, n * BLOCK))
    values, position = ops.top_k(score, min(count, n * BLOCK))
    position = ops.cast(position, "int32")
    block = ops.take_along_axis(chosen, position // BLOCK, axis=-1)
    return [values, block * BLOCK + position % BLOCK]


def best_claims(
    candidates: Tensor, strength: Tensor, num_anchors: int, tolerance: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Gives every anchor to the object that claims it most strongly, the first on ties.

    Args:
        candidates: `(batch, slots, candidates)` int32 anchors, each at most once per slot.
        strength: of each claim, the same shape; `NO_CLAIM` where the object does not claim the
            anchor.
        num_anchors: int.
        tolerance: strengths closer than this count as equal.

    Returns:
        `(batch, num_anchors)` int32 slot and the mask of claimed anchors.
    """
    batch, slots = ops.shape(strength)[0], ops.shape(strength)[1]
    image = ops.arange(batch, dtype="int32")[:, None, None]
    indices = ops.reshape(image * num_anchors + candidates, (-1, 1))
    flat = ops.reshape(strength, (-1,))
    unclaimed = ops.full((batch * num_anchors,), NO_CLAIM)
    highest = ops.scatter_update(unclaimed, indices, flat, reduction="max")
    wins = flat >= ops.take(highest, indices[:, 0], axis=0) - tolerance
    wins = ops.logical_and(wins, flat > LEAST_CLAIM)
    slot = ops.broadcast_to(ops.arange(slots, dtype="int32")[None, :, None], ops.shape(strength))
    slot = ops.where(wins, ops.reshape(slot, (-1,)), slots)
    nobody = ops.full((batch * num_anchors,), slots, dtype="int32")
    slot = ops.scatter_update(nobody, indices, slot, reduction="min")
    slot = ops.reshape(slot, (batch, num_anchors))
    return ops.minimum(slot, slots - 1), slot < slots
