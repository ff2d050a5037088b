"""`keras-det compare`: on which images, what is printed, and which files are written."""

import csv
import json

import numpy as np
import pytest

from keras_det.cli import compare as command


class Finder:
    """An exported file that finds one square, `shift` pixels beside the only object."""

    engine, score_thresholds, class_names = "test", None, ["square"]

    def __init__(self, shift=0.0):
        self.shift = shift

    def detect(self, image, **settings):
        boxes = np.array([[6, 4, 26, 14]], "float32") + self.shift
        return {"boxes": boxes, "scores": np.array([0.8]), "labels": np.array([0])}


@pytest.fixture
def models(monkeypatch):
    """The models by the names of their files; `a` is better."""
    found = {"a.keras": Finder(), "b.keras": Finder(7.0)}
    monkeypatch.setattr(command, "load_any_model", found.__getitem__)
    monkeypatch.setattr(command, "find_model", lambda path: path)
    return found


def test_the_better_model_is_named_and_drawn(run, models, coco, tmp_path):
    out = tmp_path / "compared"
    words = ("--split", "train", "--resamples", "100", "--out", out)
    result = run("compare", "a.keras", "b.keras", coco, *words)
    assert result.exit_code == 0, result.output
    assert "A: a.keras\nB: b.keras\nImages: 1\n" in result.stdout
    assert "square                      1    1.000    0.000   -1.000" in result.stdout
    assert "Fewer errors: A in 1 image, B in 0; equal in 0." in result.stdout
    content = json.loads((out / "compare.json").read_text())
    assert content["all"]["change"] == pytest.approx(-1.0) and content["images"] == 1
    (row,) = csv.DictReader((out / "images.csv").open())
    assert row["image"].endswith("a.png") and (row["errors_A"], row["errors_B"]) == ("0", "2")
    assert [path.name for path in (out / "pictures").iterdir()] == ["01_A_better_a.jpg"]


def test_the_output_folder_is_checked_first(refused, models, coco):
    line = refused("compare", "a.keras", "b.keras", coco, "--out", coco)
    assert "--out must be a new or empty folder" in line


def test_a_batch_size_for_two_files_is_refused(refused, models, coco):
    line = refused("compare", "a.keras", "b.keras", coco, "--batch-size", 2)
    assert "--batch-size has no effect for two exported files. Received: --batch-size 2" in line


@pytest.mark.parametrize(
    "names, message",
    [
        (["square", "disc"], "with 1 class and b.keras with 2, disc in only one of them"),
        (["disc"], "with 1 class and b.keras with 1, disc, square in only one of them"),
    ],
)
def test_models_with_other_classes_are_refused(run, models, coco, names, message):
    models["b.keras"].class_names = names
    result = run("compare", "a.keras", "b.keras", coco)
    assert result.exit_code == 2 and message in " ".join(result.stderr.split())


def test_classes_in_another_order_are_refused(run, models, coco):
    models["a.keras"].class_names, models["b.keras"].class_names = ["x", "y"], ["y", "x"]
    result = run("compare", "a.keras", "b.keras", coco)
    assert result.exit_code == 2 and "the same names in another order" in result.stderr


class Part:
    """A data set of which only the images matter."""

    def __init__(self, *paths):
        self.image_paths = paths

    def __len__(self):
        return len(self.image_paths)

    def select(self, kept):
        return Part(*(self.image_paths[i] for i in kept))


def test_runs_that_held_out_different_images_share_some(capsys):
    found = command.common_images(Part("a", "b", "c"), Part("c", "d", "b"), ("A", "B"))
    assert found.image_paths == ("b", "c")
    assert "different images: 3 and 3. A and B are compared on the 2" in capsys.readouterr().out
    same = Part("a", "b")
    assert command.common_images(same, Part("b", "a"), ("A", "B")) is same
    with pytest.raises(command.DataError, match="neither was trained on. Received: A and B"):
        command.common_images(Part("a"), Part("b"), ("A", "B"))
