"""What must stay quick loads nothing heavy: asked of `sys.modules`, not of a stopwatch."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

HEAVY = {"tensorflow", "keras", "jax", "torch", "pycocotools", "PIL"}


def loaded_after(code):
    """Names in HEAVY that a fresh interpreter holds after running `code`."""
    report = f"import json, sys\n{code}\nprint(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", report], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import keras_det; dir(keras_det); keras_det.__version__") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["predict", "no_such_model.keras", "x.jpg"],
        ["train", "data/", "--model", "yolov8n", "--out", "no_such_run"],
        ["completion", "bash"],
        ["weights", "list"],
        ["weights", "list", "--json"],
        ["weights", "check"],
        ["weights", "fetch", "no_such_name"],
    ],
    ids=" ".join,
)
def test_command_line_answers_without_loading_anything_heavy(arguments):
    code = f"""
from click.testing import CliRunner
from keras_det.cli import main
result = CliRunner().invoke(main, {arguments!r})
assert result.exit_code in (0, 2), result.output
"""
    assert loaded_after(code) == []


def test_public_names_are_found_and_others_refused():
    import keras_det

    assert keras_det.errors.DataError.__mro__[1] is ValueError
    assert "load_model" in dir(keras_det)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        _ = keras_det.load_modle
