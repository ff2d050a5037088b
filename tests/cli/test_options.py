"""Every option of every command changes something: what the library is called with, or the output.

What the library does with it is tested there.
"""

import functools
import importlib
import json
import pathlib
import re
import shutil
import types

import click
import numpy as np
import pytest

from keras_det.cli import compare as compare_command
from keras_det.cli import decoding, main, predict, review_next
from keras_det.cli import evaluate as evaluate_command
from keras_det.cli import export as export_command
from keras_det.cli import review as review_command
from keras_det.cli import verify as verify_command
from keras_det.cli.evaluate_file import OF_KERAS_MODEL
from keras_det.data.pixel_limit import pixel_limit
from keras_det.decode.settings import ALL_SETTINGS, ANCHOR_SETTINGS, CORNER_SETTINGS
from keras_det.errors import DataError

# How DATA is read; that each changes what is read is tested with the readers.
READING = {
    "--format": "--format coco",
    "--image-dir": "--image-dir {folder}/shapes/val",
    "--box-format": "--box-format xywh",
    "--sizes": "--sizes scale",
    "--voc-first-pixel": "--voc-first-pixel 0",
}
# What is given of each option, beside BASE. {folder} is the folder of the test.
TABLE = {
    "demo": {
        "--model": "--model cornernet_tiny",
        "--epochs": "--epochs 2",
        "--image-size": "--image-size 64x96",
        "--train-images": "--train-images 3",
        "--val-images": "--val-images 3",
        "--out": "--out {folder}/other",
    },
    "train": {
        "--model": "--model retinanet_resnet18",
        "--weights": "--weights coco",
        "--freeze": "--freeze backbone",
        "--epochs": "--epochs 2",
        "--batch-size": "--batch-size 2",
        "--accumulate": "--accumulate 4",
        "--image-size": "--image-size 64",
        "--resize-mode": "--resize-mode stretch",
        "--augment": "--augment flip",
        "--neck": "--neck fpn",
        "--min-level": "--min-level 2",
        "--max-level": "--max-level 6",
        "--anchor-scale": "--anchor-scale 3",
        "--head-norm": "--head-norm group",
        "--matcher": "--matcher atss",
        "--class-loss": "--class-loss varifocal",
        "--box-loss": "--box-loss ciou",
        "--backbone-weights": "--backbone-weights {folder}/weights.pth",
        "--remat": "--remat",
        "--dtype": "--dtype mixed_bfloat16",
        "--recipe": "--recipe published",
        "--learning-rate": "--learning-rate 0.1",
        "--backbone-rate": "--backbone-rate 0.1",
        "--warmup-steps": "--warmup-steps 5",
        "--average": "--average 0.9",
        "--heads-first": "--heads-first 1",
        "--plain-epochs": "--plain-epochs 1",
        "--patience": "--patience 5",
        "--anchors": "--anchors published",
        "--calibrate": "--no-calibrate",
        **READING,
        "--classes": "--classes square",
        "--max-boxes": "--max-boxes 200",
        "--max-pixels": "--max-pixels 1000",
        "--split-by": "--split-by 0.7",
        "--train-split": "--train-split test",
        "--val-split": "--val-split test",
        "--val-data": "--val-data {folder}/shapes/annotations/instances_test.json",
        "--no-val": "--no-val",
        "--evaluate-every": "--evaluate-every 2",
        "--devices": "--devices 2",
        "--workers": "--workers a:1,b:2 --worker 0",
        "--worker": "--workers a:1,b:2 --worker 1",
        "--worker-minutes": "--workers a:1,b:2 --worker 0 --worker-minutes 5",
        "--deterministic": "--deterministic",
        "--tensorboard": "--tensorboard",
        "--save-every": "--save-every 1",
        "--save-minutes": "--save-minutes 1",
        "--seed": "--seed 1",
        "--out": "--out {folder}/other",
        "--resume": "--resume --out {folder}/run",
        "--replay": "--replay {folder}/diverged.npz",
    },
    "evaluate": {
        "--split": "--split test",
        "--split-by": "--split-by 0.7",
        **READING,
        "--batch-size": "--batch-size 2",
        "--max-pixels": "--max-pixels 1000",
        "--score-threshold": "--score-threshold 0.5",
        "--method": "--method hard",
        "--iou-threshold": "--method hard --iou-threshold 0.7",
        "--sigma": "--sigma 0.7",
        "--pre-nms-top-k": "--pre-nms-top-k 5000",
        "--max-detections": "--max-detections 10",
        "--class-agnostic": "--class-agnostic",
        "--candidates": "--candidates pairs",
        "--corner-top-k": "--corner-top-k 10",
        "--embedding-threshold": "--embedding-threshold 0.7",
        "--peak-window": "--peak-window 5",
        "--out": "--out {folder}/other.json",
        "--tile": "--tile 32",
        "--tile-overlap": "--tile 32 --tile-overlap 0.5",
        "--flip": "--flip both",
        "--scales": "--scales 1,1.5",
        "--fusion": "--flip both --fusion nms",
        "--analysis": "--analysis {folder}/analysis.json",
        "--report": "--report {folder}/report",
    },
    "compare": {
        "--split": "--split test",
        "--split-by": "--split-by 0.7",
        **READING,
        "--batch-size": "--batch-size 2",
        "--max-pixels": "--max-pixels 1000",
        "--resamples": "--resamples 200",
        "--out": "--out {folder}/other",
    },
    "review": {
        "--folds": "--folds 2",
        "--epochs": "--folds 2 --epochs 2",
        "--image-size": "--folds 2 --image-size 64",
        "--learning-rate": "--folds 2 --learning-rate 0.1",
        "--unlabelled": "--unlabelled {folder}/shapes/train --out {folder}/found",
        "--split": "--split val",
        **READING,
        "--max-pixels": "--max-pixels 1000",
        "--batch-size": "--batch-size 2",
        "--to": "--to cvat",
        "--min-score": "--to cvat --min-score 0.01",
        "--pictures": "--pictures 0",
        "--out": "--out {folder}/other",
    },
    "predict": {
        "--write": "--write csv",
        "--every": "{folder}/clip.mp4 --every 2",
        "--track": "{folder}/clip.mp4 --track",
        "--score-threshold": "--score-threshold 0.5",
        "--method": "--method linear",
        "--iou-threshold": "--method linear --iou-threshold 0.7",
        "--sigma": "--sigma 0.7",
        "--pre-nms-top-k": "--pre-nms-top-k 5000",
        "--max-detections": "--max-detections 10",
        "--class-agnostic": "--class-agnostic",
        "--candidates": "--candidates pairs",
        "--corner-top-k": "--corner-top-k 10",
        "--embedding-threshold": "--embedding-threshold 0.7",
        "--peak-window": "--peak-window 5",
        "--tile": "--tile 32",
        "--tile-overlap": "--tile 32 --tile-overlap 0.5",
        "--flip": "--flip both",
        "--scales": "--scales 1,1.5",
        "--fusion": "--flip both --fusion nms",
        "--engine": "--engine litert",
        "--max-pixels": "--max-pixels 1000",
        "--out": "--out {folder}/other",
    },
    "export": {
        "--split": "--split test",
        "--split-by": "--split-by 0.7",
        **READING,
        "--to": "--to onnx",
        "--quantize": "--to tflite --quantize float16",
        "--calibrate": "--to tflite --quantize int8 --calibrate {folder}/shapes",
        "--calibrate-split": "--to tflite --quantize int8 --calibrate {folder}/shapes "
        "--calibrate-split val",
        "--postprocess": "--to tflite --postprocess split",
        "--score-threshold": "--to tflite --postprocess mediapipe --score-threshold 0.5",
        "--iou-threshold": "--to tflite --postprocess mediapipe --iou-threshold 0.7",
        "--metadata": "--to tflite --metadata mediapipe",
        "--grey": "--to tflite --grey",
        "--warmup": "--warmup 8",
        "--max-images": "--max-images 1",
        "--max-pixels": "--max-pixels 1000",
        "--out": "--out {folder}/other",
    },
    "verify": {
        "--model": "--model m.keras",
        "--split": "--split test",
        "--split-by": "--split-by 0.7",
        **READING,
        "--max-images": "--max-images 1",
        "--max-pixels": "--max-pixels 1000",
    },
    "doctor": {
        "--model": "--model efficientdet_d0",
        "--run": "--run {folder}/run",
        "--image-size": "--model efficientdet_d0 --image-size 64",
        "--overfit": "--model efficientdet_d0 --overfit",
        **READING,
        "--classes": "--classes square",
        "--split-by": "--split-by 0.7",
        "--json": "--json {folder}/report.json",
        "--html": "--html {folder}/report.html",
        "--quick": "--quick",
        "--max-pixels": "--max-pixels 1000",
        "--all": "--all",
    },
    "info": {},
    "completion": {},
}
BASE = {
    "demo": "--train-images 2 --val-images 2 --image-size 64 --out {folder}/demo",
    "train": "{folder}/shapes --out {folder}/new",
    "evaluate": "m.keras {folder}/shapes --out {folder}/metrics.json",
    "compare": "m.keras n.keras {folder}/shapes",
    "review": "m.keras {folder}/shapes --out {folder}/found",
    "predict": "m.keras {folder}/shapes/train --out {folder}/found",
    "export": "m.keras {folder}/shapes --out {folder}/exported",
    "verify": "m.tflite {folder}/shapes",
    "doctor": "{folder}/shapes",
}
# Data without a split for validation, for the option that makes one.
BASE_OF_SPLIT_BY = {
    command: BASE[command].replace("shapes", "flat")
    for command in ("train", "evaluate", "compare", "export", "verify", "doctor")
}
# With --folds, `review` trains models, and takes the name of one.
BASE_OF_FOLDS = BASE["review"].replace("m.keras", "efficientdet_d0")
# What stands before an option that takes the place of the arguments of BASE.
ALONE = {"--replay": "", "--unlabelled": "m.keras"}
# What an option needs beside it, in the run that it is compared with.
NEEDED = {
    "--iou-threshold": {
        "evaluate": "--method hard",
        "predict": "--method linear",
        "export": "--to tflite --postprocess mediapipe",
    },
    "--score-threshold": {"export": "--to tflite --postprocess mediapipe"},
    "--worker": {"train": "--workers a:1,b:2 --worker 0"},
    "--worker-minutes": {"train": "--workers a:1,b:2 --worker 0"},
    "--quantize": {"export": "--to tflite"},
    "--calibrate": {"export": "--to tflite"},
    "--calibrate-split": {"export": "--to tflite --quantize int8 --calibrate {folder}/shapes"},
    "--postprocess": {"export": "--to tflite"},
    "--metadata": {"export": "--to tflite"},
    "--grey": {"export": "--to tflite"},
    "--image-size": {"doctor": "--model efficientdet_d0", "review": "--folds 2"},
    **dict.fromkeys(("--epochs", "--learning-rate"), {"review": "--folds 2"}),
    "--min-score": {"review": "--to cvat"},
    "--overfit": {"doctor": "--model efficientdet_d0"},
    **dict.fromkeys(("--every", "--track"), {"predict": "{folder}/clip.mp4"}),
    "--tile-overlap": dict.fromkeys(("evaluate", "predict"), "--tile 32"),
    "--split-by": dict.fromkeys(("evaluate", "compare", "export", "verify"), "--split-by 0.8"),
    "--fusion": dict.fromkeys(("evaluate", "predict"), "--flip both"),
}


def test_every_option_has_an_entry():
    commands = dict(main.commands)
    for group in ("bench", "data", "weights"):  # their own tests have the options
        commands.pop(group)
    assert {*TABLE} == {*commands}
    for name, command in commands.items():
        options = {p.opts[0] for p in command.params if isinstance(p, click.Option)}
        assert {*TABLE[name]} == options - {"--debug"}, name  # test_wrong_input has --debug


def test_methods_are_those_of_the_library():
    from keras_det.layers.nms import NonMaxSuppression

    assert {NonMaxSuppression(method=name).method for name in decoding.NMS_METHODS} == {
        "gaussian",
        "linear",
        "hard",
    }
    with pytest.raises(ValueError, match="`method` must be one of"):
        NonMaxSuppression(method="soft")


def test_every_setting_of_a_decoder_has_an_option():
    options = {param.name for param in main.commands["predict"].params}
    assert {*ALL_SETTINGS} - {"flip"} <= options
    # An exported file has its own decoder; only its threshold can be raised.
    assert {*ALL_SETTINGS} - {"flip", "score_threshold"} <= {*OF_KERAS_MODEL}


@pytest.mark.parametrize(
    "kind, option, sentence",
    [
        ("corner", {"candidates": "pairs"}, "--candidates must be a setting of the model."),
        ("anchor", {"peak_window": 5}, "CornerNet has it. Leave it out."),
        ("file", {"sigma": 0.3}, "--sigma needs a .keras model"),
    ],
)
def test_a_setting_that_the_model_does_not_have(kind, option, sentence):
    settings = {"corner": CORNER_SETTINGS, "anchor": ANCHOR_SETTINGS, "file": {}}[kind]
    model = types.SimpleNamespace(detect_settings=settings)
    if kind == "file":
        model.engine = "onnx"
    with pytest.raises(DataError, match=re.escape(sentence)):
        decoding.check_for_model(model, "model.keras", option)
    decoding.check_for_model(model, "model.keras", {})


class Recorded:
    """A detector that finds one square and remembers what it was asked."""

    class_names = ["square"]
    score_thresholds = None
    detect_settings = ALL_SETTINGS

    def __init__(self, calls):
        self.calls = calls

    def check_dataset(self, dataset):
        assert dataset.class_names == tuple(self.class_names)

    def detect(self, image, **settings):
        self.calls.append(settings)
        return {
            "boxes": np.array([[6, 4, 26, 14]], "float32"),
            "scores": np.array([0.4], "float32"),
            "labels": np.array([0], "int32"),
            "num_detections": 1,
            "class_names": ["square"],
        }


def described(value):
    """What can be compared of an argument of the library."""
    if hasattr(value, "image_paths"):
        return value.split, [str(path) for path in value.image_paths]
    return type(value).__name__ if isinstance(value, Recorded) or callable(value) else value


@pytest.fixture
def calls(monkeypatch):
    """Puts recorders in the place of what takes long; returns the list of their calls."""
    from keras_det import doctor, export, models, review
    from keras_det.cli import demo
    from keras_det.metrics import analyse
    from keras_det.metrics.score_facts import ScoreFacts
    from keras_det.metrics.thresholds import ClassThreshold
    from keras_det.runtime import augmented, engines, tiled
    from keras_det.training import comparing, replay, report, run
    from keras_det.video import stream

    calls = []
    numbers = {"AP": 0.5, "AP50": 0.5}

    def record(name, result):
        def recorder(*arguments, **settings):
            arguments = [described(value) for value in arguments]
            settings = {key: described(value) for key, value in settings.items()}
            calls.append((name, arguments, settings, pixel_limit()))
            return result

        return recorder

    for kind in ("saved_model", "tflite", "onnx"):
        monkeypatch.setattr(export, kind, record(kind, "report"))
    monkeypatch.setattr(run, "train", record("train", numbers))
    monkeypatch.setattr(replay, "replay", record("replay", []))
    note = doctor.Finding("a-code", "note", "A title.", "A cure.")
    monkeypatch.setattr(doctor, "examine", record("examine", doctor.Report([note], {})))
    monkeypatch.setattr(models, "load_model", lambda path: None)
    monkeypatch.setattr(demo, "export_both", lambda *_: [])
    home = importlib.import_module("keras_det.training.evaluate")  # the package has a function
    row = ClassThreshold(0.5, 0.75, 0.6, 0.67, 5)
    one = {"boxes": np.array([[0, 0, 9, 9]]), "labels": [0], "scores": [0.9]}
    facts = ScoreFacts(2, 0.9, 4, 0.0, 1.0)
    analysis = analyse([one], [one], ["square"])
    compared = comparing.compare([one], [one], [one], ["square"], resamples=1)
    seen = types.SimpleNamespace(analysis=analysis)
    found = home.Measured(numbers, {"square": row, "": row}, facts, seen=seen)
    monkeypatch.setattr(home, "measured_from", lambda *_: found)
    monkeypatch.setattr(report, "write_report", record("report", pathlib.Path("index.html")))
    loading = importlib.import_module("keras_det.data.load")  # the package has a function
    read, recognise = loading._read, loading.recognise

    def record_read(found, source, options):
        calls.append(options)
        return read(found, source, options)

    def record_format(path, name=None):
        calls.append(name)
        return recognise(path, name)

    monkeypatch.setattr(loading, "_read", record_read)
    monkeypatch.setattr(loading, "recognise", record_format)
    detector = Recorded(calls)
    monkeypatch.setattr(evaluate_command, "load_keras_model", lambda path: detector)
    monkeypatch.setattr(evaluate_command, "find_model", pathlib.Path)
    monkeypatch.setattr(export_command, "load_keras_model", lambda path: detector)
    monkeypatch.setattr(predict, "load_any_model", lambda path: detector)
    monkeypatch.setattr(predict, "find_model", pathlib.Path)
    monkeypatch.setattr(verify_command, "load_keras_model", lambda path: detector)
    monkeypatch.setattr(export, "verify", record("verify", export.Verification(".", ())))
    monkeypatch.setattr(compare_command, "load_any_model", lambda path: detector)
    monkeypatch.setattr(compare_command, "find_model", pathlib.Path)
    for module in (review_command, review_next):
        monkeypatch.setattr(module, "load_any_model", lambda path: detector)
        monkeypatch.setattr(module, "find_model", pathlib.Path)
    monkeypatch.setattr(review, "out_of_fold_detections", record("folds", [one] * 4))
    every = functools.partial(review.find_label_errors, least=0)  # one image tells nothing
    monkeypatch.setattr(review, "find_label_errors", every)
    monkeypatch.setattr(home, "detect_dataset", record("detect_dataset", ([0], [one])))
    for module, name in ((tiled, "TiledDetector"), (augmented, "AugmentedDetector")):
        wrap = lambda detector, **given: calls.append(given) or detector  # noqa: E731
        monkeypatch.setattr(module, name, wrap)
    monkeypatch.setattr(comparing, "compare", lambda *given: calls.append(given[-1]) or compared)

    results = stream.results

    def images_only(detect, sources, batch_size, every, track, *more):
        calls.append((every, track))
        images = [source for source in sources if source.kind == "image"]
        return results(detect, images, batch_size, every, track, *more)

    monkeypatch.setattr(stream, "results", images_only)
    monkeypatch.setattr(stream, "check_packages", lambda *_: None)

    def with_engine(detector, engine, path, num_images, convert):
        calls.append((engine, pixel_limit()))
        return detector, "an engine"

    monkeypatch.setattr(engines, "with_engine", with_engine)
    return calls


@pytest.fixture
def folder(coco, tmp_path):
    """A folder with a data set of three splits, weights, and a run that can go on."""
    shutil.copytree(coco / "val", coco / "test")
    file = coco / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    shutil.copy(coco / "val" / "a.png", coco / "val" / "b.png")
    content["images"].append({"id": 8, "file_name": "b.png", "height": 24, "width": 32})
    file.write_text(json.dumps(content))
    content["images"].pop()
    (file.parent / "instances_test.json").write_text(json.dumps(content))
    (tmp_path / "weights.pth").touch()
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    write_flat(tmp_path / "flat", coco / "val" / "a.png")
    return tmp_path


def write_flat(folder, image, count=10):
    """One COCO file without splits, and copies of an image with one square each."""
    folder.mkdir()
    box = {"category_id": 3, "bbox": [6, 4, 20, 10]}
    content = {"categories": [{"id": 3, "name": "square"}], "images": [], "annotations": []}
    for i in range(count):
        shutil.copy(image, folder / f"{i}.png")
        size = {"height": 24, "width": 32}
        content["images"].append({"id": i, "file_name": f"{i}.png", **size})
        content["annotations"].append({"id": i, "image_id": i, **box})
    (folder / "annotations.json").write_text(json.dumps(content))


CASES = [
    pytest.param(command, option, id=f"{command}-{option}")
    for command, options in TABLE.items()
    for option in options
]


@pytest.mark.parametrize(
    "words, name, given",
    [
        ("--to onnx", "model.onnx", {}),
        ("--to onnx --postprocess none", "model_raw.onnx", {"postprocess": "none"}),
        ("--to tflite --postprocess builtin", "model_float32.tflite", {"postprocess": "builtin"}),
        ("--to tflite --postprocess none", "model_float32_raw.tflite", {"postprocess": "none"}),
        (
            "--to tflite --postprocess split --quantize float16",
            "model_float16_split.tflite",
            {"postprocess": "split"},
        ),
        ("--to tflite --metadata mediapipe --grey", "model_float32_grey_mediapipe.tflite", {}),
        ("", "saved_model", {}),
    ],
)
def test_name_and_end_of_an_export(run, calls, folder, words, name, given):
    result = run("export", folder / "m.keras", *words.split())
    assert result.exit_code == 0, result.output
    ((_, arguments, settings, _),) = calls
    assert arguments[1] == folder / "exports" / name
    assert {key: settings[key] for key in settings if key == "postprocess"} == given


@pytest.mark.parametrize("command, option", CASES)
def test_option_changes_something(run, calls, folder, command, option):
    def observed(more):
        calls.clear()
        base = BASE_OF_SPLIT_BY[command] if option == "--split-by" else BASE[command]
        if command == "review" and "--folds" in more:
            base = BASE_OF_FOLDS
        base = next((ALONE[name] for name in ALONE if more.startswith(name)), base)
        words = f"{base} {more}".format(folder=folder).split()
        result = run(command, *words)
        assert result.exit_code == 0, result.output
        files = sorted(str(path) for path in folder.rglob("*"))
        for path in ("demo", "new", "found", "exported", "other"):
            shutil.rmtree(folder / path, ignore_errors=True)
        return list(calls), files, result.stdout

    before = observed(NEEDED.get(option, {}).get(command, ""))
    assert before == observed(NEEDED.get(option, {}).get(command, "")), "the run is repeatable"
    assert before != observed(TABLE[command][option])
