"""`keras-det evaluate MODEL DATA`: the twelve COCO numbers."""

import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import (
    PATH,
    Command,
    echo,
    max_pixels_option,
)
from keras_det.cli.data_options import READING, SPLIT_BY, reading_options
from keras_det.cli.decoding import check_for_model, decoder_options, decoder_settings
from keras_det.cli.detections import measure
from keras_det.cli.evaluate_file import evaluate_file
from keras_det.cli.files import find_model, home_of, is_exported, load_keras_model, say_where
from keras_det.cli.numbers import MAX_BATCH, Real, Whole
from keras_det.cli.report import check_targets, write_findings
from keras_det.cli.run_data import data_to_measure
from keras_det.cli.views import in_views, taken_from, view_options
from keras_det.files import write_json
from keras_det.run_folder import RECIPE

if TYPE_CHECKING:
    from keras_det.data import Dataset

EXAMPLES = (
    "keras-det evaluate run/ my_images/",
    "keras-det evaluate model.keras coco/ --split val2017 --out metrics.json",
    "keras-det evaluate run/ my_images/ --method hard --pre-nms-top-k 5000",
    "keras-det evaluate run/ my_images/ --report report/",
    "keras-det evaluate run/ my_images/ --flip horizontal --scales 1,1.25",
    "keras-det evaluate run/exports/model_float32.tflite my_images/",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", show_default="val", help="Split of DATA to evaluate on; all: every image.")
@SPLIT_BY
@reading_options
@max_pixels_option()
@click.option(
    "--batch-size", type=Whole(1, MAX_BATCH), default=8, help="Images, tiles or views per step."
)
@click.option(
    "--score-threshold",
    type=Real(0, 1),
    show_default="0.001",
    help="Lowest score of a detection.",
)
@decoder_options
@view_options
@click.option(
    "--out",
    type=PATH,
    show_default="metrics.json beside MODEL, metrics_SPLIT.json in a run folder, FILE.metrics.json "
    "for an exported FILE",
    help="File to write.",
)
@click.option(
    "--analysis",
    type=PATH,
    help="JSON file for the error analysis: errors, curves, confusion matrix.",
)
@click.option(
    "--report",
    type=PATH,
    help="Folder for a report: an HTML page with plots and all images, CSV and JSON files.",
)
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: str,
    data: str,
    split: str | None,
    batch_size: int,
    out: str | None,
    analysis: str | None,
    report: str | None,
    **options: Any,
) -> None:
    """Measures the average precision of MODEL on DATA.

    MODEL is a .keras file, a run folder, a preset folder or an exported file. DATA is the folder of
    a data set or an annotation file. If the run of MODEL has held out images of DATA, MODEL is
    evaluated on these.

    Prints the twelve numbers of COCO, the AP and the best score threshold of each class, all from 0
    to 1, and writes them as JSON, with what was measured: the names of the model's file, the data
    and the split, the number of images, and the decoder's settings where they are given. It also
    prints the kinds of errors, the AP at IoU 0.5 that each costs, and what to do about the most
    costly one.

    For an exported file, the latency, the size and the peak memory are measured too. They are
    written to the same JSON file, beside the exported file.
    """
    check_targets(analysis, report)
    reading = {name: options.pop(name) for name in (*READING, "split_by")}
    views = taken_from(options)
    settings = decoder_settings(options)
    if is_exported(find_model(model)):
        return evaluate_file(
            *(ctx, model, data, split, reading, settings, out),
            views=views,
            analysis=analysis,
            report=report,
        )
    network = load_keras_model(model)
    check_for_model(network, model, settings)
    detector = in_views(network, views)
    dataset, sentence = data_to_measure(ctx, model, data, split, detector.class_names, reading)
    if sentence:
        echo(sentence)
    file = find_model(model)
    metrics, found = measure(detector, dataset, batch_size, settings, file.name, views)
    target = pathlib.Path(out) if out else file_for(home_of(model), dataset, bool(sentence))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, metrics)
    say_where("Metrics", target)
    write_findings(found, dataset, detector, file, analysis, report)


def file_for(folder: pathlib.Path, dataset: "Dataset", held_out: bool) -> pathlib.Path:
    """The file of metrics where none is named. The `metrics.json` of a run is its training's.

    Args:
        folder: of the model.
        dataset: what was measured.
        held_out: whether it is the part that the training had held out.
    """
    if not os.path.lexists(folder / RECIPE):
        return folder / "metrics.json"
    name = dataset.split or ("held_out" if held_out else "all")
    return folder / f"metrics_{re.sub('[^A-Za-z0-9._-]', '_', name)}.json"
