"""`keras-det train`: what it asks `training.run.train` for, and one real run."""

import json
import pathlib
import shlex

import pytest

from keras_det.cli.resuming import command_to_resume


@pytest.fixture
def asked(monkeypatch):
    """Puts a recorder in the place of the training; returns what it was called with."""
    run = pytest.importorskip("keras_det.training.run")
    calls = {}

    def record(model, training_set, validation_set, out, **settings):
        calls.update(settings, model=model, out=out)
        calls.update(training_set=training_set, validation_set=validation_set)
        return calls.pop("found", {})

    monkeypatch.setattr(run, "train", record)
    return calls


def test_options_reach_the_training(run, asked, coco, tmp_path):
    out = tmp_path / "run"
    options = "--model efficientdet_d0 --epochs 3 --batch-size 2 --image-size 64x96 --seed 5"
    options += " --augment strong --plain-epochs 2"
    result = run("train", coco, "--out", out, *options.split(), "--learning-rate", "0.01")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Run folder: {out}"
    assert asked["model"] == "efficientdet_d0" and asked["out"] == out
    assert (asked["epochs"], asked["batch_size"], asked["seed"]) == (3, 2, 5)
    assert asked["plain_epochs"] == 2
    assert asked["image_size"] == (64, 96) and asked["learning_rate"] == 0.01
    assert asked["training_set"].split == "train" and asked["validation_set"].split == "val"
    assert asked["resume"] is False and asked["weights"] == "auto"


def test_parts_of_the_model_reach_it(run, asked, coco, tmp_path):
    options = "--neck pafpn --min-level 2 --anchor-scale 3 --head-norm group --dtype mixed_bfloat16"
    options += " --model retinanet_resnet18 --recipe published"
    result = run("train", coco, "--out", tmp_path / "run", *options.split())
    assert result.exit_code == 0, result.output
    assert asked["recipe"] == "published"
    parts = {"neck": "pafpn", "min_level": 2, "anchor_scale": 3.0}
    parts |= {"head_norm": "group", "dtype": "mixed_bfloat16"}
    assert asked["model_arguments"] == parts, "what is not given is left to the model"


def test_missing_backbone_weights_are_refused_before_work(refused, asked, coco, tmp_path):
    message = refused("train", coco, "--backbone-weights", "none.pth", "--out", tmp_path / "run")
    assert "--backbone-weights must name an existing file" in message and not asked


def test_weights_may_be_a_run_folder_or_a_preset(run, asked, coco, tmp_path):
    before, n = tmp_path / "before", iter(range(9))
    before.mkdir()

    def weights(given):
        asked.clear()
        result = run("train", coco, "--weights", given, "--out", tmp_path / f"run{next(n)}")
        assert result.exit_code == 0, result.output
        return asked["weights"]

    for name in ("last.keras", "best.keras"):  # the better one, as in every command
        (before / name).write_bytes(b"")
        assert weights(before) == str(before / name)
    assert weights("hf://owner/name") == "hf://owner/name"
    assert weights("coco") == "coco" and weights("auto") == "auto"
    assert weights("random") is None
    assert weights(coco) == str(coco), "other folders are for the importers"


def test_a_run_goes_on_where_its_weights_are_gone(run, asked, coco, tmp_path):
    recipe = {"model": "efficientdet_lite0", "weights": "gone.keras"}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    result = run("train", coco, "--out", tmp_path, "--resume")
    assert result.exit_code == 0, result.output
    assert asked["weights"] == "gone.keras"


def test_default_folder_is_named_after_the_model(run, asked, coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", coco).exit_code == 0
    assert str(asked["out"]) == "runs/efficientdet_lite0"


def test_validation_data_has_the_classes_of_the_training_data(run, asked, coco, tmp_path):
    file = coco / "annotations" / "instances_val.json"
    train = coco / "annotations" / "instances_train.json"
    run("train", train, "--val-data", file, "--out", tmp_path / "run")
    assert asked["validation_set"].class_names == asked["training_set"].class_names
    run("train", train, "--no-val", "--out", tmp_path / "run")
    assert asked["validation_set"] is None


def test_resume_keeps_the_settings_of_the_run(run, asked, coco, tmp_path):
    recipe = {"model": "efficientdet_d1", "epochs": 7, "batch_size": 3, "image_size": [64, 96]}
    recipe |= {"weights": "imagenet", "augment": "flip", "seed": 4, "class_names": ["square"]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    result = run("train", coco, "--out", tmp_path, "--resume", "--epochs", 9)
    assert result.exit_code == 0, result.output
    assert asked["resume"] is True and asked["model"] == "efficientdet_d1"
    assert asked["epochs"] == 9, "the command line wins; the training refuses what must not change"
    assert (asked["batch_size"], asked["image_size"]) == (3, (64, 96))
    assert asked["weights"] == "imagenet", "not this command's default"
    assert (asked["augment"], asked["seed"], asked["resize_mode"]) == ("flip", 4, "letterbox")


def test_resume_keeps_the_parts_of_the_model(run, asked, coco, tmp_path):
    recipe = {"model": "retinanet_resnet18", "recipe": "published"}
    recipe |= {"model_arguments": {"neck": "pafpn", "head_norm": "batch"}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    options = ("--out", tmp_path, "--resume", "--head-norm", "group")
    assert run("train", coco, *options).exit_code == 0
    assert asked["recipe"] == "published"
    # The command line wins; the training refuses what must not change.
    assert asked["model_arguments"] == {"neck": "pafpn", "head_norm": "group"}


def test_resume_of_a_broken_recipe(refused, coco, tmp_path):
    (tmp_path / "recipe.json").write_text("{")
    assert "recipe.json must be a JSON file. Received" in refused(
        "train", coco, "--out", tmp_path, "--resume"
    )


def test_resume_takes_another_rate_and_length(run, asked, coco, tmp_path):
    recipe = {"model": "efficientdet_lite0", "epochs": 7, "learning_rate": 0.01}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    options = ("--epochs", 9, "--learning-rate", 0.002, "--patience", 4, "--no-calibrate")
    result = run("train", coco, "--out", tmp_path, "--resume", *options)
    assert result.exit_code == 0, result.output
    assert (asked["epochs"], asked["learning_rate"], asked["patience"]) == (9, 0.002, 4)
    assert asked["calibrate"] is False
    assert run("train", coco, "--out", tmp_path, "--resume").exit_code == 0
    assert (asked["epochs"], asked["learning_rate"]) == (7, 0.01)


def test_the_command_that_continues_a_run_can_be_pasted(run, asked, coco, tmp_path):
    data, out = tmp_path / "my data; x $HOME", tmp_path / "it's a run"
    coco.rename(data)
    images = ("--image-dir", data)
    assert run("train", data, "--out", out, "--no-val", *images, "--epochs", 3).exit_code == 0
    words = shlex.split(asked["how_to_resume"])
    assert words == [
        *("keras-det", "train", str(data), "--out", str(out), "--resume"),
        *("--image-dir", str(data), "--no-val"),
    ]
    out.mkdir()
    note = {"model": "efficientdet_lite0", "epochs": 3, "data": asked["data"]}
    (out / "recipe.json").write_text(json.dumps(note))
    first = asked.pop("training_set"), asked.pop("validation_set")
    assert run(*words[1:]).exit_code == 0
    assert asked["out"] == out and asked["resume"] is True and asked["epochs"] == 3
    assert asked["training_set"].image_paths == first[0].image_paths
    assert asked["validation_set"] is None and first[1] is None
    command = command_to_resume("-data", pathlib.Path("-run"), {"no_val": False})
    assert command == "keras-det train ./-data --out ./-run --resume"


def test_the_end_says_what_comes_next(run, asked, coco, tmp_path):
    out = tmp_path / "my run"
    asked["found"] = {"learned": True}
    *_, line, _ = run("train", coco, "--out", out).stdout.splitlines()
    assert (
        line == f"Next: keras-det predict '{out}' PHOTOS, or keras-det export '{out}' --to tflite"
    )
    asked["found"] = {"learned": False}
    *_, line, _ = run("train", coco, "--out", out).stdout.splitlines()
    assert line.endswith(f"learned too little: keras-det doctor {coco} --run '{out}'")


@pytest.mark.parametrize("option", ["--learning-rate", "--backbone-rate", "--average"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_must_be_finite(run, asked, coco, tmp_path, option, value):
    result = run("train", coco, option, value, "--out", tmp_path / "run")
    assert result.exit_code == 2 and option in result.stderr and not asked
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_evaluate_predict_export(run, coco, tmp_path):
    pytest.importorskip("keras_det.training.run")
    out = tmp_path / "run"
    start = ("--weights", "random", "--recipe", "adamw")
    result = run("train", coco, *start, "--epochs", 1, "--image-size", 64, "--out", out)
    assert result.exit_code == 0, result.output
    assert {"best.keras", "last.keras", "history.csv", "metrics.json"} <= {
        path.name for path in out.iterdir()
    }
    result = run("train", coco, "--resume", "--out", out)
    assert result.exit_code == 0 and "already finished" in result.stdout
    result = run("evaluate", out, coco, "--out", tmp_path / "metrics.json")
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= metrics["AP"] <= 1 and list(metrics["AP_per_class"]) == ["square"]
    about = {"data": "shapes", "split": "val", "images": 1, "settings": {}}
    assert metrics["measured"] == {"model": "best.keras", **about}
    trained = json.loads((out / "metrics.json").read_text())
    assert trained["measured"] == {"model": "last.keras", **about}
    result = run(
        "predict", out, coco / "val", "--score-threshold", 0.005, "--out", tmp_path / "found"
    )
    assert result.exit_code == 0, result.output
    assert {"a.png", "detections.json"} == {path.name for path in (tmp_path / "found").iterdir()}
    expected = json.loads((tmp_path / "found" / "detections.json").read_text())
    mediapipe = ("--metadata", "mediapipe")
    for name, kind, more in (
        ("saved_model", "saved_model", ()),
        ("model_float32.tflite", "tflite", ()),
        ("model_float32_mediapipe.tflite", "tflite", mediapipe),
    ):
        result = run("export", out, "--to", kind, *more)
        assert result.exit_code == 0, result.output
        assert ("Note: MediaPipe stretches" in result.stderr) == bool(more)
        found = tmp_path / f"found_{name}"
        arguments = [
            out / "exports" / name,
            coco / "val",
            "--score-threshold",
            0.005,
            "--out",
            found,
        ]
        result = run("predict", *arguments)
        assert result.exit_code == 0, result.output
        rows = json.loads((found / "detections.json").read_text())
        assert rows[0]["category_name"] == "square"
        if more:  # stretched, as MediaPipe does it
            continue
        assert rows[0]["score"] == pytest.approx(expected[0]["score"], abs=1e-3)
        # Half a pixel of the 64-pixel input is a quarter of a pixel of the 32-pixel image.
        assert rows[0]["bbox"] == pytest.approx(expected[0]["bbox"], abs=0.5)
