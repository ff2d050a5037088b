"""The rooms of `keras_det.weights`: what is public is visible, what is private stays inside."""

import ast

import pytest

from keras_det import weights
from tests.helpers import ROOT

FOLDER = ROOT / "keras_det" / "weights"
ROOMS = ("backbones", "common", "cornernet", "efficientdet", "retinanet")
MODULES = [path for path in sorted(FOLDER.rglob("*.py")) if path.name != "__init__.py"]


def private_imports(source):
    """Names with an underscore that a module imports from elsewhere in the package."""
    return [
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_det")
        for alias in node.names
        if alias.name.startswith("_")
    ]


def test_every_importer_is_visible():
    assert set(weights.__all__) <= set(dir(weights))
    assert {name for name in dir(weights) if name.startswith("load_")} == {
        "load_backbone",
        "load_cornernet",
        "load_efficientdet",
        "load_efficientnet",
        "load_keras_applications",
        "load_model_garden",
        "load_resnet",
        "load_torchvision_retinanet",
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_in_one_docstring_what_it_holds(room):
    (docstring,) = ast.parse((FOLDER / room / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value.value, str)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_module_imports_private_names(path):
    assert private_imports(path.read_text()) == []


def test_the_checker_sees_private_imports():
    assert private_imports("from keras_det.weights.common.fill import _unchanged, fill") == [
        "_unchanged"
    ]
    assert private_imports("from os import _exit") == []
