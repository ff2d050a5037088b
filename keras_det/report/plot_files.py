"""The plots of an evaluation as PNG files, for documents and slides. Needs matplotlib."""

import importlib.util
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.report.draw import class_colour
from keras_det.report.page.plots import MOST_CELLS
from keras_det.report.page.sections import drawn_classes, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE, DOTS = (6.0, 4.2), 120  # inches, and dots per inch


def plot_files(analysis: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots as PNG files, by file name; empty without matplotlib (extra `plots`).

    Args:
        analysis: of `keras_det.metrics.analysis.Analysis.as_dict`.

    Returns:
        dict of "precision_recall.png" (IoU 0.50), "errors.png", "calibration.png" and, with at most
        23 classes, "confusion.png".
    """
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    drawn = {
        "precision_recall.png": _drawn(_precision_recall, analysis),
        "errors.png": _drawn(_errors, analysis),
        "calibration.png": _drawn(_calibration, analysis),
    }
    if len(analysis["class_names"]) < MOST_CELLS:
        drawn["confusion.png"] = _drawn(_confusion, analysis)
    return drawn


def _drawn(draw: Any, analysis: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    draw(figure.subplots(), analysis)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS)
    return file.getvalue()


def _plain(name: str) -> str:
    """A name with `$` escaped, which matplotlib would read as the start of a formula."""
    return str(name).replace("$", r"\$")


def _precision_recall(axis: "Axes", analysis: Mapping[str, Any]) -> None:
    """Draws the curves of the classes with the most objects."""
    names, curves = analysis["class_names"], analysis["precision_recall"]
    for k in drawn_classes(analysis):
        values = numbers(curves["classes"][names[k]]["0.50"])
        if np.isfinite(values).any():
            colour = [part / 255 for part in class_colour(k)]
            axis.plot(curves["recalls"], values, color=colour, label=_plain(names[k]))
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="IoU 0.50")
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, loc="lower left")


def _errors(axis: "Axes", analysis: Mapping[str, Any]) -> None:
    kinds = analysis["errors"]["kinds"]
    order = sorted(kinds, key=lambda name: kinds[name]["cost"] or 0.0)
    axis.barh(order, [kinds[name]["cost"] or 0.0 for name in order], color="#c62f2f")
    axis.set(xlabel="AP50 lost", title="AP50 lost to each kind of error (TIDE)")


def _calibration(axis: "Axes", analysis: Mapping[str, Any]) -> None:
    found = analysis["calibration"]
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--")
    axis.plot(numbers(found["score"]), numbers(found["precision"]), marker="o")
    title, share = "Calibration of the scores", "share of correct detections"
    axis.set(xlabel="score", ylabel=share, xlim=(0, 1), ylim=(0, 1.02), title=title)
    axis.grid(alpha=0.3)


def _confusion(axis: "Axes", analysis: Mapping[str, Any]) -> None:
    counts = np.asarray(analysis["confusion"]["matrix"])
    names = [_plain(name) for name in [*analysis["class_names"], "background"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        number = f"{counts[row, column]:,}"
        axis.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
    axis.set(xlabel="detected as", ylabel="true class")
