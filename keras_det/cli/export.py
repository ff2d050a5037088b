"""`keras-det export MODEL`: a SavedModel for servers, a TFLite file for phones, or ONNX."""

import pathlib

import click

from keras_det.cli.command import Command
from keras_det.cli.files import home_of, load_keras_model, refuse_existing, say_where
from keras_det.errors import DataError

EXAMPLES = (
    "keras-det export run/ --to tflite --quantize float16 --out lite0.tflite",
    "keras-det export run/ my_images/ --to saved_model --out served/1",
    "keras-det export run/ --to tflite --metadata mediapipe",
    "keras-det export run/ my_images/ --to tflite --quantize int8 --calibrate my_images/",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(), required=False)
@click.option("--split", default="val", help="Part of DATA to check on.")
@click.option(
    "--to", "kind", type=click.Choice(["saved_model", "tflite", "onnx"]), default="saved_model"
)
@click.option(
    "--quantize",
    type=click.Choice(["float32", "float16", "dynamic", "int8"]),
    default="float32",
    help="Numbers in a TFLite file; float16 halves its size, the others quarter it.",
)
@click.option(
    "--calibrate",
    type=click.Path(),
    help="Data set whose images say which numbers int8 has to hold: the training images.",
)
@click.option("--calibrate-split", default="train", help="Part of it.")
@click.option(
    "--postprocess",
    type=click.Choice(["builtin", "mediapipe", "split", "none"]),
    default="builtin",
    help="End of a TFLite file: soft-NMS; the operator that some runtimes expect; soft-NMS in a "
    "second file, for accelerators; or raw outputs.",
)
@click.option(
    "--metadata",
    type=click.Choice(["mediapipe"]),
    help="Lets MediaPipe's ObjectDetector open the TFLite file.",
)
@click.option("--grey", is_flag=True, help="The TFLite file takes grey images.")
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=0,
    help="Requests in a SavedModel that warm a server up; the largest batch size it forms.",
)
@click.option(
    "--max-images",
    type=click.IntRange(min=1),
    default=100,
    help="Images of DATA to check on, spread over the split.",
)
@click.option("--out", type=click.Path(), help="[default: exports/ beside MODEL]")
def export(model, data, split, kind, calibrate, calibrate_split, max_images, out, **options):
    """Exports MODEL for servers or phones, or as ONNX.

    MODEL is a .keras file or a run folder. The export is run beside the model on images of the data
    set DATA, where the average precision of both is measured too, on drawn ones without it; the
    report of that check is printed, and written beside the export.
    """
    check_options(kind, {**options, "calibrate": calibrate})
    check_calibration(options["quantize"], calibrate)
    target = refuse_existing(out or home_of(model) / "exports" / export_name(kind, **options))
    detector = load_keras_model(model)
    images = check_images(detector, data, split, max_images) if data else None
    if calibrate:
        options["calibration"] = calibration_images(calibrate, calibrate_split)
        options["on_progress"] = lambda sentence: click.echo(sentence, err=True)
    click.echo(write_export(detector, target, kind, images, **options))
    say_where("Export", target)


# Options that only one kind of export has, and their defaults.
OPTIONS = {
    "tflite": {
        "quantize": "float32",
        "postprocess": "builtin",
        "metadata": None,
        "grey": False,
        "calibrate": None,
    },
    "saved_model": {"warmup": 0},
}


def check_options(kind: str, given: dict):
    """DataError where an option is given with another kind of export than its own."""
    for owner, defaults in OPTIONS.items():
        for name, default in defaults.items():
            if owner != kind and given[name] != default:
                raise DataError(
                    f"--{name} is for --to {owner}. Received: {given[name]} with {kind}. Leave it "
                    f"out, or choose {owner}."
                )


def check_calibration(quantize: str, calibrate: str | None):
    """DataError where --calibrate is missing or has no use."""
    if (quantize == "int8") == bool(calibrate):
        return
    raise DataError(
        "--quantize int8 and --calibrate DATA go together: it takes the training images. Received: "
        f"--quantize {quantize}, --calibrate {calibrate}. Give both, or neither."
    )


def calibration_images(data: str, split: str) -> list[str]:
    """Paths of the images of a data set; its classes do not matter."""
    from keras_det.data import load

    return list(load(data, split=split).image_paths)


def check_images(detector, data: str, split: str, max_images: int):
    """At most `max_images` labelled images, spread over a data set with the model's classes."""
    from keras_det.data import load

    dataset = load(data, split=split, class_names=detector.class_names)
    count = min(max_images, len(dataset))
    return dataset.select([i * len(dataset) // count for i in range(count)])


def write_export(detector, target: pathlib.Path, kind: str, images=None, **options):
    """Exports and checks; returns the report of the check. An export that fails it ends in 1.

    Args:
        detector: what is exported.
        target: where to.
        kind: "saved_model", "tflite" or "onnx".
        images: to check on.
        **options: of the command line; those of other kinds are left out.
    """
    from keras_det import export as exports

    foreign = {name for owner in OPTIONS if owner != kind for name in OPTIONS[owner]}
    options = {name: value for name, value in options.items() if name not in foreign}
    if options.pop("grey", False):
        options["channels"] = 1
    try:
        return getattr(exports, kind)(detector, target, images=images, **options)
    except exports.ExportError as error:  # not the user's fault: exit code 1
        raise click.ClickException(" ".join(str(error).split())) from error


def export_name(
    kind: str,
    quantize: str = "float32",
    postprocess: str = "builtin",
    metadata=None,
    grey: bool = False,
    **_,
) -> str:
    """The name of an export inside `exports/`."""
    if kind != "tflite":
        return {"saved_model": "saved_model", "onnx": "model.onnx"}[kind]
    end = {"builtin": metadata and "mediapipe", "none": "raw"}.get(postprocess, postprocess)
    parts = ["model", quantize, grey and "grey", end]
    return f"{'_'.join(filter(None, parts))}.tflite"
