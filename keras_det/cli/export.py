"""`keras-det export MODEL`: for servers (SavedModel), phones (TFLite), as ONNX, or for OpenVINO."""

import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import (
    PATH,
    PIXELS_KEY,
    Command,
    echo,
    max_pixels_option,
    refuse_max_pixels,
    refuse_useless,
)
from keras_det.cli.data_options import READING, SPLIT_BY, reading_options
from keras_det.cli.files import home_of, load_keras_model, refuse_existing, say_where
from keras_det.cli.numbers import MAX_BATCH, Real, Whole
from keras_det.cli.run_data import data_to_measure
from keras_det.errors import DataError
from keras_det.names import (
    EXPORT_FORMATS,
    METADATA_CHOICES,
    MOST_SERVED_PIXELS,
    ONNX_POSTPROCESS,
    QUANTIZE_CHOICES,
    TFLITE_POSTPROCESS,
)
from keras_det.words import either

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.export import ExportReport
    from keras_det.models import Detector

EXAMPLES = (
    "keras-det export run/ --to tflite --quantize float16 --out lite0.tflite",
    "keras-det export run/ my_images/ --to saved_model --out served/1",
    "keras-det export run/ --to tflite --metadata mediapipe",
    "keras-det export run/ --to tflite --quantize int8 --calibrate my_images/",
    "keras-det export run/ --to onnx --postprocess none",
)
# What a file can do after the network, the default first.
POSTPROCESS = {
    "tflite": TFLITE_POSTPROCESS,
    "onnx": ONNX_POSTPROCESS,
    "openvino": ONNX_POSTPROCESS,
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=PATH)
@click.argument("data", type=PATH, required=False)
@click.option("--split", show_default="val", help="Split of DATA to check on; all: every image.")
@SPLIT_BY
@reading_options
@max_pixels_option(f"; in a SavedModel {MOST_SERVED_PIXELS}")
@click.option(
    "--to",
    "kind",
    type=click.Choice(EXPORT_FORMATS),
    default="saved_model",
    help="SavedModel for servers, TFLite for phones, ONNX, or OpenVINO for Intel's processors.",
)
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZE_CHOICES),
    default="float32",
    help="Number format of a TFLite file. float16: half the size; dynamic and int8: a quarter to a "
    "third.",
)
@click.option(
    "--calibrate",
    type=PATH,
    help="Calibration data for int8: the data set the model was trained on.",
)
@click.option(
    "--calibrate-split", show_default="train", help="Split of the calibration data to use."
)
@click.option(
    "--postprocess",
    type=click.Choice(list(dict.fromkeys(sum(POSTPROCESS.values(), ())))),
    show_default=f"{TFLITE_POSTPROCESS[0]}; onnx, openvino: {ONNX_POSTPROCESS[0]}",
    help="What is done after the network, but for a SavedModel. builtin: soft-NMS; mediapipe: the "
    "operator that MediaPipe expects; split: soft-NMS in a second file, for accelerators; nms: "
    "hard NMS; none: raw outputs.",
)
@click.option(
    "--score-threshold",
    type=Real(0, 1),
    show_default="0.001",
    help="Lowest score of a detection; for --postprocess mediapipe.",
)
@click.option(
    "--iou-threshold",
    type=Real(0, 1),
    show_default="0.5",
    help="Of two boxes with a higher overlap, the better one is kept; for --postprocess mediapipe.",
)
@click.option(
    "--metadata",
    type=click.Choice(METADATA_CHOICES),
    help="Add the metadata that MediaPipe's ObjectDetector needs to open the TFLite file.",
)
@click.option("--grey", is_flag=True, help="Make a TFLite file that takes grey images.")
@click.option(
    "--warmup",
    type=Whole(0, MAX_BATCH),
    default=0,
    help="Add warm-up requests to a SavedModel. N: the server's largest batch size; 0: none.",
)
@click.option(
    "--max-images",
    type=Whole(1),
    default=100,
    help="Largest number of images of DATA to check on, spread over the split.",
)
@click.option(
    "--out",
    type=PATH,
    show_default="in exports/ beside MODEL",
    help="File or folder to write.",
)
@click.pass_context
def export(
    ctx: click.Context,
    model: str,
    data: str | None,
    split: str | None,
    kind: str,
    calibrate: str | None,
    calibrate_split: str | None,
    max_images: int,
    out: str | None,
    **options: Any,
) -> None:
    """Exports MODEL for servers or phones, as ONNX, or for OpenVINO.

    MODEL is a .keras file, a run folder or a preset folder. The exported file and the model are run
    on images of the data set DATA, and the average precision of both is measured. Without DATA,
    they are compared on synthetic images. The report of this check is printed, and written beside
    the export. An export that differs too much is not kept.
    """
    reading = {name: options.pop(name) for name in (*READING, "split_by")}
    if data is None and calibrate is None:
        refuse_useless(ctx, tuple(reading), "without DATA and --calibrate", "give DATA")
    if data is None:
        refuse_useless(ctx, ("split", "max_images"), "without DATA", "give DATA")
    if calibrate is None:
        refuse_useless(ctx, ["calibrate_split"], "without --calibrate", "give --calibrate")
    check_options(kind, {**options, "calibrate": calibrate})
    check_calibration(options["quantize"], calibrate)
    if kind == "saved_model":
        options |= {"max_pixels": ctx.meta[PIXELS_KEY]} if PIXELS_KEY in ctx.meta else {}
    elif data is None and calibrate is None:
        refuse_max_pixels(ctx, f"with --to {kind} and without DATA", "give DATA")
    target = refuse_existing(out or home_of(model) / "exports" / export_name(kind, **options))
    detector = load_keras_model(model)
    images = None
    if data:
        dataset, sentence = data_to_measure(ctx, model, data, split, detector.class_names, reading)
        images = spread(dataset, max_images)
        echo(sentence, nl=bool(sentence))
    if calibrate:
        # Its classes do not matter.
        dataset, _ = data_to_measure(ctx, model, calibrate, calibrate_split, None, reading, "train")
        options["calibration"] = list(dataset.image_paths)
        options["on_progress"] = lambda sentence: echo(sentence, err=True)
    echo(write_export(detector, target, kind, images, **options))
    say_where("Export", target)


# Options that only one kind of export has, and their defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    "tflite": {
        "quantize": "float32",
        "score_threshold": None,
        "iou_threshold": None,
        "metadata": None,
        "grey": False,
        "calibrate": None,
    },
    "saved_model": {"warmup": 0},
}


def check_options(kind: str, given: dict[str, Any]) -> None:
    """DataError if an option is given that the kind of export or of post-processing lacks."""
    for owner, defaults in OPTIONS.items():
        for name, default in defaults.items():
            if owner != kind and given[name] != default:
                raise DataError(
                    f"--{name.replace('_', '-')} is for --to {owner}. Received: {given[name]} with "
                    f"{kind}. Leave it out, or choose {owner}."
                )
    check_postprocess(kind, given["postprocess"])
    for name in ("score_threshold", "iou_threshold"):
        if given[name] is not None and given["postprocess"] != "mediapipe":
            raise DataError(
                f"--{name.replace('_', '-')} is for --postprocess mediapipe. Received: "
                f"{given[name]:g} with {given['postprocess'] or POSTPROCESS[kind][0]}. Leave it "
                "out, or choose mediapipe."
            )


def check_postprocess(kind: str, postprocess: str | None) -> None:
    """DataError where a kind of export cannot do this after the network."""
    if postprocess is None or postprocess in POSTPROCESS.get(kind, ()):
        return
    owners = [owner for owner, choices in POSTPROCESS.items() if postprocess in choices]
    choices = POSTPROCESS.get(kind)
    advice = f"choose one of {', '.join(choices)}" if choices else f"export --to {owners[0]}"
    raise DataError(
        f"--postprocess {postprocess} is for --to {either(owners)}. Received: "
        f"--postprocess {postprocess} with {kind}. Leave it out, or {advice}."
    )


def check_calibration(quantize: str, calibrate: str | None) -> None:
    """DataError where --calibrate is missing or has no use."""
    if (quantize == "int8") == bool(calibrate):
        return
    raise DataError(
        "--quantize int8 and --calibrate DATA must be given together. DATA holds the training "
        f"images. Received: --quantize {quantize}, --calibrate {calibrate}. Give both, or neither."
    )


def spread(dataset: "Dataset", max_images: int) -> "Dataset":
    """At most `max_images` images, spread over a data set."""
    count = min(max_images, len(dataset))
    return dataset.select([i * len(dataset) // count for i in range(count)])


def write_export(
    detector: "Detector", target: pathlib.Path, kind: str, images: Any = None, **options: Any
) -> "ExportReport":
    """Exports and checks; returns the report. If the check fails, the exit code is 1.

    Args:
        detector: what is exported.
        target: where to.
        kind: one of `EXPORT_FORMATS`.
        images: to check on.
        **options: of the command line; those of other kinds are left out.
    """
    from keras_det import export as exports

    foreign = {name for owner in OPTIONS if owner != kind for name in OPTIONS[owner]}
    options = {name: value for name, value in options.items() if name not in foreign}
    if options.get("postprocess") is None:  # the default of the kind
        options.pop("postprocess", None)
    if options.pop("grey", False):
        options["channels"] = 1
    try:
        return getattr(exports, kind)(detector, target, images=images, **options)
    except exports.ExportError as error:  # not the user's fault: exit code 1
        raise click.ClickException(" ".join(str(error).split())) from error


def export_name(
    kind: str,
    quantize: str = "float32",
    postprocess: str | None = None,
    metadata: str | None = None,
    grey: bool = False,
    **_: Any,
) -> str:
    """The name of an export inside `exports/`."""
    if kind == "saved_model":
        return kind
    suffix = "" if kind == "openvino" else f".{kind}"
    if postprocess is None or postprocess == POSTPROCESS[kind][0]:
        end = metadata
    else:
        end = "raw" if postprocess == "none" else postprocess
    number = quantize if kind == "tflite" else None
    parts = [kind if kind == "openvino" else "model", number, "grey" if grey else None, end]
    return f"{'_'.join(filter(None, parts))}{suffix}"
