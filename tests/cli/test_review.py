"""`keras-det review`: on which images, what is printed, and which files are written."""

import csv
import functools
import json

import numpy as np
import pytest

from keras_det.cli import review as command
from keras_det.cli import review_next


class Finder:
    """An exported file that finds the only object as another class, and something else."""

    engine, score_thresholds, class_names = "test", None, ["square", "disc"]

    def detect(self, image, **settings):
        boxes = np.array([[6, 4, 26, 14], [1, 16, 9, 23]], "float32")
        return {"boxes": boxes, "scores": np.array([0.8, 0.5]), "labels": np.array([1, 0])}


@pytest.fixture
def model(monkeypatch, coco):
    """The model of every command; the data has its classes. Too few images for likely findings."""
    import keras_det.review

    every = functools.partial(keras_det.review.find_label_errors, least=0)
    monkeypatch.setattr(keras_det.review, "find_label_errors", every)
    for module in (command, review_next):
        monkeypatch.setattr(module, "load_any_model", lambda path: Finder())
        monkeypatch.setattr(module, "find_model", lambda path: path)
    for path in (coco / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["categories"].append({"id": 4, "name": "disc"})
        path.write_text(json.dumps(content))


def test_findings_are_printed_and_written(run, model, coco, tmp_path):
    out = tmp_path / "found"
    words = ("--split", "train", "--out", out, "--to", "coco", "--min-score", 0)
    result = run("review", "m.tflite", coco, *words)
    assert result.exit_code == 0, result.output
    assert "It is not known whether the model was trained on these images." in result.stderr
    assert "wrong class: square, should be disc  a.png" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:12])) <= 80
    rows = list(csv.DictReader((out / "findings.csv").open()))
    assert {row["kind"] for row in rows} == {"swapped", "missing"}
    assert (out / "index.html").is_file() and len(list((out / "pictures").iterdir())) == 2
    (swapped, added) = json.loads((out / "coco.json").read_text())["annotations"]
    assert swapped["category_id"] == 4 and swapped["bbox"] == [6, 4, 20, 10]
    assert added["category_id"] == 3 and added["bbox"] == [1, 16, 8, 7]


def test_the_images_of_the_training_are_marked(run, model, coco, tmp_path):
    home = tmp_path / "run"
    home.mkdir()
    (home / "recipe.json").write_text(json.dumps({"data": {"path": str(coco)}}))
    out = tmp_path / "found"
    result = run("review", home, coco, "--out", out)
    assert result.exit_code == 0, result.output
    assert "Note: the model was trained on 1 of 2 images. It agrees with" in result.stderr
    rows = list(csv.DictReader((out / "findings.csv").open()))
    assert {row["image"].split("/")[-2]: row["trained_on"] for row in rows} == {
        "train": "True",
        "val": "False",
    }


def test_unlabelled_images_are_ranked(run, model, coco, tmp_path, image):
    out = tmp_path / "next"
    folder = coco / "train"
    (folder / "damaged.png").write_bytes(b"no image")
    result = run("review", "m.tflite", "--unlabelled", folder, "--out", out, "--to", "cvat")
    assert result.exit_code == 0, result.output
    assert "Note: left out: " in result.stderr and "damaged.png" in result.stderr
    (row,) = csv.DictReader((out / "next.csv").open())
    # Threshold 0.3, odds 3/7: 0.8 has odds 4 / (3/7), p = 28/31; 0.5 has p = 7/10.
    expected = (1 - abs(2 * 28 / 31 - 1)) ** 2 + (1 - abs(2 * 0.7 - 1)) ** 2
    assert float(row["uncertainty"]) == pytest.approx(expected, abs=1e-3)
    assert row["detections"] == "2" and row["image"].endswith("a.png")
    assert (out / "cvat.xml").read_text().count("<box ") == 2
    assert [path.name for path in (out / "pictures").iterdir()] == ["0001_a.png"]


@pytest.mark.parametrize(
    "words, message",
    [
        ("m.keras", "review needs either DATA"),
        ("m.keras {coco} --unlabelled {coco}", "Received: {coco} and --unlabelled {coco}"),
        ("m.keras --unlabelled {coco} --folds 2", "--folds has no effect with --unlabelled"),
        ("m.keras --unlabelled {coco} --split val", "--split has no effect with --unlabelled"),
        ("m.keras {coco} --epochs 2", "--epochs has no effect without --folds"),
        ("m.keras {coco} --min-score 0.3", "--min-score has no effect without --to"),
        ("m.keras {coco} --batch-size 2", "--batch-size has no effect for an exported file"),
        ("m.keras {coco} --out {coco}", "--out must be a new or empty folder"),
        (
            "efficientdet_lite0 {coco}",
            "the name of an untrained model. Give --folds 4 to train it.",
        ),
        ("effdet_lite0 {coco} --folds 2", "The model must be one that `keras-det info` lists"),
        ("{coco} {coco} --folds 2", "--folds trains models as RUN was trained"),
    ],
)
def test_what_does_not_fit_is_refused(refused, model, coco, tmp_path, words, message):
    given = [*words.format(coco=coco).split()]
    given += [] if "--out" in words else ["--out", tmp_path / "out"]
    assert message.format(coco=coco) in refused("review", *given)


@pytest.fixture
def trained(monkeypatch):
    """A recorder in the place of the trainings; the list of its calls."""
    import keras_det.review

    calls = []

    def record(model, dataset, folder, folds, **settings):
        calls.append((model, len(dataset), folds, settings))
        return [Finder().detect(None) for _ in range(len(dataset))]

    monkeypatch.setattr(keras_det.review, "out_of_fold_detections", record)
    return calls


def test_folds_of_a_model_that_is_named(run, model, trained, coco, tmp_path):
    words = ("--folds", 2, "--epochs", 3, "--image-size", 64, "--out", tmp_path / "out")
    result = run("review", "efficientdet_lite0", coco, *words)
    assert result.exit_code == 0, result.output
    ((name, images, folds, settings),) = trained
    assert (name, images, folds) == ("efficientdet_lite0", 2, 2)
    assert settings["epochs"] == 3 and settings["image_size"] == (64, 64)
    assert settings["weights"] == "auto" and settings["batch_size"] == 8
    rows = list(csv.DictReader((tmp_path / "out" / "findings.csv").open()))
    assert {row["trained_on"] for row in rows} == {"False"}


def test_folds_are_trained_as_the_run_was(run, model, trained, coco, tmp_path):
    home = tmp_path / "run"
    home.mkdir()
    recipe = {"model": "retinanet_resnet18", "epochs": 7, "batch_size": 4, "seed": 3}
    recipe |= {"class_names": ["disc", "square"], "image_size": [64, 96], "weights": None}
    (home / "recipe.json").write_text(json.dumps(recipe))
    result = run("review", home, coco, "--folds", 2, "--epochs", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ((name, images, _, settings),) = trained
    assert (name, images) == ("retinanet_resnet18", 2)
    kept = {key: settings[key] for key in ("epochs", "batch_size", "seed", "image_size")}
    assert kept == {"epochs": 2, "batch_size": 4, "seed": 3, "image_size": (64, 96)}
