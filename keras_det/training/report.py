"""The report of an evaluation: a page for people, and files for machines."""

import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from keras_det.data.dataset import Dataset
from keras_det.data.statistics import statistics
from keras_det.errors import DataError
from keras_det.files import write_json, write_whole
from keras_det.metrics.analysis import Analysis
from keras_det.report.page.page import Headline, Section, evaluation_page
from keras_det.report.page.pictures import Budget, Picture
from keras_det.report.page.sections import (
    classes_section,
    confusion_section,
    curves_section,
    errors_section,
    learning_section,
    pictures_note,
    text_section,
)
from keras_det.report.plot_files import plot_files
from keras_det.report.statistics_text import statistics_text
from keras_det.report.tables import csv_bytes
from keras_det.training.advice import advice
from keras_det.training.evaluate import Measured, Seen
from keras_det.training.report_rows import Rows, report_rows
from keras_det.words import counted

PAGE, ANALYSIS, CLASSES, IMAGES = "index.html", "analysis.json", "classes.csv", "images.csv"
PLOTS = "plots"
MOST_PICTURES = 5000  # on the page: of more images, those with the most errors
PACKAGES = ("keras_det", "keras", "tensorflow", "jax", "torch", "numpy", "hotcoco", "pycocotools")


def write_report(
    folder: str | os.PathLike,
    found: Measured,
    dataset: Dataset,
    class_names: Sequence[str],
    model: str,
    thresholds: Sequence[float] | None = None,
    history: Sequence[Mapping[str, str]] = (),
    recipe: Mapping[str, Any] | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
    """Writes the report of an evaluation to a folder, and replaces an older report there.

    `index.html` is one page that needs no other file and no network: figures, what to do next,
    plots, and the images with their objects and detections, the most errors first.
    `analysis.json` holds the figures (keras_det/metrics/analysis.schema.json describes it),
    `classes.csv` those of each class, `images.csv` the errors in each image. With matplotlib (extra
    `plots`), `plots/` holds the plots as PNG files.

    Args:
        folder: made if it is not there.
        found: as `keras_det.training.measure` returns it.
        dataset: what was measured.
        class_names: of the model.
        model: name of the model's file.
        thresholds: scores above which the page shows detections, one per class. Default: those
            with the best F1.
        history: rows of `history.csv` of the training.
        recipe: content of `recipe.json` of the training.
        on_image: function called with the number of images drawn and the total number.

    Returns:
        Path of the page.

    Raises:
        ValueError: `found` does not say which images were measured.
    """
    if found.seen is None:
        raise ValueError(
            "A report needs the images that were measured. Received: measurements without `seen`. "
            "Pass what keras_det.training.measure returns."
        )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    seen = found.seen
    analysis = seen.analysis
    shown = list(analysis.confusion_thresholds if thresholds is None else thresholds)
    rows = report_rows(seen.matches, analysis.errors, shown)
    chosen = np.sort(np.argsort(-rows.errors, kind="stable")[:MOST_PICTURES]).tolist()
    pictures = _pictures(dataset, seen, rows, chosen, on_image)
    headline = _headline(found, analysis, dataset, model, history)
    if note := pictures_note(len(chosen), len(seen.indices)):
        headline.about.append(note)
    pieces = evaluation_page(
        headline,
        _sections(analysis, history),
        pictures,
        class_names,
        shown,
        _background(dataset, recipe),
    )
    page = "".join(pieces).encode("utf-8", "backslashreplace")
    write_json(folder / ANALYSIS, analysis.as_dict())
    write_whole(folder / CLASSES, _classes(analysis))
    write_whole(folder / IMAGES, _images(dataset, seen, rows))
    for name, content in plot_files(analysis.as_dict()).items():
        (folder / PLOTS).mkdir(exist_ok=True)
        write_whole(folder / PLOTS / name, content)
    write_whole(folder / PAGE, page)
    return folder / PAGE


def _headline(
    found: Measured,
    analysis: Analysis,
    dataset: Dataset,
    model: str,
    history: Sequence[Mapping[str, str]],
) -> Headline:
    where = f"{dataset.name} {dataset.split}" if dataset.split else dataset.name
    about = [
        where,
        counted(analysis.images, "image"),
        counted(analysis.objects, "object"),
        counted(len(analysis.class_names), "class", "classes"),
        counted(found.facts.passing, "detection") + " above the thresholds",
    ]
    learned = found.facts.learned
    return Headline(
        f"{model} on {dataset.name}",
        about,
        found.metrics,
        advice(analysis, found.facts, history) if learned else [],
        "" if learned else found.facts.sentence(""),
    )


def _sections(analysis: Analysis, history: Sequence[Mapping[str, str]]) -> list[Section]:
    figures = analysis.as_dict()
    learning = learning_section(history)
    return [
        errors_section(figures),
        classes_section(figures),
        curves_section(figures),
        confusion_section(figures),
        *([learning] if learning else []),
    ]


def _background(dataset: Dataset, recipe: Mapping[str, Any] | None) -> list[Section]:
    """Data, recipe and environment."""
    parts: dict[str, Any] = {
        "Data": statistics_text({dataset.split or "": statistics(dataset)}),
        **({"Recipe of the training": dict(recipe)} if recipe else {}),
        "Environment": "\n".join(_environment()),
    }
    return [text_section("background", "Data, recipe, environment", parts)]


def _environment() -> Iterator[str]:
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in PACKAGES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def _pictures(
    dataset: Dataset,
    seen: Seen,
    rows: Rows,
    chosen: Sequence[int],
    on_image: Callable[[int, int], None] | None,
) -> Iterator[Picture]:
    """The chosen images, one after the other; one that cannot be read any more is left out."""
    budget = Budget(len(chosen))
    for done, place in enumerate(chosen, 1):
        sample = dataset[seen.indices[place]]
        try:
            pixels = sample.read()
        except DataError:
            continue
        name = _short_path(sample.image_path)
        size = pixels.shape[:2]
        yield Picture(name, size, budget.copy(pixels), rows.truth[place], rows.found[place])
        if on_image is not None:
            on_image(done, len(chosen))


def _short_path(path: str) -> str:
    """The name of an image with its folder: names alone may repeat."""
    return "/".join(str(path).replace("\\", "/").split("/")[-2:])


def _classes(analysis: Analysis) -> bytes:
    """A row for each class."""
    head = ["class", "objects", "AP", "AP_small", "AP_medium", "AP_large"]
    lines: list[list[Any]] = [[*head, "threshold", "precision", "recall", "f1"]]
    for name in analysis.class_names:
        sizes, best = analysis.ap_by_size[name], analysis.best_f1[name]
        numbers = [sizes[each] for each in ("all", "small", "medium", "large")]
        numbers += [best.threshold, best.precision, best.recall, best.f1]
        lines.append([name, best.objects, *(_cell(value) for value in numbers)])
    return csv_bytes(lines)


def _images(dataset: Dataset, seen: Seen, rows: Rows) -> bytes:
    """A row for each image, the most errors first."""
    lines: list[list[Any]] = [["image", "objects", "errors"]]
    for place in np.argsort(-rows.errors, kind="stable").tolist():
        path = dataset[seen.indices[place]].image_path
        lines.append([path, len(rows.truth[place]), int(rows.errors[place])])
    return csv_bytes(lines)


def _cell(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
