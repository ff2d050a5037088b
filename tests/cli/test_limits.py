"""Numbers out of their range, empty texts, and images that one command cannot read or write."""

import json
import shutil

import click
import pytest
from PIL import Image

from keras_det.cli import main, predict, predicting, prediction_files
from keras_det.cli.numbers import Real, Whole
from keras_det.errors import DataError
from keras_det.words import printable
from tests.cli.test_commands import Finder


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("train d --seed -1", "from 0 to 4,294,967,295. Received: -1."),
        ("train d --batch-size 1000000000", 'from 1 to 65,536, or "auto". Received: 1000000000.'),
        ("train d --epochs 0", "a whole number from 1 to 1,000,000. Received: 0."),
        ("train d --epochs 1e9", "a whole number from 1 to 1,000,000. Received: 1e9."),
        ("train d --image-size 100000", "must be 32 to 8,192 pixels. Received: 100000."),
        ("train d --max-level 99", "a whole number from 1 to 12. Received: 99."),
        ("train d --learning-rate nan", "a number above 0 and at most 100. Received: nan."),
        ("train d --learning-rate inf", "a number above 0 and at most 100. Received: inf."),
        ("train d --average 1", "of at least 0 and below 1. Received: 1."),
        ("train d --anchor-scale -inf", "from 0.001 to 1000. Received: -inf."),
        ("predict m i --score-threshold nan", "a number from 0 to 1. Received: nan."),
        ("evaluate m d --batch-size 99999", "from 1 to 65,536. Received: 99999."),
        ("data split d o --by nan", "above 0 and below 1. Received: nan."),
    ],
)
def test_numbers_out_of_their_range(refused, words, sentence):
    option = next(word for word in words.split() if word.startswith("--"))
    message = refused(*words.split())
    assert sentence in message and option in message


def options_of(command):
    """Every command below a group, with its parameters."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from options_of(each)
    else:
        yield from ((command.name, param) for param in command.params)


def test_every_number_has_both_ends():
    numbers = click.types.IntParamType | click.types.FloatParamType
    found = [(name, p) for name, p in options_of(main) if isinstance(p.type, numbers)]
    assert len(found) > 30
    open_ended = [(name, p.opts) for name, p in found if not isinstance(p.type, Whole | Real)]
    # Those of `--max-pixels`, which has no upper end.
    assert [each for each in open_ended if each[1] != ["--max-pixels"]] == []


@pytest.mark.parametrize("value", ["9" * 5000, "1_000_000_000_000", "0x10", "", "½"])
def test_whole_numbers_that_are_none(value):
    with pytest.raises(click.BadParameter, match="a whole number from 1 to 5. Received: "):
        Whole(1, 5).convert(value, None, None)
    assert Whole(1, 5).convert("5", None, None) == 5 and Real(0, 1).convert("1", None, None) == 1.0
    with pytest.raises(ValueError, match="must be an end of the range. Received: 'low'"):
        Real(0, 1, open="low")


@pytest.mark.parametrize(
    "words, name",
    [
        (["train", "d", "--out", ""], "--out"),
        (["predict", "m", "i", "--out", ""], "--out"),
        (["evaluate", "m", "d", "--out", ""], "--out"),
        (["export", "m", "--out", ""], "--out"),
        (["train", "d", "--weights", ""], "--weights"),
        (["train", ""], "DATA"),
        (["predict", "m", "a", ""], "SOURCES"),
    ],
)
def test_an_empty_text_is_refused(refused, words, name):
    assert f"{name} must not be empty. Received: an empty value." in refused(*words)


@pytest.fixture
def finder(monkeypatch):
    """A model that finds one object, and has no memory for images that are 33 wide."""

    class Small(Finder):
        def detect(self, image, **settings):
            if image.shape[1] == 33:
                raise MemoryError
            return super().detect(image, **settings)

    monkeypatch.setattr(predict, "load_any_model", lambda path: Small())


def test_predict_goes_on_past_images_that_it_cannot_read_or_write(
    run, finder, coco, tmp_path, monkeypatch
):
    folder = coco / "train"
    for name in ("b.png", "c.png", "d" * 240 + ".png", "é" * 120 + ".png"):
        shutil.copy(folder / "a.png", folder / name)
    (folder / "e.jpg").write_bytes(b"\xff\xd8 no more")
    Image.new("RGB", (33, 20)).save(folder / "f.png")
    write = prediction_files.write_whole

    def refusing(path, content):
        if path.name == "b.png":
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(prediction_files, "write_whole", refusing)
    result = run("predict", "m.keras", folder, "--out", tmp_path / "found")
    assert result.exit_code == 1, result.output
    assert "e.jpg" in result.stderr and "f.png (it needs more memory" in result.stderr
    assert "1 file could not be written. The others are complete." in result.stderr
    assert "b.png (No space left on device)" in result.stderr
    assert "Detections: 5, images: 5" in result.stdout
    written = {path.name for path in (tmp_path / "found").iterdir()}
    names = {"a.png", "c.png", "d" * 200 + ".png", "é" * 100 + ".png", "detections.json"}
    assert written == names
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert {row["file_name"] for row in rows} >= {str(folder / "b.png"), str(folder / "c.png")}
    assert len(rows) == 5


def test_predict_keeps_what_it_has_found_after_an_interruption(
    run, finder, coco, tmp_path, monkeypatch
):
    shutil.copy(coco / "train" / "a.png", coco / "train" / "b.png")
    add = predicting.Written.add

    def interrupted(self, frame, found):
        if frame.source.path.endswith("b.png"):
            raise KeyboardInterrupt
        add(self, frame, found)

    monkeypatch.setattr(predicting.Written, "add", interrupted)
    run("predict", "m.keras", coco / "train", "--out", tmp_path / "found")
    rows = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert [row["file_name"] for row in rows] == [str(coco / "train" / "a.png")]


def test_names_that_are_no_text_are_written_escaped(tmp_path):
    from keras_det.files import write_json

    write_json(tmp_path / "x.json", {"file": "a\udc80.png"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"file": "a\udc80.png"}
    assert printable("a\udc80") == "a\\udc80"


@pytest.mark.parametrize("name", ["recipe.json", "best.keras"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 99, "folder"])
def test_commands_on_a_damaged_run_end_in_a_sentence(refused, coco, tmp_path, name, content):
    run = tmp_path / "run"
    run.mkdir()
    if content == "folder":
        (run / name).mkdir()
    else:
        (run / name).write_bytes(content)
    image = coco / "train" / "a.png"
    commands = [("evaluate", run, coco), ("predict", run, image), ("export", run, coco)]
    if name == "recipe.json":
        commands = [("train", coco, "--out", run, "--resume"), ("evaluate", run, coco)]
        (run / "best.keras").write_bytes(b"x")
    for command in commands:
        message = refused(*command, *(["--out", tmp_path / "o"] if command[0] == "predict" else []))
        assert "Received: " in message and ("recipe.json" in message or "keras" in message)


def test_a_damaged_recipe_is_not_ignored(coco, tmp_path):
    from keras_det.cli.run_data import note_of_run

    assert note_of_run(tmp_path) == {}
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(DataError, match="recipe.json must be a JSON file.*move it away"):
        note_of_run(tmp_path)
