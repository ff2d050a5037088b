"""A whole training: from two data sets to a run folder."""

import json
import pathlib
import time

import keras
import numpy as np

from keras_det.data.image import read_image
from keras_det.data.pipeline import Pipeline
from keras_det.errors import DataError
from keras_det.files import plain, write_json, write_whole
from keras_det.metrics.coco import format_metrics
from keras_det.models import build_model, load_model
from keras_det.report.draw import draw_detections, draw_ground_truth, side_by_side
from keras_det.training import callbacks as steps_between
from keras_det.training.evaluate import evaluate
from keras_det.training.recipes import RECIPES

MAX_PICTURES = 8
PICTURE_THRESHOLD = 0.3
# What --resume must not change: another value is another training.
FIXED = (
    "model",
    "model_arguments",
    "image_size",
    "resize_mode",
    "batch_size",
    "epochs",
    "augment",
    "recipe",
    "seed",
)


def train(
    model,
    training_set,
    validation_set,
    out,
    *,
    epochs: int = 50,
    batch_size: int = 8,
    image_size=None,
    resize_mode: str | None = None,
    augment: str = "ssj",
    recipe: str = "adamw",
    learning_rate: float | None = None,
    weights=None,
    model_arguments: dict | None = None,
    seed: int = 0,
    evaluate_every: int = 1,
    resume: bool = False,
    say=print,
) -> dict:
    """Trains a detector and fills a run folder.

    The folder gets `best.keras` (highest `val_AP` so far), `last.keras` (averaged weights),
    `checkpoints/` (what `resume` goes on from), `history.csv`, `recipe.json`, `class_names.txt`,
    `metrics.json` (of `last.keras` on the validation set) and `pictures/`.

    Args:
        model: a name of `keras_det.models.MODEL_NAMES`, or a detector of your own.
        training_set, validation_set: `keras_det.data.Dataset`; the second may be None: nothing is
            measured then and there is no `best.keras`.
        out: the folder; must not hold anything unless `resume`.
        epochs: passes over the training set.
        batch_size: images per step.
        image_size: int or (height, width), of a model given by name; default its published size.
        resize_mode: "letterbox", "stretch" or "mediapipe", of a model given by name. None:
            "letterbox".
        augment: "none", "flip", "ssj" or "lsj".
        recipe: "adamw" for one's own data, "published" for a long training from ImageNet weights.
        learning_rate: peak rate of "adamw"; default by the batch size.
        weights: "imagenet", "coco", or a path: `.keras`, `.weights.h5`, a public checkpoint of the
            same model; classes of the same name keep their predictions.
        model_arguments: further arguments of a model given by name, such as `{"neck": "pafpn"}`.
        seed: of the weights, the order and the augmentation.
        evaluate_every: epochs between measurements on the validation set.
        resume: go on from the last finished epoch; a finished run only measures and draws again.
        say: called with lines of text.

    Returns:
        COCO's numbers of `last.keras` on the validation set, `{}` without one.

    Raises:
        DataError: wrong input; nothing is written then.
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
        seed=seed,
    )
    _check_recipe(recipe, learning_rate)
    _check_frozen(settings, weights)
    state, epochs_done = _state(out, settings, resume)
    keras.utils.set_random_seed(seed)
    model = _model_to_train(model, state, weights, settings, say)
    model.check_dataset(training_set)
    pipeline = Pipeline(training_set, model, batch_size, augment=augment, seed=seed, training=True)
    if state is None:
        steps = epochs * pipeline.steps_per_epoch
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
        model.compile(RECIPES[recipe](model, batch_size, steps, **rate))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "recipe.json", settings)
    write_whole(out / "class_names.txt", "".join(f"{n}\n" for n in model.class_names).encode())
    say(
        f"{model.name} at {model.image_size[0]}x{model.image_size[1]}, {len(training_set)} images, "
        f"{epochs} epochs of {pipeline.steps_per_epoch} steps. The first step compiles the model."
    )
    started = time.monotonic()
    _fit(model, pipeline, validation_set, out, epochs, epochs_done, evaluate_every, say)
    say(f"Trained for {steps_between.clock(time.monotonic() - started)}.")
    return finish(model, validation_set, out, batch_size, say)


def _settings(model, training_set, validation_set, resize_mode, **given) -> dict:
    """What `recipe.json` keeps of a run."""
    # Of a model of one's own, what it was built with.
    own = getattr(model, "resize_policy", {"mode": resize_mode or "letterbox"})
    return {
        "model": model if isinstance(model, str) else model.name,
        "resize_mode": own["mode"],
        **given,
        "class_names": list(training_set.class_names),
        "training_set": training_set.summary,
        "validation_set": None if validation_set is None else validation_set.summary,
        "versions": {"keras": keras.__version__, "backend": keras.backend.backend()},
    }


def _check_recipe(recipe, learning_rate):
    """DataError for an unknown recipe, or a rate for one that has its own."""
    if recipe not in RECIPES or (learning_rate is not None and recipe != "adamw"):
        raise DataError(
            f"The recipe must be one of {', '.join(RECIPES)}, the second with its own rate. "
            f"Received: recipe={recipe!r}, learning_rate={learning_rate}. Leave out the rate, or "
            "take adamw."
        )


def _check_used(
    model, image_size, resize_mode, model_arguments, validation_set, evaluate_every
) -> None:
    """DataError where an argument would change nothing."""
    of_names = {
        "image_size": image_size,
        "resize_mode": resize_mode,
        "model_arguments": model_arguments or None,
    }
    for name, value in of_names.items():
        if value is not None and not isinstance(model, str):
            raise DataError(
                f"`{name}` must be left out for a model that is built already. Received: "
                f"{name}={value!r} for {model.name}. Give it to the model's constructor."
            )
    if validation_set is None and evaluate_every != 1:
        raise DataError(
            "`evaluate_every` must be left out without a validation set: nothing is measured. "
            f"Received: {evaluate_every}. Give a validation set, or leave it out."
        )


def _check_frozen(settings, weights):
    """DataError where parts with random weights would stay as they are."""
    arguments = settings["model_arguments"]
    frozen, given = arguments.get("freeze", "none"), weights or arguments.get("backbone_weights")
    if frozen != "none" and not given:
        raise DataError(
            f"Parts that do not learn must have learnt before. Received: freeze={frozen!r} without "
            "weights. Give the weights to start from, or freeze nothing."
        )


def _model_to_train(model, state, weights, settings, say):
    """The last state of the run, or the named or given model with the weights to start from."""
    if state is not None:
        return load_model(state)
    if isinstance(model, str):
        if settings["image_size"] is not None:
            settings = {**settings, "image_size": tuple(settings["image_size"])}
        arguments = {name: settings[name] for name in ("image_size", "resize_mode", "class_names")}
        arguments |= settings["model_arguments"]
        model = build_model(model, **{k: v for k, v in arguments.items() if v is not None})
    if weights is not None:
        say(f"Weights: {weights}\n{model.start_from(weights)}")
    return model


def _fit(model, pipeline, validation_set, out, epochs, epochs_done, evaluate_every, say):
    if epochs_done >= epochs:
        say(f"All {epochs} epochs are done already.")
        return
    watchers = [steps_between.StopOnNaN(), steps_between.EpochSeeds(pipeline.seed)]
    if validation_set is not None:
        watchers += [
            steps_between.EvaluateAP(validation_set, pipeline.batch_size, evaluate_every),
            steps_between.SaveBest(out / "best.keras", best=_best_so_far(out)),
        ]
    watchers += [
        steps_between.History(out / "history.csv"),
        # After the history: a row without a state would be written twice by a resumed run.
        steps_between.SaveState(out / "checkpoints"),
        steps_between.Progress(),
    ]
    try:
        model.fit(pipeline, initial_epoch=epochs_done, epochs=epochs, verbose=0, callbacks=watchers)
    except KeyboardInterrupt:
        say(f"\nInterrupted. Go on with --resume --out {out}")
        raise


def _state(out, settings, resume):
    """The state to go on from and its epochs; `(None, 0)` for a new run."""
    if not resume:
        if out.exists() and (out.is_file() or any(out.iterdir())):
            raise DataError(
                f"The output folder must be new or empty. Received: {out}. Choose another one, or "
                "go on with the run in it with --resume."
            )
        return None, 0
    try:
        before = json.loads((out / "recipe.json").read_text())
    except (OSError, ValueError):
        raise DataError(
            f"A run to resume must have a recipe.json. Received: {out}. Check the folder, or start "
            "anew without --resume."
        ) from None
    for name in FIXED:
        if name in before and before[name] != plain(settings[name]):
            raise DataError(
                f"A resumed run must keep its settings. Received: {name}={settings[name]!r}, the "
                f"run has {before[name]!r}. Give the same settings as before, or start anew."
            )
    return steps_between.newest_state(out / "checkpoints")


def _best_so_far(out):
    """The highest val_AP of a history, of a run that goes on."""
    rows = steps_between.read_history(out / "history.csv")
    values = [float(row["val_AP"]) for row in rows if row.get("val_AP")]
    return max(values, default=-np.inf) if (out / "best.keras").exists() else -np.inf


def finish(model, validation_set, out, batch_size, say) -> dict:
    """Saves `last.keras` (averaged by the end of `fit`), measures it, draws pictures."""
    steps_between.save_averaged(model, out / "last.keras")
    model = load_model(out / "last.keras")
    if validation_set is None:
        write_json(out / "metrics.json", {})
        return {}
    metrics = evaluate(model, validation_set, batch_size)
    write_json(out / "metrics.json", metrics)
    say(format_metrics(metrics))
    _draw(model, validation_set, out / "pictures")
    return metrics


def _draw(model, dataset, folder):
    """The first images, annotated on the left, as detected on the right."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for index in range(min(MAX_PICTURES, len(dataset))):
        sample = dataset[index]
        try:
            image = read_image(sample.image_path)
        except DataError:
            continue
        found = model.detect(image, score_threshold=PICTURE_THRESHOLD)
        picture = side_by_side(
            draw_ground_truth(image, sample.boxes, sample.labels, model.class_names),
            draw_detections(image, found, model.class_names, PICTURE_THRESHOLD),
        )
        name = f"{pathlib.Path(sample.image_path).stem}.jpg"
        Image.fromarray(picture).save(folder / name, quality=92)
