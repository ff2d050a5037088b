"""`keras-det bench data` and `bench train`: the input pipeline, and training steps."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.bench_output import JSON, check_json, echo_sentences, progress, save_json
from keras_det.cli.command import IMAGE_SIZE, PATH, Command, echo, max_pixels_option, user_input
from keras_det.cli.data_options import READING, reading_options
from keras_det.cli.model_names import ModelName, check_model_name
from keras_det.cli.numbers import MAX_BATCH, Real, Whole
from keras_det.cli.start import start_keras
from keras_det.names import AUGMENT_NAMES, DTYPES
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data import Dataset, Pipeline
    from keras_det.models import Detector

MODEL = click.option(
    "--model",
    type=ModelName(),
    default="efficientdet_lite0",
    help="Name of the model; `keras-det info` lists the names.",
)
SIZE = click.option(
    "--image-size",
    type=IMAGE_SIZE,
    show_default="the model's published size",
    help="Side in pixels, or height x width.",
)
BATCH = click.option("--batch-size", type=Whole(1, MAX_BATCH), default=8, help="Images per batch.")
AUGMENT = click.option(
    "--augment",
    type=click.Choice(AUGMENT_NAMES),
    default="ssj",
    help="Random changes of the images, as in keras-det train.",
)
SPLIT = click.option("--train-split", show_default="train", help="Split of DATA to read.")


@click.command(
    cls=Command,
    examples=(
        "keras-det bench data my_images/",
        "keras-det bench data coco/ --model efficientdet_d0 --augment strong",
    ),
)
@click.argument("data", type=PATH)
@MODEL
@SIZE
@BATCH
@AUGMENT
@click.option(
    "--workers",
    type=Whole(1, 1024),
    show_default="the number of cores",
    help="Images that are processed at the same time.",
)
@click.option(
    "--seconds",
    type=Real(0, 3600, open="least"),
    default=3.0,
    help="Minimum time of each of about ten measurements.",
)
@SPLIT
@reading_options
@max_pixels_option()
@JSON
def data(
    data: str,
    model: str,
    image_size: tuple[int, int] | None,
    batch_size: int,
    augment: str,
    workers: int | None,
    seconds: float,
    train_split: str | None,
    json_file: str | None,
    **reading: Any,
) -> None:
    """Measures the input pipeline of a training.

    DATA is the folder of a data set or an annotation file. Its training images are read, decoded,
    augmented and resized as for MODEL, but no network runs. Each stage is timed as the difference
    between measurements with and without it. The last lines say what limits the pipeline.
    """
    check_json(json_file)
    check_model_name(model)
    dataset = _read(data, train_split, reading)
    detector = _built(model, dataset, image_size, "float32")
    pipeline = _pipeline(dataset, detector, batch_size, augment, workers)
    from keras_det.profiling.bench_input import measure_input
    from keras_det.profiling.bench_text import input_table
    from keras_det.profiling.verdict import disturbed, input_verdict

    with progress() as say:
        found = measure_input(pipeline, seconds, say)
    verdict = input_verdict(found.times)
    echo(
        f"{_what(dataset, detector, batch_size)}, {counted(pipeline.num_parallel_calls, 'worker')}"
    )
    echo(f"\n{input_table(found)}")
    echo_sentences([*verdict.lines(), disturbed(found.others)])
    content = {"command": "data", **dataclasses.asdict(found)}
    content |= {"batch_size": batch_size, "augment": augment, "image_size": detector.image_size}
    save_json(json_file, {**content, "verdict": dataclasses.asdict(verdict)})


@click.command(
    cls=Command,
    examples=(
        "keras-det bench train my_images/",
        "keras-det bench train coco/ --model efficientdet_d0 --batch-size 4",
    ),
)
@click.argument("data", type=PATH)
@MODEL
@SIZE
@BATCH
@AUGMENT
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", help="As in keras-det train."
)
@click.option(
    "--remat",
    is_flag=True,
    help="Recompute activations in the backward pass, as in keras-det train.",
)
@click.option(
    "--steps",
    type=Whole(4),
    show_default="20, or as many as 40 seconds allow",
    help="Timed steps: this many alone, and this many with the input.",
)
@SPLIT
@reading_options
@max_pixels_option()
@JSON
def train(
    data: str,
    model: str,
    image_size: tuple[int, int] | None,
    batch_size: int,
    augment: str,
    dtype: str,
    remat: bool,
    steps: int | None,
    train_split: str | None,
    json_file: str | None,
    **reading: Any,
) -> None:
    """Measures training: the input, the step, and both together.

    DATA is the folder of a data set or an annotation file. MODEL gets random weights: a step
    takes as long as with trained ones. The last lines say whether the input, the host or the
    device limits the speed, and how much of the machine's peak the step uses. The backward pass
    counts as two forward passes.
    """
    check_json(json_file)
    check_model_name(model)
    dataset = _read(data, train_split, reading)
    arguments = {"remat": True} if remat else {}
    detector = _built(model, dataset, image_size, dtype, **arguments)
    pipeline = _pipeline(dataset, detector, batch_size, augment)
    from keras_det.profiling.bench_text import training_table
    from keras_det.profiling.bench_training import measure_training
    from keras_det.profiling.verdict import disturbed, hindered, training_verdict
    from keras_det.training.recipes import adamw

    detector.compile(adamw(detector, batch_size, 1000))
    with progress() as say:
        found = measure_training(detector, pipeline, steps, say)
    verdict = training_verdict(found.times)
    echo(f"{_what(dataset, detector, batch_size)}, {dtype}, {found.device}")
    echo(f"\n{training_table(found)}")
    echo_sentences([*verdict.lines(), hindered(found.times), disturbed(found.others)])
    content = {"command": "train", "model": model, "dtype": dtype, **dataclasses.asdict(found)}
    content |= {"augment": augment, "image_size": detector.image_size}
    save_json(json_file, {**content, "verdict": dataclasses.asdict(verdict)})


def _read(data: str, train_split: str | None, reading: dict[str, Any]) -> "Dataset":
    from keras_det.data.load import load_train_and_val

    options = {name: reading[name] for name in READING}
    with user_input():
        return load_train_and_val(data, train_split, with_val=False, **options).train


def _built(
    model: str,
    dataset: "Dataset",
    image_size: tuple[int, int] | None,
    dtype: str,
    **arguments: Any,
) -> "Detector":
    """The model with the classes of the data, random weights and the published or given size."""
    start_keras()
    from keras_det.models import build_model

    sized = {"image_size": image_size} if image_size else {}
    with user_input():
        return build_model(
            model, class_names=dataset.class_names, dtype=dtype, **sized, **arguments
        )


def _pipeline(
    dataset: "Dataset", detector: "Detector", batch_size: int, augment: str, workers: Any = None
) -> "Pipeline":
    from keras_det.data import Pipeline
    from keras_det.profiling.machine import allowed_cores

    calls = workers or len(allowed_cores())
    with user_input():
        return Pipeline(
            dataset,
            detector,
            batch_size,
            augment=augment,
            training=True,
            num_parallel_calls=calls,
        )


def _what(dataset: "Dataset", detector: "Detector", batch_size: int) -> str:
    height, width = detector.image_size
    images = counted(len(dataset), "image")
    return f"{images}; {detector.name}, {height}x{width}, batches of {batch_size}"
