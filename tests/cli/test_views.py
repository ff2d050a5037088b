"""Tiles and views on the command line: what is said, what is measured, and what is refused."""

import json
import pathlib

import numpy as np
import pytest

from keras_det.cli import evaluate as evaluate_command
from keras_det.cli import predict as predict_command


class Model:
    """A Keras model that finds the bright rectangle, at its own input size."""

    class_names, score_thresholds, image_size = ["square"], None, (64, 64)
    detect_settings = {"score_threshold": 0.001, "max_detections": 100}

    def __init__(self):
        self.sizes = []

    def check_dataset(self, dataset):
        pass

    def with_image_size(self, image_size):
        self.sizes.append(image_size)
        return self

    def detect(self, images, **settings):
        return [self._one(image) for image in images]

    def _one(self, image):
        y, x = np.nonzero(image[..., 0] > 150)
        boxes = np.float32([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
        return {"boxes": boxes, "scores": np.float32([0.7]), "labels": np.int32([0])}


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr(evaluate_command, "load_keras_model", lambda path: model)
    monkeypatch.setattr(evaluate_command, "find_model", pathlib.Path)
    monkeypatch.setattr(predict_command, "load_any_model", lambda path: model)
    monkeypatch.setattr(predict_command, "find_model", pathlib.Path)
    return model


GIVEN = ("--flip", "both", "--scales", "0.5,1,1.5")


def test_predict_says_what_it_looks_at(run, model, coco, tmp_path):
    out = tmp_path / "found"
    result = run("predict", "m.keras", coco / "train", *GIVEN, "--out", out)
    assert result.exit_code == 0, result.output
    said = "Engine: keras. Views: flip both, scales 0.5, 1, 1.5; fusion wbf."
    assert said in result.stdout.splitlines()
    (row,) = json.loads((out / "detections.json").read_text())
    assert row["bbox"] == [6, 4, 20, 10] and row["score"] == pytest.approx(0.7)
    assert model.sizes == [(32, 32), (96, 96)]


def test_evaluate_notes_the_views(run, model, coco, tmp_path):
    out = tmp_path / "metrics.json"
    more = ("--fusion", "nms", "--tile", "32", "--out", out)
    result = run("evaluate", "m.keras", coco, *GIVEN, *more)
    assert result.exit_code == 0, result.output
    metrics = json.loads(out.read_text())
    assert metrics["AP"] == pytest.approx(1.0)
    assert metrics["measured"]["settings"] == {
        **{"tile": 32, "overlap": 0.25},
        **{"flip": "both", "scales": [0.5, 1.0, 1.5], "fusion": "nms"},
    }


@pytest.mark.parametrize(
    "given, message",
    [
        (("--fusion", "nms"), "--fusion has no effect on a single view. Received: --fusion nms."),
        (("--scales", "1", "--fusion", "wbf"), "--fusion has no effect on a single view."),
        (("--tile-overlap", "0.5"), "--tile-overlap has no effect without --tile."),
        (("--scales", "1,9"), "numbers from 0.25 to 4 with commas between them, such as 1,1.25."),
        (("--scales", "1;2"), "Received: 1;2."),
        (("--scales", "1,1.1"), "Each of `scales` must give another input size. Received: (1.0, 1"),
        (("--scales", "2", "--engine", "onnx"), "Received: --scales 2 with the engine onnx."),
    ],
)
def test_what_makes_no_sense_is_refused(refused, model, coco, tmp_path, given, message):
    line = refused("predict", "m.keras", coco / "train", *given, "--out", tmp_path / "found")
    assert message in line
    assert not (tmp_path / "found").exists()


def test_an_exported_file_has_one_size(refused, model, coco, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "engine", "litert", raising=False)
    out = tmp_path / "found"
    line = refused("predict", "m.tflite", coco / "train", *GIVEN, "--out", out)
    assert "--scales needs a .keras model" in line and "with the engine litert" in line
