"""A whole training run, from two data sets to a run folder."""

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.pipeline import Pipeline
from keras_det.errors import DataError, suggest
from keras_det.files import write_json, write_whole
from keras_det.metrics.coco import format_metrics
from keras_det.models import Detector, build_model, load_model
from keras_det.report.draw import draw_detections, draw_ground_truth, side_by_side
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
    save_averaged,
)
from keras_det.training.evaluate import evaluate
from keras_det.training.quick_check import say_findings
from keras_det.training.recipes import RECIPES
from keras_det.training.resuming import state_of
from keras_det.training.starting import check_frozen, take_weights, taken_before
from keras_det.types import AugmentName, ImageSize

Say: TypeAlias = Callable[[str], object]

MAX_PICTURES = 8
PICTURE_THRESHOLD = 0.3


def train(
    model: str | Detector,
    training_set: Dataset,
    validation_set: Dataset | None,
    out: str | os.PathLike,
    *,
    epochs: int = 50,
    batch_size: int = 8,
    image_size: ImageSize | None = None,
    resize_mode: str | None = None,
    augment: AugmentName | str = "ssj",
    recipe: str = "adamw",
    learning_rate: float | None = None,
    weights: str | os.PathLike | None = None,
    model_arguments: dict[str, Any] | None = None,
    seed: int = 0,
    evaluate_every: int = 1,
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
        epochs: passes over the training set.
        batch_size: images per step.
        image_size: int or (height, width), for a model given by name. Default: its published size.
        resize_mode: "letterbox", "stretch" or "mediapipe", for a model given by name. None:
            "letterbox".
        augment: "none", "flip", "ssj" or "lsj".
        recipe: "adamw" for your own data, "published" for a long training from ImageNet weights.
        learning_rate: peak rate of "adamw". Default: depends on the batch size.
        weights: None for random weights; "auto" for the best public ones that can be had: COCO's,
            else ImageNet's for the backbone, else random ones, and `say` gets one line about it;
            "imagenet", "coco", or the path of a `.keras` file, a `.weights.h5` file or a public
            checkpoint of the same model. Classes of the same name keep their predictions. A
            classifier's file fills the backbone. What was taken is noted in `recipe.json` as
            `weights_taken`. `keras-det train` passes "auto" where nothing is given; this function
            does not, so that a script trains the same everywhere.
        model_arguments: further arguments of a model given by name, such as `{"neck": "pafpn"}`.
        seed: seed of the random weights, the order of the images and the augmentation.
        evaluate_every: epochs between evaluations on the validation set.
        max_boxes: objects per image that are trained on; of more, the largest. More take memory.
        data: how the data sets were read, noted in `recipe.json`.
        resume: True continues from the last finished epoch. For a finished run it only evaluates
            and draws pictures again.
        say: function that gets the lines of text to show.

    Returns:
        COCO's metrics of `last.keras` on the validation set, `{}` without one.

    Raises:
        DataError: wrong input. Nothing is written then.
    """
    out = pathlib.Path(out)
    _check_used(model, image_size, resize_mode, model_arguments, validation_set, evaluate_every)
    settings = _settings(
        model,
        training_set,
        validation_set,
        model_arguments=model_arguments or {},
        image_size=image_size if image_size is None else list(np.broadcast_to(image_size, 2)),
        resize_mode=resize_mode,
        augment=augment,
        epochs=epochs,
        batch_size=batch_size,
        recipe=recipe,
        learning_rate=learning_rate,
        weights=None if weights is None else str(weights),
        max_boxes=max_boxes,
        seed=seed,
        data=data or {},
    )
    _check_recipe(recipe, learning_rate)
    if not resume:
        check_frozen(settings["model_arguments"], weights)
    state, epochs_done = state_of(out, settings, resume)
    keras.utils.set_random_seed(seed)
    model, settings["weights_taken"] = _model_to_train(model, state, weights, settings, out, say)
    for dataset in (training_set, validation_set):
        if dataset is not None:
            model.check_dataset(dataset)
    stream: dict[str, Any] = dict(augment=augment, seed=seed, training=True, max_boxes=max_boxes)
    pipeline = Pipeline(training_set, model, batch_size, **stream)
    if state is None:
        steps = epochs * pipeline.steps_per_epoch
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        model.compile(RECIPES[recipe](model, batch_size, steps, **rate))
        say_findings(pipeline, validation_set, model, say)
    _write_settings(out, settings)
    _announce(model, pipeline, epochs, say)
    started = time.monotonic()
    _fit(model, pipeline, validation_set, out, epochs, epochs_done, evaluate_every, say)
    say(f"Trained for {clock(time.monotonic() - started)}.")
    return finish(model, validation_set, out, batch_size, say)


def _write_settings(out: pathlib.Path, settings: dict[str, Any]) -> None:
    """Writes `recipe.json` and `class_names.txt`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "recipe.json", settings)
    names = "".join(f"{name}\n" for name in settings["class_names"])
    write_whole(out / "class_names.txt", names.encode())


def _announce(model: Detector, pipeline: Pipeline, epochs: int, say: Say) -> None:
    """Says what is trained, on how many images and for how long."""
    height, width = model.image_size
    say(
        f"{model.name} at {height}x{width}, {len(pipeline.dataset)} images, "
        f"{_counted(epochs, 'epoch')} of {_counted(pipeline.steps_per_epoch, 'step')}. "
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
    # A detector of the user's own knows its resize mode.
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


def _check_recipe(recipe: str, learning_rate: float | None) -> None:
    """Raises a DataError for an unknown recipe, or for a rate where the recipe has its own."""
    if recipe not in RECIPES:
        raise DataError(
            f"The recipe must be one of {', '.join(RECIPES)}. Received: recipe={recipe!r}."
            f"{suggest(recipe, RECIPES)} Choose adamw for your own data."
        )
    if learning_rate is not None and recipe != "adamw":
        raise DataError(
            "`learning_rate` is for the recipe adamw: the others have their own rate. Received: "
            f"recipe={recipe!r}, learning_rate={learning_rate}. Leave out the rate, or choose "
            "adamw."
        )


def _check_used(
    model: str | Detector,
    image_size: ImageSize | None,
    resize_mode: str | None,
    model_arguments: dict[str, Any] | None,
    validation_set: Dataset | None,
    evaluate_every: int,
) -> None:
    """Raises a DataError for an argument that would have no effect."""
    for_names = {
        "image_size": image_size,
        "resize_mode": resize_mode,
        "model_arguments": model_arguments or None,
    }
    for name, value in for_names.items():
        if value is not None and not isinstance(model, str):
            raise DataError(
                f"`{name}` must be left out for a model that is built already. Received: "
                f"{name}={value!r} for {model.name}. Give it to the model's constructor."
            )
    if validation_set is None and evaluate_every != 1:
        raise DataError(
            "`evaluate_every` must be left out without a validation set: nothing is measured. "
            f"Received: {evaluate_every}. Leave it out, or give a validation set."
        )


def _model_to_train(
    model: str | Detector,
    state: pathlib.Path | None,
    weights: str | os.PathLike | None,
    settings: dict[str, Any],
    out: pathlib.Path,
    say: Say,
) -> tuple[Detector, dict[str, Any] | None]:
    """The model of the newest state, or the named or given one, and what its weights are."""
    if state is not None:
        return load_model(state), taken_before(out)
    if isinstance(model, str):
        if settings["image_size"] is not None:
            settings = {**settings, "image_size": tuple(settings["image_size"])}
        arguments = {name: settings[name] for name in ("image_size", "resize_mode", "class_names")}
        arguments |= settings["model_arguments"]
        model = build_model(model, **{k: v for k, v in arguments.items() if v is not None})
    return model, take_weights(model, weights, settings["model_arguments"], say)


def _fit(
    model: Detector,
    pipeline: Pipeline,
    validation_set: Dataset | None,
    out: pathlib.Path,
    epochs: int,
    epochs_done: int,
    evaluate_every: int,
    say: Say,
) -> None:
    if epochs_done >= epochs:
        say(f"The run is done already: it has trained {_counted(epochs, 'epoch')}.")
        return
    callbacks = [StopOnNaN(), EpochSeeds(pipeline.seed)]
    if validation_set is not None:
        callbacks += [
            EvaluateAP(validation_set, pipeline.batch_size, evaluate_every),
            SaveBest(out / "best.keras", best=_best_so_far(out)),
        ]
    callbacks += [
        History(out / "history.csv"),
        # After `History`: a run interrupted between them trains that epoch again, and its row is
        # replaced.
        SaveState(out / "checkpoints"),
        Progress(),
    ]
    try:
        model.fit(
            pipeline, initial_epoch=epochs_done, epochs=epochs, verbose=0, callbacks=callbacks
        )
    except KeyboardInterrupt:
        say(f"\nInterrupted. Continue with --resume --out {out}")
        raise


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _best_so_far(out: pathlib.Path) -> float:
    """The highest val_AP in the history of a run that is resumed."""
    rows = read_history(out / "history.csv")
    values = [float(row["val_AP"]) for row in rows if row.get("val_AP")]
    return max(values, default=-np.inf) if (out / "best.keras").exists() else -np.inf


def finish(
    model: Detector, validation_set: Dataset | None, out: pathlib.Path, batch_size: int, say: Say
) -> dict[str, Any]:
    """Saves `last.keras` with averaged weights, measures it and draws pictures.

    Args:
        model: the trained detector.
        validation_set: the data to measure and draw, or None.
        out: the run folder.
        batch_size: images per call.
        say: function that gets the lines of text to show.

    Returns:
        COCO's metrics, `{}` without a validation set.
    """
    save_averaged(model, out / "last.keras")
    model = load_model(out / "last.keras")
    if validation_set is None:
        write_json(out / "metrics.json", {})
        return {}
    metrics = evaluate(model, validation_set, batch_size)
    write_json(out / "metrics.json", metrics)
    say(format_metrics(metrics))
    _draw(model, validation_set, out / "pictures")
    return metrics


def _draw(model: Detector, dataset: Dataset, folder: pathlib.Path) -> None:
    """Draws the first images: the ground truth on the left, the detections on the right."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for index in range(min(MAX_PICTURES, len(dataset))):
        sample = dataset[index]
        try:
            image = sample.read()
        except DataError:
            continue
        found = model.detect(image, score_threshold=PICTURE_THRESHOLD)
        picture = side_by_side(
            draw_ground_truth(image, sample.boxes, sample.labels, model.class_names),
            draw_detections(image, found, model.class_names, PICTURE_THRESHOLD),
        )
        name = f"{pathlib.Path(sample.image_path).stem}.jpg"
        Image.fromarray(picture).save(folder / name, quality=92)
