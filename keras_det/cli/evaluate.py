"""`keras-det evaluate MODEL DATA`: the twelve COCO numbers."""

import pathlib

import click

from keras_det.cli.command import Command
from keras_det.cli.files import home_of, load_keras_model, say_where
from keras_det.files import write_json

EXAMPLES = (
    "keras-det evaluate run/ my_images/",
    "keras-det evaluate model.keras coco/ --split val2017 --out metrics.json",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="val", help="Part of DATA to measure on.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8)
@click.option("--out", type=click.Path(), help="[default: metrics.json beside MODEL]")
def evaluate(model, data, split, batch_size, out):
    """Measures the average precision of MODEL on DATA.

    MODEL is a .keras file or a run folder. Prints COCO's twelve numbers and AP per class, 0 to 1,
    and writes them as JSON.
    """
    from keras_det.data import load

    target = pathlib.Path(out) if out else home_of(model) / "metrics.json"
    detector = load_keras_model(model)
    dataset = load(data, split=split, class_names=detector.class_names)
    metrics = measure(detector, dataset, batch_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, metrics)
    say_where("Metrics", target)


def measure(detector, dataset, batch_size: int = 8) -> dict:
    """Evaluates with a progress bar, prints the numbers and returns them."""
    from keras_det.metrics.coco import format_metrics
    from keras_det.training.evaluate import evaluate as average_precision

    with click.progressbar(length=len(dataset), label="Evaluating") as bar:
        metrics = average_precision(
            detector,
            dataset,
            batch_size=batch_size,
            on_batch=lambda done, _: bar.update(done - bar.pos),
        )
    click.echo(format_metrics(metrics))
    return metrics
