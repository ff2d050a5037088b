"""Searches anchors, pyramid levels and image sizes that reach the objects of a data set."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_det.data.vanishing import LARGEST_SIZE, SIZE_STEP
from keras_det.layers.anchor_generator import ANCHOR_SCALE, AnchorGenerator
from keras_det.models import AnchorDetector
from keras_det.training.anchor_overlaps import anchor_levels, best_overlaps, holds_centre
from keras_det.types import Size

GOAL = 0.99
MAX_OBJECTS = 3_000  # objects in the search
SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
MORE_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.33)
SIZE_FACTORS = (1.5, 2.0, 3.0)
# A more costly change must gain so much; in a step, changes this near to the best are as good.
LEAST_GAIN, NEARLY = 0.04, 0.01


@dataclass(frozen=True)
class Proposal:
    """Arguments of a model that reach more objects.

    Attributes:
        reach: share of the objects that they reach, 0..1.
        arguments: arguments of the model's constructor to change.
    """

    reach: float
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The arguments as they are written in Python."""
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())


def reached(
    boxes: np.ndarray, model: AnchorDetector, generator: AnchorGenerator, image_size: Size
) -> np.ndarray:
    """Whether anchors reach each box, as the matcher of the model asks for it.

    With `AnchorTargets` an anchor must overlap it with `matched_threshold`; for `ATSSTargets` see
    `holds_centre`.

    Args:
        boxes: `(objects, 4)`, xyxy in pixels of an input of `image_size`.
        model: the detector, for its matcher.
        generator: the anchors.
        image_size: (height, width).

    Returns:
        bool `(objects,)`.
    """
    levels = anchor_levels(generator, image_size)
    threshold = getattr(model.matcher, "matched_threshold", None)
    if threshold is None:
        return holds_centre(boxes, levels)
    return best_overlaps(boxes, levels) >= threshold


def propose(boxes: np.ndarray, model: AnchorDetector) -> list[Proposal]:
    """Searches changes of a model with which its anchors reach 99% of the objects.

    Changes are tried in the order of what they cost: the scale of the anchors, other aspect ratios,
    more of them, a finer level, a larger image.

    Args:
        boxes: `(objects, 4)`, xyxy in pixels of the model's input.
        model: the detector.

    Returns:
        Changes from cheap to costly, each of which reaches clearly more than the one before. The
        first that reaches 99% is the last. An empty list: nothing that was tried is better.
    """
    if len(boxes) > MAX_OBJECTS:
        boxes = boxes[np.linspace(0, len(boxes) - 1, MAX_OBJECTS).astype(int)]
    reach = float(reached(boxes, model, model.anchor_generator, model.image_size).mean())
    found: list[Proposal] = []
    for changes in _steps(boxes, model):
        tried = [_tried(boxes, model, change) for change in changes]
        best = _choose(tried, model) if tried else Proposal(0.0)
        if best.reach >= reach + LEAST_GAIN or best.reach >= GOAL > reach:
            found, reach = [*found, best], best.reach
        if reach >= GOAL:
            break
    return found


def _choose(tried: Sequence[Proposal], model: AnchorDetector) -> Proposal:
    """The smallest change among those that reach the goal, or else nearly as much as the best."""
    scale = model.anchor_generator.anchor_scale or ANCHOR_SCALE
    enough = min(GOAL, max(proposal.reach for proposal in tried) - NEARLY)

    def size_of_change(proposal: Proposal) -> tuple[float, int, float]:
        change = proposal.arguments
        pixels = float(np.prod(change.get("image_size", (1, 1))))
        ratio = change.get("anchor_scale", scale) / scale
        return pixels, len(change.get("aspect_ratios", ())), abs(float(np.log(ratio)))

    return min((p for p in tried if p.reach >= enough), key=size_of_change)


def _steps(boxes: np.ndarray, model: AnchorDetector) -> Iterator[list[dict[str, Any]]]:
    """Lists of changes of the constructor's arguments, the cheapest list first."""
    generator = model.anchor_generator
    own = tuple(generator.aspect_ratios)
    scales = [{"anchor_scale": scale} for scale in SCALES]
    ratios = [{"aspect_ratios": r} for r in (_ratios_of(boxes), (1.0, 3.0, 0.33))]
    more = [{"aspect_ratios": MORE_RATIOS}] if len(own) < len(MORE_RATIOS) else []
    finer = [{"min_level": 2}] if generator.levels[0] > 2 else []
    sizes = [{"image_size": s} for s in _sizes(model.image_size)]
    yield scales
    yield _products(scales, ratios)
    yield _products(scales, more)
    yield _products(scales, finer, [{}, *more])
    yield _products(scales, sizes, [{}, *more])
    yield _products(scales, sizes, finer, [{}, *more])


def _products(*changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every combination of one change of each list."""
    return [
        {name: value for change in chosen for name, value in change.items()}
        for chosen in itertools.product(*changes)
    ]


def _ratios_of(boxes: np.ndarray) -> tuple[float, ...]:
    """Three aspect ratios from the objects: the middle one and those of their outer sixths."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    quantiles = np.quantile(np.log(sides[:, 0] / sides[:, 1]), (0.5, 5 / 6, 1 / 6))
    return tuple(round(float(np.exp(value)), 2) for value in quantiles)


def _sizes(image_size: Size) -> list[Size]:
    sizes = [
        tuple(round(side * factor / SIZE_STEP) * SIZE_STEP for side in image_size)
        for factor in SIZE_FACTORS
    ]
    return [(size[0], size[1]) for size in sizes if max(size) <= LARGEST_SIZE]


def _tried(boxes: np.ndarray, model: AnchorDetector, change: dict[str, Any]) -> Proposal:
    """What a change of the constructor's arguments reaches."""
    generator = model.anchor_generator
    size = change.get("image_size", model.image_size)
    factors = [new / old for new, old in zip(size, model.image_size, strict=True)]
    octaves = generator.num_octaves if generator.sizes is None else len(generator.sizes[0])
    changed = AnchorGenerator(
        range(change.get("min_level", generator.levels[0]), generator.levels[-1] + 1),
        change.get("anchor_scale", generator.anchor_scale),
        octaves,
        change.get("aspect_ratios", generator.aspect_ratios),
    )
    moved = boxes * np.array([factors[1], factors[0]] * 2)
    return Proposal(float(reached(moved, model, changed, size).mean()), change)
