"""The recipe of a run: every number that training needs, chosen from what is known before it."""

import dataclasses
import math
from typing import Any, Literal, TypeAlias

import keras

from keras_det.data.augment import get_augment
from keras_det.errors import DataError, suggest
from keras_det.models.detector import Detector
from keras_det.names import RECIPE_NAMES
from keras_det.training import recipes
from keras_det.types import Size
from keras_det.words import counted

# Which part of the model the trained weights have filled at the start of a run.
Trained: TypeAlias = Literal["nothing", "backbone", "detector"]

AUTO, ADAMW, PUBLISHED = RECIPE_NAMES
BATCH_SIZE, FEW_BATCH = 8, 4  # images per step; the second for fewer than 8 images
EPOCHS = 50  # of adamw and published
LEAST_STEPS = 1_500  # of auto: ten images still get as many
LEAST_PASSES = 12  # of auto: for large data sets
ROUNDS = 30  # epochs that auto aims at: AP can be measured after each
LONGER_FROM_RANDOM = 2  # times as many steps without trained weights
PATIENCE = 0.4  # of the epochs without a higher val_AP
AUGMENT = "ssj"
PLAIN = 0.1  # of the epochs, the last ones, without strong augmentation
# BCCD, Lite0 at 256 from ImageNet weights, 500 steps: AP 0.458 with Huber, 0.481 with GIoU.
BOX_LOSS = "giou"
MEASURED = 0.5  # images measured per trained image, at most
# What numbers may be: whether whole, the least one, and what they must be less than.
RANGES: dict[str, tuple[bool, float, float]] = {
    "batch_size": (True, 1, math.inf),
    "accumulate": (True, 1, math.inf),
    "epochs": (True, 1, math.inf),
    "learning_rate": (False, 0, math.inf),
    "backbone_rate": (False, 0, math.inf),
    "warmup_steps": (True, 0, math.inf),
    "average": (False, 0, 1),
    "heads_first": (True, 0, math.inf),
    "evaluate_every": (True, 1, math.inf),
    "patience": (True, 1, math.inf),
    "save_every": (True, 1, math.inf),
    "save_minutes": (False, 0, math.inf),
}
# Options that the optimizer of a paper has of its own.
OF_ADAMW = ("learning_rate", "backbone_rate", "average")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a run does. `choose_recipe` makes one; `recipe.json` stores it as `chosen`.

    Attributes:
        name: "auto", "adamw" or "published".
        batch_size: images per step.
        epochs: rounds of training, each followed by a saved state.
        passes: how often an epoch shows each training image.
        steps: steps of the whole training. A step computes the gradient of one batch.
        learning_rate: peak of the learning rate; None for "published".
        backbone_rate: factor of the learning rate for the backbone.
        warmup_steps: updates in which the rate rises; None for the model's own.
        average: decay of the moving average of the weights; None for the model's own.
        freeze: "none", "norm", "early", "backbone" or "neck", as `Detector.freeze` takes it.
        heads_first: epochs at the start in which only the heads learn.
        plain_epochs: epochs at the end without strong augmentation.
        evaluate_every: epochs between measurements.
        patience: training stops after this many epochs without a higher val_AP; None: never.
        anchors: "published", or "auto" for anchors fitted to the objects.
        calibrate: whether the scores are shifted so that 0.4 is the best threshold of each class.
        augment: name of the augmentation; None for a list of steps or an `Augment`.
        image_size: (height, width) of the model's input in pixels; None: the model's own.
        matcher, class_loss, box_loss: names that the constructors of detectors with anchors take;
            None: the model's own.
        accumulate: steps per update of the weights.
    """

    name: str
    batch_size: int
    epochs: int
    passes: int
    steps: int
    learning_rate: float | None
    backbone_rate: float
    warmup_steps: int | None
    average: float | None
    freeze: str
    heads_first: int
    plain_epochs: int
    evaluate_every: int
    patience: int | None
    anchors: str
    calibrate: bool
    augment: str | None = None
    image_size: Size | None = None
    matcher: str | None = None
    class_loss: str | None = None
    box_loss: str | None = None
    accumulate: int = 1

    def __str__(self) -> str:
        """The recipe in one line."""
        shown = "" if self.passes == 1 else f", each showing every image {self.passes} times"
        parts = [
            f"{counted(self.steps, 'step')} of {counted(self.batch_size, 'image')} in "
            f"{counted(self.epochs, 'epoch')}{shown}"
        ]
        if self.accumulate > 1:
            images = self.accumulate * self.batch_size
            parts.append(f"an update every {self.accumulate} steps ({images} images)")
        if self.learning_rate is not None:
            rate = f"learning rate {self.learning_rate:.2g}"
            what = "step" if self.accumulate == 1 else "update"
            if self.backbone_rate != 1:
                rate += f" (backbone {self.learning_rate * self.backbone_rate:.2g})"
            if self.warmup_steps:
                rate += f", {counted(self.warmup_steps, what)} of warm-up"
            parts.append(rate)
        if self.freeze != "none":
            parts.append(f"{FROZEN_IN_WORDS[self.freeze]} frozen")
        if self.heads_first:
            parts.append(f"only the heads in the first {_several(self.heads_first)}")
        if self.patience is not None:
            parts.append(f"stops after {counted(self.patience, 'epoch')} without a higher AP")
        if self.augment is not None:
            parts.append(f"augmentation {self.augment}")
        if self.plain_epochs:
            parts.append(f"last {_several(self.plain_epochs)} without strong augmentation")
        for field, value in self.assignment.items():
            parts.append(f"{ASSIGNMENT_IN_WORDS[field]} {value}")
        parts.append("scores calibrated" if self.calibrate else "scores not calibrated")
        return f"Recipe {self.name}: {'; '.join(parts)}."

    @property
    def assignment(self) -> dict[str, str]:
        """Arguments of the model's constructor: matcher and losses that are not its own."""
        values = {field: getattr(self, field) for field in ASSIGNMENT_IN_WORDS}
        return {field: value for field, value in values.items() if value is not None}

    def optimizer(self, model: Detector, epochs: int | None = None) -> keras.optimizers.Optimizer:
        """The optimizer of the whole training, or of a part of it.

        Args:
            model: the detector, with its layers frozen already.
            epochs: length of the part. None: the whole training.
        """
        steps = self.steps if epochs is None else self.steps * epochs // self.epochs
        warmup, accumulate = self.warmup_steps, self.accumulate
        if self.learning_rate is None:
            return recipes.published(model, self.batch_size, steps, warmup, accumulate)
        return recipes.adamw(
            model,
            self.batch_size,
            steps,
            self.learning_rate,
            warmup_steps=None if warmup is None else min(warmup, max(1, steps // accumulate // 4)),
            average=self.average,
            backbone_rate=self.backbone_rate,
            accumulate=accumulate,
        )


ASSIGNMENT_IN_WORDS = {
    "matcher": "matching",
    "class_loss": "class loss",
    "box_loss": "box loss",
}
FROZEN_IN_WORDS = {
    "norm": "batch norm of the backbone",
    "early": "backbone up to stride 4",
    "backbone": "backbone",
    "neck": "backbone and neck",
}


def choose_recipe(
    name: str,
    images: int,
    objects: int,
    trained: Trained = "nothing",
    validation_images: int = 0,
    strong: bool = False,
    rate: float = Detector.auto_rate,
    **given: Any,
) -> Recipe:
    """Chooses what is not given. A pure function: the same arguments give the same recipe.

    "auto" takes at least 1,500 steps, `1,500 * sqrt(images / 100)` above 100 images, twice as many
    from random weights, and at least 12 passes over the images. With a smaller batch than its own
    it takes more steps, so that the model sees the same number of images. Steps are grouped into
    about 30 epochs. If there are fewer objects than images, the number of objects counts instead.

    The learning rate follows the batch size, see `keras_det.optimizers.rate_for_batch`. The warm-up
    is a share of the training. For the same number of epochs, it covers the same number of images
    with every batch size.

    Args:
        name: "auto", "adamw" or "published".
        images, objects: of the training set.
        trained: what the trained weights fill: "nothing", "backbone" or "detector".
        validation_images: of the validation set; 0 without one.
        strong: True if the augmentation has strong steps, which "auto" leaves out at the end. For a
            list of steps, an `Augment` and "published"; other names are looked up here.
        rate: peak learning rate of "auto" at 8 images per step: the model's `auto_rate`.
        **given: fields of `Recipe` that the recipe must not choose; None counts as not given.
            `steps` and `passes` follow from `epochs`.

    Raises:
        DataError: there is no such recipe, or a field is given that the recipe or the augmentation
            cannot use.
    """
    given = {field: value for field, value in given.items() if value is not None}
    _check(name, given, validation_images)
    auto = name == AUTO
    usual = FEW_BATCH if auto and images < BATCH_SIZE else BATCH_SIZE
    batch, accumulate = given.get("batch_size", usual), given.get("accumulate", 1)
    per_pass, per_update = max(1, math.ceil(images / batch)), batch * accumulate
    epochs, passes = given.get("epochs", EPOCHS), 1
    if auto and "epochs" not in given:
        longer = accumulate * max(1.0, usual / per_update)
        epochs, passes = _length(images, objects, per_pass, trained, longer)
    augment = given.get("augment", AUGMENT)
    strong = strong or get_augment(augment).strong
    _check_plain(given.get("plain_epochs", 0), epochs, strong)
    _check_heads(given.get("heads_first", 0), epochs)
    steps = epochs * passes * per_pass
    updates = _updates(steps, accumulate, given.get("heads_first", 0), epochs)
    chosen: dict[str, Any] = {
        "batch_size": batch,
        "learning_rate": _peak_rate(name, per_update, trained, rate),
        # On 40 images of BCCD (ImageNet weights, 128 pixels, 240 steps) 0.3 gave half the AP of 1.
        "backbone_rate": 1.0,
        "warmup_steps": None if name == PUBLISHED else updates // 20,
        "average": None if name == PUBLISHED else recipes.average_momentum(updates),
        "freeze": "none",
        "heads_first": 0,
        "augment": augment,
        "plain_epochs": round(PLAIN * epochs) if auto and strong else 0,
        "evaluate_every": _every(validation_images, passes * images) if auto else 1,
        # The boxes of a trained detector are offsets from its own anchors.
        "anchors": "auto" if auto and trained != "detector" else "published",
        "calibrate": auto,
        "box_loss": BOX_LOSS if auto else None,
    }
    if auto and validation_images:
        every = given.get("evaluate_every", chosen["evaluate_every"])
        patience = max(10 * every, math.ceil(PATIENCE * epochs))
        chosen["patience"] = patience if patience < epochs else None
    chosen = {"patience": None, **chosen, **given}
    chosen |= {"epochs": epochs, "passes": passes, "steps": steps}
    return Recipe(name=name, **chosen)


def _length(
    images: int, objects: int, per_pass: int, trained: Trained, longer: float
) -> tuple[int, int]:
    """`(epochs, passes per epoch)` of "auto", with `longer` times the usual number of steps."""
    examples = max(100, min(images, objects))
    steps = longer * LEAST_STEPS * math.sqrt(examples / 100)
    if trained == "nothing":
        steps *= LONGER_FROM_RANDOM
    passes_in_all = max(LEAST_PASSES, math.ceil(steps / per_pass))
    passes = max(1, round(passes_in_all / ROUNDS))
    return math.ceil(passes_in_all / passes), passes


def _updates(steps: int, accumulate: int, heads: int, epochs: int) -> int:
    """Number of updates of the whole training; a DataError if a part of it has none."""
    parts = [steps * part // epochs for part in (heads, epochs - heads) if 0 < part < epochs]
    fewest = min(parts, default=steps)
    if accumulate > fewest > 0:
        raise DataError(
            "`accumulate` must be at most the number of steps of each part of the training, "
            f"{fewest}. Received: {accumulate}. Choose a smaller number, or more epochs."
        )
    return steps // accumulate


def _peak_rate(name: str, batch: int, trained: Trained, rate: float) -> float | None:
    if name == PUBLISHED:
        return None
    # What a whole detector has learned must not be overwritten.
    own = name == AUTO and trained != "detector"
    return recipes.peak_rate(batch, rate) if own else recipes.peak_rate(batch)


def _every(validation_images: int, images_per_epoch: int) -> int:
    return max(1, math.ceil(validation_images * MEASURED / max(images_per_epoch, 1)))


def _check(name: str, given: dict[str, Any], validation_images: int) -> None:
    if name not in RECIPE_NAMES:
        raise DataError(
            f"The recipe must be one of {', '.join(RECIPE_NAMES)}. Received: recipe={name!r}."
            f"{suggest(name, RECIPE_NAMES)} Choose auto for your own data."
        )
    check_numbers(given)
    for field in OF_ADAMW if name == PUBLISHED else ():
        if field in given:
            raise DataError(
                f"`{field}` is for the recipes auto and adamw: published has its own. Received: "
                f"recipe={name!r}, {field}={given[field]}. Leave it out, or choose auto."
            )
    for field in ("patience", "evaluate_every") if not validation_images else ():
        if field in given:
            raise DataError(
                f"`{field}` must be left out without a validation set: nothing is measured. "
                f"Received: {given[field]}. Leave it out, or give a validation set."
            )
    if given.get("heads_first", 0) and given.get("freeze", "none") != "none":
        raise DataError(
            "`heads_first` and `freeze` must not be used together. Received: "
            f"heads_first={given['heads_first']}, freeze={given['freeze']!r}. Leave out one of "
            "them."
        )


def check_numbers(given: dict[str, Any]) -> None:
    """Raises a DataError for a number of a recipe that is NaN, infinite or out of its range."""
    for field, (whole, least, below) in RANGES.items():
        value = given.get(field)
        if value is None:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        positive = field != "learning_rate" or number > 0
        if not (least <= number < below and positive and (not whole or number == int(number))):
            kind = "a whole number" if whole else "a number"
            if not whole and below == math.inf:
                kind = "a finite number"
            bounds = "above 0" if field == "learning_rate" else f"of at least {least:g}"
            limit = "" if below == math.inf else f" and below {below:g}"
            raise DataError(
                f"`{field}` must be {kind} {bounds}{limit}. Received: {field}={value!r}. Choose "
                "another value, or leave it out for the default."
            )


def _several(epochs: int) -> str:
    """For "the first …" and "the last …"."""
    return "epoch" if epochs == 1 else f"{epochs} epochs"


def _check_heads(heads: int, epochs: int) -> None:
    """Raises a DataError where the other layers would never learn."""
    if 0 < epochs <= heads:
        raise DataError(
            f"`heads_first` must be less than the number of epochs, {epochs}. Received: {heads}. "
            "Lower it, or train for more epochs. To train the heads alone, give freeze='neck' "
            "(--freeze neck)."
        )


def _check_plain(plain: int, epochs: int, strong: bool) -> None:
    """Raises a DataError for `plain_epochs` that are too many or change nothing."""
    if not 0 <= plain <= epochs:
        raise DataError(
            f"`plain_epochs` must lie in 0..{epochs}, the number of epochs. Received: {plain}. "
            "Choose fewer of them, or more epochs."
        )
    if plain and not strong:
        raise DataError(
            "`plain_epochs` is for an augmentation with mosaic, mixup, copy-paste or cutout: only "
            f"these are left out. Received: plain_epochs={plain} without one of them. Leave it "
            "out, or choose the augmentation strong."
        )
