"""`keras-det export MODEL`: a SavedModel for servers or a TFLite file for phones."""

import pathlib

import click

from keras_det.cli.command import Command
from keras_det.cli.files import home_of, load_keras_model, refuse_existing, say_where
from keras_det.errors import DataError

MAX_CHECK_IMAGES = 16

EXAMPLES = (
    "keras-det export run/ --format tflite --quantize float16 --out lite0.tflite",
    "keras-det export run/ my_images/ --format saved_model --out served/1",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(), required=False)
@click.option("--split", default="val", help="Part of DATA to check on.")
@click.option(
    "--format", "kind", type=click.Choice(["saved_model", "tflite"]), default="saved_model"
)
@click.option(
    "--quantize",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    help="Numbers in a TFLite file; float16 halves its size.",
)
@click.option("--out", type=click.Path(), help="[default: exports/ beside MODEL]")
def export(model, data, split, kind, quantize, out):
    """Exports MODEL for servers or phones.

    MODEL is a .keras file or a run folder. The export is run beside the model on images of the data
    set DATA, on drawn ones without it; the report of that check is printed, and written beside the
    export.
    """
    if kind == "saved_model" and quantize != "float32":
        raise DataError(
            f"--quantize is for --format tflite. Received: {quantize} with saved_model. Leave it "
            "out, or choose tflite."
        )
    default = home_of(model) / "exports" / export_name(kind, quantize)
    target = refuse_existing(out or default)
    images = check_images(data, split) if data else None
    detector = load_keras_model(model)
    click.echo(write_export(detector, target, kind, quantize, images))
    say_where("Export", target)


def check_images(data: str, split: str) -> list[str]:
    """Paths of images spread over a data set."""
    from keras_det.data import load

    paths = load(data, split=split).image_paths
    return list(paths[:: max(1, len(paths) // MAX_CHECK_IMAGES)][:MAX_CHECK_IMAGES])


def write_export(detector, target: pathlib.Path, kind: str, quantize: str = "float32", images=None):
    """Exports and checks; returns the report of the check. An export that fails it ends in 1."""
    from keras_det import export as exports

    try:
        if kind == "tflite":
            return exports.tflite(detector, target, quantize=quantize, images=images)
        return exports.saved_model(detector, target, images=images)
    except exports.ExportError as error:  # not the user's fault: exit code 1
        raise click.ClickException(" ".join(str(error).split())) from error


def export_name(kind: str, quantize: str) -> str:
    """The name of an export inside `exports/`."""
    return "saved_model" if kind == "saved_model" else f"model_{quantize}.tflite"
