"""The shell completes commands, options, choices, model names and files."""

import os
import shutil
import subprocess
import sys

import click
import pytest
from click.shell_completion import get_completion_class

from keras_det.cli import main
from keras_det.cli.completion import PROGRAM, VARIABLE
from keras_det.cli.model_names import NAMES


def offered(*words):
    """Pairs (type, value) that are offered for the last word."""
    shell = get_completion_class("bash")(main, {}, PROGRAM, VARIABLE)
    items = shell.get_completions(list(words[:-1]), words[-1])
    return [(item.type, item.value) for item in items]


def words(*values):
    return [("plain", value) for value in values]


def test_commands_and_options():
    assert offered("pre") == words("predict")
    assert offered("predict", "--score") == words("--score-threshold")


def test_model_names():
    assert offered("train", "data/", "--model", "") == words(*NAMES)
    assert offered("demo", "--model", "cornernet_t") == words("cornernet_tiny")
    assert offered("info", "retinanet_resnet15") == [
        ("file", "retinanet_resnet15"),
        *words("retinanet_resnet152"),
    ]


def test_choices():
    assert offered("export", "m.keras", "--to", "t") == words("tflite")
    assert offered("predict", "m.keras", "--method", "") == words("gaussian", "linear", "hard")
    assert offered("completion", "") == words("bash", "zsh", "fish")


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "evaluate m.keras", "predict", "predict m.keras", "export", "info"]
    + ["train data --out", "train data --val-data", "export m.keras --calibrate"],
)
def test_files(command):
    assert ("file", "") in offered(*command.split(), "")


def test_weights_are_words_or_files():
    assert offered("train", "data/", "--weights", "co") == [("file", "co"), *words("coco")]


def test_options_complete_unless_they_are_numbers_or_free_text():
    free = {
        "--split",
        "--train-split",
        "--val-split",
        "--calibrate-split",
        "--image-size",
        "--scales",
        "--workers",
    }
    for name, command in main.commands.items():
        for param in command.params:
            number = isinstance(param.type, click.types.IntParamType | click.types.FloatParamType)
            if number or param.param_type_name == "argument" or param.is_flag:
                continue
            assert bool(offered(name, param.opts[0], "")) != (param.opts[0] in free), param.opts


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_printed(run, shell):
    result = run("completion", shell)
    assert result.exit_code == 0
    assert PROGRAM in result.stdout and f"{VARIABLE}={shell}_complete" in result.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_a_model_name(run, tmp_path):
    program = tmp_path / PROGRAM
    code = f"import sys; sys.argv[0] = {PROGRAM!r}; from keras_det.cli import main; main()"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
    script = run("completion", "bash").stdout + (
        f"COMP_WORDS=({PROGRAM} train data/ --model efficientdet_lite3); COMP_CWORD=4\n"
        f"_keras_det_completion {PROGRAM}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["efficientdet_lite3", "efficientdet_lite3x"], result.stderr
