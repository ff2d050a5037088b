"""`keras-det verify FILE [DATA]`: checks that an exported file matches its certificate."""

import contextlib
from typing import Any

import click

from keras_det.cli.command import (
    PATH,
    Command,
    echo,
    max_pixels_option,
    refuse_max_pixels,
    refuse_useless,
)
from keras_det.cli.data_options import READING, SPLIT_BY, reading_options
from keras_det.cli.export import spread
from keras_det.cli.files import load_keras_model
from keras_det.cli.numbers import Whole
from keras_det.cli.run_data import data_to_measure
from keras_det.cli.start import start_keras

EXAMPLES = (
    "keras-det verify run/exports/model_float32.tflite",
    "keras-det verify run/exports/model_float32.tflite my_images/ --model run/",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("file", type=PATH)
@click.argument("data", type=PATH, required=False)
@click.option("--model", type=PATH, help="The Keras model that was exported, to compare with.")
@click.option("--split", show_default="val", help="Split of DATA to check on; all: every image.")
@SPLIT_BY
@reading_options
@max_pixels_option()
@click.option(
    "--max-images",
    type=Whole(1),
    default=100,
    help="Largest number of images of DATA to check on, spread over the split.",
)
@click.pass_context
def verify(
    ctx: click.Context,
    file: str,
    data: str | None,
    model: str | None,
    split: str | None,
    max_images: int,
    **options: Any,
) -> None:
    """Checks an exported FILE against its certificate.

    FILE is a .tflite or .onnx file, or the folder of a SavedModel or of an export for OpenVINO. Its
    certificate must lie beside it. FILE must have the checksum, the outputs and the class names
    that the certificate states, and its boxes must be finite. With --model, the final detections of
    both are compared; on the labelled images of DATA, so is their average precision. Without DATA,
    synthetic images are used.

    The exit code is 1 if a check fails.
    """
    reading = {name: options.pop(name) for name in (*READING, "split_by")}
    if data is None:
        useless = (*reading, "split", "max_images")
        refuse_useless(ctx, useless, "without DATA", "give DATA")
        refuse_max_pixels(ctx, "without DATA", "give DATA")
    start_keras()
    from keras_det.export import verify as verify_file

    detector = None if model is None else load_keras_model(model)
    images = None
    if data is not None:
        names = None if detector is None else detector.class_names
        dataset, sentence = data_to_measure(ctx, model or file, data, split, names, reading)
        images = spread(dataset, max_images)
        echo(sentence, nl=bool(sentence))
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def on_image(done: int, total: int) -> None:
            if not bars:  # an error before the first image is not preceded by a bar
                bar = click.progressbar(length=total, label="Checking", width=24)
                bars.append(stack.enter_context(bar))
            bars[0].update(done - bars[0].pos)

        found = verify_file(file, detector, images, on_image)
    echo(str(found))
    if not found.passed:
        ctx.exit(1)
