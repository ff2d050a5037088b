"""The public names: of `__all__`, of each part's `__init__.py`, and those that documents show."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tree_of(package):
    """The syntax tree of `keras_det/__init__.py` or of a part's."""
    folder = ROOT.joinpath(*package.split("."))
    return ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))


def listed(tree):
    """`__all__` of a module, None where it has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return None


def for_checkers(tree):
    """Names that a module imports for type checkers only."""
    blocks = [
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    ]
    nodes = [node for block in blocks for node in block.body]
    return [alias.asname for node in nodes for alias in node.names]


def forwarded(package):
    """The public names of a package: `__all__`, else what it imports `as` itself and defines."""
    tree = tree_of(package)
    if listed(tree) is not None:
        return listed(tree)
    names = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names += [alias.asname for alias in node.names if alias.asname]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names.append(node.targets[0].id)
    return [name for name in names if not name.startswith("_")]


def is_package(name):
    return (ROOT.joinpath(*name.split(".")) / "__init__.py").is_file()


def is_module(name):
    return is_package(name) or ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file()


def of_packages():
    """Dotted public names, `keras_det.data` and `keras_det.data.load` alike."""
    names = [f"keras_det.{name}" for name in forwarded("keras_det")]
    for package in filter(is_package, list(names)):
        names += [f"{package}.{name}" for name in forwarded(package)]
    return names


def of_documents():
    """Dotted names that documents write out or import."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    names = set(re.findall(r"(?<![\w./-])keras_det(?:\.[A-Za-z_]\w*)+", text))
    for home, imported in re.findall(r"^\s*from (keras_det[\w.]*) import ([\w, ]+)", text, re.M):
        names |= {f"{home}.{name.split(' as ')[0].strip()}" for name in imported.split(",")}
    return sorted(names)


def module_and_rest(name):
    """`keras_det.models.Detector.from_preset` -> ("keras_det.models", "Detector.from_preset")."""
    parts = name.split(".")
    count = len(parts) - 1
    while not is_module(".".join(parts[:count])):
        count -= 1
    return ".".join(parts[:count]), ".".join(parts[count:])
