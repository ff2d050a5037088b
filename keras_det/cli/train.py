"""`keras-det train DATA`: fills a run folder."""

import os
import pathlib
from typing import Any

import click

from keras_det.cli.command import (
    PATH,
    Command,
    echo,
    max_pixels_option,
    refuse_useless,
    say,
)
from keras_det.cli.data_options import classes_option, reading_options
from keras_det.cli.files import RUN_MODELS, say_where
from keras_det.cli.model_names import check_model_name, model_option
from keras_det.cli.replaying import show_replay
from keras_det.cli.resuming import (
    NOT_STORED,
    command_to_resume,
    run_folder,
    say_next,
    settings_of_run,
)
from keras_det.cli.run_data import note_of_run, training_data
from keras_det.cli.start import start_keras
from keras_det.cli.train_options import (
    DEVICES,
    HELD_OUT,
    MODEL,
    RECIPE,
    RUNNING,
    WEIGHTS,
    options,
)
from keras_det.errors import DataError, suggest
from keras_det.files import why_no_file
from keras_det.names import HUGGING_FACE as HUGGING_FACE

# Options that become arguments of the model's constructor where they are given.
MODEL_ARGUMENTS = (
    "neck",
    "min_level",
    "max_level",
    "anchor_scale",
    "head_norm",
    "matcher",
    "class_loss",
    "box_loss",
    "backbone_weights",
    "freeze",
    "remat",
    "dtype",
)
# What --no-val leaves without effect.
OF_VALIDATION = ("val_data", "val_split", "split_by", "evaluate_every", "patience")
EXAMPLES = (
    "keras-det train my_images/ --epochs 50 --out run/",
    "keras-det train annotations.json --image-dir photos/ --split-by 0.9",
    "keras-det train coco/ --model efficientdet_d0 --image-size 384x512 --out d0/",
    "keras-det train coco/ --model retinanet_resnet34 --backbone-weights r34.pth",
    "keras-det train my_images/ --weights coco --freeze neck --out heads/",
    "keras-det train my_images/ --out run/ --resume",
    "keras-det train coco/ --devices 4 --batch-size 64 --out run/",
    "keras-det train coco/ --workers a:5000,b:5000 --worker 0 --out run/",
    "keras-det train --replay run/diverged_epoch_0003_step_000012.npz",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("data", type=PATH, required=False)
@model_option("efficientdet_lite0")
@options(*MODEL)
@options(*RECIPE)
@reading_options
@max_pixels_option()
@classes_option("learn")
@options(*HELD_OUT)
@options(*DEVICES)
@options(*RUNNING)
@click.pass_context
def train(
    ctx: click.Context,
    data: str | None,
    model: str,
    weights: str,
    out: str | None,
    replay: str | None,
    **settings: Any,
) -> None:
    """Trains a detector on DATA and fills a run folder.

    DATA is the folder of a data set or an annotation file, such as COCO or Pascal VOC. If DATA has
    no validation split, some of its images are held out. The run folder gets best.keras,
    last.keras, history.csv, recipe.json, class_names.txt, metrics.json and pictures/.
    """
    if replay is not None:
        return show_replay(ctx, replay)
    if data is None:
        raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
    refuse_options_of_validation(ctx)
    among = (settings.pop("workers"), settings.pop("worker"), settings.pop("worker_minutes"))
    settings["workers"] = workers = all_workers(*among, out)
    folder = run_folder(out, model, settings["resume"], workers is None or workers.chief)
    arguments = {name: settings.pop(name) for name in MODEL_ARGUMENTS}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    settings["model_arguments"] = arguments
    note = {}
    if settings["resume"]:
        settings = {**settings, "model": model, "weights": weights}
        settings.update(settings_of_run(folder, ctx, arguments))
        model = settings.pop("model")
        note = note_of_run(folder)
    check_model_name(model)
    if not settings["resume"]:  # a resumed run starts from its own state
        settings["weights"] = find_weights(weights)
        check_weights("--backbone-weights", arguments.get("backbone_weights"))
    found, settings["data"] = training_data(ctx, data, settings, note)
    if found.sentence:
        echo(found.sentence)
    start_keras()
    from keras_det.training import run

    how = command_to_resume(data, folder, {name: ctx.params[name] for name in NOT_STORED})
    metrics = run.train(
        model, found.train, found.val, folder, say=say, how_to_resume=how, **settings
    )
    if workers is None or workers.chief:
        say_next(folder, data, metrics)
        say_where("Run folder", folder)


def all_workers(
    workers: str | None, worker: int | None, worker_minutes: float, out: str | None
) -> Any:
    """The `Workers` that train together, None for one; DataError if they have no run folder."""
    if workers is None and worker is None and not os.environ.get("TF_CONFIG"):
        return None
    start_keras()
    from keras_det.training.workers import workers_of

    found = workers_of(workers, worker, worker_minutes)
    if found is not None and out is None:
        raise DataError(
            f"Several workers need one run folder. Received: {len(found.addresses)} workers "
            "without --out. Give all of them the same --out, in a folder that all machines see."
        )
    return found


def refuse_options_of_validation(ctx: click.Context) -> None:
    """DataError for an option that has no effect on what is measured."""
    if ctx.params["no_val"]:
        refuse_useless(ctx, OF_VALIDATION, "with --no-val", "leave out --no-val")
    for name in ("val_data", "val_split"):
        if ctx.params[name] is not None:
            option = f"--{name.replace('_', '-')}"
            refuse_useless(ctx, ["split_by"], f"with {option}", f"leave out {option}")


def find_weights(weights: str) -> str | None:
    """The weights that --weights means; a run folder stands for its model. DataError if missing."""
    if weights == "random":
        return None
    if weights in WEIGHTS or weights.startswith(HUGGING_FACE):
        return weights
    for name in RUN_MODELS:
        if os.path.lexists(path := pathlib.Path(weights) / name):
            return str(path)
    *first, last = WEIGHTS
    words = f" The words are {', '.join(first)} and {last}.{suggest(weights, WEIGHTS)}"
    check_weights("--weights", weights, words)
    return weights


def check_weights(option: str, weights: str | None, advice: str = "") -> None:
    """DataError if the weights to start from do not exist."""
    if not weights:
        return
    path = pathlib.Path(weights)
    # A TensorFlow checkpoint is named by the prefix of its files.
    if not (path.is_file() or path.is_dir() or pathlib.Path(f"{weights}.index").exists()):
        raise DataError(
            f"{option} must name an existing file. Received: {weights}{why_no_file(path)}. Check "
            f"the path.{advice}"
        )
