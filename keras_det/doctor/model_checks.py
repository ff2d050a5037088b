"""What only a detector can say about a data set: sizes, anchors, evaluator, cost, overfitting."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from keras_det.data.augment import MIN_VISIBLE_SIDE, Augment, get_augment
from keras_det.data.dataset import Dataset, image_of_objects
from keras_det.data.resize import Transform
from keras_det.data.vanishing import (
    SMALL_SIDE,
    find_vanishing,
    input_boxes,
    input_scales,
)
from keras_det.doctor.anchor_reach import check_reach
from keras_det.doctor.cost import check_cost
from keras_det.doctor.finding import Finding, Harm, ranked
from keras_det.doctor.overfit import check_overfit
from keras_det.metrics.coco import coco_metrics
from keras_det.models import Detector
from keras_det.training.input_size import build_for
from keras_det.training.quick_check import MAX_COUNTED, Remark, quick_findings
from keras_det.types import ImageSize
from keras_det.words import counted

Say: TypeAlias = Callable[[str], object]

# Images whose ground truth goes through the evaluator.
MAX_IMAGES, QUICK_IMAGES = 2_000, 300
GOAL_AP = 0.999
# Below these APs of exact boxes, a lower AP of a detector would not tell what is wrong, or hardly.
ERROR_AP, WARNING_AP = 0.95, 0.99
SHOWN = 8
# COCO counts 100 detections of each class in an image; a detector gives 100 of all classes.
OF_CROWDED = (
    "Cut crowded images into tiles. Where an image holds several classes, `keras-det evaluate "
    "--max-detections 300` helps, too: COCO counts 100 detections of each class in an image."
)


def check_model(
    dataset: Dataset,
    model: Detector | str,
    *,
    validation: Dataset | None = None,
    quick: bool = False,
    image_size: ImageSize | None = None,
    augment: str | Augment = "ssj",
    batch_size: int = 8,
    epochs: int | None = None,
    overfit: bool = False,
    say: Say | None = None,
) -> list[Finding]:
    """Checks a data set against a detector.

    Args:
        dataset: the training set.
        model: a detector, or a name from `keras_det.models.MODEL_NAMES`.
        validation: the data set to measure on, or None.
        quick: True reads no image and takes fewer objects; cost and overfitting are left out.
        image_size: int or (height, width), for a model given by name. Default: as
            `keras-det train --recipe auto` chooses it.
        augment: the augmentation of the training: a name of `AUGMENTS`, a list of steps or an
            `Augment`.
        batch_size, epochs: of the training, for its cost. Default: the number of steps that the
            recipe "auto" takes from trained weights.
        overfit: True also trains eight images for up to three minutes; see `check_overfit`.
        say: function that gets lines on what is being done. None: silence.

    Returns:
        Findings, the most harmful first.
    """
    say = say or (lambda line: None)
    built = _built(model, dataset, image_size)
    built.check_dataset(dataset)
    augment = get_augment(augment)
    findings = [
        _as_finding(remark, dataset, built)
        for remark in quick_findings(dataset, validation, built, augment)
        if remark.code not in ("anchors-unreached", "objects-small")  # said in more detail below
    ]
    if dataset.crowd.all():
        return ranked(findings)
    say(f"Comparing {counted(len(dataset), 'image')} with {built.name} …")
    findings += check_sizes(dataset, built, augment)
    findings += check_reach(dataset, built, quick=quick)
    for each in (dataset, validation):
        if each is not None and not each.crowd.all():
            findings += check_evaluator(each, built, quick=quick)
    if not quick:
        say("Measuring the time and memory of training steps …")
        findings += check_cost(dataset, built, augment, batch_size, epochs)
    if overfit:
        say("Overfitting eight images on purpose, up to three minutes …")
        findings += check_overfit(dataset, model, say=say)
    return ranked(_without_repeats(findings))


def _built(model: Detector | str, dataset: Dataset, image_size: ImageSize | None) -> Detector:
    if isinstance(model, str):
        return build_for(model, dataset, image_size)
    if image_size is not None:
        raise ValueError(
            "`image_size` must be left out for a model that is built already. Received: "
            f"image_size={image_size!r} for {model.name}. Give it to the model's constructor."
        )
    return model


def _as_finding(remark: Remark, dataset: Dataset, model: Detector) -> Finding:
    finding = Finding(
        remark.code,
        remark.harm,
        remark.title,
        remark.cure,
        remark.count,
        remark.total,
        doc="sizes",
    )
    if remark.code == "objects-vanish":
        return replace(finding, **_pictured(dataset, model, MIN_VISIBLE_SIDE))
    return finding


def _without_repeats(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of each code and title."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.code, finding.title), finding)
    return list(first.values())


def check_sizes(dataset: Dataset, model: Detector, augment: Augment) -> list[Finding]:
    """Objects that are small in the network's input, but do not vanish in great numbers."""
    found = find_vanishing(dataset, model.image_size, model.resize_policy["mode"], augment)
    height, width = model.image_size
    few = found.below_pixel + found.small
    if not few:
        return []
    return [
        Finding(
            "objects-small",
            "warning" if few > found.objects / 2 else "note",
            f"{few} of {counted(found.objects, 'object')} {'has' if few == 1 else 'have'} a side "
            f"below {SMALL_SIDE:g} pixels in an input of {height}x{width} ({found.below_pixel} "
            "below 1 pixel): such objects are hardly ever found.",
            "If they matter, raise the image size (--image-size), cut the images into tiles, or "
            "use a finer level, min_level=2 (--min-level 2), with a model that has anchors.",
            few,
            found.objects,
            facts={
                "below_pixel": found.below_pixel,
                "below_4_pixels": few,
                "share_lost_by_augmentation": round(found.share, 5),
            },
            doc="sizes",
            **_pictured(dataset, model, SMALL_SIDE),
        )
    ]


def _pictured(dataset: Dataset, model: Detector, limit: float) -> dict[str, Any]:
    """Examples, images and boxes of the objects whose shorter side is below `limit` pixels."""
    boxes = input_boxes(dataset, model.image_size, model.resize_policy["mode"])
    sides = boxes[:, 2:] - boxes[:, :2]
    small = np.flatnonzero((sides.min(axis=1) < limit) & ~dataset.crowd)
    image_of = image_of_objects(dataset)
    counts = np.bincount(image_of[small], minlength=len(dataset))
    images = np.argsort(-counts, kind="stable")[:SHOWN]
    images = images[counts[images] > 0]
    examples = [
        f"{dataset.image_paths[image_of[row]]}, object "
        f"{row - int(dataset.row_splits[image_of[row]])}: {sides[row, 0]:.1f}x{sides[row, 1]:.1f} "
        "pixels of the input"
        for row in small[:5]
    ]
    return {
        "examples": tuple(examples),
        "images": tuple(int(i) for i in images),
        "boxes": tuple(dataset.boxes[small[image_of[small] == i]] for i in images),
    }


# ---- the evaluator ----


def perfect_detections(
    dataset: Dataset, model: Detector, images: Sequence[int]
) -> list[dict[str, Any]]:
    """The ground truth as detections: to the network's input and back, as `detect` does it.

    Args:
        dataset: `Dataset`.
        model: the detector, for its resizing and its limit of detections.
        images: indices of images.

    Returns:
        One dict per image, as `coco_metrics` takes them. Every score is 1.
    """
    size, mode = model.image_size, model.resize_policy["mode"]
    scales = input_scales(dataset.image_sizes, size, mode)
    moved = input_boxes(dataset, size, mode).astype(np.float32)
    limits = np.array([size[1], size[0]] * 2, np.float32)
    detections = []
    for image in images:
        rows = np.arange(dataset.row_splits[image], dataset.row_splits[image + 1])
        rows = rows[~dataset.crowd[rows]][:MAX_COUNTED]
        found = {
            "boxes": np.clip(moved[rows], 0, limits)[None],
            "scores": np.ones((1, len(rows)), np.float32),
            "labels": dataset.labels[rows][None],
            "num_detections": np.array([len(rows)]),
        }
        back = Transform(*scales[image].tolist()).inverse()
        result = model.to_original(0, found, back, tuple(dataset.image_sizes[image].tolist()))
        detections.append({name: result[name] for name in ("boxes", "scores", "labels")})
    return detections


def check_evaluator(dataset: Dataset, model: Detector, *, quick: bool = False) -> list[Finding]:
    """Measures the ground truth itself: a perfect detector must reach AP 1.

    Args:
        dataset: `Dataset` with at least one object that is no crowd.
        model: the detector.
        quick: True takes fewer images.
    """
    limit = min(QUICK_IMAGES if quick else MAX_IMAGES, len(dataset))
    images = np.unique(np.linspace(0, len(dataset) - 1, limit).astype(int)).tolist()
    truth = dataset.ground_truth(images)
    if not any((~row["crowd"]).any() for row in truth):
        return []
    metrics = coco_metrics(truth, perfect_detections(dataset, model, images), model.class_names)
    if metrics["AP"] >= GOAL_AP:
        return []
    low = {k: v for k, v in metrics["AP_per_class"].items() if v < GOAL_AP}
    why, crowded = _why_below(dataset, model, images)
    return [
        Finding(
            "evaluator-below-1",
            _harm_below(metrics["AP"]),
            f"A detector that finds every object exactly would score AP {metrics['AP']:.3f} on "
            f"{dataset.split or dataset.name}, not 1, because of {why}.",
            (OF_CROWDED if crowded else "Correct the boxes.")
            + " Until then, AP cannot reach 1 and understates the model.",
            len(low),
            len(model.class_names),
            facts={"AP": metrics["AP"], "AP_per_class": low, "images": len(images)},
            doc="sizes",
        )
    ]


def _harm_below(score: float) -> Harm:
    """How much it harms that exact boxes score this AP and not 1."""
    return "error" if score < ERROR_AP else "warning" if score < WARNING_AP else "note"


def _why_below(dataset: Dataset, model: Detector, images: Sequence[int]) -> tuple[str, int]:
    """The reasons why exact boxes do not score 1, with their counts; number of crowded images."""
    size, mode = model.image_size, model.resize_policy["mode"]
    rows = np.flatnonzero(~dataset.crowd & np.isin(image_of_objects(dataset), images))
    image_of, boxes = image_of_objects(dataset)[rows], dataset.boxes[rows]
    limits = np.tile(dataset.image_sizes[image_of][:, ::-1], (1, 2))
    outside = ((boxes < -0.5) | (boxes > limits + 0.5)).any(axis=1)
    moved = input_boxes(dataset, size, mode)[rows]
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    tiny = ~flat & ((moved[:, 2:] - moved[:, :2]) < MIN_VISIBLE_SIDE).any(axis=1)
    crowded = np.bincount(image_of, minlength=len(dataset)) > MAX_COUNTED
    huge = dataset.area[rows] > 1e10
    reasons = [
        (crowded.sum(), f"images with more than {MAX_COUNTED} objects, of which a detector gives "
         f"{MAX_COUNTED}"),
        (outside.sum(), "objects that extend beyond their image and are clipped"),
        (flat.sum(), "objects with zero area"),
        (huge.sum(), "objects with an area above 1e10 square pixels, which COCO ignores"),
        (tiny.sum(), "objects smaller than 1 pixel in the network's input"),
    ]  # fmt: skip
    found = [f"{what} ({count})" for count, what in reasons if count]
    why = "; ".join(found) or "objects that overlap crowd regions or each other"
    return why, int(crowded.sum())
