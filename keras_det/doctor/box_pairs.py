"""Checks of pairs of boxes in one image: the same object annotated twice."""

from collections.abc import Iterator

import numpy as np

from keras_det.doctor.collection import Collection, about_objects, share_of
from keras_det.doctor.finding import Finding, Harm
from keras_det.doctor.thresholds import limit

# Pairs that are compared at a time, for the memory.
PAIRS = 2_000_000
# Larger images are not compared: 1,000 objects make 500,000 pairs.
MAX_OBJECTS = 1000
# Key, code, title and cure of each finding.
KINDS = (
    (
        "same",
        "boxes-repeated",
        "is annotated twice|are annotated twice",
        "Delete one of the two.",
    ),
    (
        "classes",
        "boxes-two-classes",
        "has the same box as an object of another class|have the same box as an object of another "
        "class",
        "Keep only the right class. If both are right, keep them: each class is learned "
        "independently.",
    ),
    (
        "overlap",
        "boxes-overlap",
        "overlaps another one of its class almost completely|overlap another one of their class "
        "almost completely",
        "Check whether an object was annotated twice; if so, delete one box. Non-maximum "
        "suppression keeps only one of two such objects.",
    ),
    (
        "nested",
        "boxes-nested",
        "shares three sides with another one of its class|share three sides with another one of "
        "their class",
        "Check whether a part of an object was annotated as well as the whole; if so, keep one "
        "of them.",
    ),
)


def check_pairs(data: Collection) -> Iterator[Finding]:
    """Boxes that are there twice, with one class or two, and boxes inside each other."""
    pairs = {"same": [], "classes": [], "overlap": [], "nested": []}  # type: dict[str, list[np.ndarray]]
    for a, b in _neighbours(data):
        iou = _iou(data.boxes[a], data.boxes[b])
        equal = data.labels[a] == data.labels[b]
        exact = np.abs(data.boxes[a] - data.boxes[b]).max(axis=1) < 0.01
        agree = np.abs(data.boxes[a] - data.boxes[b]) <= limit("nested-sides")
        second = np.stack([b, a], axis=1)
        pairs["same"].append(second[equal & exact])
        pairs["classes"].append(second[~equal & (iou > limit("same-box"))])
        pairs["overlap"].append(second[equal & ~exact & (iou > limit("overlap"))])
        nested = equal & (iou <= limit("overlap")) & (agree.sum(axis=1) >= 3)
        pairs["nested"].append(second[nested & (iou > 0)])
    joined = {
        key: np.concatenate(each) if each else np.zeros((0, 2), np.int64)
        for key, each in pairs.items()
    }
    yield from _findings(data, joined)


def _findings(data: Collection, pairs: dict[str, np.ndarray]) -> Iterator[Finding]:
    many = share_of(len(pairs["overlap"]), len(data.labels)) > limit("overlap-share")
    for key, code, title, cure in KINDS:
        first = dict(pairs[key][::-1].tolist())
        harm: Harm = "note" if key == "nested" or (key == "overlap" and not many) else "warning"
        yield from about_objects(
            data,
            code,
            harm,
            title,
            cure,
            np.array(sorted(first), np.int64),
            lambda row, first=first: f"and {_short(data, first[row])}",  # type: ignore[misc]
        )


def _short(data: Collection, row: int) -> str:
    width, height = data.sides[row]
    number = row - int(data.starts[data.image_of[row]])
    return f"object {number}, {data.class_names[data.labels[row]]} {width:.4g}x{height:.4g}"


def _neighbours(data: Collection) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows, first and second, of objects of one image; crowd left out."""
    rows = np.flatnonzero(~data.crowd)
    counts = np.bincount(data.image_of[rows], minlength=len(data.counts))
    starts = np.concatenate([[0], np.cumsum(counts)])
    for count in np.unique(counts[(counts > 1) & (counts <= MAX_OBJECTS)]).tolist():
        first, second = np.triu_indices(count, 1)
        images = np.flatnonzero(counts == count)
        step = max(1, PAIRS // len(first))
        for begin in range(0, len(images), step):
            at = starts[images[begin : begin + step]][:, None]
            yield rows[(at + first).reshape(-1)], rows[(at + second).reshape(-1)]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes in pairs."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inter = np.maximum(sides, 0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - inter
    return np.asarray(inter / np.maximum(union, 1e-9))
