"""`keras-det train DATA`: fills a run folder."""

import json
import pathlib

import click

from keras_det.cli.command import IMAGE_SIZE, Command
from keras_det.cli.files import RUN_MODELS, free_folder, new_folder, say_where
from keras_det.cli.start import start_keras
from keras_det.errors import DataError, suggest

# Options that --resume takes from recipe.json where the command line does not give them.
RESUMED = (
    "model",
    "weights",
    "epochs",
    "batch_size",
    "image_size",
    "resize_mode",
    "augment",
    "recipe",
    "learning_rate",
    "seed",
)
# Options that become arguments of the model's constructor where they are given.
MODEL_ARGUMENTS = (
    "neck",
    "min_level",
    "max_level",
    "anchor_scale",
    "head_norm",
    "backbone_weights",
    "freeze",
    "remat",
    "dtype",
)
FETCHED = ("imagenet", "coco")
HUGGING_FACE = "hf://"  # weights.preset_files.HUGGING_FACE, without loading Keras; a test compares
NECKS = ("fpn", "pafpn", "nas_fpn", "bifpn")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
EXAMPLES = (
    "keras-det train my_images/ --epochs 50 --out run/",
    "keras-det train coco/ --model efficientdet_d0 --image-size 384x512 --out run/",
    "keras-det train coco/ --model retinanet_resnet34 --backbone-weights resnet34.pth --out run/",
    "keras-det train my_images/ --weights coco --freeze neck --epochs 10 --out heads/",
    "keras-det train my_images/ --out run/ --resume",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("data", type=click.Path())
@click.option("--model", default="efficientdet_lite0", help="See `keras-det info`.")
@click.option(
    "--weights", help="Start from: imagenet, coco, a .keras, run folder, preset or checkpoint."
)
@click.option(
    "--freeze",
    type=click.Choice(["none", "backbone", "neck"]),
    help="What does not learn; neck: backbone and neck.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=50, help="Passes over DATA.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, help="Images per step.")
@click.option("--image-size", type=IMAGE_SIZE, help="Side or height x width; default: published.")
@click.option(
    "--resize-mode",
    type=click.Choice(["letterbox", "stretch", "mediapipe"]),
    default="letterbox",
    help="mediapipe: stretched, and sampled as MediaPipe does.",
)
@click.option("--augment", type=click.Choice(["none", "flip", "ssj", "lsj"]), default="ssj")
@click.option("--neck", type=click.Choice(NECKS), help="Instead of the published one.")
@click.option("--min-level", type=int, help="Finest pyramid level; 2 for small objects.")
@click.option("--max-level", type=int, help="Coarsest pyramid level.")
@click.option(
    "--anchor-scale", type=click.FloatRange(0, min_open=True), help="Anchors, in strides."
)
@click.option("--head-norm", type=click.Choice(["batch", "group"]), help="RetinaNet's heads.")
@click.option("--backbone-weights", type=click.Path(), help="A ResNet's, of torchvision or timm.")
@click.option("--remat", is_flag=True, default=None, help="CornerNet: less memory, more time.")
@click.option("--dtype", type=click.Choice(PRECISIONS), help="Precision.  [default: float32]")
@click.option("--recipe", type=click.Choice(["adamw", "published"]), default="adamw")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Of adamw: highest.")
@click.option("--train-split", default="train", help="Part of DATA to learn from.")
@click.option("--val-split", default="val", help="Part of DATA to measure on.")
@click.option("--val-data", type=click.Path(), help="Measure on this data set instead of DATA.")
@click.option("--no-val", is_flag=True, help="Do not measure.")
@click.option("--evaluate-every", type=click.IntRange(min=1), default=1, help="Epochs between.")
@click.option("--seed", type=int, default=0, help="Of weights, order and augmentation.")
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/MODEL]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with its settings.")
@click.pass_context
def train(ctx, data, model, weights, train_split, val_split, val_data, no_val, out, **settings):
    """Trains a detector on DATA and fills a run folder.

    DATA is a folder in COCO's or Pascal VOC's layout, or a COCO .json file. The run folder gets
    best.keras, last.keras, history.csv, recipe.json, class_names.txt, metrics.json and pictures/.
    """
    folder = run_folder(out, model, settings["resume"])
    arguments = {name: settings.pop(name) for name in MODEL_ARGUMENTS}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    settings["model_arguments"] = arguments
    if settings["resume"]:
        settings = {**settings, "model": model, "weights": weights}
        settings.update(settings_of_run(folder, ctx, arguments))
        model, weights = settings.pop("model"), settings.pop("weights")
    if not settings["resume"]:  # a run goes on from its own state
        weights = find_weights(weights)
        check_weights("--backbone-weights", arguments.get("backbone_weights"))
    from keras_det.data import load

    training_set = load(data, split=train_split)
    validation_set = None
    if not no_val:
        val_data = val_data or folder_with_splits(data)
        validation_set = load(val_data, split=val_split, class_names=training_set.class_names)
    check_model_name(model)
    from keras_det.training import run

    run.train(
        model, training_set, validation_set, folder, weights=weights, say=click.echo, **settings
    )
    say_where("Run folder", folder)


def find_weights(weights: str | None) -> str | None:
    """What --weights means, of a run folder its model; DataError where nothing is there."""
    if weights is None or weights in FETCHED or weights.startswith(HUGGING_FACE):
        return weights
    for name in RUN_MODELS:
        if (pathlib.Path(weights) / name).is_file():
            return str(pathlib.Path(weights) / name)
    words = f" The words {' and '.join(FETCHED)} fetch public ones.{suggest(weights, FETCHED)}"
    check_weights("--weights", weights, words)
    return weights


def check_weights(option: str, weights: str | None, advice: str = "") -> None:
    """DataError where the weights to start from are not there."""
    # A TensorFlow checkpoint is named by the prefix of its files.
    if weights and not any(pathlib.Path(f"{weights}{x}").exists() for x in ("", ".index")):
        raise DataError(
            f"{option} must name a file that exists. Received: {weights}. Check the path.{advice}"
        )


def check_model_name(name: str) -> None:
    """DataError with the nearest right name where `name` is no model's."""
    start_keras()
    from keras_det.models import MODEL_NAMES

    if name not in MODEL_NAMES:
        raise DataError(
            f"The model must be one that `keras-det info` lists. Received: {name!r}."
            f"{suggest(name, MODEL_NAMES)}"
        )


def run_folder(out: str | None, model_name: str, resume: bool) -> pathlib.Path:
    """Returns the folder to fill: a new one, or with `resume` the one that holds the run."""
    if not resume:
        return new_folder(out) if out else free_folder(f"runs/{model_name}")
    if out is None or not (pathlib.Path(out) / "recipe.json").exists():
        raise DataError(
            "--resume needs --out with the folder of a run, which holds recipe.json. Received: "
            f"{out}. Check the folder, or leave out --resume to start a new run."
        )
    return pathlib.Path(out)


def settings_of_run(folder: pathlib.Path, ctx: click.Context, given_arguments: dict) -> dict:
    """What recipe.json says about the options that the command line left out."""
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        known = {name: recipe[name] for name in RESUMED if name in recipe}
        known["model_arguments"] = {
            **recipe.get("model_arguments", {}),
            **given_arguments,
        }
    except (ValueError, TypeError):
        raise DataError(
            "recipe.json of a run to resume must be whole JSON. Received: "
            f"{folder / 'recipe.json'}. Start a new run without --resume."
        ) from None
    if known.get("image_size") is not None:
        known["image_size"] = tuple(known["image_size"])
    given = click.core.ParameterSource.COMMANDLINE
    return {k: v for k, v in known.items() if ctx.get_parameter_source(k) != given}


def folder_with_splits(data: str) -> str:
    """Returns DATA where it can hold a second split; DataError where it is a single file."""
    if pathlib.Path(data).is_file():
        raise DataError(
            "A single annotation file holds no second split to measure on. Received: "
            f"{data}. Add --val-data with another file, or --no-val."
        )
    return data
