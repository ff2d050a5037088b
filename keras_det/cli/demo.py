"""`keras-det demo`: runs every step once, from drawing synthetic images to exporting files."""

import pathlib
from typing import TYPE_CHECKING

import click

from keras_det.cli.command import (
    IMAGE_SIZE,
    PATH,
    Command,
    echo,
    say,
)
from keras_det.cli.export import export_name, write_export
from keras_det.cli.files import free_folder, new_folder, say_where
from keras_det.cli.model_names import check_model_name, model_option
from keras_det.cli.numbers import Whole
from keras_det.cli.resuming import command_to_resume
from keras_det.cli.start import start_keras
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.models import Detector

MODEL = "efficientdet_lite0"
IMAGE_SIDE = (128, 128)
NUM_TRAIN, NUM_VAL = 300, 60
EPOCHS = 25
EVALUATE_EVERY = 5
NUM_CHECK_IMAGES = 16
BATCH_SIZE = 8
AUGMENT = "ssj"
SEED = 0

EXAMPLES = (
    "keras-det demo",
    "keras-det demo --epochs 30 --out my_demo/",
    "keras-det demo --model cornernet_tiny --image-size 127",
)


@click.command(cls=Command, examples=EXAMPLES)
@model_option(MODEL)
@click.option("--epochs", type=Whole(1), default=EPOCHS, help="Passes over the training images.")
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    default="x".join(map(str, IMAGE_SIDE)),
    help="Side in pixels, or height x width.",
)
@click.option(
    "--train-images",
    type=Whole(1),
    default=NUM_TRAIN,
    help="Synthetic images for training.",
)
@click.option(
    "--val-images",
    type=Whole(1),
    default=NUM_VAL,
    help="Synthetic images for validation.",
)
@click.option("--out", type=PATH, show_default="runs/demo", help="New or empty folder.")
def demo(
    model: str,
    epochs: int,
    image_size: tuple[int, int],
    train_images: int,
    val_images: int,
    out: str | None,
) -> None:
    """Trains and exports a small detector on synthetic images.

    Draws images of shapes, trains a detector on them, measures its average precision, writes
    pictures of what it finds, and exports it. It needs no data and no download, and takes a few
    minutes. The output folder gets data/ and run/; run/ is a run folder like that of `keras-det
    train`.
    """
    check_model_name(model)
    folder = new_folder(out) if out else free_folder("runs/demo")
    folder.mkdir(parents=True, exist_ok=True)
    data, run = folder / "data", folder / "run"
    echo(f"Drawing {train_images} + {val_images} synthetic images")
    training_set, validation_set = draw(data, train_images, val_images, max(image_size))
    start_keras()
    from keras_det.models import load_model
    from keras_det.training.run import train

    metrics = train(
        model,
        training_set,
        validation_set,
        run,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        image_size=image_size,
        augment=AUGMENT,
        seed=SEED,
        evaluate_every=EVALUATE_EVERY,
        how_to_resume=command_to_resume(str(data), run, {}),
        say=say,
    )
    images = list(validation_set.image_paths[:NUM_CHECK_IMAGES])
    exported = export_both(load_model(run / "last.keras"), run / "exports", images)
    echo(f"\nAP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f} on {counted(val_images, 'image')}")
    say_where("Pictures", run / "pictures")
    for path in exported:
        say_where("Export", path)
    say_where("Run folder", run)


def draw(
    data: pathlib.Path, num_train: int, num_val: int, image_size: int
) -> tuple["Dataset", "Dataset"]:
    """Draws the data set in COCO's layout and reads both splits."""
    from keras_det.data import draw_shapes_dataset, load

    draw_shapes_dataset(data, num_train, num_val, image_size, SEED)
    return load(data, split="train"), load(data, split="val")


def export_both(
    detector: "Detector", folder: pathlib.Path, images: list[str]
) -> list[pathlib.Path]:
    """Exports to both formats, prints what the checks found, returns where they are."""
    paths = []
    for kind in ("saved_model", "tflite"):
        paths.append(folder / export_name(kind, "float32"))
        report = write_export(detector, paths[-1], kind, images=images)
        echo(f"{paths[-1].name}: {report.verdict}")
    return paths
