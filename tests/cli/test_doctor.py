"""`keras-det doctor`: exit codes, files, options."""

import json

from click.shell_completion import ShellComplete

from keras_det.cli import main
from keras_det.data import draw_shapes_dataset


def offered(*words):
    shell = ShellComplete(main, {}, "keras-det", "_X")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_good_data_exits_with_0_and_writes_both_files(run, tmp_path):
    root = draw_shapes_dataset(tmp_path / "shapes", 30, 12, 64)
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    result = run("doctor", root, "--html", page, "--json", file)
    assert result.exit_code == 0, result.output
    assert "training works" in result.stdout or "can be trained on" in result.stdout
    assert "in the format COCO" in " ".join(result.stdout.split())
    assert result.stdout.splitlines()[-1] == f"Page with pictures: {page}"
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(file.read_text())["facts"]["splits"]["train"]["images"] == 30


def test_an_error_exits_with_1(run, coco):
    file = coco / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"] = []
    file.write_text(json.dumps(content))
    result = run("doctor", coco, "--quick")
    assert result.exit_code == 1
    assert "ERROR    The split train has no object." in result.stdout


def test_missing_data_exits_with_1_and_names_the_rule(run, tmp_path):
    result = run("doctor", tmp_path / "nothing")
    assert result.exit_code == 1
    assert "The data set must exist." in " ".join(result.stdout.split())


def test_json_of_a_hyphen_is_all_that_is_printed(run, coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("doctor", coco, "--quick", "--json", "-")
    assert json.loads(result.stdout)["facts"]["splits"]["train"]["images"]
    assert "in the format COCO" in " ".join(result.stderr.split())
    assert not (tmp_path / "-").exists()


def test_a_report_that_cannot_be_written_is_refused_first(run, coco, tmp_path):
    for option, file, words in (
        ("--html", tmp_path, "--html must name a file"),
        ("--json", tmp_path / "missing" / "x.json", "The folder of a report must exist"),
    ):
        result = run("doctor", coco, "--quick", option, file)
        assert result.exit_code == 2 and words in result.stderr and not result.stdout


def test_quick_reads_no_pixels(run, coco):
    content = (coco / "train" / "a.png").read_bytes()
    (coco / "train" / "a.png").write_bytes(content[: len(content) - 40])
    assert "images-truncated" not in run("doctor", coco, "--quick").stdout
    assert "images-truncated" in run("doctor", coco).stdout


def test_all_prints_every_cure(run, coco):
    assert "[names-in-two-splits, " not in run("doctor", coco).stdout
    shown = " ".join(run("doctor", coco, "--all").stdout.split())
    assert "[names-in-two-splits, docs/data.md#splits]" in shown


def test_classes_and_reading_options_reach_the_reader(run, coco):
    result = run("doctor", coco, "--classes", "square,circle", "--quick")
    assert "circle" in result.stdout
    result = run("doctor", coco, "--box-format", "rel_xywh", "--quick")
    assert result.exit_code == 1 and "rel_xywh" in result.stdout


def test_useless_options_are_refused(run, refused, coco, tmp_path):
    assert run("doctor").exit_code == 2
    assert "--image-size has no effect" in refused("doctor", coco, "--image-size", 320)
    assert "--classes has no effect" in refused("doctor", "--run", "r", "--classes", "a")
    assert "folder of a report must exist" in refused("doctor", coco, "--json", tmp_path / "x/y")


def test_completion():
    assert offered("doc") == ["doctor"]
    assert offered("doctor", "d", "--format", "co") == ["coco"]
    assert "--html" in offered("doctor", "d", "--ht")
