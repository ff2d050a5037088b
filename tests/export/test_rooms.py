"""The rooms of `export/`: who may import whom, and what the public names are."""

import ast
import subprocess
import sys

import pytest

from tests.helpers import ROOT

EXPORT = ROOT / "export"
# A room imports from rooms before it, never beside it.
FLOORS = [
    {"check", "network"},
    {"tflite_file"},
    {"int8"},
    {"to_tflite", "to_saved_model", "to_onnx"},
    {"to_openvino"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# These are above all rooms: the public names, what uses two formats, and what checks all of them.
ABOVE = {"__init__", "engine_networks", "verifying"}
PUBLIC = ("saved_model", "tflite", "onnx", "openvino")


def names_imported(path):
    """Pairs (module, name) of every `from … import …`, and (module, None) of every `import …`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def wrong_imports(room, imported):
    """Imports of rooms beside or above, of the package itself, or of private names of others."""
    found = []
    for module, name in imported:
        parts = module.split(".")
        if parts[:2] != ["keras_det", "export"]:
            continue
        other = parts[2] if len(parts) > 2 else None
        if other != room and LEVEL.get(other, len(FLOORS)) >= LEVEL[room]:
            found.append(f"{room} must not import {module}")
        if name is not None and name.startswith("_"):
            found.append(f"{module}.{name} is private")
    return found


@pytest.mark.parametrize(
    "path", sorted(EXPORT.glob("*/*.py")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_rooms_import_only_from_rooms_before_them(path):
    assert wrong_imports(path.parent.name, names_imported(path)) == []


def test_the_checker_finds_what_it_should():
    assert wrong_imports("check", [("keras_det.export.network.graph", "save")]) == [
        "check must not import keras_det.export.network.graph"
    ]
    assert wrong_imports("int8", [("keras_det.export.check.budget", "Budget")]) == []
    assert wrong_imports("int8", [("keras_det.export.int8.calibration", "_listed")]) == [
        "keras_det.export.int8.calibration._listed is private"
    ]
    assert wrong_imports("to_onnx", [("keras_det.export", "tflite")]) != []


def test_every_room_has_a_floor_and_says_what_it_is_for():
    rooms = {path.parent.name for path in EXPORT.glob("*/__init__.py")}
    assert rooms == set(LEVEL)
    for room in rooms:
        tree = ast.parse((EXPORT / room / "__init__.py").read_text())
        assert ast.get_docstring(tree) and len(tree.body) == 1, f"{room}: a docstring alone"
    assert {path.stem for path in EXPORT.glob("*.py")} == ABOVE


def test_no_room_has_the_name_of_a_public_function():
    assert not set(LEVEL) & set(PUBLIC)


# Importing a module sets its name on the package: it must never replace a function.
@pytest.mark.slow
@pytest.mark.parametrize("first", ["package", "modules"])
def test_public_names_are_functions_in_any_order_of_imports(first):
    modules = [
        "keras_det.export." + ".".join(path.relative_to(EXPORT).with_suffix("").parts)
        for path in sorted(EXPORT.glob("*/*.py"))
    ]
    imports = [f"import {name}" for name in modules]
    public = ["from keras_det.export import onnx, saved_model, tflite"]
    lines = public + imports if first == "package" else imports + public
    code = "\n".join(
        [
            *lines,
            "import keras_det",
            "for name in ('onnx', 'saved_model', 'tflite'):",
            "    assert callable(getattr(keras_det.export, name)), name",
            "    assert globals()[name] is getattr(keras_det.export, name), name",
        ]
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
