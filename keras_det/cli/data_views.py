"""`keras-det data preview | stats`: commands that show what a data set holds."""

import io
import pathlib
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from keras_det.cli.command import (
    IMAGE_SIZE,
    PATH,
    Command,
    echo,
    echo_json,
    given_options,
    max_pixels_option,
    user_input,
)
from keras_det.cli.data_files import arguments_of, read_splits, reading_and_classes
from keras_det.cli.data_options import SPLIT_BY
from keras_det.cli.files import refuse_existing, say_where
from keras_det.cli.model_names import PARAMETERS, ModelName, check_model_name
from keras_det.cli.numbers import Whole
from keras_det.cli.start import start_keras
from keras_det.errors import DataError
from keras_det.names import AUGMENT_NAMES, MAX_SEED

if TYPE_CHECKING:
    from keras_det.data import Dataset

SIZE = 512
COLUMNS = 4


@click.command(
    cls=Command,
    examples=(
        "keras-det data preview my_images/",
        "keras-det data preview coco/ --model efficientdet_d0 --augment lsj",
        "keras-det data preview voc/ --split val --no-augment --image-size 320x416",
    ),
)
@click.argument("data", type=PATH)
@click.option(
    "--split", show_default="the training images", help="Split to show; all: every image."
)
@SPLIT_BY
@click.option(
    "--model",
    type=ModelName(or_file=True),
    metavar="NAME|PATH",
    help="Model whose input size, resizing and padding colour are used; a name or a .keras file.",
)
@click.option(
    "--image-size",
    type=IMAGE_SIZE,
    show_default=f"as keras-det train --recipe auto chooses it for --model; else {SIZE}",
    help="Side in pixels, or height x width.",
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENT_NAMES),
    default="ssj",
    help="Random changes of the images, as in keras-det train.",
)
@click.option("--no-augment", is_flag=True, help="Show images as evaluation sees them, in order.")
@click.option("--batches", type=Whole(1, 100), default=1, help="Batches to show.")
@click.option("--batch-size", type=Whole(1, 100), default=8, help="Images per batch.")
@click.option("--seed", type=Whole(0, MAX_SEED), default=0, help="As in keras-det train.")
@click.option("--out", type=PATH, default="preview.png", help="Image file to write.")
@reading_and_classes
@max_pixels_option()
@click.pass_context
def preview(
    ctx: click.Context,
    data: str,
    split: str | None,
    model: str | None,
    image_size: tuple[int, int] | None,
    out: str,
    **options: Any,
) -> None:
    """Draws what the network sees: batches with boxes.

    With the same seed, model, input size and options, the pictures are the first batches of
    `keras-det train`. Crowd objects are not drawn: training leaves them out.
    """
    if options["no_augment"] and "augment" in given_options(ctx):
        raise DataError(
            "--augment and --no-augment cannot be used together. Received: both. Leave out one "
            "of them."
        )
    target = picture_path(out)
    with user_input():
        dataset = one_split(data, split, options)
        model_or_size = network_input(model, image_size, dataset)
        picture = draw_batches(dataset, model_or_size, options)
    write_picture(target, picture)
    say_where("Picture", target)


def one_split(data: str, split: str | None, options: dict[str, Any]) -> "Dataset":
    """The split to show; None: what `keras-det train` trains on."""
    from keras_det.data.load import load_train_and_val, open_data

    if split is not None:
        return next(iter(read_splits(data, split, options)[0].values()))
    arguments, fraction = arguments_of(options), options["split_by"]
    opened = open_data(data, arguments.get("format"))
    try:
        found = load_train_and_val(opened, split_by=fraction, **arguments)
    except DataError:  # for example too few images to hold some out
        if fraction is not None:
            raise
        found = load_train_and_val(opened, with_val=False, **arguments)
    if found.sentence:
        echo(found.sentence)
    return found.train


def network_input(model: str | None, image_size: tuple[int, int] | None, dataset: "Dataset") -> Any:
    """What `Pipeline` takes: a size, or a model with its way of resizing."""
    if model is None:
        start_keras()
        return image_size or SIZE
    if model not in PARAMETERS and pathlib.Path(model).exists():
        from keras_det.cli.files import load_keras_model

        if image_size is not None:
            raise DataError(
                f"A trained model has its own image size. Received: --image-size with {model}. "
                "Leave out one of them."
            )
        return load_keras_model(model)
    check_model_name(model)
    start_keras()
    from keras_det.training.input_size import build_for

    return build_for(model, dataset, image_size)


def draw_batches(dataset: "Dataset", model_or_size: Any, options: dict[str, Any]) -> np.ndarray:
    """The first batches of a pipeline with their boxes, as one picture."""
    from keras_det.data import Pipeline
    from keras_det.report.draw import draw_ground_truth
    from keras_det.report.grid import grid

    plain = options["no_augment"]
    pipeline = Pipeline(
        dataset,
        model_or_size,
        batch_size=options["batch_size"],
        augment=None if plain else options["augment"],
        seed=options["seed"],
        training=not plain,
    )
    pictures = []
    for number, (images, targets, *_) in enumerate(pipeline, 1):
        for image, boxes, labels in zip(images, targets["boxes"], targets["labels"], strict=True):
            pictures.append(draw_ground_truth(image, boxes, labels, dataset.class_names))
        if number == options["batches"]:
            break
    return grid(pictures, min(COLUMNS, len(pictures)))


@click.command(
    cls=Command,
    examples=(
        "keras-det data stats my_images/",
        "keras-det data stats coco/ --split train --picture stats.png",
        "keras-det data stats voc/ --json > stats.json",
    ),
)
@click.argument("data", type=PATH)
@click.option("--split", show_default="every split", help="Split to count; all: every image.")
@SPLIT_BY
@click.option("--picture", type=PATH, help="Image file to draw the numbers into.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@reading_and_classes
def stats(data: str, split: str | None, picture: str | None, as_json: bool, **options: Any) -> None:
    """Counts images, objects and their sizes.

    For each split: the classes, sizes and aspect ratios of the boxes, objects per image, and image
    sizes. Crowd objects are counted separately.
    """
    from keras_det.data import statistics
    from keras_det.report.statistics_text import statistics_text

    target = None if picture is None else picture_path(picture, "--picture")
    with user_input():
        splits, notes = read_splits(data, split, options)
    found = {name: statistics(dataset) for name, dataset in splits.items()}
    for note in notes:
        echo(f"Note: {note}", err=True)
    if as_json:
        named = {name or "all": counted for name, counted in found.items()}
        echo_json(named)
    else:
        echo(statistics_text(found))
    if target is not None:
        from keras_det.report.statistics_picture import draw_statistics

        write_picture(target, draw_statistics(found))
        if not as_json:
            say_where("\nPicture", target)


def picture_path(path: str, option: str = "--out") -> pathlib.Path:
    """The path of a picture to write; DataError where it is there, or is no picture."""
    if pathlib.Path(path).suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise DataError(
            f"{option} must name a .png, .jpg or .webp file. Received: {path}. Add .png."
        )
    return refuse_existing(path)


def write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture completely or not at all."""
    from PIL import Image

    from keras_det.files import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.init()
    content = io.BytesIO()
    Image.fromarray(picture).save(content, Image.EXTENSION[path.suffix.lower()])
    write_whole(path, content.getvalue())
