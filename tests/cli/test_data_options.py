"""The images that `keras-det train` trains and measures on, and that a run has held out."""

import importlib
import json
import pathlib
import types

import pytest

from keras_det.cli import evaluate as evaluate_command
from tests.data.builders import (
    annotation,
    coco_content,
    write_coco,
    write_image,
    write_voc,
)


@pytest.fixture
def asked(monkeypatch):
    """Puts a recorder in the place of the training; returns what it was called with.

    Like the training, it leaves recipe.json in the run folder.
    """
    run = importlib.import_module("keras_det.training.run")
    calls = {}

    def record(model, training_set, validation_set, out, **settings):
        calls.clear()
        calls.update(settings, train=training_set, val=validation_set)
        out.mkdir(exist_ok=True, parents=True)
        kept = {key: value for key, value in settings.items() if key not in ("say", "resume")}
        (out / "recipe.json").write_text(json.dumps({"model": model, **kept}))
        (out / "best.keras").touch()
        return {}

    monkeypatch.setattr(run, "train", record)
    return calls


@pytest.fixture
def measured(monkeypatch):
    """Puts a recorder in the place of the measurement; returns the data sets measured."""
    found = []

    def record(detector, dataset, *_):
        found.append(dataset)
        return {}, None

    model = types.SimpleNamespace(class_names=["dog", "cat"])
    monkeypatch.setattr(evaluate_command, "load_keras_model", lambda path: model)
    monkeypatch.setattr(evaluate_command, "find_model", pathlib.Path)
    monkeypatch.setattr(evaluate_command, "measure", record)
    return found


def content(num_images, first=0):
    """Images with one cat or dog each."""
    rows = [annotation(i, 10 + i, [1, 1, 3, 3], 3 + 4 * (i % 2)) for i in range(num_images)]
    made = coco_content(rows, num_images)
    for image in made["images"]:
        image["file_name"] = image["file_name"].replace("a", f"a{first}_")
    return made


def flat_coco(root, num_images=20):
    """One COCO file beside its images."""
    made = content(num_images)
    for image in made["images"]:
        write_image(root / image["file_name"])
    (root / "annotations.json").write_text(json.dumps(made))
    return root


def stems(dataset):
    return {path.rsplit("/", 1)[1] for path in dataset.image_paths}


def test_splits_that_exist_are_taken(run, asked, tmp_path):
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        write_coco(tmp_path / "set", content(count), split)
    result = run("train", tmp_path / "set", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (len(asked["train"]), len(asked["val"])) == (4, 2)
    assert asked["data"] == {"path": str(tmp_path / "set"), "sizes": "check"}
    assert len(result.stdout.splitlines()) == 2, "only what is next"


def test_without_validation_images_of_train_are_held_out_and_test_is_left_alone(
    run, asked, tmp_path
):
    write_coco(tmp_path / "set", content(20), "train")
    write_coco(tmp_path / "set", content(7, first=9), "test")
    result = run("train", tmp_path / "set", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (
        f"{tmp_path / 'set'} has no validation split: 16 images for training, 4 held out for "
        "validation (--split-by 0.8)." in result.stdout
    )
    assert (len(asked["train"]), len(asked["val"])) == (16, 4)
    assert not any(name.startswith("a9") for name in stems(asked["train"]) | stems(asked["val"]))
    assert not stems(asked["train"]) & stems(asked["val"])


def voc_of_many(root, splits=None):
    objects = {f"x{i}": [("cat" if i % 2 else "dog", 2, 1, 4, 5, 0)] for i in range(10)}
    return write_voc(root, objects, splits)


@pytest.mark.parametrize(
    "write",
    [
        lambda root: voc_of_many(root),
        lambda root: flat_coco(root, 10),
        lambda root: write_coco(root, content(10), "default").parent.parent,
        lambda root: write_coco(root, content(10), "train"),
    ],
    ids=["voc", "one file beside images", "CVAT's default", "the file itself"],
)
def test_data_without_splits_is_split_and_evaluated_on_the_same_images(
    run, asked, measured, tmp_path, write
):
    data, out = write(tmp_path / "set"), tmp_path / "run"
    result = run("train", data, "--out", out)
    assert result.exit_code == 0, result.output
    assert ": 8 images for training, 2 held out for validation" in result.stdout
    held_out = stems(asked["val"])
    assert len(held_out) == 2 and not held_out & stems(asked["train"])
    for words in ((), ("--split", "val"), ("--split-by", "0.8")):
        result = run("evaluate", out, data, "--out", tmp_path / "m.json", *words)
        assert result.exit_code == 0, result.output
        assert stems(measured[-1]) == held_out
    run("evaluate", out, data, "--split", "train", "--out", tmp_path / "m.json")
    assert stems(measured[-1]) == stems(asked["train"])
    run("evaluate", out, data, "--split", "all", "--out", tmp_path / "m.json")
    assert len(measured[-1]) == 10
    result = run("train", data, "--out", out, "--resume", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert stems(asked["val"]) == held_out, "the seed of the training is not that of the split"


def test_other_data_than_the_runs_is_measured_whole_and_said(
    run, refused, asked, measured, tmp_path
):
    run("train", flat_coco(tmp_path / "set"), "--out", tmp_path / "run")
    other = tmp_path / "other"
    flat_coco(other, 6)
    result = run("evaluate", tmp_path / "run", other, "--out", tmp_path / "m.json")
    assert result.exit_code == 0, result.output
    assert len(measured[-1]) == 6 and "the whole data set (6 images) is used." in result.stdout
    write_coco(tmp_path / "tests", content(3), "test")
    words = ("evaluate", tmp_path / "run", tmp_path / "tests", "--out", tmp_path / "m.json")
    message = refused(*words)
    assert "Received: 'val'. The split is test. Give one of them." in message
    assert run(*words, "--split", "test").exit_code == 0 and len(measured[-1]) == 3
    flat_coco(tmp_path / "one", 1)
    assert run(*words[:2], tmp_path / "one", *words[3:]).exit_code == 0
    assert len(measured[-1]) == 1


def test_data_that_has_changed_is_refused(run, refused, asked, measured, tmp_path):
    data, out = flat_coco(tmp_path / "set"), tmp_path / "run"
    run("train", data, "--out", out)
    flat_coco(data, 30)
    message = refused("evaluate", out, data, "--out", tmp_path / "m.json")
    assert "with 30 images; the run had 20, of which it held out 4." in message
    assert "must be those of the run" in refused("train", data, "--out", out, "--resume")


def test_resume_keeps_what_was_chosen(run, refused, asked, tmp_path):
    data, out = flat_coco(tmp_path / "set"), tmp_path / "run"
    options = ("--split-by", "0.5", "--classes", "cat,dog", "--sizes", "scale", "--max-boxes", "7")
    assert run("train", data, "--out", out, *options).exit_code == 0
    held_out = stems(asked["val"])
    assert len(held_out) == 10 and asked["train"].class_names == ("cat", "dog")
    assert run("train", data, "--out", out, "--resume", "--split-by", "0.5").exit_code == 0
    assert stems(asked["val"]) == held_out and asked["max_boxes"] == 7
    assert asked["data"]["sizes"] == "scale" and asked["data"]["classes"] == ["cat", "dog"]
    for words, sentence in (
        (("--split-by", "0.8"), "--split-by 0.8, but the run has 0.5."),
        (("--classes", "dog"), "--classes dog, but the run has ['cat', 'dog']."),
        (("--box-format", "xyxy"), "--box-format xyxy, but the run has none."),
        (("--no-val",), "--no-val, but the run evaluates on images of DATA that it has held out."),
    ):
        message = refused("train", data, "--out", out, "--resume", *words)
        assert f"A resumed run must keep its data. Received: {sentence}" in message


def test_a_run_without_validation_goes_on_with_all_images(run, asked, tmp_path):
    data, out = flat_coco(tmp_path / "set"), tmp_path / "run"
    result = run("train", data, "--out", out, "--no-val")
    assert "the whole data set (20 images) is used for training." in result.stdout
    assert len(asked["train"]) == 20 and asked["val"] is None
    assert run("train", data, "--out", out, "--resume").exit_code == 0
    assert len(asked["train"]) == 20 and asked["val"] is None


def test_validation_data_of_its_own(run, asked, tmp_path):
    data, val, out = flat_coco(tmp_path / "set"), tmp_path / "val", tmp_path / "run"
    flat_coco(val, 6)
    result = run("train", data, "--val-data", val, "--out", out)
    assert result.exit_code == 0, result.output
    assert (len(asked["train"]), len(asked["val"])) == (20, 6)
    assert run("train", data, "--out", out, "--resume").exit_code == 0
    assert (len(asked["train"]), len(asked["val"])) == (20, 6)


def test_validation_data_that_is_trained_on_too(run, asked, tmp_path):
    data = flat_coco(tmp_path / "set")
    result = run("train", data, "--val-data", data, "--out", tmp_path / "run")
    assert "20 of 20 images for validation are also used for training" in result.output


def test_splits_by_name(run, refused, asked, tmp_path):
    for split, count in (("fold1", 12), ("fold2", 2), ("test", 3)):
        write_coco(tmp_path / "set", content(count), split)
    out = ("--out", tmp_path / "run")
    message = refused("train", tmp_path / "set", *out)
    assert "the splits fold1, fold2, test" in message and "(--train-split)" in message
    run("train", tmp_path / "set", *out, "--train-split", "fold1", "--val-split", "fold2")
    assert (len(asked["train"]), len(asked["val"])) == (12, 2)
    out = ("--out", tmp_path / "run2")
    result = run("train", tmp_path / "set", *out, "--train-split", "fold1", "--split-by", 0.5)
    assert result.exit_code == 0, result.output
    assert (len(asked["train"]), len(asked["val"])) == (6, 6)
    out = ("--out", tmp_path / "run3")
    message = refused("train", tmp_path / "set", *out, "--train-split", "fold3")
    assert "Received: 'fold3'. The splits are fold1, fold2, test." in message
    message = refused("train", tmp_path / "set", *out, "--val-split", "foldd")
    assert "Received: 'foldd'. The splits are fold1, fold2, test." in message


def test_tests_are_never_trained_on_silently(refused, asked, tmp_path):
    write_coco(tmp_path / "set", content(4), "test")
    message = refused("train", tmp_path / "set", "--out", tmp_path / "run")
    assert "must have a training split. Received: the splits test." in message


def test_split_by_where_the_data_has_a_split(refused, asked, coco, tmp_path):
    message = refused("train", coco, "--split-by", "0.7", "--out", tmp_path / "run")
    assert "is for data without a validation split. Received: 0.7 for" in message
    assert "has the split val. Leave it out." in message


def test_classes_by_names_or_file(run, refused, asked, tmp_path):
    data = flat_coco(tmp_path / "set")
    assert run("train", data, "--classes", "cat, dog", "--out", tmp_path / "a").exit_code == 0
    assert asked["train"].class_names == asked["val"].class_names == ("cat", "dog")
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\n\r\n".encode())
    words = ("--classes", tmp_path / "classes.txt")
    assert run("train", data, *words, "--out", tmp_path / "b").exit_code == 0
    assert asked["train"].class_names == ("cat", "dog")
    message = refused("train", data, "--classes", "cat,dog,dogs", "--out", tmp_path / "c")
    assert "Received: 'dogs'. Did you mean 'dog'? The classes are dog, cat." in message
    message = refused("train", data, "--classes", " , ", "--out", tmp_path / "c")
    assert "--classes must name at least one class. Received: ' , '." in message
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\xff")
    assert "must be UTF-8 text" in refused("train", data, *words, "--out", tmp_path / "c")


def test_names_of_formats(run, refused, coco, asked, tmp_path):
    result = run("train", coco, "--format", "cocoo", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "must be one of coco, cvat" in result.stderr
    message = refused("train", coco, "--format", "voc", "--out", tmp_path / "run")
    assert "in the format Pascal VOC must hold Annotations/*.xml" in message
    assert "leave out format= (--format voc)" in message


def test_image_dir(run, asked, tmp_path):
    data = flat_coco(tmp_path / "set")
    file = (data / "annotations.json").rename(tmp_path / "annotations.json")
    result = run("train", file, "--image-dir", data, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (len(asked["train"]), len(asked["val"])) == (16, 4)


def test_calibration_takes_the_images_that_were_trained_on(run, asked, monkeypatch, tmp_path):
    from keras_det import export
    from keras_det.cli import export as export_command

    data, out, calls = flat_coco(tmp_path / "set"), tmp_path / "run", []
    run("train", data, "--out", out, "--classes", "cat,dog")
    train, val = stems(asked["train"]), stems(asked["val"])
    model = types.SimpleNamespace(class_names=["cat", "dog"])
    monkeypatch.setattr(export_command, "load_keras_model", lambda path: model)
    monkeypatch.setattr(export, "tflite", lambda *_, **settings: calls.append(settings))
    words = ("--to", "tflite", "--quantize", "int8", "--calibrate", data)
    result = run("export", out, data, *words)
    assert result.exit_code == 0, result.output
    assert {path.rsplit("/", 1)[1] for path in calls[0]["calibration"]} == train
    assert stems(calls[0]["images"]) == val
