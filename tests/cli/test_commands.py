"""What commands write and print; the work itself is tested where it is done."""

import importlib
import json
import os
import socket
import types

import numpy as np
import pytest

from keras_det.cli import evaluate, files, main, predict
from keras_det.cli.command import log_level
from keras_det.cli.train import find_weights
from keras_det.errors import DataError
from keras_det.metrics import analyse
from keras_det.metrics.score_facts import ScoreFacts
from keras_det.metrics.thresholds import ClassThreshold
from keras_det.names import RUN_LOCK
from keras_det.training.evaluate import Measured


class Finder:
    """A detector that finds one square in every image."""

    class_names, engine = ["circle", "square"], "litert"

    def detect(self, image, **settings):
        assert image.dtype == np.uint8
        return {
            "boxes": np.array([[6, 4, 26, 14]], "float32"),
            "scores": np.array([0.75], "float32"),
            "labels": np.array([1], "int32"),
            "num_detections": 1,
            "class_names": ["square"],
        }


@pytest.fixture
def finder(monkeypatch):
    pytest.importorskip("keras_det.report")
    monkeypatch.setattr(predict, "load_any_model", lambda path: Finder())


def test_help_lists_commands_in_the_order_of_use(run):
    result = run("--help")
    assert result.exit_code == 0
    listed = result.output.split("Commands:")[1].split()
    places = [
        listed.index(name) for name in ("demo", "doctor", "train", "evaluate", "predict", "export")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "command",
    ["demo", "doctor", "train", "evaluate", "predict", "export", "verify", "info", "completion"],
)
def test_every_command_has_help_with_types_and_examples(run, command):
    output = run(command, "--help").output
    assert f"keras-det {command}" in output.split("Examples:\n")[1]
    assert "--debug" in output
    assert "..." not in run("--help").output.split("Commands:")[1], "a summary is cut off"


def test_help_fits_a_terminal_and_says_what_every_option_does(run):
    for name, command in main.commands.items():
        output = run(name, "--help").output
        assert max(map(len, output.splitlines())) <= 80, name
        for param in command.params:
            assert param.param_type_name == "argument" or param.help, (name, param.opts)


def test_version(run):
    from keras_det import __version__

    assert run("--version").output.strip() == f"keras-det, version {__version__}"


def test_predict_writes_pictures_and_coco_results(run, finder, coco, tmp_path):
    out = tmp_path / "found"
    result = run("predict", "m.keras", coco / "train", coco / "val" / "a.png", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Detections: 2, images: 2, results: {out}"
    assert "No detections" not in result.stdout
    assert sorted(os.listdir(out)) == ["a-2.png", "a.png", "detections.json"]
    rows = json.loads((out / "detections.json").read_text())
    assert rows[0] == {
        "image_id": 0,
        "file_name": str(coco / "train" / "a.png"),
        "category_id": 1,
        "category_name": "square",
        "bbox": [6.0, 4.0, 20.0, 10.0],
        "score": 0.75,
    }
    assert rows[1]["image_id"] == 1


@pytest.mark.parametrize("of_the_file, lowest", [(None, "0.001"), (0.1, "0.1")])
def test_predict_says_when_there_is_nothing(
    run, finder, coco, tmp_path, monkeypatch, of_the_file, lowest
):
    found = {name: np.zeros((0, 4), "float32") for name in ("boxes", "scores", "labels")}
    found.update(num_detections=0, class_names=[])
    monkeypatch.setattr(Finder, "detect", lambda *_, **settings: found)
    monkeypatch.setattr(Finder, "score_threshold", of_the_file, raising=False)
    result = run("predict", "m.keras", coco / "train", "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    *_, said, last = result.stdout.splitlines()
    assert said.startswith(f"No detections: no score is above {lowest}, the lowest threshold")
    assert last.startswith("Detections: 0, images: 1, results: ")


# The finder's score is 0.75.
@pytest.mark.parametrize(
    "given, own, count, said",
    [
        ([], None, 1, "Highest score 0.75; 1 detection in 1 image above the threshold 0.3."),
        ([], [0.8, 0.8], 0, "Highest score 0.75; 0 detections in 1 image above the threshold 0.8. "
         "The best box of each image is drawn faintly; --score-threshold 0.6 shows more."),
        ([0.7], [0.8, 0.8], 1,
         "Highest score 0.75; 1 detection in 1 image above the threshold 0.7."),
    ],
)  # fmt: skip
def test_predict_takes_the_thresholds_of_the_model(
    run, finder, coco, tmp_path, monkeypatch, given, own, count, said
):
    monkeypatch.setattr(Finder, "score_thresholds", own, raising=False)
    options = [part for value in given for part in ("--score-threshold", value)]
    result = run("predict", "m.keras", coco / "train", "--out", tmp_path / "found", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2:] == [
        said, f"Detections: {count}, images: 1, results: {tmp_path / 'found'}"
    ]  # fmt: skip


# The measurement says that two of three images decode.
def test_evaluate_writes_what_was_measured(run, coco, tmp_path, monkeypatch):
    def detect_dataset(detector, dataset, batch_size, on_batch, **settings):
        for done in (1, 2):
            on_batch(done, 3)
        assert settings == {"method": "hard"}
        return [0, 2], ["found", "here"]

    def measured_from(dataset, indices, detections, class_names):
        assert (indices, detections, class_names) == ([0, 2], ["found", "here"], ["square"])
        row = ClassThreshold(0.5, 0.75, 0.6, 0.67, 5)
        facts = ScoreFacts(2, 0.9, 4, 0.0, 1.0)
        seen = types.SimpleNamespace(analysis=analysis)
        return Measured({"AP": 0.25}, {"square": row, "": row}, facts, seen=seen)

    one = {"boxes": np.array([[0, 0, 9, 9]]), "labels": [0]}
    twice = {"boxes": one["boxes"].repeat(2, axis=0), "labels": [0, 0], "scores": [0.9, 0.8]}
    analysis = analyse([twice], [one], ["square"])
    home = importlib.import_module("keras_det.training.evaluate")  # the package has a function
    monkeypatch.setattr(home, "detect_dataset", detect_dataset)
    monkeypatch.setattr(home, "measured_from", measured_from)
    monkeypatch.setattr(evaluate, "load_keras_model", lambda path: Finder())
    monkeypatch.setattr(Finder, "class_names", ["square"])
    monkeypatch.delattr(Finder, "engine")  # a Keras model has none
    monkeypatch.setattr(Finder, "check_dataset", lambda self, dataset: None, raising=False)
    monkeypatch.setattr(Finder, "detect_settings", {"method": "gaussian"}, raising=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.keras").touch()
    file = tmp_path / "new" / "analysis.json"
    words = ("--split", "train", "--method", "hard", "--analysis", file)
    result = run("evaluate", tmp_path / "run", coco, *words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "duplicate             1       0.000" in lines and f"Analysis: {file}" in lines
    assert json.loads(file.read_text()) == analysis.as_dict()
    assert "square        5       0.50" in result.stdout
    assert "Highest score 0.90; 4 detections in 2 images" in result.stdout
    square = {"threshold": 0.5, "precision": 0.75, "recall": 0.6, "f1": 0.67, "objects": 5}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {
        **{"AP": 0.25, "highest_score": 0.9, "detections_above": 4, "learned": True},
        "thresholds": {"square": square},
        "measured": {
            "model": "last.keras",
            "data": "shapes",
            "split": "train",
            "images": 2,
            "settings": {"method": "hard"},
        },
    }


@pytest.mark.parametrize(
    "option, folder, message",
    [
        ("--analysis", True, "--analysis must name a file. Received: "),
        ("--report", False, "--report must name a folder. Received: "),
    ],
)
def test_where_findings_cannot_be_written_is_said_first(refused, tmp_path, option, folder, message):
    taken = tmp_path / "taken"
    taken.mkdir() if folder else taken.touch()
    assert message in refused("evaluate", "no.keras", tmp_path, option, taken)


@pytest.mark.parametrize(
    "split, held_out, name",
    [
        ("test", False, "metrics_test"),
        (None, True, "metrics_held_out"),
        (None, False, "metrics_all"),
        ("a/b ü", False, "metrics_a_b__"),
    ],
)
def test_metrics_of_a_run_are_not_replaced(tmp_path, split, held_out, name):
    dataset = types.SimpleNamespace(split=split)
    assert evaluate.file_for(tmp_path, dataset, held_out).name == "metrics.json"
    (tmp_path / "recipe.json").touch()
    assert evaluate.file_for(tmp_path, dataset, held_out).name == f"{name}.json"


def test_predict_leaves_out_what_does_not_decode(run, refused, finder, coco, tmp_path):
    (coco / "train" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    result = run("predict", "m.keras", coco / "train", "--out", tmp_path / "found")
    assert result.exit_code == 0
    assert "Note: left out:" in result.stderr and "broken.jpg" in result.stderr
    assert "Detections: 1, images: 1, results: " in result.stdout
    result = run("predict", "m.keras", coco / "train" / "broken.jpg", "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert "At least one source must be readable" in result.stderr
    assert result.stderr.count("broken.jpg") == 1 and not (tmp_path / "none").exists()


def test_model_is_the_best_of_a_run(tmp_path):
    (tmp_path / "last.keras").touch()
    assert files.find_model(tmp_path) == tmp_path / "last.keras"
    (tmp_path / "best.keras").touch()
    assert files.find_model(tmp_path) == tmp_path / "best.keras"
    assert find_weights(str(tmp_path)) == str(tmp_path / "best.keras")
    assert files.home_of(tmp_path) == tmp_path
    assert files.home_of(tmp_path / "best.keras") == tmp_path
    (tmp_path / "saved_model.pb").touch()
    assert files.find_model(tmp_path) == tmp_path
    assert files.home_of(tmp_path) == tmp_path.parent


def test_a_run_that_still_trains_is_noted(tmp_path, capsys):
    (tmp_path / "best.keras").touch()
    lock = tmp_path / RUN_LOCK
    owner = {"process": os.getpid(), "computer": socket.gethostname()}
    for content, noted in ((owner, True), ({**owner, "process": 2**22 + 1}, False), ("", False)):
        lock.write_text(json.dumps(content))
        assert files.find_model(tmp_path) == tmp_path / "best.keras"
        said = capsys.readouterr().err
        assert (f"Note: Process {os.getpid()} on" in said) == noted == ("still trains in" in said)


def test_a_damaged_best_model_is_not_replaced_by_the_last(tmp_path):
    (tmp_path / "last.keras").touch()
    (tmp_path / "best.keras").symlink_to("nowhere")
    assert files.find_model(tmp_path) == tmp_path / "best.keras"
    assert find_weights(str(tmp_path)) == str(tmp_path / "best.keras")


def test_weights_that_are_no_file_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(
        DataError, match=r"an existing file\. Received: .*pipe\.pth, which is a named"
    ):
        find_weights(str(tmp_path / "pipe.pth"))


@pytest.mark.slow
def test_model_may_be_a_preset(run, tmp_path):
    from keras_det import EfficientDet

    folder = tmp_path / "mine"
    EfficientDet("lite0", class_names=["ant", "bee"], image_size=64).save_to_preset(folder)
    result = run("info", folder)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("classes        2 (ant, bee)\n")
    assert files.load_any_model(str(folder)).class_names == ["ant", "bee"]
    assert files.home_of(str(folder)) == tmp_path, "a preset stays as it was published"


def test_names_repeated_in_the_commands_are_those_of_presets():
    from keras_det.cli.train import HUGGING_FACE
    from keras_det.weights.common import preset_files

    assert (HUGGING_FACE, files.PRESET) == (preset_files.HUGGING_FACE, preset_files.WEIGHTS)


def test_free_folder_counts_up(tmp_path):
    assert files.free_folder(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    assert files.free_folder(tmp_path / "demo") == tmp_path / "demo-2"
    (tmp_path / "demo-2").mkdir()
    assert files.free_folder(tmp_path / "demo") == tmp_path / "demo-3"


@pytest.mark.parametrize("driver, level", [(None, "3"), ("/usr/bin/nvidia-smi", "2")])
def test_errors_of_tensorflow_are_shown_where_a_gpu_may_be_the_cause(monkeypatch, driver, level):
    monkeypatch.setattr("shutil.which", lambda name: driver if name == "nvidia-smi" else None)
    assert log_level() == level
