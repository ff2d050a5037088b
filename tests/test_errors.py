"""Advice in messages: the nearest name, and what installs an extra here."""

import configparser
import subprocess

import pytest

from keras_det import errors
from keras_det.errors import install_hint, suggest, suggest_path
from tests.built import build, copied_checkout, environment_with
from tests.helpers import ROOT


def test_only_near_names_are_suggested(tmp_path):
    assert suggest("batchsize", ["images", "batch_size"]) == " Did you mean 'batch_size'?"
    assert suggest("candidates", ["images", "method"]) == ""
    (tmp_path / "model.keras").touch()
    assert suggest_path(tmp_path / "modle.keras") == " Did you mean 'model.keras'?"
    assert suggest_path(tmp_path / "none" / "model.keras") == ""


def test_a_checkout_is_installed_again_with_the_extra():
    assert install_hint("edge") == f'pip install -e "{ROOT}[edge]"'


REQUIRES = [
    "click>=8.1",
    'ai-edge-litert; extra == "edge"',
    'ai-edge-litert ; extra == "quantize"',
    "ai-edge-quantizer<0.11,>=0.10; (python_version > '3') and extra == 'quantize'",
    'tensorflow[and-cuda]>=2.20; extra == "gpu"',
]


@pytest.mark.parametrize(
    "extra, command",
    [
        ("edge", 'pip install "ai-edge-litert"'),
        ("quantize", 'pip install "ai-edge-litert" "ai-edge-quantizer<0.11,>=0.10"'),
        ("gpu", 'pip install "tensorflow[and-cuda]>=2.20"'),
    ],
)
def test_beside_a_wheel_the_packages_are_named(monkeypatch, tmp_path, extra, command):
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    monkeypatch.setattr("importlib.metadata.requires", lambda name: REQUIRES)
    assert install_hint(extra) == command


def test_unknown_extra_and_missing_metadata(monkeypatch, tmp_path):
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    monkeypatch.setattr("importlib.metadata.requires", lambda name: REQUIRES)
    with pytest.raises(ValueError, match="must be an extra of keras-det. Received: 'egde'"):
        install_hint("egde")
    monkeypatch.undo()
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    monkeypatch.setattr(errors, "DISTRIBUTION", "no-such-distribution")
    assert install_hint("edge") == 'pip install -e ".[edge]" in a checkout of keras_det'


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_every_extra_has_a_hint_where_it_is_installed(tmp_path, kind):
    pytest.importorskip("setuptools", minversion="70.1")
    source = copied_checkout(tmp_path / "source")
    python = environment_with(build(source, kind, tmp_path / "wheel"), tmp_path / "environment")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = list(config["options.extras_require"])
    code = "from keras_det.errors import install_hint"
    code += f"\nfor extra in {extras}: print(install_hint(extra))"
    command = [python, "-I", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    hints = dict(zip(extras, result.stdout.splitlines(), strict=True))
    if kind == "editable":
        assert hints["edge"] == f'pip install -e "{source}[edge]"'
    else:
        assert hints["edge"] == 'pip install "ai-edge-litert"'
        assert hints["safetensors"] == 'pip install "safetensors>=0.4"'
        assert "pytest>=8" in hints["test"] and "keras-det" not in result.stdout
