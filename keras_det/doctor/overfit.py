"""Learning eight images by heart: what works end to end must reach AP50 0.9 on them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.data.vanishing import input_boxes
from keras_det.doctor.cost import device_memory
from keras_det.doctor.finding import Finding, Harm
from keras_det.errors import DataError
from keras_det.keras_private import all_layers
from keras_det.metrics.coco import coco_metrics
from keras_det.models import CornerNet, Detector, EfficientDet, build_model
from keras_det.optimizers import AdamW, WarmupThenDrops
from keras_det.profiling.operations import multiply_adds
from keras_det.training.progress import clock as as_clock
from keras_det.training.quick_check import objects_per_image
from keras_det.words import counted

GOAL = 0.9
IMAGES, SECONDS = 8, 180.0
SIZE, CORNER_SIZE = 256, 255
# Peak learning rates for a few hundred steps on one batch; higher than for a real training.
RATE, OTHER_RATE = 5e-3, 1e-3
WARMUP, DROP = 10, 200
# The moving statistics must follow the few steps, so they keep less of the past.
MOMENTUM = 0.9
FIRST_MEASURE, EVERY = 40, 20
# Images whose objects all have this side in the input are preferred, and at most so many objects.
LEAST_SIDE, MOST_OBJECTS = 10.0, 20
# After `FIRST_MEASURE` steps, a loss above this share of the first one has not fallen.
FALLEN = 0.8
# Multiply-adds of an image for which the time on two cores is enough. Larger models get smaller
# images on a CPU, down to `SMALLEST`.
AFFORDABLE, SMALLEST = 2e9, 128


@dataclass(frozen=True)
class Overfit:
    """How the eight images were learned.

    Attributes:
        ap50: AP50 on the images themselves, measured last.
        steps: training steps, each with all images.
        seconds: time with building and compiling.
        losses: the loss of every step.
        positives: positive anchors (CornerNet: objects) per image.
        perfect: AP50 that the ground truth itself scores.
        images: indices of the images.
        image_size: (height, width) of the input.
    """

    ap50: float
    steps: int
    seconds: float
    losses: tuple[float, ...]
    positives: float
    perfect: float
    images: tuple[int, ...]
    image_size: tuple[int, int]

    @property
    def stopped_by(self) -> str:
        """Why the goal was missed: "nan", "positives", "evaluator", "loss", "time"; "" if it was
        not."""
        if self.ap50 >= GOAL:
            return ""
        if self.losses and not np.isfinite(self.losses[-1]):
            return "nan"
        if self.positives < 0.5:
            return "positives"
        if self.perfect < 0.999:
            return "evaluator"
        if len(self.losses) >= FIRST_MEASURE and self.losses[-1] > FALLEN * self.losses[0]:
            return "loss"
        return "time"


def choose_images(dataset: Dataset, size: tuple[int, int], mode: str) -> list[int]:
    """Up to eight images that show as many classes as possible, with objects that are large enough.

    Args:
        dataset: `Dataset`.
        size: (height, width) of the network's input.
        mode: how images are resized.
    """
    boxes = input_boxes(dataset, size, mode)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    counts = objects_per_image(dataset)
    large = np.concatenate([[0], np.cumsum((sides >= LEAST_SIDE) & ~dataset.crowd)])
    share = np.diff(large[dataset.row_splits]) / np.maximum(counts, 1)
    crowds = np.diff(np.concatenate([[0], np.cumsum(dataset.crowd)])[dataset.row_splits])
    usable = np.flatnonzero(counts > 0)
    good = usable[(share[usable] == 1) & (counts[usable] <= MOST_OBJECTS) & (crowds[usable] == 0)]
    if len(good) < min(IMAGES, len(usable)):
        good = usable[np.argsort(-share[usable], kind="stable")][: 4 * IMAGES]
    chosen: list[int] = []
    shown: set[int] = set()
    labels = {int(i): set(_labels(dataset, int(i))) for i in good}
    while len(chosen) < min(IMAGES, len(good)):
        left = [i for i in labels if i not in chosen]
        best = max(left, key=lambda i: (len(labels[i] - shown), -counts[i]))
        if not labels[best] - shown:  # every class is shown: begin again
            shown = set()
            best = max(left, key=lambda i: (len(labels[i]), -counts[i]))
        chosen.append(best)
        shown |= labels[best]
    return chosen


def _labels(dataset: Dataset, image: int) -> list[int]:
    rows = dataset.rows(image)
    return dataset.labels[rows][~dataset.crowd[rows]].tolist()


def overfit(
    dataset: Dataset,
    model: Detector | str,
    *,
    image_size: int | None = None,
    seconds: float = SECONDS,
    say: Callable[[str], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Overfit:
    """Trains a copy of the model on eight images without augmentation, with its own losses.

    Args:
        dataset: `Dataset` with at least one object.
        model: a detector, which is not changed, or a name: then from random weights.
        image_size: side of the input. Default: 256, or the model's own where that is smaller; on a
            CPU less for large models.
        seconds: time after which it stops.
        say: function that gets a line at each measurement.
        clock: function that returns seconds.

    Raises:
        DataError: an image cannot be read.
    """
    started = clock()
    learner = _learner(dataset, model, image_size)
    images = choose_images(dataset, learner.image_size, learner.resize_policy["mode"])
    part = dataset.select(images)
    pixels, targets = next(iter(Pipeline(part, learner, len(part), training=False)))
    losses: list[float] = []
    ap50, positives, measured = 0.0, 0.0, 0
    while clock() - started < seconds and ap50 < GOAL:
        logs = learner.train_on_batch(pixels, targets, return_dict=True)
        positives = float(logs["positives_per_image"])
        losses.append(float(logs["loss"]))
        learner.reset_metrics()
        if not np.isfinite(losses[-1]):
            break
        if len(losses) >= FIRST_MEASURE and len(losses) % EVERY == 0:
            ap50 = _ap50(learner, part, pixels, targets)
            measured = len(losses)
            if say is not None:
                say(f"step {len(losses)}  loss {losses[-1]:.3f}  AP50 {ap50:.3f}")
    if losses and measured < len(losses) and np.isfinite(losses[-1]):
        ap50 = _ap50(learner, part, pixels, targets)
    return Overfit(
        ap50,
        len(losses),
        clock() - started,
        tuple(losses),
        positives,
        _perfect(part),
        tuple(images),
        learner.image_size,
    )


def _learner(dataset: Dataset, model: Detector | str, image_size: int | None) -> Detector:
    """A small copy of the model, compiled for a few hundred steps on one batch."""
    corners = model.startswith("cornernet") if isinstance(model, str) else _is_corner(model)
    size = image_size or (CORNER_SIZE if corners else SIZE)
    if image_size is None and not isinstance(model, str):
        size = min(size, *model.image_size)
    learner = _resized(dataset, model, size)
    smaller = size if image_size is not None else _affordable(learner, size)
    if smaller < size:
        learner = _resized(dataset, model, smaller - 1 if corners else smaller)
    for layer in all_layers(learner):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MOMENTUM)
    rate = RATE if isinstance(learner, EfficientDet) else OTHER_RATE
    schedule = WarmupThenDrops(rate, [DROP], WARMUP)
    learner.compile(AdamW(schedule, weight_decay=0.0, global_clipnorm=10.0))
    return learner


def _is_corner(model: Detector) -> bool:
    return isinstance(model, CornerNet)


def _resized(dataset: Dataset, model: Detector | str, size: int) -> Detector:
    """The model for square images of this side, without drop-connect."""
    if isinstance(model, str):
        still = {"drop_connect_rate": 0.0} if model.startswith("efficientdet") else {}
        names = list(dataset.class_names)
        return build_model(model, class_names=names, image_size=size, **still)
    still = {"drop_connect_rate": 0.0} if "drop_connect_rate" in model.get_config() else {}
    return model.with_changes(image_size=(size, size), **still)


def _affordable(learner: Detector, size: int) -> int:
    """The side at which steps are fast enough on a CPU, a multiple of 32; at most `size`."""
    if device_memory() is not None:
        return size
    cost = multiply_adds(learner)
    if cost <= AFFORDABLE:
        return size
    side = int(size * (AFFORDABLE / cost) ** 0.5) // 32 * 32
    return min(size, max(SMALLEST, side))


def _ap50(learner: Detector, part: Dataset, pixels: Any, targets: dict[str, Any]) -> float:
    """AP50 on the images themselves."""
    found = learner.detect_function()(pixels)
    arrays = {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}
    detections = [
        learner.to_original(
            i, arrays, targets["image_to_original"][i], part.image_sizes[index].tolist()
        )
        for i, index in enumerate(targets["image_index"])
    ]
    truth = part.ground_truth(targets["image_index"].tolist())
    return float(coco_metrics(truth, detections, part.class_names)["AP50"])


def _perfect(part: Dataset) -> float:
    """AP50 of the ground truth itself, at most 100 objects an image as detectors give."""
    truth = part.ground_truth()
    detections = [
        {
            "boxes": row["boxes"][~row["crowd"]][:100],
            "labels": row["labels"][~row["crowd"]][:100],
            "scores": np.ones(min(100, int((~row["crowd"]).sum()))),
        }
        for row in truth
    ]
    return float(coco_metrics(truth, detections, part.class_names)["AP50"])


def check_overfit(
    dataset: Dataset,
    model: Detector | str,
    *,
    image_size: int | None = None,
    seconds: float = SECONDS,
    say: Callable[[str], object] | None = None,
) -> list[Finding]:
    """Whether the model learns eight images by heart, else what stopped it.

    Args:
        dataset, model, image_size, seconds, say: as of `overfit`.
    """
    try:
        result = overfit(dataset, model, image_size=image_size, seconds=seconds, say=say)
    except DataError as error:
        return [
            Finding(
                "overfit-unreadable",
                "error",
                "The overfitting test failed: one of its eight images cannot be read.",
                str(error),
                doc="overfit",
            )
        ]
    return [finding_of(result)]


# What stopped it: the harm, what is so, and what to do.
REASONS: dict[str, tuple[Harm, str, str]] = {
    "": (
        "note",
        "data, targets, losses and evaluation work together.",
        "Nothing to do.",
    ),
    "nan": (
        "error",
        "the loss became NaN.",
        "Look at the boxes first (errors above). Then train with a lower learning rate, and with "
        "float32.",
    ),
    "positives": (
        "error",
        "no object is assigned an anchor, so there is nothing to learn.",
        "Look at the findings on anchors and on small objects.",
    ),
    "evaluator": (
        "error",
        "even perfect detections do not score AP 1 on these images.",
        "Look at the finding evaluator-below-1.",
    ),
    "loss": (
        "error",
        "the loss does not fall.",
        "Check that boxes and images belong together (keras-det data preview), and that no "
        "frozen layer has random weights.",
    ),
    "time": (
        "warning",
        "the loss falls, but there was not enough time.",
        "This does not prove a mistake: small objects, large models and slow machines need more "
        "time. Try a smaller model.",
    ),
}


def finding_of(result: Overfit) -> Finding:
    """Says how the eight images were learned."""
    harm, reason, cure = REASONS[result.stopped_by]
    height, width = result.image_size
    first = result.losses[0] if result.losses else float("nan")
    last = result.losses[-1] if result.losses else float("nan")
    learned = "is memorised" if not result.stopped_by else "is not memorised"
    number = len(result.images)
    learned = learned if number == 1 else learned.replace("is", "are", 1)
    code = "overfit-learned" if not result.stopped_by else f"overfit-{result.stopped_by}"
    return Finding(
        code,
        harm,
        f"{counted(number, 'image')} {learned} at {height}x{width}: AP50 {result.ap50:.2f} after "
        f"{counted(result.steps, 'step')} in {as_clock(result.seconds)} min, loss {first:.3g} to "
        f"{last:.3g}; {reason}",
        cure,
        images=result.images,
        facts={
            "AP50": result.ap50,
            "steps": result.steps,
            "seconds": result.seconds,
            "first_loss": first,
            "last_loss": last,
            "positives_per_image": result.positives,
            "AP50_of_ground_truth": result.perfect,
        },
        doc="overfit",
    )
