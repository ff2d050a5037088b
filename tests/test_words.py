"""Names from strangers are printed so that they cannot change what a terminal or a log shows."""

import base64
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_det import RetinaNet, load_model
from keras_det.cli import main
from keras_det.cli.command import echo, echo_json
from keras_det.data.dataset import Dataset
from keras_det.data.notes import Note
from keras_det.doctor import examine
from keras_det.doctor.finding import Finding
from keras_det.doctor.page import report_page
from keras_det.errors import DataError
from keras_det.export.check.publishing import labels_text
from keras_det.runtime.facts import checked_names
from keras_det.training import train
from keras_det.words import UNPRINTABLE, either, printable, printing
from tests.helpers import tiny_parts

RED = "\x1b[31mred\x1b[0m\nx"
SHOWN = r"\x1b[31mred\x1b[0m\nx"
FILE = "\x1b[31mred\x1b[0m\nx.png"
# Escape sequences in 7 and in 8 bits, a line break, and a mark that turns the text around.
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("red car, Öl, 車, 🚗", "red car, Öl, 車, 🚗"),
        ("no-break\xa0space", "no-break\xa0space"),
        ("family 👨\u200d👩", "family 👨\u200d👩"),  # a joiner, which draws one picture
        (RED, SHOWN),
        ("a\tb\rc\x00", r"a\tb\rc\x00"),
        ("\x9b31m\x7f\x85", r"\x9b31m\x7f\x85"),
        ("a\u2028b\u202ec\u2066", r"a\u2028b\u202ec\u2066"),
        ("half \udcff", r"half \udcff"),  # a file name that is no UTF-8
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected
    assert printable(expected) == expected


def test_some_characters_may_stay():
    assert printable("a\nb\t\x1b", keep="\n\t") == "a\nb\t\\x1b"
    lines = []
    printing(lines.append)(f"one\n{RED}")
    assert lines == ["one\n" + SHOWN.replace(r"\n", "\n")]


def test_messages_are_printable():
    assert str(DataError(f"Received: {RED}")) == "Received: \\x1b[31mred\\x1b[0m\nx"
    note = Note("boxes-clipped", f"box of {RED} clipped", first=FILE, more=RED)
    assert "\x1b" not in note and "\n" not in note and note.first == SHOWN + ".png"
    finding = Finding("code", "note", RED, RED, examples=(FILE,))
    assert (finding.title, finding.cure, finding.examples) == (SHOWN, SHOWN, (SHOWN + ".png",))


def test_the_command_line_prints_nothing_else(capsys):
    echo(f"a\n{RED}\x9b")
    assert capsys.readouterr().out == "a\n\\x1b[31mred\\x1b[0m\nx\\x9b\n"
    value = {"name": f"{RED}\x9b\u202eö"}
    echo_json(value)
    out = capsys.readouterr().out
    assert not BAD.search(out) and "ö" in out and json.loads(out) == value


def test_label_files_have_one_line_a_class(tmp_path):
    assert labels_text([RED, "b  c"]) == f"{SHOWN}\nb  c\n"
    names = labels_text([RED, "a\x85b\u2028c\x0b"]).splitlines()
    assert names == [SHOWN, r"a\x85b\u2028c\x0b"]
    assert checked_names([RED], tmp_path) == [SHOWN]


@pytest.fixture(scope="module")
def model():
    return RetinaNet(**tiny_parts(class_names=[RED, "\x9bother"]))


@pytest.fixture
def data(tmp_path):
    """A data set with such names; the second image cannot be read."""
    paths = [tmp_path / "images" / FILE, tmp_path / "images" / f"broken {FILE}"]
    paths[0].parent.mkdir()
    Image.fromarray(np.zeros((40, 60, 3), "uint8")).save(paths[0])
    paths[1].write_bytes(b"no image")
    return Dataset(
        image_paths=tuple(map(str, paths)),
        image_ids=(0, 1),
        image_sizes=np.array([[40, 60], [40, 60]]),
        boxes=np.array([[0, 0, 20, 20], [0, 0, 20, 20]]),
        labels=np.array([0, 1]),
        crowd=np.zeros(2, bool),
        area=np.full(2, 400.0),
        row_splits=np.array([0, 1, 2]),
        class_names=(RED, "\x9bother"),
        name=FILE,
    )


def test_models_and_data_sets_hold_printable_names(model, data, tmp_path):
    assert model.class_names == [SHOWN, r"\x9bother"] == list(data.class_names)
    model.save(tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").class_names == model.class_names


def test_the_doctor_prints_them_escaped(data, tmp_path):
    report = examine(data)
    text = report.text(all=True)
    assert not BAD.search(text) and SHOWN in text and "broken " in text
    assert all("\n" not in each for finding in report.findings for each in finding.examples)
    page = report_page(report)
    assert not BAD.search(page) and SHOWN in page and "red\x1b" not in page
    pictures = [base64.b64decode(each) for each in re.findall(r"base64,([^\"]*)", page)]
    assert all(each.startswith(b"\xff\xd8") for each in pictures)


def test_predict_prints_them_escaped(model, data, tmp_path):
    model.save(tmp_path / "model.keras")
    folder = tmp_path / "found"
    arguments = ["predict", tmp_path / "model.keras", *data.image_paths, "--out", folder]
    result = CliRunner().invoke(main, [*map(str, arguments), "--score-threshold", "0"])
    assert result.exit_code == 0, result.output
    assert not BAD.search(result.output.replace("\r", "")) and "left out" in result.output
    rows = json.loads((folder / "detections.json").read_text())
    assert {row["category_name"] for row in rows} <= set(model.class_names)
    result = CliRunner().invoke(main, ["info", str(tmp_path / "model.keras")])
    assert not BAD.search(result.output) and "tiny" in result.output or result.exit_code


@pytest.mark.slow
def test_training_prints_them_escaped(data, tmp_path):
    readable, lines = data[:1], []
    names = data.class_names
    model = RetinaNet("resnet18", class_names=names, image_size=64, neck_channels=8, head_repeats=1)
    settings = dict(epochs=1, batch_size=1, recipe="published", augment="none")
    train(model, readable, readable, tmp_path / "run", say=lines.append, **settings)
    text = "\n".join(lines)
    assert not BAD.search(text) and SHOWN in text
    written = (tmp_path / "run" / "class_names.txt").read_text().splitlines()
    assert tuple(written) == names


def test_file_names_in_errors_of_the_command_line(tmp_path):
    for arguments in (["predict", "x.keras", f"{tmp_path}/{RED}"], ["doctor", f"{tmp_path}/{RED}"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code in (1, 2) and not BAD.search(result.output)
        assert r"\x1b[31mred" in result.output


def test_every_unprintable_character_is_one():
    found = [chr(i) for i in range(0x110000) if UNPRINTABLE.match(chr(i))]
    assert len(found) == 32 + 33 + 2 + 5 + 4 + 0x800
    assert not any(each.isprintable() for each in found)


@pytest.mark.parametrize(
    "given, text", [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")]
)
def test_a_choice(given, text):
    assert either(given) == text
