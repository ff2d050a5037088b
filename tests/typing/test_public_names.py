"""Completion and type checkers see every public name, in a wheel and in an editable install."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

from tests.built import build, copied_checkout, environment_with
from tests.typing.public_names import (
    for_checkers,
    forwarded,
    is_module,
    is_package,
    listed,
    module_and_rest,
    of_documents,
    of_packages,
    tree_of,
)

NAMES = sorted({*of_packages(), *of_documents()})
LAZY = ["keras_det", "keras_det.data", "keras_det.weights"]


@pytest.mark.parametrize("package", LAZY)
def test_lists_of_a_lazy_package_agree(package):
    module = importlib.import_module(package)
    own = [name for name, value in vars(module).items() if inspect.isfunction(value)]
    own = [name for name in own if not name.startswith("_")] + ["__version__", "download"]
    names = listed(tree_of(package))
    assert names == sorted(names) == dir(module)
    assert sorted({*for_checkers(tree_of(package)), *own} & {*names}) == names
    homes = set(module._HOMES)
    modules = {name for name in names if is_package(f"{package}.{name}")} | {"boxes", "errors"}
    assert homes == {*names} - modules - {*own}


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_of_a_lazy_package_exists(package):
    module = importlib.import_module(package)
    for name in forwarded(package):
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'lode'"):
        _ = module.lode


def test_every_public_name_is_found_by_dir():
    public = set(of_packages())
    for name in NAMES:
        if is_module(name) and name not in public:
            continue
        module, rest = module_and_rest(name)
        found = importlib.import_module(module)
        for part in rest.split("."):
            assert part in dir(found), name
            found = getattr(found, part)


def program(names):
    """Source that uses each name as `import` and as attribute; line i is about names[i // 2]."""
    lines, public = [], set(of_packages())
    for number, name in enumerate(names):
        module, rest = module_and_rest(name)
        first, _, more = rest.partition(".")
        use = f"name_{number}.{more}" if more else f"name_{number}"
        lines.append(f"from {module} import {first} as name_{number}; reveal_type({use})")
        attribute = name if name in public or not is_module(name) and module in PARTS else use
        lines.append(f"import keras_det; reveal_type({attribute})")
    return "\n".join([*lines, "keras_det.load_modle", "keras_det.data.Pipelin"])


PARTS = [f"keras_det.{name}" for name in forwarded("keras_det") if is_package(f"keras_det.{name}")]


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request, tmp_path_factory):
    """The interpreter of an environment in which the package is installed."""
    pytest.importorskip("setuptools", minversion="70.1")
    folder = tmp_path_factory.mktemp(request.param)
    wheel = build(copied_checkout(folder / "source"), request.param, folder / "wheel")
    return environment_with(wheel, folder / "environment")


@pytest.mark.slow
def test_mypy_knows_the_type_of_every_public_name(python, tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(program(NAMES))
    command = [sys.executable, "-m", "mypy", "--config-file=", f"--python-executable={python}"]
    command += ["--ignore-missing-imports", "program.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    revealed = dict(re.findall(r':(\d+): note: Revealed type is "(.+)"', result.stdout))
    errors = [line for line in result.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 2, result.stdout + result.stderr
    assert 'has no attribute "load_modle"' in errors[0]
    assert 'has no attribute "Pipelin"' in errors[1]
    types = [revealed.get(str(line), "Any") for line in range(1, 2 * len(NAMES) + 1)]
    assert [NAMES[i // 2] for i, kind in enumerate(types) if kind == "Any"] == []
