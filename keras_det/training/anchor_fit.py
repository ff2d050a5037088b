"""Fits the anchors of a detector to the objects of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_det.data.augment import AUGMENTS, Augment
from keras_det.data.dataset import Dataset
from keras_det.data.vanishing import shown_boxes
from keras_det.layers.anchor_generator import AnchorGenerator
from keras_det.models import AnchorDetector
from keras_det.training.anchor_overlaps import (
    AnchorLevel,
    anchor_levels,
    overlaps_and_cells,
)
from keras_det.types import Size
from keras_det.words import counted

MATCHED = 0.5  # overlap of a positive anchor where the matcher has no such threshold
MAX_PER_CLASS, MAX_OBJECTS = 400, 2_000  # objects that are looked at
FEWEST = 10  # fewer objects do not represent the others
# The augmentation scales objects by about these factors.
JITTER = (0.8, 1.0, 1.25)
SCALES = 2.0 ** np.arange(-0.5, 3.01, 0.25)  # in strides of the level
SCALE_STEP, RATIO_STEP, ROUNDS = 2.0 ** (1 / 12), 2.0 ** (1 / 8), 4
LARGEST_RATIO = 8.0
LEAST_GAIN = 0.04
# With positive anchors in more cells, an object is hardly learned faster.
ENOUGH = 6


class Fit(NamedTuple):
    """How well anchors fit objects; every class counts the same.

    Attributes:
        mean_iou: mean of the best IoU of an object with any anchor, 0..1.
        reached: share of the objects with enough overlap: whose best IoU is at least the matching
            threshold, 0..1.
        spread: mean over the objects of log(1 + min(n, 6)) / log 7, 0..1, where n cells have an
            anchor that reaches the threshold.
    """

    mean_iou: float
    reached: float
    spread: float

    @property
    def score(self) -> float:
        """What the search maximises."""
        return self.mean_iou + self.reached + 2 * self.spread


@dataclass(frozen=True)
class AnchorFit:
    """The result of `fit_anchors`.

    Attributes:
        arguments: `anchor_scale` and `aspect_ratios` for the model's constructor; empty if its own
            anchors fit as well.
        before, after: how well its own and the fitted anchors fit.
        objects: number of objects in the data set.
        reason: why the model keeps its own anchors; "" if it does not.
    """

    arguments: dict[str, Any]
    before: Fit
    after: Fit
    objects: int
    reason: str = ""

    def __str__(self) -> str:
        if not self.arguments:
            return (
                f"Anchors: the model's own, because {self.reason} (mean best IoU "
                f"{self.before.mean_iou:.2f}, objects with enough overlap "
                f"{self.before.reached:.0%})."
            )
        ratios = ", ".join(f"{ratio:g}" for ratio in self.arguments["aspect_ratios"])
        return (
            f"Anchors fitted to {counted(self.objects, 'object')}: scale "
            f"{self.arguments['anchor_scale']:g}, width / height {ratios}. Mean best IoU "
            f"{self.before.mean_iou:.2f} -> {self.after.mean_iou:.2f}, objects with enough overlap "
            f"{self.before.reached:.0%} -> {self.after.reached:.0%}."
        )


def fit_anchors(
    dataset: Dataset, model: AnchorDetector, augment: Augment = AUGMENTS["none"]
) -> AnchorFit:
    """Fits the scale and the aspect ratios of a detector's anchors to the objects of a data set.

    The search maximises, over the objects in pixels of the network's input,

        mean over classes of (mean best IoU + share with best IoU >= matching threshold
                              + 2 * mean of log(1 + min(n, 6)) / log 7),

    where n cells have an anchor that overlaps an object by the threshold or more. The last part
    matters where objects are small: smaller anchors overlap them better, but then larger objects
    belong to coarser levels with fewer cells, and are learned more slowly.

    All classes count the same, as in COCO's AP, however many objects they have. Each object is used
    in three sizes, 0.8, 1 and 1.25 times its own, because the augmentation scales objects. The
    levels and the number of anchors per cell do not change, so that weights of the published heads
    still fit. If the score rises by less than 0.04, the model keeps its own anchors.

    Args:
        dataset: the training data. Crowd objects do not count.
        model: the detector, for its input size, levels, anchors and matching threshold. Anchors
            with sides in pixels (`AnchorGenerator(sizes=…)`) are kept.
        augment: the augmentation of the training. With `TileCrop`, the anchors are fitted to the
            objects as tiles show them.

    Returns:
        `AnchorFit`; build the model again with its `arguments`.
    """
    generator, size = model.anchor_generator, model.image_size
    threshold = getattr(model.matcher, "matched_threshold", MATCHED)
    boxes, weights = _objects(dataset, model, augment)
    own = (generator.anchor_scale, tuple(generator.aspect_ratios))
    if generator.sizes is not None:
        levels = anchor_levels(generator, size)
        before = _fit(boxes, levels, weights, threshold)
        return AnchorFit({}, before, before, len(dataset.boxes), "their sizes are given in pixels")

    def fit_of(shapes: tuple[float, tuple[float, ...]]) -> Fit:
        changed = AnchorGenerator(generator.levels, shapes[0], generator.num_octaves, shapes[1])
        return _fit(boxes, anchor_levels(changed, size), weights, threshold)

    before = fit_of(own)
    if len(boxes) < FEWEST * len(JITTER):
        few = f"there are fewer than {FEWEST} objects to fit them to"
        return AnchorFit({}, before, before, len(dataset.boxes), few)
    best, after = own, before
    for shapes in _starts(boxes, weights, own[1]):
        if (tried := fit_of(shapes)).score > after.score:
            best, after = shapes, tried
    for _ in range(ROUNDS):
        start = best
        for shapes in _neighbours(start):
            if (tried := fit_of(shapes)).score > after.score:
                best, after = shapes, tried
        if best == start:
            break
    rounded = (round(best[0], 2), tuple(round(ratio, 2) for ratio in best[1]))
    after = fit_of(rounded)
    if after.score < before.score + LEAST_GAIN:
        return AnchorFit({}, before, before, len(dataset.boxes), "fitted ones are no better")
    arguments = {"anchor_scale": rounded[0], "aspect_ratios": rounded[1]}
    return AnchorFit(arguments, before, after, len(dataset.boxes))


def _objects(
    dataset: Dataset, model: AnchorDetector, augment: Augment
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes `(n, 4)` in input pixels, three sizes of each object, and their weights `(n,)`."""
    size: Size = model.image_size
    boxes = shown_boxes(dataset, size, model.resize_policy["mode"], augment)
    sides = boxes[:, 2:] - boxes[:, :2]
    usable = np.flatnonzero(~dataset.crowd & (sides.min(axis=1, initial=np.inf) >= 1))
    classes = [usable[dataset.labels[usable] == label] for label in np.unique(dataset.labels)]
    classes = [rows for rows in classes if len(rows)]
    most = min(MAX_PER_CLASS, MAX_OBJECTS // max(len(classes), 1) + 1)
    kept = [
        rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)] for rows in classes
    ]
    if not kept:
        return np.zeros((0, 4)), np.zeros(0)
    chosen = np.concatenate(kept)
    weights = np.concatenate([np.full(len(rows), 1 / len(rows) / len(kept)) for rows in kept])
    centres = (boxes[chosen, :2] + boxes[chosen, 2:]) / 2
    scaled = [
        np.concatenate(
            [centres - factor * sides[chosen] / 2, centres + factor * sides[chosen] / 2], 1
        )
        for factor in JITTER
    ]
    return np.concatenate(scaled), np.tile(weights, len(JITTER)) / len(JITTER)


def _fit(
    boxes: np.ndarray, levels: list[AnchorLevel], weights: np.ndarray, threshold: float
) -> Fit:
    overlaps, cells = overlaps_and_cells(boxes, levels, threshold)
    spread = np.log1p(np.minimum(cells, ENOUGH)) / np.log1p(ENOUGH)
    shares = (overlaps, overlaps >= threshold, spread)
    return Fit(*(float(weights @ each) for each in shares))


def _starts(
    boxes: np.ndarray, weights: np.ndarray, own: tuple[float, ...]
) -> Iterator[tuple[float, tuple[float, ...]]]:
    """Scales on a grid, with the model's aspect ratios and with quantiles of the objects'."""
    sides = boxes[:, 2:] - boxes[:, :2]
    logs = np.log(sides[:, 0] / sides[:, 1])
    order = np.argsort(logs)
    places = (np.arange(len(own)) + 0.5) / len(own)
    inside = np.searchsorted(np.cumsum(weights[order]), places * weights.sum())
    found = np.exp(logs[order[np.minimum(inside, len(order) - 1)]])
    spread = tuple(np.clip(found, 1 / LARGEST_RATIO, LARGEST_RATIO).tolist())
    for ratios in (own, spread):
        for scale in SCALES.tolist():
            yield scale, ratios


def _neighbours(
    shapes: tuple[float, tuple[float, ...]],
) -> Iterator[tuple[float, tuple[float, ...]]]:
    """The scale, and each aspect ratio, a little smaller and larger."""
    scale, ratios = shapes
    for factor in (1 / SCALE_STEP, SCALE_STEP):
        yield scale * factor, ratios
    for i, ratio in enumerate(ratios):
        for factor in (1 / RATIO_STEP, RATIO_STEP):
            changed = float(np.clip(ratio * factor, 1 / LARGEST_RATIO, LARGEST_RATIO))
            yield scale, (*ratios[:i], changed, *ratios[i + 1 :])
