"""The floors of the house: who may import whom, read from the source of every module."""

import ast
import pathlib
import textwrap

import pytest

from tests.helpers import ROOT

# A module imports from floors to its left and from its own folder, never to its right or beside it.
FLOORS = [
    {"boxes", "keras_private"},
    {"data", "layers", "losses", "targets", "metrics", "report", "optimizers"},
    {"backbones", "necks", "heads", "decode", "weights", "quantization", "profiling", "video"},
    {"models"},
    {"training", "runtime"},
    {"doctor", "export", "review"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(FLOORS) for part in parts}
OPEN_TO_ALL = {
    "errors", "files", "interrupts", "lazy_names", "names", "saved_names", "types", "words",
}  # fmt: skip
OPEN_TO_ALL |= {"last_used", "run_folder", "results"}
# What `keras_det/__init__.py` defines itself, and where its other names live.
PUBLIC_HOMES = {"__version__": "errors", "EfficientDet": "models", "load_model": "models"}
PUBLIC_HOMES["load_exported"] = "runtime"
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tf_keras"}
WITHOUT_KERAS = {*OPEN_TO_ALL, "data", "metrics", "report"}
WITHOUT_KERAS |= {"runtime", "cli", "video"}
# Parts of a model: they read files only through `weights` and the image reader of `data`.
OPEN_NO_FILES = {"boxes", "layers", "losses", "targets", "backbones", "necks", "heads", "decode"}
OPEN_NO_FILES |= {"models"}
OPENERS = {"open", "read_bytes", "read_text", "GFile", "read_file", "loadtxt", "genfromtxt"}


def sources():
    """Pairs (dotted module name, path) of every module, `export/` under its installed name."""
    for folder, package in (
        (ROOT / "keras_det", "keras_det"),
        (ROOT / "export", "keras_det.export"),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


def part_of(module):
    """The part a module belongs to: "keras_det.data.coco" -> "data"; None outside the package."""
    names = module.split(".")
    return names[1] if names[0] == "keras_det" and len(names) > 1 else None


def imported(tree, module, is_package):
    """Yields (line, dotted name) of every import, inside functions and under conditions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            if base == "keras_det":
                names = [PUBLIC_HOMES.get(alias.name, alias.name) for alias in node.names]
                yield from ((node.lineno, f"keras_det.{name}") for name in names)
            else:
                yield node.lineno, base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if function in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def forbidden_imports(source, module, is_package=False):
    """Lists "line: sentence" for every import that goes to the right, beside, or to the root."""
    own, found = part_of(module), []
    for line, name in imported(ast.parse(source), module, is_package):
        part = part_of(name)
        if name == "keras_det" and own != "cli":
            found.append(f"{line}: import the part that is needed, not keras_det itself")
        if part is None or part == own or part in OPEN_TO_ALL:
            continue
        if part not in LEVEL:
            found.append(f"{line}: {name} belongs to no floor")
        elif own in OPEN_TO_ALL or LEVEL[part] >= LEVEL[own]:
            found.append(f"{line}: {own} must not import {part}")
    return found


def loaded_with_module(tree):
    """Top-level names of what is imported when the module is: everything outside functions."""
    names, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return names


MODULES = [pytest.param(name, path, id=name) for name, path in sources()]
# The root only forwards the public names; test_import_time.py watches it.
PARTS = [module for module in MODULES if part_of(module.values[0])]


@pytest.mark.parametrize("module, path", PARTS)
def test_module_imports_only_from_floors_to_its_left(module, path):
    assert part_of(module) in LEVEL.keys() | OPEN_TO_ALL, f"{module} belongs to no floor"
    assert forbidden_imports(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module, path", MODULES)
def test_module_loads_tensorflow_and_keras_only_where_allowed(module, path):
    loaded = loaded_with_module(ast.parse(path.read_text()))
    assert not loaded & TENSORFLOW, "import TensorFlow inside the function that uses it"
    if part_of(module) in WITHOUT_KERAS or part_of(module) is None:
        assert "keras" not in loaded, "import Keras inside the function that uses it"


@pytest.mark.parametrize(
    "module, path", [m for m in PARTS if part_of(m.values[0]) in OPEN_NO_FILES]
)
def test_parts_of_a_model_open_no_files(module, path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name not in OPENERS, f"line {node.lineno}: {name}(): read it in weights or data"
        if isinstance(node, ast.Import | ast.ImportFrom) and part_of(module) == "models":
            from_data = [n for _, n in imported(node, module, False) if n == "keras_det.data.load"]
            assert not from_data, f"line {node.lineno}: a model takes data, it does not load it"


@pytest.mark.parametrize(
    "module, source, expected",
    [
        ("keras_det.layers.nms", "from keras_det.boxes import clip_boxes", []),
        ("keras_det.layers.nms", "from keras_det.layers import resample", []),
        ("keras_det.layers.nms", "from . import resample", []),
        ("keras_det.layers.nms", "from keras_det.errors import suggest", []),
        ("keras_det.layers.nms", "import numpy as np", []),
        ("keras_det.layers.nms", "from keras_det import data", ["1: layers must not import data"]),
        ("keras_det.layers.nms", "import keras_det.models", ["1: layers must not import models"]),
        ("keras_det.layers.nms", "from ..heads import x", ["1: layers must not import heads"]),
        ("keras_det.export.tflite", "from keras_det.training import run", []),
        ("keras_det.export.tflite", "from keras_det import cli", ["1: export must not import cli"]),
        ("keras_det.errors", "from keras_det import boxes", ["1: errors must not import boxes"]),
        (
            "keras_det.data.load",
            "from keras_det import load_model",
            ["1: data must not import models"],
        ),
        ("keras_det.data.load", "from keras_det import __version__", []),
        (
            "keras_det.data.load",
            "import keras_det.utils",
            ["1: keras_det.utils belongs to no floor"],
        ),
        (
            "keras_det.data.load",
            "import importlib\nimportlib.import_module('keras_det.metrics')",
            ["2: data must not import metrics"],
        ),
        (
            "keras_det.data.load",
            "def late():\n    if True:\n        from keras_det.models import load_model",
            ["3: data must not import models"],
        ),
        (
            "keras_det.data.load",
            "import keras_det",
            ["1: import the part that is needed, not keras_det itself"],
        ),
    ],
)
def test_checker_finds_what_it_should(module, source, expected):
    assert forbidden_imports(source, module) == expected


def test_relative_import_in_a_package_starts_at_the_package():
    assert forbidden_imports("from ..models import x", "keras_det.data", is_package=True) == [
        "1: data must not import models"
    ]


def test_checker_tells_late_imports_from_early_ones():
    source = """
    import numpy
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        import keras
    try:
        import tensorflow.lite
    except ImportError:
        pass
    def late():
        import jax
    """
    loaded = loaded_with_module(ast.parse(textwrap.dedent(source)))
    assert loaded == {"numpy", "typing", "tensorflow"}


def test_every_module_is_seen():
    seen = {path for _, path in sources()}
    assert ROOT / "keras_det" / "boxes.py" in seen
    assert pathlib.Path(ROOT / "export" / "__init__.py") in seen
