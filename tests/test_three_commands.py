"""README's three commands, from an install to a certified file, as a user types them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from keras_det.data import draw_shapes_dataset
from tests.helpers import ROOT

pytestmark = pytest.mark.slow
SMALLER = "--epochs 1 --image-size 64 --batch-size 2".split()
# Runs a script, then writes the largest memory of the process in kB; getrusage would count this
# one's too, which forked it.
MEASURED = """
import atexit, re, runpy, sys
name, sys.argv = sys.argv[1], sys.argv[2:]
status = lambda: re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: open(name, "w").write(status()))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def commands():
    """The shell lines of README's section."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## From images to a phone\n")[1].split("\n## ")[0]
    return [
        shlex.split(line) for line in re.search(r"```sh\n(.*?)```", section, re.S)[1].split("\n")
    ]


def installed(folder):
    """A new environment with the package as pip installs it; dependencies are this one's."""
    # pip builds in the source's folder: a copy keeps the checkout clean.
    source = shutil.copytree(
        ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "runs")
    )
    home = folder / "environment"
    venv.create(home, with_pip=False)
    packages = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--prefix", home, "--ignore-installed", source], check=True)
    shutil.rmtree(source)
    return home / "bin"


def run(programs, words, folder):
    """Runs `keras-det`; returns what it printed and its largest memory in GiB."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    memory = folder.parent / "memory.txt"
    command = [programs / "python", "-c", MEASURED, memory, programs / "keras-det", *words]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, int(memory.read_text()) / (1 << 20)


def test_three_commands(tmp_path):
    pytest.importorskip("ai_edge_litert.interpreter")
    install, train, export, *rest = [words for words in commands() if words]
    assert rest == [] and install == ["pip", "install", ".[edge,pretrained]"]
    programs = installed(tmp_path)
    folder = tmp_path / "empty"
    draw_shapes_dataset(folder / "my_images", num_train=4, num_val=2, image_size=64)
    assert (train[0], export[0]) == ("keras-det", "keras-det")
    run(programs, [*train[1:], *SMALLER], folder)
    printed, memory = run(programs, export[1:], folder)
    assert memory < 4
    file = folder / "phone" / "exports" / "model_float32_mediapipe.tflite"
    assert str(file.relative_to(folder)) in printed
    certificate = json.loads(file.with_name(f"{file.name}.certificate.json").read_text())
    assert certificate["passed"] and certificate["image_source"] == "labelled"
    assert certificate["comparison"]["num_images"] == 2
    assert certificate["comparison"]["precision"]["keras"] is not None
    assert certificate["class_names"] == ["circle", "square", "triangle"]


def test_an_export_loads_no_training_code(tmp_path):
    pytest.importorskip("ai_edge_litert.interpreter")
    code = """
import sys
from keras_det import EfficientDet
EfficientDet("lite0", num_classes=2, image_size=64).save("model.keras")
from keras_det.cli import main
main(["export", "model.keras", "--to", "tflite"], standalone_mode=False)
loaded = [name for name in sys.modules if name.startswith(("keras_det.training", "pycocotools"))]
assert loaded == [], loaded
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "exports" / "model_float32.tflite").exists()
