"""Checks of the annotations: classes, and boxes one by one and against each other."""

from collections.abc import Iterator

import numpy as np

from keras_det.data.duplicates import FACTORS
from keras_det.doctor.box_pairs import check_pairs
from keras_det.doctor.collection import Collection, about_images, about_objects, share_of
from keras_det.doctor.finding import Finding, Harm
from keras_det.doctor.thresholds import limit
from keras_det.words import counted


def check_annotations(data: Collection) -> list[Finding]:
    """Checks the objects of all splits."""
    return [
        *_geometry(data),
        *_placement(data),
        *_repeated_shapes(data),
        *_per_image(data),
        *check_pairs(data),
    ]


def _geometry(data: Collection) -> Iterator[Finding]:
    """Boxes outside their image or without area, and odd shapes."""
    width, height = data.sides.T
    limits = data.sizes[data.image_of][:, ::-1]
    outside = (data.boxes[:, :2] < -1).any(axis=1) | (data.boxes[:, 2:] > limits + 1).any(axis=1)
    finite = np.isfinite(data.boxes).all(axis=1)
    flat = ~finite | (width <= 0) | (height <= 0)
    yield from about_objects(
        data,
        "boxes-outside",
        "warning",
        "extends beyond its image|extend beyond their image",
        "Correct the boxes, or check that image and annotation belong together.",
        np.flatnonzero(outside & finite & ~flat),
    )
    yield from about_objects(
        data,
        "boxes-without-area",
        "error",
        "has zero area|have zero area",
        "Leave them out or draw them again: x1 < x2 and y1 < y2 must hold.",
        np.flatnonzero(flat),
    )
    yield from _shapes(data, ~flat & ~data.crowd)


def _shapes(data: Collection, good: np.ndarray) -> Iterator[Finding]:
    """Objects of the mask that are tiny, as large as the image, or very long."""
    width, height = data.sides.T
    short, long = np.minimum(width, height), np.maximum(width, height)
    total = max(1, int(good.sum()))
    tiny = np.flatnonzero(good & (short < limit("tiny-box")))
    yield from about_objects(
        data,
        "boxes-tiny",
        _harm(len(tiny), total, "tiny-share"),
        f"is thinner than {limit('tiny-box'):.0f} pixels|are thinner than "
        f"{limit('tiny-box'):.0f} pixels",
        "Check whether these are accidental clicks; if so, delete them. Real objects this small "
        "are hardly ever found.",
        tiny,
    )
    whole = np.flatnonzero(good & (_area(data.shares) > limit("whole-image")))
    yield from about_objects(
        data,
        "boxes-whole-image",
        _harm(len(whole), total, "whole-share"),
        "covers its whole image|cover their whole image",
        "Check whether an object really fills the image. If the box is only a label for the whole "
        "image, delete it: the detector does not learn from it where objects are.",
        whole,
    )
    slim = np.flatnonzero(good & (short >= 1) & (long > limit("box-aspect") * short))
    yield from about_objects(
        data,
        "boxes-long",
        _harm(len(slim), total, "box-aspect-share"),
        f"is more than {limit('box-aspect'):.0f} times as long as wide|are more than "
        f"{limit('box-aspect'):.0f} times as long as wide",
        "Check whether corners were swapped. Real objects of this shape match anchors poorly.",
        slim,
    )


def _harm(count: int, total: int, threshold: str) -> Harm:
    """A warning where there are more than usual, else a note."""
    return "warning" if share_of(count, total) > limit(threshold) else "note"


def _area(boxes: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    area: np.ndarray = sides[:, 0] * sides[:, 1]
    return area


def _placement(data: Collection) -> Iterator[Finding]:
    """Where boxes lie: at the border, in the middle."""
    rows = np.flatnonzero(~data.crowd)
    if len(rows) < limit("min-objects"):
        return
    shares, size = data.shares[rows], data.sizes[data.image_of[rows]][:, ::-1]
    boxes = data.boxes[rows]
    touching = ((boxes[:, :2] <= 1) | (boxes[:, 2:] >= size - 1)).any(axis=1)
    whole = _area(shares) > limit("whole-image")
    if share_of(int((touching & ~whole).sum()), len(rows)) > limit("border-share"):
        yield from about_objects(
            data,
            "boxes-at-border",
            "note",
            "touches the border of its image|touch the border of their image",
            "If the images are tiles, let them overlap, so that each object is whole in one tile.",
            rows[touching & ~whole],
        )
    centre = (shares[:, :2] + shares[:, 2:]) / 2
    middle = (np.abs(centre - 0.5) < 1 / 6).all(axis=1) & ~whole
    if share_of(int(middle.sum()), len(rows)) > limit("centre-share"):
        yield from about_objects(
            data,
            "boxes-in-the-middle",
            "note",
            "lies in the middle of its image|lie in the middle of their image",
            "A detector may not find objects elsewhere. Add images with objects in other places.",
            rows[middle],
        )


def _repeated_shapes(data: Collection) -> Iterator[Finding]:
    """One box in many images, or one size for many objects: drawn by a program or a habit."""
    rows = np.flatnonzero(~data.crowd & (_area(data.shares) <= limit("whole-image")))
    if not len(rows):
        return
    kind, counts = _kinds(data.boxes[rows])
    often = counts[kind] >= max(limit("default-box"), limit("default-share") * len(rows))
    yield from about_objects(
        data,
        "boxes-default",
        "warning",
        "is repeated at the same place in many images|are repeated at the same place in many "
        "images",
        "Check whether a tool placed a default box there. Draw the right boxes, or delete these.",
        rows[often],
    )
    kind, counts = _kinds(data.sides[rows])
    most = int(np.argmax(counts))
    alone = counts[most] > limit("same-size-share") * len(rows) and not often.any()
    if len(rows) >= limit("min-objects") and alone:
        yield from about_objects(
            data,
            "boxes-one-size",
            "warning",
            "has exactly the same size|have exactly the same size",
            "If points were expanded to boxes, the detector learns that size for every object. "
            "Draw boxes around the objects.",
            rows[kind == most],
        )


def _kinds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the different rows, to a tenth of a pixel; returns the number of each and counts."""
    whole = np.rint(values * 10).astype(np.int64).astype(np.uint64)
    # One number for each row: sorting them is far quicker than sorting rows.
    keys = (whole * FACTORS[: values.shape[1]]).sum(axis=1, dtype=np.uint64)
    _, kind, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return kind.reshape(-1), counts


def _per_image(data: Collection) -> Iterator[Finding]:
    """Images with too many or unusually many objects."""
    counts, most = data.counts, int(limit("max-boxes"))
    single = np.bincount(data.image_of[~data.crowd], minlength=len(counts))

    def number(i: int) -> str:
        return counted(int(counts[i]), "object")

    too_many = np.flatnonzero(single > most)
    yield from about_images(
        data,
        "too-many-objects",
        "warning",
        f"has more than {counted(most, 'object')}|have more than {counted(most, 'object')}",
        f"Training keeps {most} of them. Raise max_boxes (--max-boxes), or cut the images into "
        "tiles.",
        too_many[np.argsort(-counts[too_many], kind="stable")],
        number,
    )
    if (counts > 0).any():
        low, high = np.percentile(counts[counts > 0], [25, 75])
        unusual = counts > high + limit("outlier") * max(1.0, high - low)
        yield from about_images(
            data,
            "many-objects",
            "note",
            "has far more objects than the others|have far more objects than the others",
            "Check whether objects were annotated twice, or whether groups were annotated object "
            "by object only in these images.",
            np.flatnonzero(unusual & (single <= most)),
            number,
        )
    yield from _empty_and_crowd(data)


def _empty_and_crowd(data: Collection) -> Iterator[Finding]:
    """Images without objects, and objects marked as crowd, where there are many."""
    counts = data.counts
    empty = np.flatnonzero(counts == 0)
    share = share_of(len(empty), len(counts))
    if share > limit("empty-share") and share < 1:
        yield from about_images(
            data,
            "images-without-objects",
            "warning" if share > limit("mostly-empty") else "note",
            "has no object|have no object",
            "The model learns from them what is background. Check whether objects in them were "
            "forgotten.",
            empty,
        )
    crowd = np.flatnonzero(data.crowd)
    if limit("crowd-share") < share_of(len(crowd), len(data.labels)) < 1:
        yield from about_objects(
            data,
            "many-crowd",
            "warning",
            "is marked as crowd or difficult|are marked as crowd or difficult",
            "Training leaves them out. Remove the mark (COCO: iscrowd, Pascal VOC: difficult) "
            "from single objects.",
            crowd,
        )
