"""`keras-det train DATA`: fills a run folder."""

import pathlib
from typing import Any

import click

from keras_det.cli.command import (
    IMAGE_SIZE,
    Command,
    echo,
    max_pixels_option,
    refuse_useless,
    say,
)
from keras_det.cli.data_options import SPLIT_BY, classes_option, reading_options
from keras_det.cli.files import RUN_MODELS, say_where
from keras_det.cli.model_names import WordOrPath, check_model_name, model_option
from keras_det.cli.numbers import MAX_BATCH, MAX_COUNT, MAX_SEED, Real, Whole
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
from keras_det.errors import DataError, suggest
from keras_det.names import (
    ANCHOR_CHOICES,
    AUGMENT_NAMES,
    BOX_LOSS_NAMES,
    CLASS_LOSS_NAMES,
    DTYPES,
    FREEZE_CHOICES,
    HEAD_NORMS,
    MATCHER_NAMES,
    MAX_LEVEL,
    NECK_NAMES,
    RECIPE_NAMES,
    RESIZE_MODES,
)
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
# What the words for --weights mean.
WEIGHTS = {
    "auto": "the best available: coco, else imagenet, else random",
    "coco": "public weights of the whole model",
    "imagenet": "public weights of the backbone",
    "random": "no trained weights",
}
# What --no-val leaves without effect.
OF_VALIDATION = ("val_data", "val_split", "split_by", "evaluate_every", "patience")
EXAMPLES = (
    "keras-det train my_images/ --epochs 50 --out run/",
    "keras-det train annotations.json --image-dir photos/ --split-by 0.9",
    "keras-det train coco/ --model efficientdet_d0 --image-size 384x512 --out d0/",
    "keras-det train coco/ --model retinanet_resnet34 --backbone-weights r34.pth",
    "keras-det train my_images/ --weights coco --freeze neck --out heads/",
    "keras-det train my_images/ --out run/ --resume",
    "keras-det train --replay run/diverged_epoch_0003_step_000012.npz",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("data", type=click.Path(), required=False)
@model_option("efficientdet_lite0")
@click.option(
    "--weights",
    type=WordOrPath(WEIGHTS),
    metavar="WORD|PATH",
    default="auto",
    help="Weights to start from: auto (coco if available, else imagenet, else random), coco, "
    "imagenet, random, a .keras file, a run folder, a preset or a public checkpoint.",
)
@click.option(
    "--freeze",
    type=click.Choice(FREEZE_CHOICES),
    show_default="none",
    help="Layers to freeze. norm: batch normalisation of the backbone; early: the backbone up to "
    "stride 4; neck: backbone and neck.",
)
@click.option(
    "--epochs",
    type=Whole(1),
    show_default="chosen by --recipe auto, else 50",
    help="Number of epochs, each one pass over the training images.",
)
@click.option(
    "--batch-size",
    type=Whole(1, MAX_BATCH),
    show_default="8; 4 with --recipe auto for fewer than 8 images",
    help="Images per step.",
)
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    show_default="the model's published size; with --recipe auto and a model with anchors, at most "
    "as many pixels in the shape of the images",
    help="Side in pixels, or height x width.",
)
@click.option(
    "--resize-mode",
    type=click.Choice(RESIZE_MODES),
    default="letterbox",
    help="How images are resized; letterbox keeps the aspect ratio, mediapipe stretches as "
    "MediaPipe does.",
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENT_NAMES),
    show_default="ssj",
    help="Random changes of the images. flip: left-right flips; ssj, lsj: flips with small-scale "
    "or large-scale jitter; light: ssj and colours; strong: more, with mosaic; published: those "
    "of the model's paper.",
)
@click.option(
    "--neck",
    type=click.Choice(NECK_NAMES),
    show_default="the model's",
    help="Neck between the backbone and the heads.",
)
@click.option(
    "--min-level",
    type=Whole(1, MAX_LEVEL),
    show_default="the model's",
    help="Finest pyramid level; 2 for small objects.",
)
@click.option(
    "--max-level",
    type=Whole(1, MAX_LEVEL),
    show_default="the model's",
    help="Coarsest pyramid level.",
)
@click.option(
    "--anchor-scale",
    type=Real(0, 1_000, open="least"),
    show_default="the model's",
    help="Size of the anchors, in strides of their level.",
)
@click.option(
    "--head-norm",
    type=click.Choice(HEAD_NORMS),
    show_default="the model's",
    help="Normalisation in the heads of EfficientDet and RetinaNet.",
)
@click.option(
    "--matcher",
    type=click.Choice(MATCHER_NAMES),
    show_default="iou",
    help="Which anchors learn an object, in models with anchors.",
)
@click.option(
    "--class-loss",
    type=click.Choice(CLASS_LOSS_NAMES),
    show_default="focal",
    help="Loss of the scores, in models with anchors.",
)
@click.option(
    "--box-loss",
    type=click.Choice(BOX_LOSS_NAMES),
    show_default="giou with --recipe auto, else the model's",
    help="Loss of the boxes, in models with anchors.",
)
@click.option(
    "--backbone-weights",
    type=click.Path(),
    help="Weights of a classifier for the backbone, such as those of torchvision, timm or Keras.",
)
@click.option(
    "--remat",
    is_flag=True,
    default=None,
    help="Recompute activations to save memory, for CornerNet.",
)
@click.option(
    "--dtype", type=click.Choice(DTYPES), show_default="float32", help="Precision of training."
)
@click.option(
    "--recipe",
    type=click.Choice(RECIPE_NAMES),
    default="auto",
    help="Optimizer, length and more. auto: chosen from the images and the weights; "
    "adamw: 50 epochs of AdamW; published: as in the model's paper.",
)
@click.option(
    "--learning-rate",
    type=Real(0, 100, open="least"),
    show_default="0.002 at 8 images per step; 0.01 for EfficientDet with --recipe auto, "
    "unless the weights of a whole detector are loaded",
    help="Peak learning rate; not with --recipe published.",
)
@click.option(
    "--backbone-rate",
    type=Real(0, 100),
    show_default="1",
    help="Factor of the learning rate for the backbone; not with --recipe published.",
)
@click.option(
    "--warmup-steps",
    type=Whole(0),
    show_default="a twentieth of the steps",
    help="Steps in which the learning rate rises.",
)
@click.option(
    "--average",
    type=Real(0, 1, open="most"),
    show_default="depends on the number of steps",
    help="Decay of the moving average of the weights; not with --recipe published.",
)
@click.option(
    "--heads-first",
    type=Whole(0),
    show_default="0",
    help="Epochs at the start in which only the heads learn.",
)
@click.option(
    "--plain-epochs",
    type=Whole(0),
    show_default="a tenth of the epochs with --recipe auto, else 0",
    help="Epochs at the end without mosaic, mixup, copy-paste and cutout, for --augment strong.",
)
@click.option(
    "--patience",
    type=Whole(1),
    show_default="chosen by --recipe auto, else never",
    help="Stop after this many epochs without a higher AP.",
)
@click.option(
    "--anchors",
    type=click.Choice(ANCHOR_CHOICES),
    show_default="chosen by --recipe auto, else published",
    help="published: the model's own anchors; auto: anchors fitted to the objects.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=None,
    show_default="--calibrate with --recipe auto, else not",
    help="Shift the scores so that 0.4 is the best threshold of each class.",
)
@reading_options
@max_pixels_option()
@classes_option("learn")
@click.option(
    "--max-boxes",
    type=Whole(1),
    default=100,
    help="Maximum number of objects per image in training; the largest are kept.",
)
@click.option("--train-split", show_default="train", help="Split of DATA to train on.")
@click.option("--val-split", show_default="val", help="Split of DATA to evaluate on.")
@SPLIT_BY
@click.option("--val-data", type=click.Path(), help="Data set to evaluate on, instead of DATA.")
@click.option("--no-val", is_flag=True, help="Hold out no images, and do not evaluate.")
@click.option(
    "--evaluate-every",
    type=Whole(1),
    show_default="1, or more for a large validation set",
    help="Epochs between evaluations.",
)
@click.option(
    "--seed",
    type=Whole(0, MAX_SEED),
    default=0,
    help="Random seed for weights, order and augmentation.",
)
@click.option(
    "--save-every",
    type=Whole(1),
    show_default="by time alone",
    help="Steps between two saved states, besides those after each epoch.",
)
@click.option(
    "--save-minutes",
    type=Real(0, MAX_COUNT),
    show_default="10",
    help="Longest time between two saved states within an epoch, in minutes.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="Get the same weights in every run on a GPU, with operations that may be slower. On a CPU "
    "the weights are the same without this option.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write losses, AP and pictures for TensorBoard into tensorboard/ of the run folder.",
)
@click.option("--out", type=click.Path(), show_default="runs/MODEL", help="New or empty folder.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out, with its settings. --epochs, --learning-rate, "
    "--evaluate-every, --patience and --calibrate may change.",
)
@click.option(
    "--replay",
    type=click.Path(),
    help="Train nothing. Compute the batch of a diverged_*.npz again, and show its losses, images "
    "and gradients. Without DATA.",
)
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
    folder = run_folder(out, model, settings["resume"])
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
    say_next(folder, data, metrics)
    say_where("Run folder", folder)


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
        if (pathlib.Path(weights) / name).is_file():
            return str(pathlib.Path(weights) / name)
    *first, last = WEIGHTS
    words = f" The words are {', '.join(first)} and {last}.{suggest(weights, WEIGHTS)}"
    check_weights("--weights", weights, words)
    return weights


def check_weights(option: str, weights: str | None, advice: str = "") -> None:
    """DataError if the weights to start from do not exist."""
    # A TensorFlow checkpoint is named by the prefix of its files.
    if weights and not any(pathlib.Path(f"{weights}{x}").exists() for x in ("", ".index")):
        raise DataError(
            f"{option} must name a file that exists. Received: {weights}. Check the path.{advice}"
        )
