"""A whole training run, from two data sets to a run folder."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_det.data.augment import Augment
from keras_det.data.augmenting.step import Step
from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.errors import DataError
from keras_det.files import plain, write_json, write_whole
from keras_det.models import AnchorDetector, Detector, build_model, load_model
from keras_det.names import MODEL_NAMES
from keras_det.training.callbacks import (
    EpochSeeds,
    EvaluateAP,
    History,
    Progress,
    SaveBest,
    SaveState,
    StopOnNaN,
    clock,
    read_history,
)
from keras_det.training.choosing import chooser, given_parts, own_parts, refuse_wrong
from keras_det.training.early_stop import StopWithoutGain
from keras_det.training.finishing import finish
from keras_det.training.input_size import fitted_input
from keras_det.training.phases import begin_phase, phases, plain_end, with_fitted_anchors
from keras_det.training.quick_check import say_findings
from keras_det.training.recipe import AUTO, Recipe
from keras_det.training.resuming import chosen_before, state_of
from keras_det.training.starting import check_frozen, take_weights, taken_before, trained_by
from keras_det.types import AugmentName, ImageSize
from keras_det.words import counted, printable, printing

Say: TypeAlias = Callable[[str], object]
# Fields of the recipe that `recipe.json` also stores outside `chosen`.
KEPT = ("epochs", "batch_size", "learning_rate", "image_size")
# Arguments of a model that give its anchors.
OF_ANCHORS = {"anchor_scale", "aspect_ratios", "num_octaves", "anchor_generator"}


def train(
    model: str | Detector,
    training_set: Dataset,
    validation_set: Dataset | None,
    out: str | os.PathLike,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: ImageSize | None = None,
    resize_mode: str | None = None,
    augment: AugmentName | str | Augment | Sequence[Step] | None = None,
    recipe: str = AUTO,
    learning_rate: float | None = None,
    backbone_rate: float | None = None,
    warmup_steps: int | None = None,
    average: float | None = None,
    heads_first: int | None = None,
    plain_epochs: int | None = None,
    patience: int | None = None,
    calibrate: bool | None = None,
    anchors: str | None = None,
    weights: str | os.PathLike | None = None,
    model_arguments: dict[str, Any] | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    max_boxes: int = 100,
    data: dict[str, Any] | None = None,
    resume: bool = False,
    say: Say = print,
) -> dict[str, Any]:
    """Trains a detector and fills a run folder.

    The folder gets `best.keras` (highest `val_AP` so far), `last.keras` (averaged weights),
    `checkpoints/` (the state that `resume` continues from), `history.csv`, `recipe.json`,
    `class_names.txt`, `metrics.json` (of `last.keras` on the validation set) and `pictures/`.

    Args:
        model: a name from `keras_det.models.MODEL_NAMES`, or a detector of your own.
        training_set, validation_set: `keras_det.data.Dataset`. The second may be None: then nothing
            is measured and there is no `best.keras`.
        out: the run folder. It must be new or empty unless `resume` is True.
        epochs: passes over the training set. Default: chosen by "auto", else 50.
        batch_size: images per step. Default: 8; 4 for "auto" with fewer than 8 images.
        image_size: int or (height, width), for a model given by name. Default: the published
            size. "auto" gives models with anchors the shape of the images, with no more pixels; see
            `keras_det.training.input_size.fit_input_size`.
        resize_mode: "letterbox", "stretch" or "mediapipe", for a model given by name. None:
            "letterbox".
        augment: "none", "light", "published", "strong", "flip", "ssj" or "lsj", a list of steps
            or an `Augment`; see `Pipeline`. Default: "ssj".
        recipe: "auto" chooses what is not given from the number of images and objects, the shape of
            the images and the trained weights, see `keras_det.training.recipe.choose_recipe`;
            "adamw" is 50 epochs of AdamW; "published" is for a long training from ImageNet weights.
        learning_rate: peak rate of "auto" and "adamw". Default: depends on the batch size.
        backbone_rate: factor of the learning rate for the backbone, not for "published".
        warmup_steps: steps in which the learning rate rises.
        average: decay of the moving average of the weights, not for "published".
        heads_first: epochs at the start in which only the heads learn.
        plain_epochs: epochs at the end without mosaic, mixup, copy-paste and cutout, at most all
            epochs. For an augmentation with one of these. Default: a tenth of the epochs for
            "auto", else 0.
        patience: training stops after this many epochs without a higher `val_AP`. Default: chosen
            by "auto", else it never stops early.
        calibrate: True shifts the scores of each class so that 0.4 is its best threshold; see
            `keras_det.training.calibration.calibrate`. Default: True for "auto".
        anchors: "published", or "auto" for anchors fitted to the objects. For a model with anchors
            given by name. Default: chosen by "auto", else "published".
        weights: None for random weights; "auto" for the best public weights available: COCO's for
            the whole detector, else ImageNet's for the backbone, else random weights, and `say`
            gets one line about it; "imagenet", "coco", or the path of a `.keras` file, a
            `.weights.h5` file or a public checkpoint of the same model. Classes of the same name
            keep their predictions. A classifier's file fills the backbone. `recipe.json` records
            the choice as `weights_taken`. The default of `keras-det train` is "auto". That of this
            function is None, so that a script trains in the same way on every computer.
        model_arguments: further arguments of a model given by name, such as `{"neck": "pafpn"}`.
        seed: seed of the random weights, the order of the images and the augmentation.
        evaluate_every: epochs between evaluations on the validation set. Default: 1; "auto" chooses
            more if the validation set is large.
        max_boxes: maximum number of objects per image in training; the largest are kept. A higher
            number needs more memory.
        data: how the data sets were read, recorded in `recipe.json`.
        resume: True continues from the last finished epoch. For a finished run it only evaluates
            and draws pictures again.
        say: function that gets the lines of text to show.

    Returns:
        COCO's metrics of `last.keras` on the validation set, with its highest score and the best
        threshold of each class; `{}` without a validation set.

    Raises:
        DataError: wrong input. Nothing is written then.
    """
    out, options, say = pathlib.Path(out), model_arguments or {}, printing(say)
    own = own_parts(model, options)
    free = recipe == AUTO and not resume and image_size is None and "image_size" not in options
    fitted = fitted_input(model, training_set) if free else None
    size = image_size if fitted is None else fitted.size
    given = {
        **{"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        **{"backbone_rate": backbone_rate, "warmup_steps": warmup_steps, "average": average},
        **{"heads_first": heads_first, "patience": patience, "calibrate": calibrate},
        **{"evaluate_every": evaluate_every, "anchors": anchors, "plain_epochs": plain_epochs},
        **given_parts(model, options, own),
        "freeze": options.get("freeze", _frozen_before(model)),
        "image_size": None if size is None else np.broadcast_to(size, 2).tolist(),
    }
    _check_used(model, image_size, resize_mode, options, anchors)
    noted: dict[str, Any] = {
        "augment": augment if augment is None else str(augment),
        **{"recipe": recipe, "max_boxes": max_boxes, "seed": seed},
        **{name: plain(given[name]) for name in KEPT},
        "weights": None if weights is None else str(weights),
        **{"resize_mode": resize_mode, "model_arguments": options, "data": data or {}},
    }
    settings = _settings(model, training_set, validation_set, **noted)
    choose = chooser(recipe, model, training_set, validation_set, augment, own)
    early = refuse_wrong(choose, given)
    if not resume:
        check_frozen(options, weights)
    state, epochs_done = state_of(out, settings, resume)
    chosen = chosen_before(out, given) if resume else None
    keras.utils.set_random_seed(seed)
    model, settings["weights_taken"] = _model_to_train(
        model, state, weights, settings, chosen or early, out, say
    )
    _check_classes(model, training_set, validation_set)
    if chosen is None:
        trained = trained_by(model, settings["weights_taken"])
        chosen = choose(trained, **{**given, "anchors": _anchors(anchors, model, settings)})
    model, lines = _with_anchors(model, chosen, training_set, settings, state)
    lines[1:1] = [] if fitted is None else [str(fitted)]  # the anchors fit this input
    stream: dict[str, Any] = dict(seed=seed, training=True, max_boxes=max_boxes)
    stream |= {"augment": chosen.augment or augment, **plain_end(chosen)}
    pipeline = Pipeline(training_set, model, chosen.batch_size, **stream)
    if state is None:
        say_findings(pipeline, validation_set, model, say)
    _write_settings(out, settings)
    _announce(model, pipeline, chosen, lines, say)
    _fit(model, pipeline, validation_set, out, chosen, epochs_done, say)
    return finish(model, validation_set, out, chosen.batch_size, say, chosen.calibrate)


def _check_classes(model: Detector, training_set: Dataset, validation_set: Dataset | None) -> None:
    """Raises a ValueError where a data set has other classes than the model."""
    for dataset in (training_set, validation_set):
        if dataset is not None:
            model.check_dataset(dataset)


def _frozen_before(model: str | Detector) -> str | None:
    """What the user's own detector has frozen; None for nothing, or for a model by name."""
    frozen = None if isinstance(model, str) else model.get_config().get("freeze")
    return None if frozen == "none" else frozen


def _with_anchors(
    model: Detector,
    chosen: Recipe,
    training_set: Dataset,
    settings: dict[str, Any],
    state: pathlib.Path | None,
) -> tuple[Detector, list[str]]:
    """The model with the recipe's anchors, and lines about recipe and anchors; fills `settings`."""
    settings |= {name: plain(getattr(chosen, name)) for name in KEPT}
    if chosen.augment is not None:
        settings["augment"] = chosen.augment
    settings["chosen"] = dataclasses.asdict(chosen)
    lines = [str(chosen)]
    if state is None and chosen.anchors == AUTO:
        model, fitted = with_fitted_anchors(model, training_set)
        settings["anchors_fitted"] = fitted.arguments
        lines.append(str(fitted))
    return model, lines


def _write_settings(out: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes `recipe.json` and `class_names.txt`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "recipe.json", settings)
    names = "".join(f"{printable(name)}\n" for name in settings["class_names"])
    write_whole(out / "class_names.txt", names.encode())


def _announce(
    model: Detector, pipeline: Pipeline, chosen: Recipe, lines: list[str], say: Say
) -> None:
    """Says what is trained, on how many images and for how long."""
    for line in lines:
        say(line)
    height, width = model.image_size
    say(
        f"{model.name} at {height}x{width}, {len(pipeline.dataset)} images, "
        f"{counted(chosen.epochs, 'epoch')} of "
        f"{counted(chosen.passes * pipeline.steps_per_epoch, 'step')}. "
        "The first step compiles the model."
    )


def _settings(
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


def _check_used(
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
            raise DataError(
                f"`{name}` must be left out for a model that is built already. Received: "
                f"{name}={value!r} for {model.name}. Give it to the model's constructor."
            )
    fixed = sorted(OF_ANCHORS & set(model_arguments or {}))
    if anchors == AUTO and fixed:
        raise DataError(
            "`anchors` must be left out if the anchors are given. Received: anchors='auto' with "
            f"{fixed[0]}={(model_arguments or {})[fixed[0]]!r}. Leave out one of them."
        )


def _anchors(anchors: str | None, model: Detector, settings: dict[str, Any]) -> str | None:
    """What `anchors` means for this model: "published" where they cannot be fitted."""
    fits = isinstance(model, AnchorDetector)
    if anchors == AUTO and not fits:
        raise DataError(
            f"`anchors` is for models with anchors. Received: anchors='auto' for {model.name}. "
            "Leave it out."
        )
    by_name = settings["model"] in MODEL_NAMES
    own = OF_ANCHORS & set(settings["model_arguments"])
    return anchors if fits and by_name and not own else "published"


def _model_to_train(
    model: str | Detector,
    state: pathlib.Path | None,
    weights: str | os.PathLike | None,
    settings: dict[str, Any],
    recipe: Recipe,
    out: pathlib.Path,
    say: Say,
) -> tuple[Detector, dict[str, Any] | None]:
    """The model of the newest state, or the named or given one, and what its weights are."""
    if state is not None:
        return load_model(state), taken_before(out)
    if isinstance(model, str):
        arguments = {name: settings[name] for name in ("resize_mode", "class_names")}
        arguments |= {"image_size": recipe.image_size, **recipe.assignment}
        arguments |= settings["model_arguments"]
        model = build_model(model, **{k: v for k, v in arguments.items() if v is not None})
    return model, take_weights(model, weights, settings["model_arguments"], say)


def _fit(
    model: Detector,
    pipeline: Pipeline,
    validation_set: Dataset | None,
    out: pathlib.Path,
    chosen: Recipe,
    epochs_done: int,
    say: Say,
) -> None:
    """Trains what is left: the heads alone where the recipe says so, then all."""
    rows = read_history(out / "history.csv") if epochs_done else []
    stop = StopWithoutGain(chosen.patience or chosen.epochs + 1, rows)
    if epochs_done >= chosen.epochs or stop.exhausted:
        say(f"The run is already finished: it has trained for {counted(epochs_done, 'epoch')}.")
        return
    callbacks, started = [StopOnNaN(), EpochSeeds(pipeline.seed)], time.monotonic()
    if validation_set is not None:
        callbacks += [
            EvaluateAP(validation_set, pipeline.batch_size, chosen.evaluate_every),
            SaveBest(out / "best.keras", best=_best_so_far(out)),
            stop,
        ]
    callbacks += [
        History(out / "history.csv"),
        # After `History`: a run interrupted between them trains that epoch again, and its row is
        # replaced.
        SaveState(out / "checkpoints"),
        Progress(),
    ]
    try:
        for first, last in phases(chosen):
            if epochs_done >= last or stop.exhausted:
                continue
            if epochs_done == first:
                begin_phase(model, chosen, first, last)
            model.fit(
                pipeline,
                initial_epoch=epochs_done,
                epochs=last,
                steps_per_epoch=chosen.passes * pipeline.steps_per_epoch,
                verbose=0,
                callbacks=callbacks,
            )
            epochs_done = last
    except KeyboardInterrupt:
        say(f"\nInterrupted. Continue with --resume --out {out}")
        raise
    if stop.exhausted:
        say(f"Stopped: val_AP has not risen for {counted(stop.waited, 'epoch')}.")
    say(f"Trained for {clock(time.monotonic() - started)}.")


def _best_so_far(out: pathlib.Path) -> float:
    """The highest val_AP of a model that has learned, in the history of a resumed run."""
    rows = read_history(out / "history.csv")
    values = [
        float(row["val_AP"])
        for row in rows
        if row.get("val_AP") and float(row.get("val_learned") or 1.0)
    ]
    return max(values, default=-np.inf) if (out / "best.keras").exists() else -np.inf
