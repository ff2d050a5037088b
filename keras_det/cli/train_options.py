"""Options of `keras-det train`, in groups."""

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from keras_det.cli.command import (
    IMAGE_SIZE,
    PATH,
)
from keras_det.cli.data_options import SPLIT_BY
from keras_det.cli.model_names import WordOrPath
from keras_det.cli.numbers import MAX_BATCH, MAX_DEVICES, Real, Whole
from keras_det.names import (
    ANCHOR_CHOICES,
    AUGMENT_NAMES,
    BOX_LOSS_NAMES,
    CLASS_LOSS_NAMES,
    DTYPES,
    FREEZE_CHOICES,
    HEAD_NORMS,
    MATCHER_NAMES,
    MAX_ANCHOR_SCALE,
    MAX_COUNT,
    MAX_LEVEL,
    MAX_SEED,
    MIN_ANCHOR_SCALE,
    NECK_NAMES,
    RECIPE_NAMES,
    RESIZE_MODES,
)

Function: TypeAlias = Callable[..., Any]
Option: TypeAlias = Callable[[Function], Function]
# What the words for --weights mean.
WEIGHTS = {
    "auto": "the best available: coco, else imagenet, else random",
    "coco": "public weights of the whole model",
    "imagenet": "public weights of the backbone",
    "random": "no trained weights",
}


# The model and its weights.
MODEL: tuple[Option, ...] = (
    click.option(
        "--weights",
        type=WordOrPath(WEIGHTS),
        metavar="WORD|PATH",
        default="auto",
        help="Weights to start from: auto (coco if available, else imagenet, else random), coco, "
        "imagenet, random, a .keras file, a run folder, a preset or a public checkpoint.",
    ),
    click.option(
        "--freeze",
        type=click.Choice(FREEZE_CHOICES),
        show_default="none",
        help="Layers to freeze. norm: batch normalisation of the backbone; early: the backbone up "
        "to stride 4; neck: backbone and neck.",
    ),
    click.option(
        "--image-size",
        type=IMAGE_SIZE,
        show_default="the model's published size; with --recipe auto and a model with anchors, the "
        "shape of the images with at most as many pixels",
        help="Side in pixels, or height x width.",
    ),
    click.option(
        "--resize-mode",
        type=click.Choice(RESIZE_MODES),
        default="letterbox",
        help="How images are resized; letterbox keeps the aspect ratio, mediapipe stretches as "
        "MediaPipe does.",
    ),
    click.option(
        "--neck",
        type=click.Choice(NECK_NAMES),
        show_default="the model's",
        help="Neck between the backbone and the heads.",
    ),
    click.option(
        "--min-level",
        type=Whole(1, MAX_LEVEL),
        show_default="the model's",
        help="Finest pyramid level; 2 for small objects.",
    ),
    click.option(
        "--max-level",
        type=Whole(1, MAX_LEVEL),
        show_default="the model's",
        help="Coarsest pyramid level.",
    ),
    click.option(
        "--anchor-scale",
        type=Real(MIN_ANCHOR_SCALE, MAX_ANCHOR_SCALE),
        show_default="the model's",
        help="Size of the anchors, in strides of their level.",
    ),
    click.option(
        "--head-norm",
        type=click.Choice(HEAD_NORMS),
        show_default="the model's",
        help="Normalisation in the heads of EfficientDet and RetinaNet.",
    ),
    click.option(
        "--matcher",
        type=click.Choice(MATCHER_NAMES),
        show_default="iou",
        help="Which anchors learn an object, in models with anchors.",
    ),
    click.option(
        "--class-loss",
        type=click.Choice(CLASS_LOSS_NAMES),
        show_default="focal",
        help="Loss of the scores, in models with anchors.",
    ),
    click.option(
        "--box-loss",
        type=click.Choice(BOX_LOSS_NAMES),
        show_default="giou with --recipe auto, else the model's",
        help="Loss of the boxes, in models with anchors.",
    ),
    click.option(
        "--backbone-weights",
        type=PATH,
        help="Weights of a classifier for the backbone, such as those of torchvision, timm or "
        "Keras.",
    ),
    click.option(
        "--remat",
        is_flag=True,
        default=None,
        help="Recompute activations in the backward pass. This saves memory and takes more time.",
    ),
    click.option(
        "--dtype",
        type=click.Choice((*DTYPES, "auto")),
        show_default="float32",
        help="Precision of training. auto: measure a few steps in each and take the fastest.",
    ),
)


# How, and for how long, to train.
RECIPE: tuple[Option, ...] = (
    click.option(
        "--epochs",
        type=Whole(1),
        show_default="chosen by --recipe auto, else 50",
        help="Number of epochs, each one pass over the training images.",
    ),
    click.option(
        "--batch-size",
        type=Whole(1, MAX_BATCH, word="auto"),
        metavar="N|auto",
        show_default="8; 4 with --recipe auto for fewer than 8 images",
        help="Images per step. auto: as many as fit in memory, up to 64.",
    ),
    click.option(
        "--accumulate",
        type=Whole(1, MAX_COUNT),
        show_default="1",
        help="Steps per update of the weights. Several small batches then train like one large "
        "batch, with the memory of a small one.",
    ),
    click.option(
        "--augment",
        type=click.Choice(AUGMENT_NAMES),
        show_default="ssj",
        help="Random changes of the images. flip: left-right flips; ssj, lsj: flips with small-"
        "scale or large-scale jitter; light: ssj and colours; strong: more, with mosaic; "
        "published: those of the model's paper; tiles: flips and windows of large images, for "
        "detection in tiles.",
    ),
    click.option(
        "--recipe",
        type=click.Choice(RECIPE_NAMES),
        default="auto",
        help="Optimizer, length and more. auto: chosen from the images and the weights; "
        "adamw: 50 epochs of AdamW; published: as in the model's paper.",
    ),
    click.option(
        "--learning-rate",
        type=Real(0, 100, open="least"),
        show_default="0.002 at 8 images per step; 0.01 for EfficientDet with --recipe auto, "
        "unless the weights of a whole detector are loaded",
        help="Peak learning rate; not with --recipe published.",
    ),
    click.option(
        "--backbone-rate",
        type=Real(0, 100),
        show_default="1",
        help="Factor of the learning rate for the backbone; not with --recipe published.",
    ),
    click.option(
        "--warmup-steps",
        type=Whole(0),
        show_default="a twentieth of the training",
        help="Updates of the weights at the start, during which the learning rate rises.",
    ),
    click.option(
        "--average",
        type=Real(0, 1, open="most"),
        show_default="depends on the number of steps",
        help="Decay of the moving average of the weights; not with --recipe published.",
    ),
    click.option(
        "--heads-first",
        type=Whole(0),
        show_default="0",
        help="Epochs at the start in which only the heads learn.",
    ),
    click.option(
        "--plain-epochs",
        type=Whole(0),
        show_default="a tenth of the epochs with --recipe auto, else 0",
        help="Epochs at the end without mosaic, mixup, copy-paste and cutout, for --augment "
        "strong.",
    ),
    click.option(
        "--patience",
        type=Whole(1),
        show_default="chosen by --recipe auto, else never",
        help="Stop after this many epochs without a higher AP.",
    ),
    click.option(
        "--anchors",
        type=click.Choice(ANCHOR_CHOICES),
        show_default="chosen by --recipe auto, else published",
        help="published: the model's own anchors; auto: anchors fitted to the objects.",
    ),
    click.option(
        "--calibrate/--no-calibrate",
        default=None,
        show_default="--calibrate with --recipe auto, else not",
        help="Shift the scores so that 0.4 is the best threshold of each class.",
    ),
)


# The images to train on, and those to evaluate on.
HELD_OUT: tuple[Option, ...] = (
    click.option(
        "--max-boxes",
        type=Whole(1),
        default=100,
        help="Maximum number of objects per image in training; the largest are kept.",
    ),
    click.option("--train-split", show_default="train", help="Split of DATA to train on."),
    click.option("--val-split", show_default="val", help="Split of DATA to evaluate on."),
    SPLIT_BY,
    click.option(
        "--val-data",
        type=PATH,
        help="Data set to evaluate on, instead of DATA.",
    ),
    click.option("--no-val", is_flag=True, help="Hold out no images, and do not evaluate."),
    click.option(
        "--evaluate-every",
        type=Whole(1),
        show_default="1, or more for a large validation set",
        help="Epochs between evaluations.",
    ),
)


# The devices and machines that train.
DEVICES: tuple[Option, ...] = (
    click.option(
        "--devices",
        type=Whole(1, MAX_DEVICES),
        show_default="1; with --workers, all GPUs of the machine",
        help="Number of devices of this machine that share each batch: GPUs if it has any, else "
        "logical devices of its CPU, for tests.",
    ),
    click.option(
        "--workers",
        metavar="HOST:PORT,…",
        show_default="those of TF_CONFIG, if it is set",
        help="Addresses of all workers that train together, separated by commas. The first worker "
        "writes the run folder.",
    ),
    click.option(
        "--worker",
        type=Whole(0),
        metavar="INDEX",
        help="Index of this worker in --workers, from 0.",
    ),
    click.option(
        "--worker-minutes",
        type=Real(0, MAX_COUNT, open="least"),
        default=10.0,
        help="Longest time to wait for the other workers at the start, in minutes.",
    ),
)


# Seed, saved states, logs and the run folder.
RUNNING: tuple[Option, ...] = (
    click.option(
        "--seed",
        type=Whole(0, MAX_SEED),
        default=0,
        help="Random seed for weights, order and augmentation.",
    ),
    click.option(
        "--save-every",
        type=Whole(1),
        show_default="by time alone",
        help="Steps between two saved states, besides those after each epoch.",
    ),
    click.option(
        "--save-minutes",
        type=Real(0, MAX_COUNT),
        show_default="10",
        help="Longest time between two saved states within an epoch, in minutes.",
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        help="Get the same weights in every run on a GPU, with operations that may be slower. On a "
        "CPU the weights are the same without this option.",
    ),
    click.option(
        "--tensorboard",
        is_flag=True,
        help="Write losses, AP and pictures for TensorBoard into tensorboard/ in the run folder.",
    ),
    click.option(
        "--out",
        type=PATH,
        show_default="runs/MODEL",
        help="New or empty folder.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue the run in --out, with its settings. --epochs, --learning-rate, "
        "--evaluate-every, --patience and --calibrate may change.",
    ),
    click.option(
        "--replay",
        type=PATH,
        help="Do not train. Compute the batches of a diverged_*.npz again, and show their losses, "
        "images and gradients. Give no DATA.",
    ),
)


def options(*group: Option) -> Option:
    """A decorator that adds options to the function of a command; `--help` keeps their order."""

    def add(command: Function) -> Function:
        for option in reversed(group):
            command = option(command)
        return command

    return add
