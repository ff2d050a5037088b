"""Checks the data of a training before the first step, without decoding an image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keras_det.data.augment import AUGMENTS, Augment, get_augment
from keras_det.data.copies import find_copies
from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.data.vanishing import (
    MAX_LOST,
    NO_OBJECTS,
    NO_OBJECTS_CURE,
    SMALL_SIDE,
    find_vanishing,
    shown_boxes,
)
from keras_det.errors import DataError
from keras_det.models import AnchorDetector, Detector
from keras_det.training.anchor_overlaps import anchor_levels, best_overlaps
from keras_det.words import counted

MAX_REMARKS = 5
# Objects that are compared with the anchors; of larger data sets, an evenly spread sample.
MAX_OBJECTS = 20_000
# A larger share of such objects is reported: no anchor overlaps them enough, or they are small.
MOST = 0.5
# COCO counts the best 100 detections of a class in an image, and detectors give 100 in all.
MAX_COUNTED = 100
FEW_IMAGES = 0.05  # share of the images
NAMED = 5  # names in a message


# What to do about anchors that do not fit: fitted already, and not yet.
LARGER = "A larger input (--image-size), or --min-level 2 for small objects, has anchors that fit."
FIT = (
    "`--anchors auto` fits the anchors to the objects; `keras-det doctor --model` shows "
    "which objects do not fit."
)


@dataclass(frozen=True)
class Remark:
    """One finding: a fixed short name, how bad it is, what was found, and what to do."""

    code: str
    harm: Literal["error", "warning", "note"]
    title: str
    cure: str
    count: int = 1
    total: int = 0

    @property
    def line(self) -> str:
        """One line to print."""
        return f"{self.harm.capitalize()}: {self.title} {self.cure}"


def quick_findings(
    training_set: Dataset,
    validation_set: Dataset | None,
    model: Detector,
    augment: str | Augment | None = None,
    fitted: bool = False,
) -> list[Remark]:
    """Checks the data of a training against the model, without reading a pixel.

    Args:
        training_set, validation_set: `Dataset`. The second may be None.
        model: the detector: its input size, resizing and anchors.
        augment: the augmentation of the training.
        fitted: bool, whether the model's anchors have been fitted to the objects.

    Returns:
        The worst first, at most five; an empty list if nothing is wrong.
    """
    remarks = [*_of_targets(training_set, model, get_augment(augment))]
    if not training_set.crowd.all():
        remarks += _of_anchors(training_set, model, get_augment(augment), fitted)
        remarks += _of_classes(training_set, validation_set)
    if validation_set is not None:
        remarks += _of_measuring(validation_set)
        remarks += _of_copies(training_set, validation_set)
    harms = ("error", "warning", "note")
    return sorted(remarks, key=lambda remark: harms.index(remark.harm))[:MAX_REMARKS]


def say_findings(
    pipeline: Pipeline,
    validation_set: Dataset | None,
    model: Detector,
    say: Callable[[str], object],
    fitted: bool = False,
) -> None:
    """Prints the warnings and notes of `quick_findings`, and raises its first error.

    The pipeline does not print the same warnings again.

    Args:
        pipeline: of the training set.
        validation_set, model, fitted: as for `quick_findings`.
        say: function that gets one line for each finding.

    Raises:
        DataError: there is nothing to learn, or nothing to measure.
    """
    remarks = quick_findings(pipeline.dataset, validation_set, model, pipeline.augment, fitted)
    for remark in remarks:
        if remark.harm == "error":
            raise DataError(
                "The data must have objects to learn and to measure. Received: "
                f"{counted(len(pipeline.dataset), 'image')} with "
                f"{counted(len(pipeline.dataset.labels), 'object')} for training. {remark.title} "
                f"{remark.cure}"
            )
        say(remark.line)
    pipeline.warned = True


def _of_targets(dataset: Dataset, model: Detector, augment: Augment) -> Iterator[Remark]:
    """No objects at all, or objects that become too small."""
    found = find_vanishing(dataset, model.image_size, model.resize_policy["mode"], augment)
    if not found.objects:
        yield Remark("no-objects", "error", NO_OBJECTS, NO_OBJECTS_CURE)
    elif found.share > MAX_LOST:
        harm: Literal["error", "warning"] = "error" if found.share > 0.99 else "warning"
        count = round(found.lost)
        yield Remark("objects-vanish", harm, found.title, found.cure, count, found.objects)
    elif found.small + found.below_pixel > MOST * found.objects:
        height, width = model.image_size
        count = found.small + found.below_pixel
        yield Remark(
            "objects-small",
            "note",
            f"{count} of {counted(found.objects, 'object')} {'has' if count == 1 else 'have'} a "
            f"side below {SMALL_SIDE:g} pixels in an input of {height}x{width}: such objects are "
            "hardly ever found.",
            "A larger image size, tiles, or min_level=2 (--min-level 2) for models with anchors "
            "can help.",
            count,
            found.objects,
        )


def _of_anchors(
    dataset: Dataset, model: Detector, augment: Augment, fitted: bool
) -> Iterator[Remark]:
    """Objects that no anchor overlaps enough; `fitted`: the anchors are fitted to the objects."""
    threshold = getattr(getattr(model, "matcher", None), "matched_threshold", None)
    if not isinstance(model, AnchorDetector) or threshold is None:
        return
    boxes = objects_at_input(dataset, model, augment=augment)[0]
    overlaps = best_overlaps(boxes, anchor_levels(model.anchor_generator, model.image_size))
    share = float((overlaps < threshold).mean()) if len(overlaps) else 0.0
    if share > MOST:
        yield Remark(
            "anchors-unreached",
            "warning",
            f"{share:.0%} of the objects overlap no anchor with an IoU of {threshold:g} or more: "
            "each gets a single anchor, and is learned more slowly.",
            LARGER if fitted else FIT,
        )


def objects_at_input(
    dataset: Dataset,
    model: Detector,
    limit: int = MAX_OBJECTS,
    augment: Augment = AUGMENTS["none"],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in input pixels and labels of the objects without crowd, evenly thinned to `limit`.

    Args:
        dataset: `Dataset`.
        model: the detector that resizes.
        limit: largest number of objects.
        augment: the augmentation of the training; with `TileCrop`, tiles are the input.

    Returns:
        `(objects, 4)` float64 xyxy and `(objects,)` int32.
    """
    rows = np.flatnonzero(~dataset.crowd)
    if len(rows) > limit:
        rows = rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]
    boxes = shown_boxes(dataset, model.image_size, model.resize_policy["mode"], augment)
    return boxes[rows], dataset.labels[rows]


def objects_per_image(dataset: Dataset) -> np.ndarray:
    """Number of objects of every image, without crowd, int64 `(images,)`."""
    before: np.ndarray = np.concatenate([[0], np.cumsum(~dataset.crowd)])
    return np.diff(before[dataset.row_splits])


def _of_classes(training_set: Dataset, validation_set: Dataset | None) -> Iterator[Remark]:
    """Classes that cannot be learned, because the training set has no object of them."""
    counts = np.bincount(training_set.labels[~training_set.crowd], minlength=1)
    counts = np.pad(counts, (0, max(0, training_set.num_classes - len(counts))))
    missing = np.flatnonzero(counts == 0)
    measured = np.zeros(0, np.int64) if validation_set is None else np.unique(validation_set.labels)
    unlearned = [int(k) for k in missing if k in measured]
    if unlearned:
        yield Remark(
            "classes-not-trained",
            "warning",
            f"{_classes(training_set, unlearned)} in the validation set, but not in the training "
            f"set: {'its' if len(unlearned) == 1 else 'their'} AP stays 0.",
            "Add images of these classes to the training set, or leave the classes out "
            "(class_names=, --classes).",
            len(unlearned),
            training_set.num_classes,
        )
    rest = [int(k) for k in missing if k not in measured]
    if rest:
        yield Remark(
            "classes-without-objects",
            "note",
            f"{_classes(training_set, rest, 'without objects')}.",
            "This does no harm, but the model learns nothing about these classes. Leave them out "
            "(class_names=, --classes) if you do not need them.",
            len(rest),
            training_set.num_classes,
        )


def _classes(dataset: Dataset, labels: list[int], ending: str = "") -> str:
    """ "2 of 5 classes (cat, dog) are"; the verb is followed by `ending`."""
    names = [dataset.class_names[k] for k in labels[:NAMED]]
    more = ", …" if len(labels) > NAMED else ""
    verb = "is" if len(labels) == 1 else "are"
    text = (
        f"{len(labels)} of {counted(dataset.num_classes, 'class', 'classes')} "
        f"({', '.join(names)}{more}) {verb}"
    )
    return f"{text} {ending}" if ending else text


def _of_copies(training_set: Dataset, validation_set: Dataset) -> Iterator[Remark]:
    """Copies of training images in the validation set; `load_train_and_val` compares paths."""
    found = find_copies(training_set.image_paths, validation_set.image_paths)
    if not found.pairs:
        return
    count, total = len(found.pairs), len(validation_set)
    first, same = found.pairs[0]
    few = "" if found.all_compared else "At least "
    yield Remark(
        "images-in-two-splits",
        "warning",
        f"{few}{count} of {counted(total, 'validation image')} "
        f"{'is a copy' if count == 1 else 'are copies'} of training images (first: {first}, same "
        f"as {same}): AP will be too high.",
        "Keep each image in one of the two sets only. `keras-det doctor` names all of them.",
        count,
        total,
    )


def _of_measuring(validation_set: Dataset) -> Iterator[Remark]:
    """What makes average precision meaningless."""
    kept = ~validation_set.crowd
    if not kept.any():
        yield Remark(
            "no-validation-objects",
            "error",
            "The validation set has no object to find: average precision cannot be measured.",
            "Check the annotations, or train without it (--no-val).",
        )
        return
    counts = objects_per_image(validation_set)
    crowded = int((counts > MAX_COUNTED).sum())
    if crowded:
        yield Remark(
            "more-than-counted",
            "warning" if crowded > FEW_IMAGES * len(validation_set) else "note",
            f"More than {MAX_COUNTED} objects are in {crowded} of "
            f"{counted(len(validation_set), 'validation image')} (up to {int(counts.max())}): a "
            f"detector gives {MAX_COUNTED} detections, so average precision cannot reach 1.",
            "Cut these images into tiles.",
            crowded,
            len(validation_set),
        )
