"""The file of metrics beside a model or an exported file, and the AP in it."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_det.cli.files import find_model, home_of
from keras_det.errors import DataError
from keras_det.files import read_object, tree_digest
from keras_det.words import counted

SUFFIX = ".metrics.json"


class KnownAP(NamedTuple):
    """What is known about the AP of a model.

    Attributes:
        value: 0..1, or None where it is not known.
        where: the data and the split that it was measured on.
        note: why a file of metrics does not count; empty if it does.
    """

    value: float | None
    where: str = ""
    note: str = ""


def metrics_beside(artefact: pathlib.Path) -> pathlib.Path:
    """The file that `keras-det evaluate` writes for an exported file."""
    return artefact.with_name(f"{artefact.name}{SUFFIX}")


def known_ap(model: str) -> KnownAP:
    """The AP that `keras-det evaluate` has written beside a model.

    An exported file has a file of its own, with its SHA-256. For a Keras model it is a
    `metrics*.json` in its folder that names it; one that is older than the model does not count.
    """
    path, note = find_model(model), ""
    for file in _candidates(path, model):
        try:
            content = read_object(file, "Run `keras-det evaluate` again.")
        except DataError as error:
            note = str(error)
            continue
        about = content.get("measured")
        value = content.get("AP")
        if not isinstance(about, dict) or about.get("model") != path.name:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if _has_changed(path, file, content):
            note = f"{path.name} has changed since {file.name} was written: evaluate it again."
            continue
        return KnownAP(float(value), _where(about))
    return KnownAP(None, "", note)


def _candidates(path: pathlib.Path, model: str) -> Iterator[pathlib.Path]:
    """Files that may hold metrics of a model, the newest first."""
    own = metrics_beside(path)
    if os.path.lexists(own):
        yield own
    if path.suffix == ".keras" or path.is_dir():
        found = (file for file in home_of(model).glob("metrics*.json") if file.is_file())
        yield from sorted(found, key=lambda file: -file.stat().st_mtime)


def _has_changed(path: pathlib.Path, file: pathlib.Path, content: dict[str, Any]) -> bool:
    artefact = content.get("artefact")
    if isinstance(artefact, dict):
        return artefact.get("sha256") != tree_digest(path)
    return path.is_file() and path.stat().st_mtime > file.stat().st_mtime


def _where(about: dict[str, Any]) -> str:
    split, images = about.get("split"), about.get("images")
    words = [str(about.get("data")), *([str(split)] if split else [])]
    words += [counted(images, "image")] if isinstance(images, int) else []
    settings = about.get("settings")
    if isinstance(settings, dict):  # they take longer than the model alone
        words += ["in tiles"] if "tile" in settings else []
        words += ["in several views"] if "flip" in settings else []
    return ", ".join(words)
