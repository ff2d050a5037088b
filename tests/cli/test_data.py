"""`keras-det data`: what the commands write, print and refuse."""

import errno
import importlib
import json

import click
import numpy as np
import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner
from PIL import Image

from keras_det.cli import data_views, main
from keras_det.cli.command import Command
from keras_det.cli.completion import PROGRAM, VARIABLE
from keras_det.data.reading import load_splits
from keras_det.errors import DataError
from keras_det.names import AUGMENT_NAMES
from tests.data.builders import annotation, coco_content, write_coco, write_image, write_voc


def voc(root, count=10, splits=None):
    """Images v0, v1, … with one cat or dog each."""
    objects = {f"v{i}": [("dog" if i % 2 else "cat", 2, 2, 5 + i % 3, 5, 0)] for i in range(count)}
    return write_voc(root, objects, splits)


def counts(path):
    return {name: len(dataset) for name, dataset in load_splits(path)[0].items()}


def test_convert_writes_every_split(run, tmp_path):
    data = voc(tmp_path / "in", 4, {"train": ["v0", "v1"], "val": ["v2", "v3"]})
    result = run("data", "convert", data, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "train: 2 images, 2 objects, 2 classes" in result.stdout
    assert result.stdout.endswith(f"Data set: {tmp_path / 'out'}\n")
    assert counts(tmp_path / "out") == {"train": 2, "val": 2}
    content = json.loads((tmp_path / "out" / "annotations" / "instances_val.json").read_text())
    assert content["annotations"][0]["bbox"] == [1, 1, 6, 4]


@pytest.mark.parametrize("form", ["voc", "yolo", "csv"])
def test_convert_to(run, tmp_path, coco, form):
    assert run("data", "convert", coco, tmp_path / "out", "--to", form).exit_code == 0
    assert counts(tmp_path / "out") == {"train": 1, "val": 1}


def test_convert_of_one_split_and_of_all(run, tmp_path):
    data = voc(tmp_path / "in", 4, {"train": ["v0", "v1"]})
    assert run("data", "convert", data, tmp_path / "one", "--split", "train").exit_code == 0
    assert counts(tmp_path / "one") == {"train": 2}
    assert run("data", "convert", data, tmp_path / "all", "--split", "all").exit_code == 0
    assert counts(tmp_path / "all") == {"default": 4}


def test_commands_on_data_make_the_split_of_training(run, refused, tmp_path):
    # Eight of ten images are for training. The errors name options that the command has.
    data = voc(tmp_path / "in")
    message = refused("data", "convert", data, tmp_path / "out", "--split", "train")
    assert "(--split-by 0.8) too" in message and "(--split all)" in message
    for split, options in (
        (None, ()),
        ("train", ("--split", "train")),
        ("val", ("--split", "val")),
    ):
        out = tmp_path / f"out {split}"
        result = run("data", "convert", data, out, "--split-by", "0.8", *options)
        assert result.exit_code == 0, result.output
        wanted = {"train": 8, "val": 2}
        assert counts(out) == ({split: wanted[split]} if split else wanted)
        result = run("data", "stats", data, "--split-by", "0.8", "--json", *options)
        found = {name: row["images"] for name, row in json.loads(result.stdout).items()}
        assert found == ({split: wanted[split]} if split else wanted)


@pytest.mark.parametrize("option", ["--train-split", "--val-split"])
def test_a_split_that_a_training_lacks(refused, tmp_path, option):
    data = voc(tmp_path / "in")
    message = refused("train", data, "--out", tmp_path / "run", option, "val")
    assert f"({option}) must name one of the splits" in message
    assert "It has no splits. Leave it out, which uses all images." in message


def test_all_images_of_a_data_set_that_has_only_splits(run, tmp_path, coco):
    assert run("data", "convert", coco, tmp_path / "all", "--split", "all").exit_code == 0
    assert counts(tmp_path / "all") == {"default": 2}


def test_convert_notes_images_of_no_split(run, tmp_path):
    data = voc(tmp_path / "in", 4, {"train": ["v0", "v1"]})
    result = run("data", "convert", data, tmp_path / "out")
    assert "2 of 4 images left out: they belong to no split" in result.stderr
    assert "Give --split all" in result.stderr


def test_convert_some_classes(run, tmp_path):
    data = voc(tmp_path / "in", 4)
    result = run("data", "convert", data, tmp_path / "out", "--classes", "dog")
    assert "all: 4 images, 2 objects, 1 class" in result.stdout
    assert "2 of 4 objects left out: their classes are not selected" in result.stderr


def test_convert_unknown_class(refused, tmp_path):
    data = voc(tmp_path / "in", 4)
    assert "Received: 'bird'" in refused(
        "data", "convert", data, tmp_path / "out", "--classes", "dog,bird"
    )
    assert not (tmp_path / "out").exists()


def test_convert_copies(run, tmp_path):
    data = voc(tmp_path / "in", 1)
    run("data", "convert", data, tmp_path / "out", "--images", "copy")
    source = data / "JPEGImages" / "v0.jpg"
    assert not (tmp_path / "out" / "images" / "v0.jpg").samefile(source)


def test_images_has_no_effect_on_records(refused, tmp_path):
    data = voc(tmp_path / "in", 1)
    line = refused(
        "data", "convert", data, tmp_path / "out", "--to", "tfrecord", "--images", "copy"
    )
    assert "--images has no effect with --to tfrecord" in line


def test_folder_with_content_is_refused(refused, tmp_path, coco):
    assert "must not exist yet" in refused("data", "convert", coco, coco)


@pytest.mark.parametrize("form", ["voc", "coco", "yolo", "csv"])
def test_split_writes_both_parts_in_the_format_of_data(run, tmp_path, form):
    data = voc(tmp_path / "in")
    if form != "voc":
        run("data", "convert", data, tmp_path / "whole", "--to", form, "--split", "all")
        data = tmp_path / "whole"
    result = run("data", "split", data, tmp_path / "out", "--by", "0.6")
    assert result.exit_code == 0, result.output
    assert counts(tmp_path / "out") == {"train": 6, "val": 4}
    kind = {"voc": "ImageSets/Main/val.txt", "coco": "annotations/instances_val.json"}
    assert (tmp_path / "out" / kind.get(form, {"yolo": "val.txt"}.get(form, "val.csv"))).is_file()


@pytest.mark.parametrize("command", ["split", "stats", "preview"])
def test_data_is_listed_once(run, monkeypatch, tmp_path, command):
    data, calls = voc(tmp_path / "in"), []
    load = importlib.import_module("keras_det.data.load")
    original = load.recognise
    monkeypatch.setattr(load, "recognise", lambda *a: calls.append(a) or original(*a))
    out = {"split": [tmp_path / "out"], "preview": ["--out", tmp_path / "p.png"]}.get(command, [])
    assert run("data", command, data, *out).exit_code == 0
    assert len(calls) == 1


def test_split_depends_on_the_seed_and_links_images(run, tmp_path):
    data = voc(tmp_path / "in")
    for name, seed in (("a", 0), ("b", 0), ("c", 5)):
        run("data", "split", data, tmp_path / name, "--seed", seed)
    lists = [(tmp_path / x / "ImageSets" / "Main" / "val.txt").read_text() for x in "abc"]
    assert lists[0] == lists[1] != lists[2]
    assert (tmp_path / "a/JPEGImages/v0.jpg").samefile(data / "JPEGImages/v0.jpg")


def test_split_keeps_the_split_for_tests(run, tmp_path):
    names = [f"v{i}" for i in range(8)]
    data = voc(tmp_path / "in", splits={"train": names, "test": ["v8", "v9"]})
    assert run("data", "split", data, tmp_path / "out").exit_code == 0
    assert counts(tmp_path / "out") == {"test": 2, "train": 6, "val": 2}


def test_split_of_data_with_val_is_refused(refused, tmp_path, coco):
    line = refused("data", "split", coco, tmp_path / "out")
    assert "must not have a validation split yet" in line and "--split all" in line


def test_merge_joins_splits_and_classes(run, tmp_path, coco):
    first = voc(tmp_path / "in", 4, {"training": ["v0", "v1"], "val": ["v2", "v3"]})
    result = run("data", "merge", first, coco, tmp_path / "out", "--to", "yolo")
    assert result.exit_code == 0, result.output
    splits, _ = load_splits(tmp_path / "out")
    assert {name: len(each) for name, each in splits.items()} == {"train": 3, "val": 3}
    assert splits["train"].class_counts == {"cat": 1, "dog": 1, "square": 1}


def test_merge_puts_images_without_split_into_train(run, tmp_path, coco):
    first = voc(tmp_path / "in", 4)
    result = run("data", "merge", coco, first, tmp_path / "out")
    assert "in has no splits: all of it (4 images) becomes train" in result.stderr
    assert counts(tmp_path / "out") == {"train": 5, "val": 1}


def test_merge_refuses_names_that_differ_in_case(refused, tmp_path):
    first = voc(tmp_path / "in", 1)
    rows = [annotation(1, 10, [1, 1, 3, 3])]
    content = coco_content(rows, 1)
    content["categories"][0]["name"] = "Cat"
    write_coco(tmp_path / "coco", content)
    line = refused("data", "merge", first, tmp_path / "coco", tmp_path / "out")
    assert "'cat' in in and 'Cat' in coco" in line


@pytest.mark.parametrize("command", ["convert", "split", "merge"])
def test_a_folder_inside_of_the_data_is_refused(refused, tmp_path, command):
    data = voc(tmp_path / "in")
    message = refused("data", command, data, data / "deeper" / "out")
    assert "OUT must lie outside of DATA" in message and str(tmp_path / "in-out") in message
    assert not (data / "deeper").exists()


def test_options_that_a_command_lacks_come_with_another_way(refused, tmp_path):
    write_image(tmp_path / "in" / "a.png", 6, 8)
    (tmp_path / "in" / "a.csv").write_text("image,class,x1,y1,x2,y2\na.png,cat,0.2,0.1,0.9,0.5\n")
    message = refused("data", "merge", tmp_path / "in", tmp_path / "out")
    assert "data merge has no --box-format: first write the data set with" in message
    assert "data stats has no" not in refused("data", "stats", tmp_path / "in")
    message = refused("data", "stats", voc(tmp_path / "voc"), "--split", "val")
    assert "data stats has no" not in message and "give split=None (--split all)" in message


def test_stats_as_text(run, coco):
    result = run("data", "stats", coco)
    lines = result.stdout.splitlines()
    assert lines[0] == "shapes train" and "shapes val" in lines
    assert "  1 object, at most 1 in an image" in lines
    assert ["square", "1", "1", "14.1"] in [line.split() for line in lines]  # sqrt(20 * 10)
    assert max(map(len, lines)) <= 80


def test_stats_as_json_and_picture(run, tmp_path, coco):
    picture = tmp_path / "stats.png"
    result = run("data", "stats", coco, "--split", "val", "--json", "--picture", picture)
    found = json.loads(result.stdout)
    assert found["val"]["sizes"] == {"small": 1, "medium": 0, "large": 0}
    with Image.open(picture) as image:
        assert image.width == 1040


def test_stats_of_data_without_splits(run, tmp_path):
    data = voc(tmp_path / "in", 3)
    found = json.loads(run("data", "stats", data, "--json").stdout)
    assert list(found) == ["all"] and found["all"]["images"] == 3
    assert run("data", "stats", data).stdout.splitlines()[0] == "in"


def test_stats_refuses_other_files(refused, tmp_path, coco):
    assert "must name a .png" in refused("data", "stats", coco, "--picture", tmp_path / "x.txt")


# Without augmentation a 24 x 32 image in 64 x 64 is enlarged by 2: its box (6, 4, 26, 14) becomes
# (12, 8, 52, 28).
@pytest.mark.slow
def test_preview_shows_what_the_network_sees(run, tmp_path, coco):
    out = tmp_path / "p.png"
    arguments = ("--image-size", 64, "--no-augment", "--out", out)
    assert run("data", "preview", coco, *arguments).exit_code == 0
    with Image.open(out) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (64, 64, 3)
    red = np.ptp(pixels, axis=-1) > 100  # the line of class 0
    rows, columns = np.nonzero(red)
    assert (columns.min(), columns.max()) == (12, 51) and rows.max() == 27
    assert abs(pixels[20, 32] - 200).max() < 3  # the bright rectangle inside


@pytest.mark.slow
def test_preview_augments_by_seed_and_shows_batches(run, tmp_path, coco):
    shown = {}
    for name, *options in (
        ("a", "--seed", 1),
        ("b", "--seed", 1),
        ("c", "--seed", 2),
        ("d", "--seed", 1, "--augment", "none"),
    ):
        out = tmp_path / f"{name}.png"
        sizes = ("--image-size", 64, "--batch-size", 2, "--batches", 3, "--out", out)
        assert run("data", "preview", coco, *sizes, *options).exit_code == 0
        with Image.open(out) as image:
            shown[name] = np.asarray(image)
    assert shown["a"].shape == (64 * 2 + 8, 64 * 4 + 3 * 8, 3)  # 6 images in rows of 4
    assert (shown["a"] == shown["b"]).all() and (shown["a"] != shown["c"]).any()
    assert (shown["a"] != shown["d"]).any()


def test_preview_refuses_contradictions(refused, tmp_path, coco):
    line = refused("data", "preview", coco, "--augment", "lsj", "--no-augment")
    assert "cannot be used together" in line
    write_image(tmp_path / "p.png")
    assert "must not exist yet" in refused("data", "preview", coco, "--out", tmp_path / "p.png")


READING = {
    "format": "coco",
    "image_dir": "photos",
    "box_format": "xyxy",
    "sizes": "scale",
    "voc_first_pixel": 0,
    "classes": "square",
}


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("command", ["convert", "split", "preview", "stats"])
def test_options_on_reading_reach_the_reader(refused, monkeypatch, tmp_path, coco, command, name):
    def show(path, *splits, **arguments):
        raise DataError(json.dumps(arguments))

    load = importlib.import_module("keras_det.data.load")
    monkeypatch.setattr(load, "load_train_and_val", show)
    monkeypatch.setattr(load, "has_val", lambda *_: False)
    monkeypatch.setattr("keras_det.data.reading.load_splits", show)
    out = {"convert": [tmp_path / "out"], "split": [tmp_path / "out"]}.get(command, [])
    out += ["--out", tmp_path / "p.png"] if command == "preview" else []
    option = f"--{name.replace('_', '-')}"
    found = {}
    for value, arguments in (("given", [option, READING[name]]), ("default", [])):
        line = refused("data", command, coco, *out, *arguments)
        found[value] = json.loads(line.removeprefix("Error: "))
    if name == "classes":
        assert found["given"]["class_names"] == ["square"] and found["given"]["drop_other_classes"]
        assert found["default"]["class_names"] is None
    else:
        assert found["given"][name] == READING[name] != found["default"][name]


def test_preview_takes_a_model_by_name(monkeypatch, coco):
    calls = []
    monkeypatch.setattr(data_views, "start_keras", lambda: None)
    builder = "keras_det.training.input_size.build_model"
    monkeypatch.setattr(builder, lambda *a, **k: calls.append((a, k)) or 7)
    dataset = load_splits(coco)[0]["train"]
    assert data_views.network_input("cornernet_tiny", (64, 96), dataset) == 7
    assert data_views.network_input("cornernet_tiny", None, dataset) == 7
    named = {"class_names": ["square"]}
    assert calls == [
        (("cornernet_tiny",), {**named, "image_size": (64, 96)}),
        (("cornernet_tiny",), named),
    ]


def test_preview_refuses_a_size_for_a_trained_model(refused, tmp_path, coco):
    (tmp_path / "m.keras").touch()
    options = ("--model", tmp_path / "m.keras", "--image-size", 64, "--out", tmp_path / "p.png")
    assert "A trained model has its own image size" in refused("data", "preview", coco, *options)


def test_wrong_name_of_a_command(run):
    result = run("data", "conver")
    assert result.exit_code == 2
    assert "There is no command 'conver'. Did you mean 'convert'?" in result.output


def test_completion():
    def offered(*words):
        shell = get_completion_class("bash")(main, {}, PROGRAM, VARIABLE)
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert offered("data", "") == ["convert", "split", "merge", "preview", "stats"]
    assert offered("data", "convert", "a", "b", "--to", "c") == ["coco", "csv"]
    assert "yolo" in offered("data", "stats", "a", "--format", "")
    assert offered("data", "preview", "a", "--augment", "") == list(AUGMENT_NAMES)


def test_options_complete_unless_they_are_numbers_or_free_text():
    free = {"--split", "--image-size", "--help"}
    shell = get_completion_class("bash")(main, {}, PROGRAM, VARIABLE)
    for name, command in main.commands["data"].commands.items():
        for param in command.params:
            number = isinstance(param.type, click.types.IntParamType | click.types.FloatParamType)
            if number or param.param_type_name == "argument" or param.is_flag:
                continue
            option = param.opts[0]
            offered = shell.get_completions(["data", name, option], "")
            assert bool(offered) != (option in free), (name, option)


def test_output_that_nobody_reads_is_no_error():
    @click.command(cls=Command)
    def command():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    result = CliRunner().invoke(command)
    assert result.exit_code == 1 and result.output == ""


@pytest.mark.parametrize("name", ["", "convert", "split", "merge", "preview", "stats"])
def test_help_fits_80_columns(run, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = run("data", *([name] if name else []), "--help")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "…" not in result.output and "..." not in result.output.replace("]...", "").replace(
        "DATA...", ""
    )
