"""Whether the detector's own targets reach the objects: anchors, or CornerNet's corner cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_det.boxes import PADDING_LABEL
from keras_det.data.dataset import Dataset, image_of_objects
from keras_det.data.vanishing import input_boxes
from keras_det.doctor.anchor_search import GOAL, Proposal, propose, reached
from keras_det.doctor.finding import Finding, Harm
from keras_det.layers.center_padding import padded_size
from keras_det.models import AnchorDetector, CornerNet, Detector
from keras_det.training.quick_check import objects_at_input
from keras_det.words import counted

# Objects are compared with anchors at once; images go through the matcher in chunks.
MAX_IMAGES, QUICK_IMAGES, CHUNK = 400, 48, 8
# Slots of a chunk. Images with more objects give their first ones.
MAX_SLOTS = 200
# Sizes in input pixels, the square root of the area.
SIZE_EDGES = (8, 16, 32, 96)
# Share of the objects from which a finding is a note, and a warning.
NOTE, WARNING = 0.05, 0.5
LOST_WARNING = 0.05
SHARED_WARNING = 0.1


def check_reach(dataset: Dataset, model: Detector, *, quick: bool = False) -> list[Finding]:
    """Checks how the model's targets reach the objects after resizing; no pixel is read.

    Args:
        dataset: `Dataset`.
        model: the detector.
        quick: True takes fewer images and objects.
    """
    if dataset.crowd.all():
        return []
    if isinstance(model, AnchorDetector):
        return [*_overlaps(dataset, model, quick), *_unmatched(dataset, model, quick)]
    return _corners(dataset, model) if isinstance(model, CornerNet) else []


def _harm(share: float, warning: float) -> Harm:
    return "warning" if share >= warning else "note"


# ---- anchors ----


def _overlaps(dataset: Dataset, model: AnchorDetector, quick: bool) -> list[Finding]:
    """Objects whose best IoU with an anchor is too small, and anchors that fit them."""
    boxes, labels = objects_at_input(dataset, model, 2_000 if quick else 20_000)
    missed = ~reached(boxes, model, model.anchor_generator, model.image_size)
    share = float(missed.mean())
    if share < NOTE:
        return []
    proposals = propose(boxes, model)
    threshold = getattr(model.matcher, "matched_threshold", None)
    reach = (
        "hold the centre of no anchor of their size"
        if threshold is None
        else f"overlap no anchor with an IoU of {threshold:g} or more"
    )
    height, width = model.image_size
    objects = int((~dataset.crowd).sum())
    count = round(share * objects)
    worst = _by_size(boxes, missed)
    finding = Finding(
        "anchors-unreached",
        _harm(share, WARNING),
        f"{share:.0%} of {counted(objects, 'object')} {reach} at {height}x{width}"
        f"{_most_in(worst)}: the model learns them poorly.",
        _advice(proposals, 1 - share),
        count,
        objects,
        facts={
            "by_size": worst,
            "by_class": _by_class(dataset.class_names, labels, missed),
            "proposals": [{**p.arguments, "reaches": round(p.reach, 4)} for p in proposals],
        },
        doc="anchors",
    )
    return [finding]


def _most_in(by_size: dict[str, float]) -> str:
    name = max(by_size, key=lambda key: by_size[key])
    return f" ({by_size[name]:.0%} of those with sides {name} pixels)"


def _by_size(boxes: np.ndarray, missed: np.ndarray) -> dict[str, float]:
    """Share of the objects of each size that are missed; sizes without objects are left out."""
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    bins = np.digitize(sides, SIZE_EDGES)
    low, high = SIZE_EDGES[0], SIZE_EDGES[-1]
    pairs = zip(SIZE_EDGES[:-1], SIZE_EDGES[1:], strict=True)
    names = [f"below {low}", *(f"{a} to {b}" for a, b in pairs), f"{high} or more"]
    return {
        name: round(float(missed[bins == k].mean()), 4)
        for k, name in enumerate(names)
        if (bins == k).any()
    }


def _by_class(names: Sequence[str], labels: np.ndarray, missed: np.ndarray) -> dict[str, float]:
    """Share of the objects of each class that are missed, the worst first."""
    shares = {names[k]: round(float(missed[labels == k].mean()), 4) for k in np.unique(labels)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _advice(proposals: Sequence[Proposal], now: float) -> str:
    """What to change, and what it gains."""
    if not proposals:
        return (
            "None of the other anchors that were tried overlaps more objects enough. Cut the "
            "images into tiles, so that objects are larger in the network's input."
        )
    listed = "; ".join(f"{proposal.text}: {proposal.reach:.0%}" for proposal in proposals)
    text = f"The current anchors overlap {now:.0%} of the objects enough. Better: {listed}."
    if proposals[-1].reach < GOAL:
        text += " Tiles, in which objects are larger, help further."
    return text


def positives_per_object(
    dataset: Dataset, model: AnchorDetector, images: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """How many anchors the model's own matcher gives to each object.

    A matcher that looks at predictions gets those of an untrained model: all scores are equal, and
    every anchor predicts its own box.

    Args:
        dataset: `Dataset`.
        model: the detector.
        images: indices of images.

    Returns:
        `(objects,)` int64, rows of the data set (without crowd), and `(objects,)` int64, the number
        of positive anchors of each.
    """
    boxes = input_boxes(dataset, model.image_size, model.resize_policy["mode"])
    splits = dataset.row_splits
    rows_of = [np.arange(splits[i], splits[i + 1]) for i in images]
    rows_of = [rows[~dataset.crowd[rows]][:MAX_SLOTS] for rows in rows_of]
    # Images with similar numbers of objects share a chunk: it has as many slots as the largest.
    rows_of = sorted((rows for rows in rows_of if len(rows)), key=len)
    counts = [
        _positives_of_chunk(rows_of[i : i + CHUNK], boxes, model)
        for i in range(0, len(rows_of), CHUNK)
    ]
    empty = [np.zeros(0, np.int64)]
    return np.concatenate([*rows_of, *empty]), np.concatenate([*counts, *empty])


def _positives_of_chunk(
    rows_of: Sequence[np.ndarray], boxes: np.ndarray, model: AnchorDetector
) -> np.ndarray:
    import keras

    slots = len(rows_of[-1])
    padded = np.zeros((len(rows_of), slots, 4), np.float32)
    # The slot takes the place of the label, so that the class targets say whose an anchor is.
    numbers = np.full((len(rows_of), slots), PADDING_LABEL, np.int32)
    for i, rows in enumerate(rows_of):
        padded[i, : len(rows)] = boxes[rows]
        numbers[i, : len(rows)] = np.arange(len(rows))
    given = {}
    if getattr(model.matcher, "needs_predictions", False):
        shape = (len(rows_of), len(model.anchors))
        given["raw"] = {
            "class_logits": np.zeros((*shape, 1), np.float32),
            "box_deltas": np.zeros((*shape, 4), np.float32),
        }
    matched = model.matcher.assign(
        model.anchors, padded, numbers, level_sizes=model.level_sizes, **given
    )
    owners = keras.ops.convert_to_numpy(matched["class_targets"])
    positive = keras.ops.convert_to_numpy(matched["positive_mask"])
    return np.concatenate(
        [
            np.bincount(owners[i][positive[i]], minlength=len(rows))[: len(rows)]
            for i, rows in enumerate(rows_of)
        ]
    )


def _unmatched(dataset: Dataset, model: AnchorDetector, quick: bool) -> list[Finding]:
    """Objects to which the matcher gives no anchor: they are learned as background."""
    limit = QUICK_IMAGES if quick else MAX_IMAGES
    images = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int))
    rows, positives = positives_per_object(dataset, model, images.tolist())
    without = np.flatnonzero(positives == 0)
    if not len(without):
        return []
    share, shown = len(without) / len(rows), rows[without]
    image_of = image_of_objects(dataset)
    first = np.unique(image_of[shown])[:8]
    per_object = float(positives.mean())
    finding = Finding(
        "objects-without-anchor",
        "error" if share > 0.99 else _harm(share, LOST_WARNING),
        f"Training assigns no anchor to {len(without)} of {counted(len(rows), 'object')}, so they "
        f"are learned as background (on average an object gets {per_object:.1f} anchors).",
        "Check whether objects are annotated twice or are smaller than a cell of the finest "
        "level. A larger image size, min_level=2 (--min-level 2) or smaller anchors give small "
        "objects that are close together anchors of their own.",
        len(without),
        len(rows),
        examples=tuple(_example(dataset, row, int(image_of[row])) for row in shown[:5]),
        images=tuple(int(i) for i in first),
        boxes=tuple(dataset.boxes[shown[image_of[shown] == i]] for i in first),
        facts={
            "positives_per_object": round(per_object, 3),
            "images_checked": len(images),
            "by_class": _by_class(dataset.class_names, dataset.labels[rows], positives == 0),
        },
        doc="anchors",
    )
    return [finding]


def _example(dataset: Dataset, row: int, image: int) -> str:
    x1, y1, x2, y2 = dataset.boxes[row]
    number = row - int(dataset.row_splits[image])
    name = dataset.class_names[dataset.labels[row]]
    return f"{dataset.image_paths[image]}, object {number}: {name}, {x2 - x1:.0f}x{y2 - y1:.0f}"


# ---- corners ----


@dataclass(frozen=True)
class CornerCells:
    """The cells of the heat maps in which the corners of the objects lie.

    Attributes:
        rows: `(objects,)`, rows of the data set, without crowd.
        top_left, bottom_right: `(objects,)` int64, numbers of cells; other images have others.
    """

    rows: np.ndarray
    top_left: np.ndarray
    bottom_right: np.ndarray

    @property
    def shared(self) -> np.ndarray:
        """Whether an object shares the cell of a corner with another one."""
        return _repeated(self.top_left) | _repeated(self.bottom_right)

    @property
    def single(self) -> np.ndarray:
        """Whether both corners of an object lie in one cell."""
        return self.top_left == self.bottom_right


def _repeated(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts > 1)[place.reshape(-1)]


def corner_cells(dataset: Dataset, model: Any) -> CornerCells:
    """The cells of both corners of every object, as `CornerTargets` finds them.

    Args:
        dataset: `Dataset`.
        model: a `CornerNet`.
    """
    rows = np.flatnonzero(~dataset.crowd)
    size = model.image_size
    boxes = input_boxes(dataset, size, model.resize_policy["mode"])[rows]
    top, left = model.padding.before(size)
    map_height, map_width = model.output["top_left_heatmaps"].shape[1:3]
    padded_height, padded_width = padded_size(size, model.padding.divisor)
    scale = np.array([map_width / padded_width, map_height / padded_height] * 2)
    points = np.floor((boxes + [left, top, left, top]) * scale + 1e-4).astype(np.int64)
    points = np.clip(points, 0, [map_width - 1, map_height - 1] * 2)
    first = image_of_objects(dataset)[rows] * (map_height * map_width)
    return CornerCells(
        rows,
        first + points[:, 1] * map_width + points[:, 0],
        first + points[:, 3] * map_width + points[:, 2],
    )


def _corners(dataset: Dataset, model: Any) -> list[Finding]:
    """CornerNet's own limit: one embedding and one offset for each cell."""
    cells = corner_cells(dataset, model)
    shared, single = cells.shared, cells.single
    objects, labels = len(cells.rows), dataset.labels[cells.rows]
    kinds = (
        (
            "corners-shared",
            shared,
            f"CornerNet cannot tell apart the corners of {int(shared.sum())} of "
            f"{counted(objects, 'object')}: they share a cell of its output ({model.stride} pixels "
            "of the input) with the corner of another object.",
        ),
        (
            "corners-in-one-cell",
            single,
            f"Both corners of {int(single.sum())} of {counted(objects, 'object')} lie in one cell "
            f"of CornerNet's output ({model.stride} pixels of the input): their boxes are "
            "imprecise.",
        ),
    )
    return [
        Finding(
            code,
            _harm(float(found.mean()), SHARED_WARNING),
            title,
            "Raise the image size (--image-size), or cut the images into tiles.",
            int(found.sum()),
            objects,
            facts={"by_class": _by_class(dataset.class_names, labels, found)},
            doc="anchors",
        )
        for code, found, title in kinds
        if found.mean() >= NOTE / 5
    ]
