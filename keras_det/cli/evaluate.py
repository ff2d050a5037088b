"""`keras-det evaluate MODEL DATA`: the twelve COCO numbers."""

import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import Command
from keras_det.cli.decoding import decoder_options, decoder_settings
from keras_det.cli.files import home_of, load_keras_model, say_where
from keras_det.files import write_json

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.models import Detector

EXAMPLES = (
    "keras-det evaluate run/ my_images/",
    "keras-det evaluate model.keras coco/ --split val2017 --out metrics.json",
    "keras-det evaluate run/ my_images/ --method hard --pre-nms-top-k 5000",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="val", help="Split of DATA to evaluate on.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, help="Images per step.")
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    show_default="0.001",
    help="Lowest score of a detection.",
)
@decoder_options
@click.option(
    "--out", type=click.Path(), show_default="metrics.json beside MODEL", help="File to write."
)
def evaluate(
    model: str, data: str, split: str, batch_size: int, out: str | None, **decoder: Any
) -> None:
    """Measures the average precision of MODEL on DATA.

    MODEL is a .keras file, a run folder or a preset folder. DATA is a folder in COCO's or Pascal
    VOC's layout, or a COCO .json file. Prints the twelve numbers of COCO and the AP of each class,
    all from 0 to 1, and writes them as JSON.
    """
    from keras_det.data import load

    settings = decoder_settings(decoder)
    target = pathlib.Path(out) if out else home_of(model) / "metrics.json"
    detector = load_keras_model(model)
    dataset = load(data, split=split, class_names=detector.class_names)
    metrics = measure(detector, dataset, batch_size, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, metrics)
    say_where("Metrics", target)


def measure(
    detector: "Detector", dataset: "Dataset", batch_size: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Evaluates with a progress bar, prints the numbers and returns them."""
    from keras_det.metrics.coco import format_metrics
    from keras_det.training.evaluate import evaluate as average_precision

    with click.progressbar(length=len(dataset), label="Evaluating") as bar:
        metrics = average_precision(
            detector,
            dataset,
            batch_size=batch_size,
            on_batch=lambda done, _: bar.update(done - bar.pos),
            **settings,
        )
    click.echo(format_metrics(metrics))
    return metrics
