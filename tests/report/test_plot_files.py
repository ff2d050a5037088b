"""The plots of an evaluation as PNG files."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_det.metrics import analyse
from keras_det.report import plot_files

BOX = np.array([[10.0, 10, 60, 60]])


def analysis(names):
    truth = [{"boxes": BOX, "labels": [k % 2]} for k in range(4)]
    found = [{"boxes": BOX, "labels": [0], "scores": [0.9 - 0.1 * k]} for k in range(4)]
    return analyse(found, truth, names).as_dict()


def test_each_plot_is_a_picture_and_odd_names_are_plain_text():
    pytest.importorskip("matplotlib")
    drawn = plot_files.plot_files(analysis(["$\\frac{", "<b>", "no object"]))
    assert set(drawn) == {"precision_recall.png", "errors.png", "calibration.png", "confusion.png"}
    for content in drawn.values():
        picture = Image.open(io.BytesIO(content))
        assert picture.format == "PNG" and picture.size == (720, 504)
        assert len(set(picture.convert("L").tobytes())) > 10


def test_the_curves_are_those_of_the_analysis():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    found = analysis(["a", "b"])
    axis = Figure().subplots()
    plot_files._precision_recall(axis, found)
    curves = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    assert curves["a"].tolist() == found["precision_recall"]["classes"]["a"]["0.50"]
    axis = Figure().subplots()
    plot_files._errors(axis, found)
    longest = max(axis.patches, key=lambda bar: bar.get_width())
    costs = {name: kind["cost"] for name, kind in found["errors"]["kinds"].items()}
    assert longest.get_width() == max(costs.values())
    assert axis.get_yticklabels()[-1].get_text() == max(costs, key=costs.get)


def test_many_classes_have_no_matrix_and_nothing_is_drawn_without_matplotlib(monkeypatch):
    monkeypatch.setattr(plot_files, "_drawn", lambda draw, analysis: draw.__name__.encode())
    monkeypatch.setattr(plot_files.importlib.util, "find_spec", lambda name: name)
    assert "confusion.png" in plot_files.plot_files({"class_names": ["x"] * 23})
    assert "confusion.png" not in plot_files.plot_files({"class_names": ["x"] * 24})
    monkeypatch.setattr(plot_files.importlib.util, "find_spec", lambda name: None)
    assert plot_files.plot_files({"class_names": []}) == {}
