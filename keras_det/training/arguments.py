"""Checks the arguments of a run, and collects those that are recorded."""

from typing import Any

import keras

from keras_det.data.dataset import Dataset
from keras_det.errors import DataError, suggest
from keras_det.models import AnchorDetector, Detector, model_class
from keras_det.models.fine_tuning import ANCHOR_ARGUMENTS
from keras_det.names import ANCHOR_CHOICES, MODEL_NAMES
from keras_det.training.recipe import AUTO, Trained
from keras_det.types import ImageSize


def given_anchors(model_arguments: dict[str, Any] | None) -> list[str]:
    """Which arguments of a model give its anchors, in alphabetical order."""
    return sorted(set(ANCHOR_ARGUMENTS).intersection(model_arguments or {}))


def refuse_empty(training_set: Dataset, validation_set: Dataset | None) -> None:
    """Raises a DataError for a data set without images."""
    for name, dataset in {"training_set": training_set, "validation_set": validation_set}.items():
        if dataset is not None and not len(dataset):
            leave = ", or give None to measure nothing" if name == "validation_set" else ""
            raise DataError(
                f"`{name}` must have images. Received: {dataset.summary} Choose another split of "
                f"the data set{leave}."
            )


def check_classes(model: Detector, training_set: Dataset, validation_set: Dataset | None) -> None:
    """Raises a ValueError where a data set has other classes than the model."""
    for dataset in (training_set, validation_set):
        if dataset is not None:
            model.check_dataset(dataset)


def frozen_before(model: str | Detector) -> str | None:
    """What the user's own detector has frozen; None for nothing, or for a model by name."""
    frozen = None if isinstance(model, str) else model.get_config().get("freeze")
    return None if frozen == "none" else frozen


def run_settings(
    model: str | Detector,
    training_set: Dataset,
    validation_set: Dataset | None,
    resize_mode: str | None,
    **given: Any,
) -> dict[str, Any]:
    """The settings of a run, for `recipe.json`."""
    # The user's own detector knows its resize mode.
    own = getattr(model, "resize_policy", {"mode": resize_mode or "letterbox"})
    return {
        "model": model if isinstance(model, str) else model.name,
        "resize_mode": own["mode"],
        **given,
        "class_names": list(training_set.class_names),
        "training_set": training_set.summary,
        "training_images": len(training_set),
        "training_objects": len(training_set.labels),
        "objects_per_class": training_set.class_counts,
        "validation_set": None if validation_set is None else validation_set.summary,
        "versions": {"keras": keras.__version__, "backend": keras.backend.backend()},
    }


def check_used(
    model: str | Detector,
    image_size: ImageSize | None,
    resize_mode: str | None,
    model_arguments: dict[str, Any] | None,
    anchors: str | None,
) -> None:
    """Raises a DataError for an argument that would have no effect."""
    for_names = {
        "image_size": image_size,
        "resize_mode": resize_mode,
        "model_arguments": model_arguments or None,
        "anchors": anchors,
    }
    for name, value in for_names.items():
        if value is not None and not isinstance(model, str):
            advice = (
                "To fit the anchors, give the model by name."
                if name == "anchors"
                else "Build the model with it."
            )
            raise DataError(
                f"`{name}` must be left out for a model that is built already. Received: "
                f"{name}={value!r} for {model.name}. {advice}"
            )
    fixed = given_anchors(model_arguments)
    if anchors == AUTO and fixed:
        raise DataError(
            "`anchors` must be left out if the anchors are given. Received: anchors='auto' with "
            f"{fixed[0]}={(model_arguments or {})[fixed[0]]!r}. Leave out one of them."
        )


def check_choices(anchors: Any, calibrate: Any, model: str | Detector) -> None:
    """Raises a DataError for a value that `anchors` or `calibrate` cannot have for this model."""
    if anchors not in (None, *ANCHOR_CHOICES):
        raise DataError(
            f"`anchors` must be one of {', '.join(ANCHOR_CHOICES)}. Received: {anchors!r}."
            f"{suggest(anchors, ANCHOR_CHOICES)} Leave it out for the recipe's choice."
        )
    kind = model_class(model) if isinstance(model, str) else type(model)
    if anchors == AUTO and not issubclass(kind, AnchorDetector):
        raise DataError(
            "`anchors` is for models with anchors. Received: anchors='auto' for "
            f"{model if isinstance(model, str) else model.name}. Leave it out."
        )
    if calibrate not in (None, True, False):
        raise DataError(
            f"`calibrate` must be True or False. Received: {calibrate!r}. Leave it out for the "
            "recipe's choice."
        )


def check_heads_first(model: str | Detector, heads_first: int | None, trained: Trained) -> None:
    """Raises a DataError if the heads would learn on top of random layers.

    Also refuses a detector of the user's own whose file does not say what is frozen: a run in the
    first phase could not be resumed.

    Args:
        model: as in `training.run.train`. What a model of the user's own has learned is unknown.
        heads_first: epochs in which only the heads learn.
        trained: what the weights to start from have filled.
    """
    if heads_first and isinstance(model, str) and trained != "detector":
        what = "random weights" if trained == "nothing" else "weights of the backbone only"
        raise DataError(
            "`heads_first` needs the weights of a whole detector: otherwise the heads learn on top "
            f"of layers with random weights. Received: heads_first={heads_first} with {what}. "
            "Leave it out, or give such weights (weights=, --weights)."
        )
    if heads_first and not isinstance(model, str) and "freeze" not in model.get_config():
        raise DataError(
            "`heads_first` needs a detector whose constructor has the argument `freeze`, so that "
            f"its file says what is frozen. Received: heads_first={heads_first} for {model.name}, "
            f"{type(model).__name__}. Add the argument, as in RetinaNet, or leave out heads_first."
        )


def usable_anchors(anchors: str | None, model: Detector, settings: dict[str, Any]) -> str | None:
    """What `anchors` means for this model: "published" where they cannot be fitted."""
    fits = isinstance(model, AnchorDetector)
    by_name = settings["model"] in MODEL_NAMES
    own = given_anchors(settings["model_arguments"])
    return anchors if fits and by_name and not own else "published"
