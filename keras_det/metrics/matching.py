"""Which object each detection matches, by COCO's rule, for all images and overlaps at once."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from keras_det.metrics.columns import Found, Objects

IOUS = np.linspace(0.5, 0.95, 10)  # COCO's
MOST_DETECTIONS = 100  # per image and class, as in COCO's AP
LARGEST = 1e10  # square pixels, COCO's limit for objects of any size
BLOCK = 1_000_000  # pairs of detections and objects whose overlaps are held at once


@dataclasses.dataclass(frozen=True)
class Matches:
    """Matched detections: by class, the highest score first, equal scores in the order of images.

    Attributes:
        rows: int64 `(n,)`, the detections as indices into `found`.
        objects, found: what was matched.
        image, labels, scores: `(n,)`, of these detections.
        match: int64 `(overlaps, n)`, the matched object as an index into `objects`; -1 for none.
        ignored: bool `(overlaps, n)`, neither right nor wrong: matched with a crowd region, or
            unmatched with an area outside COCO's range, such as a negative one.
    """

    rows: np.ndarray
    objects: Objects
    found: Found
    match: np.ndarray
    ignored: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """Index of the image."""
        return self.found.image[self.rows]

    @property
    def labels(self) -> np.ndarray:
        """Class."""
        return self.found.labels[self.rows]

    @property
    def scores(self) -> np.ndarray:
        """0..1."""
        return self.found.scores[self.rows]

    @property
    def right(self) -> np.ndarray:
        """bool `(overlaps, n)`: matched with an object that counts."""
        return (self.match >= 0) & ~self.ignored

    def class_slices(self, num_classes: int) -> list[slice]:
        """The detections of each class."""
        edges = np.searchsorted(self.labels, np.arange(num_classes + 1)).tolist()
        return list(map(slice, edges[:-1], edges[1:]))

    def object_counts(self, num_classes: int) -> np.ndarray:
        """Number of objects of each class that count, int64 `(num_classes,)`."""
        return np.bincount(self.objects.labels[countable(self.objects)], minlength=num_classes)


def countable(objects: Objects) -> np.ndarray:
    """bool `(n,)`: the objects that are no crowd regions and have an area in COCO's range."""
    return ~objects.crowd & _in_range(objects.area)


def _in_range(area: np.ndarray) -> np.ndarray:
    return (area >= 0) & (area <= LARGEST)


def match(objects: Objects, found: Found, ious: Sequence[float] | np.ndarray = IOUS) -> Matches:
    """Matches detections with objects of the same image and class, as COCO does.

    In the order of the scores, each detection takes the object that it overlaps most among those
    that no earlier one has taken, if the overlap is at least the IoU. If there is none, a crowd
    region that covers enough of the detection takes it; a crowd region can take many. The best 100
    detections per image and class are matched (pycocotools' `COCOeval.evaluateImg`).

    Args:
        objects, found: as `keras_det.metrics.columns.columns` returns them.
        ious: overlaps in 0..1 to match at.
    """
    # COCO takes an overlap of 1 to be reached within rounding.
    limits = np.minimum(np.asarray(ious, "float64"), 1 - 1e-10)
    order = np.lexsort((-found.scores, found.image, found.labels))
    rank = _rank(found.labels[order] * max(1, found.images) + found.image[order])
    order, rank = order[rank < MOST_DETECTIONS], rank[rank < MOST_DETECTIONS]
    detection, thing, overlap = pairs(objects, found, order, float(limits.min()))
    # The best of a detection is its last pair: crowds first, then by overlap, later objects last.
    counts = countable(objects)
    sort = np.lexsort((thing, overlap, counts[thing], detection, rank[detection]))
    detection, thing, overlap = detection[sort], thing[sort], overlap[sort]
    taken = np.full((len(limits), len(order)), -1)
    free = np.ones((len(limits), len(objects.labels)), bool)
    reached = overlap >= limits[:, None]
    for part in _runs(rank[detection]):
        possible = reached[:, part] & free[:, thing[part]]
        _take(taken, free, possible, detection[part], thing[part], objects.crowd)
    by_score = np.lexsort((-found.scores[order], found.labels[order]))
    rows, taken = order[by_score], taken[:, by_score]
    outside = ~_in_range(found.boxes[rows, 2] * found.boxes[rows, 3])
    ignored = np.where(taken < 0, outside, np.append(~counts, False)[taken])
    return Matches(rows, objects, found, taken, ignored)


def _take(
    taken: np.ndarray,
    free: np.ndarray,
    possible: np.ndarray,
    detection: np.ndarray,
    thing: np.ndarray,
    crowd: np.ndarray,
) -> None:
    """Gives each detection of one rank its last possible object; no two want the same one."""
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    numbers = np.where(possible, np.arange(possible.shape[1]), -1)
    last = np.maximum.reduceat(numbers, starts, axis=1)
    level, which = np.nonzero(last >= 0)
    chosen = thing[last[level, which]]
    taken[level, detection[starts[which]]] = chosen
    free[level, chosen] = crowd[chosen]


def _rank(key: np.ndarray) -> np.ndarray:
    """Position of each row among the rows of its key; equal keys stand together."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sizes = np.diff(np.append(starts, len(key)))
    return np.arange(len(key)) - np.repeat(starts, sizes)


def _runs(values: np.ndarray) -> Iterator[slice]:
    """Slices of equal values that stand together."""
    edges = np.append(np.flatnonzero(np.diff(values, prepend=-1)), len(values)).tolist()
    yield from map(slice, edges[:-1], edges[1:])


def pairs(
    objects: Objects, found: Found, rows: np.ndarray, least: float, by_class: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of a detection and an object of one image whose overlap reaches `least`.

    Overlaps of at most `BLOCK` pairs, or of one detection, are held at once.

    Args:
        objects, found: as `keras_det.metrics.columns.columns` returns them.
        rows: int `(n,)`, indices of detections.
        least: float > 0.
        by_class: bool. False also pairs detections with objects of other classes.

    Returns:
        `(detection, thing, overlap)`, each `(pairs,)`: indices into `rows` and `objects`, overlaps.
    """
    labels = (found.labels[rows], objects.labels) if by_class else (0, np.zeros_like(objects.image))
    key = labels[0] * max(1, found.images) + found.image[rows]
    object_key = labels[1] * max(1, found.images) + objects.image
    things = np.argsort(object_key, kind="stable")
    object_key = object_key[things]
    first = np.searchsorted(object_key, key, side="left")
    counts = np.searchsorted(object_key, key, side="right") - first
    parts = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for block in _runs(np.cumsum(counts) // BLOCK):
        detection = np.repeat(np.arange(block.start, block.stop), counts[block])
        offset = np.repeat(np.cumsum(counts[block]) - counts[block], counts[block])
        thing = things[np.arange(len(detection)) - offset + first[detection]]
        boxes = found.boxes[rows[detection]]
        overlap = overlaps(boxes, objects.boxes[thing], objects.crowd[thing])
        kept = overlap >= least
        parts.append((detection[kept], thing[kept], overlap[kept]))
    detection, thing, overlap = (np.concatenate(each) for each in zip(*parts, strict=True))
    return detection, thing, overlap


def overlaps(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Overlap `(n,)` of each detection with one object: IoU, or the share covered by a crowd.

    Args:
        boxes, others: `(n, 4)` left, top, width, height: detections and objects.
        crowd: bool `(n,)`, of the objects.
    """
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    sides = np.maximum(high - low, 0.0)
    common = sides[:, 0] * sides[:, 1]
    own, other = boxes[:, 2] * boxes[:, 3], others[:, 2] * others[:, 3]
    union = np.where(crowd, own, own + other - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)
