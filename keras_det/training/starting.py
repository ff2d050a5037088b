"""The weights that a run starts from: what is printed and recorded about them, what is refused."""

import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from keras_det.errors import DataError
from keras_det.files import file_digest, opening
from keras_det.models import Detector, build_model, model_class
from keras_det.models.fine_tuning import saved_anchors
from keras_det.models.public_weights import Start, start_from_best
from keras_det.run_folder import CURE, RECIPE, read_recipe
from keras_det.training.arguments import given_anchors
from keras_det.training.recipe import Recipe, Trained
from keras_det.weights.backbones.any_file import ONLY_BACKBONE

# Arguments that are not compared: training changes them, or they only fill the model with weights.
# And the types that are compared.
CHANGING = ("backbone_weights", "dtype", "freeze")
SIMPLE = (str, int, float)
AUTO, IMAGENET = "auto", "imagenet"
TAKEN = "weights_taken"  # key in recipe.json


def check_frozen(arguments: Mapping[str, Any], weights: str | os.PathLike | None) -> None:
    """Raises a DataError where frozen layers would keep random weights.

    Args:
        arguments: of the model, with `freeze` and `backbone_weights` where they are given.
        weights: as in `training.run.train`. With "auto", `take_weights` checks what was found.
    """
    frozen, given = arguments.get("freeze", "none"), weights or arguments.get("backbone_weights")
    if frozen == "none" or weights == AUTO:
        return
    if not given:
        raise DataError(
            f"Frozen layers must have trained weights. Received: freeze={frozen!r} without "
            "weights. Give weights to start from, or freeze nothing."
        )
    if frozen == "neck" and (weights == IMAGENET or weights is None):
        raise DataError(_only_backbone())


def _only_backbone() -> str:
    return (
        "Frozen layers must have trained weights. Received: freeze='neck' with weights for the "
        "backbone only. Freeze the backbone, or start from weights of a whole detector."
    )


def _check_found(frozen: str, start: Start) -> None:
    """The same for what "auto" found."""
    if frozen != "none" and start.kind == "random":
        raise DataError(
            f"Frozen layers must have trained weights. Received: freeze={frozen!r} with weights "
            f"that are {start.sentence}. Otherwise, freeze nothing."
        )
    if frozen == "neck" and start.kind == IMAGENET:
        raise DataError(_only_backbone())


def take_weights(
    model: Detector,
    weights: str | os.PathLike | None,
    arguments: Mapping[str, Any],
    say: Callable[[str], object],
) -> dict[str, Any] | None:
    """Fills a new model with the weights to start from, and says which.

    Args:
        model: the detector, with `backbone_weights` loaded where they were given.
        weights: as in `training.run.train`.
        arguments: of the model, as in `check_frozen`.
        say: function that gets the lines of text to show.

    Returns:
        For `recipe.json`: `weights` ("coco", "imagenet", "random" or the path), and `file` and
        `sha256` if there is a file. None if the user's own model keeps its weights.

    Raises:
        DataError: the weights do not fit or cannot be downloaded, or frozen layers would be random.
    """
    backbone = arguments.get("backbone_weights")
    if weights is None or (weights == AUTO and backbone is not None):
        if backbone is None:
            return None
        say(f"Weights: {backbone} (backbone only)\n{model.load_report}")
        return _noted("backbone", str(backbone))
    if weights == AUTO:
        start = start_from_best(model)
        _check_found(arguments.get("freeze", "none"), start)
        say(f"Weights: {start.sentence}")
        return _noted(start.kind, str(start.found.file) if start.found else None)
    report = model.start_from(weights)
    say(f"Weights: {weights}\n{report}")
    return _noted(str(weights), report.source or str(weights))


def model_to_train(
    model: str | Detector,
    state: Detector | None,
    weights: str | os.PathLike | None,
    settings: dict[str, Any],
    recipe: Recipe,
    given: Mapping[str, Any],
    out: pathlib.Path,
    say: Callable[[str], object],
) -> tuple[Detector, dict[str, Any] | None]:
    """The model of a state, or the named or given one, and what its weights are.

    A model by name that starts from a saved detector gets the anchors of that one, unless others
    are given: its boxes are offsets from them.

    Args:
        model, weights, say: as in `training.run.train`.
        state: the newest state of a run to resume, or None.
        settings: of the run, as for `recipe.json`.
        recipe: the recipe, as far as it is known.
        given: fields of the recipe that are given; None for the others.
        out: the run folder.

    Returns:
        The detector, and what `take_weights` returns.
    """
    if state is not None:
        check_arguments(settings["model_arguments"], state, out)
        return state, taken_before(out)
    if isinstance(model, str):
        arguments = {name: settings[name] for name in ("resize_mode", "class_names")}
        arguments |= {"image_size": recipe.image_size, **recipe.assignment}
        options = settings["model_arguments"]
        if given["anchors"] is None and not given_anchors(options):
            accepted = inspect.signature(model_class(model)).parameters
            own = {k: v for k, v in saved_anchors(weights).items() if k in accepted}
            arguments |= own
            if own:
                say(f"Anchors: those of {weights}, because its boxes were trained with them.")
        arguments |= options
        model = _built(model, {k: v for k, v in arguments.items() if v is not None}, out)
    return model, take_weights(model, weights, settings["model_arguments"], say)


def _built(name: str, arguments: dict[str, Any], out: pathlib.Path) -> Detector:
    """A new model; in a run to resume, its arguments are those of recipe.json."""
    if not os.path.lexists(out / RECIPE):
        return build_model(name, **arguments)
    with opening(out / RECIPE, f"The values of {RECIPE} must be arguments of the model", CURE):
        return build_model(name, **arguments)


def check_arguments(arguments: Mapping[str, Any], model: Detector, out: pathlib.Path) -> None:
    """Raises a DataError if the arguments in recipe.json differ from those of the saved model.

    Args:
        arguments: of the model, from the recipe.json of a run to resume.
        model: of the saved state.
        out: the run folder.
    """
    config, known = model.get_config(), inspect.signature(type(model)).parameters
    for name, value in arguments.items():
        if name in CHANGING or value is None:
            continue
        own = config.get(name)
        if name not in known or isinstance(own, SIMPLE) and own != value:
            has = f"the saved model has {own!r:.60}" if name in known else "the model lacks it"
            raise DataError(
                f"`model_arguments` of {RECIPE} must be those of the saved model. Received: "
                f"{name}={value!r:.60} in {out / RECIPE}, but {has}. {CURE}"
            )


def trained_by(model: Detector, taken: Mapping[str, Any] | None) -> Trained:
    """What the weights that a run starts from have filled.

    Args:
        model: the detector with these weights.
        taken: what `take_weights` returned. None: the model has kept its weights.
    """
    report = model.load_report
    if taken is None:
        return "backbone" if report is not None and report.loaded else "nothing"
    name = taken["weights"]
    if name == "random":
        return "nothing"
    only_backbone = report is not None and ONLY_BACKBONE in report.notes
    return "backbone" if name in (IMAGENET, "backbone") or only_backbone else "detector"


def _noted(weights: str, file: str | None) -> dict[str, Any]:
    if file is None or not os.path.isfile(file):
        return {"weights": weights}
    return {"weights": weights, "file": file, "sha256": file_digest(file)}


def taken_before(out: pathlib.Path) -> dict[str, Any] | None:
    """What a resumed run has started from, according to its recipe.json."""
    return read_recipe(out).get(TAKEN)
