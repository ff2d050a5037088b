"""`keras-det evaluate` of an exported file: AP, latency, size and memory in one JSON file."""

import pathlib
from typing import Any

import click

from keras_det.cli.bench_files import MOST_IMAGES, describe
from keras_det.cli.bench_output import progress
from keras_det.cli.bench_process import measure_files
from keras_det.cli.command import PIXELS_KEY, echo, refuse_useless, user_input
from keras_det.cli.detections import measure
from keras_det.cli.evaluated import metrics_beside
from keras_det.cli.files import find_model, load_any_model, say_where
from keras_det.cli.report import write_findings
from keras_det.cli.run_data import data_to_measure
from keras_det.cli.views import in_views
from keras_det.files import tree_digest, write_json

OF_KERAS_MODEL = (
    "method",
    "iou_threshold",
    "sigma",
    "pre_nms_top_k",
    "max_detections",
    "class_agnostic",
    "candidates",
    "corner_top_k",
    "embedding_threshold",
    "peak_window",
    "batch_size",
)


def evaluate_file(
    ctx: click.Context,
    model: str,
    data: str,
    split: str | None,
    reading: dict[str, Any],
    settings: dict[str, Any],
    out: str | None,
    views: dict[str, Any],
    analysis: str | None,
    report: str | None,
) -> None:
    """Evaluates an exported file, and writes all its figures.

    Args:
        ctx: of the command.
        model, data, split, out, analysis, report: as of the command.
        reading: how DATA is read.
        settings: of the decoder; a file takes no other than `score_threshold`.
        views: as of `in_views`.
    """
    refuse_useless(ctx, OF_KERAS_MODEL, "for an exported file", "give the .keras file")
    file: Any = load_any_model(model)
    with user_input():
        file.check_threshold(settings.get("score_threshold"))
    detector = in_views(file, views)
    dataset, sentence = data_to_measure(ctx, model, data, split, detector.class_names, reading)
    if sentence:
        echo(sentence)
    metrics, measured = measure(detector, dataset, 1, settings, find_model(model).name, views)
    paths = [str(path) for path in dataset.image_paths]
    count = min(MOST_IMAGES, len(paths))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    with progress() as say:
        limit = ctx.meta.get(PIXELS_KEY)
        (found,) = measure_files([model], chosen, None, say, limit, True)
    echo(f"\n{describe(found)}\n")
    figures = found.as_json()
    # The name alone: the files may be moved together.
    figures |= {"file": find_model(model).name, "sha256": tree_digest(find_model(model))}
    del figures["batch"]
    target = pathlib.Path(out) if out else metrics_beside(find_model(model))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, {**metrics, "artefact": figures})
    say_where("Metrics", target)
    write_findings(measured, dataset, detector, find_model(model), analysis, report)
