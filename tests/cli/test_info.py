"""`keras-det info`, and that TensorFlow's start is not heard."""

import shutil
import subprocess
import sys

import pytest

from keras_det.cli.info import in_billions
from tests.helpers import ROOT


def test_info_lists_every_model(run):
    from keras_det.models import MODEL_NAMES

    listed = [line.split()[0] for line in run("info").output.splitlines()[1:]]
    assert listed == list(MODEL_NAMES)


def test_info_fits_a_terminal_and_lists_sizes(run):
    lines = run("info").output.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["efficientdet_lite0"] == ["320", "3.3", "M", "lite0", "64", "BiFPN", "x", "3"]
    assert rows["retinanet_resnet50"][:3] == ["640", "38.2", "M"]
    assert rows["cornernet_tiny"][:3] == ["255", "1.7", "M"]


@pytest.mark.slow
def test_info_describes_a_model(run):
    lines = dict(
        line.split(None, 1) for line in run("info", "efficientdet_lite0").output.split("\n")[:-1]
    )
    # Feature maps at 320: 40, 20, 10, 5 and ceil(5 / 2) = 3 a side;
    # (1600 + 400 + 100 + 25 + 9) cells * 9 anchors = 19206.
    assert lines["anchors"] == "19,206, 9 per cell"
    assert lines["levels"] == "P3, P4, P5, P6, P7"
    assert lines["image"] == "size     320 x 320 pixels (height x width)"
    # The reference's 0.979 B, in three digits.
    assert lines["multiply-adds"] == "0.98 B"
    assert lines["classes"] == "90"


@pytest.mark.parametrize(
    "count, text",
    [(978_600_000, "0.98 B"), (9_994_000_000, "9.99 B"), (135_776_000_000, "135.8 B")],
)
def test_large_numbers_are_short(count, text):
    assert in_billions(count) == text


def test_info_refuses_an_unknown_name(refused):
    assert "Did you mean 'efficientdet_d3'?" in refused("info", "eficientdet_d3")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="warnings about a GPU are shown")
def test_tensorflow_starts_silently():
    code = "from keras_det.cli import main; main(['info'])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.startswith("name ")
