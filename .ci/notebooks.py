"""Checks that the notebooks in examples/ are valid and hold no outputs; `--write` cleans them.

    python .ci/notebooks.py            # names what is wrong, and exits with code 1
    python .ci/notebooks.py --write    # removes outputs, execution counts and other metadata

It needs no package: a notebook is JSON, https://nbformat.readthedocs.io/en/latest/format_description.html
"""

import argparse
import json
import pathlib
import re
import sys
from typing import Any

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "examples" / "notebooks"
# What a viewer needs to know; kernels add their versions, which differ between machines.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_ID = r"[a-zA-Z0-9-_]{1,64}"


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook in format 4.5, without outputs, execution counts and other metadata."""
    cells = []
    for number, cell in enumerate(notebook["cells"], 1):
        source = cell["source"]
        text = source if isinstance(source, str) else "".join(source)
        kept: dict[str, Any] = {"cell_type": cell["cell_type"], "id": f"cell-{number}"}
        if cell["cell_type"] == "code":
            kept |= {"execution_count": None, "outputs": []}
        kept |= {"metadata": {}, "source": text.strip("\n").splitlines(keepends=True)}
        cells.append(kept)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def as_text(notebook: dict[str, Any]) -> str:
    """The notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def problems(text: str) -> list[str]:
    """What is wrong with a notebook, one sentence each.

    Args:
        text: the content of the file.
    """
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
        clean = as_text(cleaned(notebook))
    except (ValueError, KeyError, TypeError) as error:
        return [f"it is not a notebook of format 4: {type(error).__name__}: {error}"]
    found = []
    version = (notebook.get("nbformat"), notebook.get("nbformat_minor"))
    if version != (4, 5):
        found.append(f"it has format {version[0]}.{version[1]}, not 4.5")
    if notebook.get("metadata") != METADATA:
        found.append(f"its metadata is not {METADATA}")
    for number, cell in enumerate(cells, 1):
        found += [f"cell {number} {what}" for what in _problems_of_cell(cell)]
    ids = [cell.get("id") for cell in cells]
    if len(set(ids)) < len(ids):
        found.append("two cells have the same id")
    if not found and text != clean:
        found.append("it is written in another way than Jupyter's")
    return found


def _problems_of_cell(cell: dict[str, Any]) -> list[str]:
    found = []
    if cell["cell_type"] not in ("code", "markdown"):
        found.append(f"is of type {cell['cell_type']!r}, neither code nor markdown")
    if cell.get("outputs") or cell.get("execution_count") is not None:
        found.append("has outputs or an execution count")
    if cell.get("metadata") != {}:
        found.append("has metadata")
    if not re.fullmatch(CELL_ID, str(cell.get("id", ""))):
        found.append("has no valid id")
    if not "".join(cell["source"]).strip():
        found.append("is empty")
    return found


def main(arguments: list[str]) -> int:
    """Checks or cleans the notebooks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="clean the notebooks")
    parser.add_argument("paths", nargs="*", type=pathlib.Path, help="default: all of examples/")
    options = parser.parse_args(arguments)
    code = 0
    for path in options.paths or sorted(FOLDER.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if options.write:
            text = as_text(cleaned(json.loads(text)))
            path.write_text(text, encoding="utf-8")
        for problem in problems(text):
            print(f"{path}: {problem}. Clean it with python .ci/notebooks.py --write")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
