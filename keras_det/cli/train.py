"""`keras-det train DATA`: fills a run folder."""

import pathlib

import click

from keras_det.cli.command import IMAGE_SIZE, Command, user_input
from keras_det.cli.files import free_folder, new_folder, say_where
from keras_det.cli.start import start_keras
from keras_det.errors import DataError, suggest

EXAMPLES = (
    "keras-det train my_images/ --epochs 50 --out run/",
    "keras-det train coco/ --model efficientdet_d0 --image-size 384x512 --out run/",
    "keras-det train my_images/ --out run/ --resume",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("data", type=click.Path())
@click.option("--model", "model_name", default="efficientdet_lite0", help="See `keras-det info`.")
@click.option("--weights", type=click.Path(), help="Start from this .keras or checkpoint.")
@click.option("--epochs", type=click.IntRange(min=1), default=50)
@click.option("--batch-size", type=click.IntRange(min=1), default=16)
@click.option("--image-size", type=IMAGE_SIZE, help="Side, or height x width, in pixels.")
@click.option("--train-split", default="train", help="Part of DATA to learn from.")
@click.option("--val-split", default="val", help="Part of DATA to measure on.")
@click.option("--val-data", type=click.Path(), help="Measure on this data set instead of DATA.")
@click.option("--seed", type=int, default=0, help="For weights, order and augmentation.")
@click.option("--out", type=click.Path(), help="Run folder.  [default: runs/MODEL]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
def train(data, model_name, weights, image_size, train_split, val_split, val_data, out, **settings):
    """Trains a detector on DATA and fills a run folder.

    DATA is a folder in COCO's or Pascal VOC's layout, or a COCO .json file. The run folder gets
    best.keras, last.keras, history.csv, recipe.json, class_names.txt, metrics.json and pictures.
    """
    check_weights(weights)
    folder = run_folder(out, model_name, settings["resume"])
    from keras_det.data import load

    training_set = load(data, split=train_split)
    validation_set = load(val_data or data, split=val_split, class_names=training_set.class_names)
    check_model_name(model_name)
    from keras_det.training import run

    with user_input():
        run.train(
            model_name,
            training_set,
            validation_set,
            folder,
            weights=weights,
            image_size=image_size,
            **settings,
        )
    say_where("Run folder", folder)


def check_weights(weights: str | None) -> None:
    """DataError where the weights to start from are not there."""
    # A TensorFlow checkpoint is named by the prefix of its files.
    if weights and not any(
        pathlib.Path(f"{weights}{ending}").exists() for ending in ("", ".index")
    ):
        raise DataError(
            f"--weights must name a file that exists. Received: {weights}. Check the path."
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
