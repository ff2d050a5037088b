"""The files that `keras-det evaluate` writes beside the metrics: the analysis and the report."""

import pathlib
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.files import say_where
from keras_det.errors import DataError
from keras_det.files import write_json
from keras_det.run_folder import HISTORY, RECIPE, read_history, read_recipe

if TYPE_CHECKING:
    from keras_det.data import Dataset
    from keras_det.training.evaluate import Measured


def check_targets(analysis: str | None, report: str | None) -> None:
    """DataError where the analysis or the report cannot be written, before anything is measured.

    Args:
        analysis: file for the analysis, or None.
        report: folder for the report, or None.
    """
    if analysis is not None and pathlib.Path(analysis).is_dir():
        raise DataError(
            f"--analysis must name a file. Received: {analysis}, a folder. Give the name of a file "
            "in it."
        )
    if report is not None and pathlib.Path(report).exists() and not pathlib.Path(report).is_dir():
        raise DataError(
            f"--report must name a folder. Received: {report}, a file. Choose another name, or "
            "move the file away."
        )


def write_findings(
    found: "Measured",
    dataset: "Dataset",
    detector: Any,
    model: pathlib.Path,
    analysis: str | None,
    report: str | None,
) -> None:
    """Writes the analysis and the report if they were asked for, and says where they are.

    Args:
        found: what was measured.
        dataset: what it was measured on.
        detector: the model, or an exported one.
        model: its file.
        analysis: file for the analysis, or None.
        report: folder for the report, or None.
    """
    if analysis is not None and found.seen is not None:
        numbers = pathlib.Path(analysis)
        numbers.parent.mkdir(parents=True, exist_ok=True)
        write_json(numbers, found.seen.analysis.as_dict())
        say_where("Analysis", numbers)
    if report is not None:
        say_where("Report", draw_report(report, found, dataset, detector, model))


def draw_report(
    folder: str, found: "Measured", dataset: "Dataset", detector: Any, model: pathlib.Path
) -> pathlib.Path:
    """Writes the report with a progress bar; returns the path of the page.

    Args:
        folder: of the report.
        found, dataset, detector: as for `write_findings`.
        model: its file. If it lies in a run folder, the report has the curves of the training.
    """
    from keras_det.training.report import write_report

    home = model.parent
    history = read_history(home / HISTORY) if (home / HISTORY).is_file() else []
    recipe = read_recipe(home) if (home / RECIPE).is_file() else None
    with click.progressbar(length=len(dataset), label="Drawing") as bar:
        return write_report(
            folder,
            found,
            dataset,
            detector.class_names,
            model.name,
            detector.score_thresholds,
            history,
            recipe,
            on_image=lambda done, _: bar.update(done - bar.pos),
        )
