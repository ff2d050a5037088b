"""Where commands read models and data from, and where they write."""

import os
import pathlib
from typing import TYPE_CHECKING

from keras_det.cli.command import echo, user_input
from keras_det.cli.model_names import PARAMETERS
from keras_det.cli.start import start_keras
from keras_det.errors import DataError, suggest_path
from keras_det.files import holds_something
from keras_det.names import ENGINES as ENGINES
from keras_det.names import EXPORTED_FOLDERS, RUN_LOCK
from keras_det.names import PRESET_WEIGHTS as PRESET
from keras_det.run_folder import RECIPE

if TYPE_CHECKING:
    from keras_det.models import Detector
    from keras_det.runtime.running import RunningDetector

# What a run folder holds, the better one first.
RUN_MODELS = ("best.keras", "last.keras")


def find_model(path: str) -> pathlib.Path:
    """Returns the model file or folder that `path` means; DataError where none is there.

    Args:
        path: a `.keras`, `.tflite` or `.onnx` file, the folder of a SavedModel, of an export for
            OpenVINO or of a preset, or a run folder (its `best.keras`, else its `last.keras`).
    """
    given = pathlib.Path(path)
    if not given.exists():
        advice = "Give a .keras file or the run folder of `keras-det train`."
        if os.fspath(path) in PARAMETERS:
            advice = f"This is the name of an untrained model. {advice}"
        raise DataError(f"MODEL must exist. Received: {given}.{suggest_path(given)} {advice}")
    if given.is_dir():
        if holds_export(given) or (given / PRESET).exists():
            return given
        for name in RUN_MODELS:
            if os.path.lexists(given / name):  # true for a broken link: the other is not taken
                _note_training(given)
                return given / name
        raise DataError(
            f"A run folder must hold {' or '.join(RUN_MODELS)}. Received: {given}, which holds "
            "neither. Train first with `keras-det train DATA --out "
            f"{given}`, or give the .keras file itself."
        )
    if given.suffix not in (".keras", ".tflite", ".onnx"):
        raise DataError(
            "MODEL must be a .keras, .tflite or .onnx file, or the folder of a SavedModel, a run "
            f"or a preset. Received: {given}. Save a model with model.save('model.keras')."
        )
    return given


def _note_training(folder: pathlib.Path) -> None:
    """A line on standard error if a training has not ended: its models are still written."""
    if not os.path.lexists(folder / RUN_LOCK):
        return
    start_keras()
    from keras_det.training.run_lock import in_use_by

    owner = in_use_by(folder)
    if owner:
        text = f"Note: {owner} still trains in {folder}. Its models can change until it has ended."
        echo(text, err=True)


def load_keras_model(path: str) -> "Detector":
    """Loads the detector at `path`; DataError if it is not a `.keras` file or preset of ours."""
    found = find_model(path)
    if (found / PRESET).exists():
        start_keras()
        from keras_det.models import Detector

        return Detector.from_preset(found)
    if found.suffix != ".keras":
        raise DataError(
            f"This command needs a .keras model. Received: {found}, an exported file. Give the "
            ".keras file or run folder that it was exported from."
        )
    if found.is_file():  # before Keras is loaded, which takes seconds
        from keras_det.weights.common.whole_archive import check_whole

        check_whole(found)
    start_keras()
    from keras_det.models import load_model

    with user_input():
        model = load_model(found)
    if not hasattr(model, "detect"):
        raise DataError(
            f"MODEL must be a detector of keras_det. Received: {found}, a "
            f"{type(model).__name__}. Train one with `keras-det train`."
        )
    return model


def load_any_model(path: str) -> "Detector | RunningDetector":
    """Loads a `.keras` or an export: what it returns has `class_names` and `detect`."""
    found = find_model(path)
    if found.suffix == ".keras" or (found / PRESET).exists():
        return load_keras_model(path)
    if (found / EXPORTED_FOLDERS[0]).exists():
        start_keras()  # a SavedModel runs in TensorFlow
    from keras_det.runtime import load_exported

    return load_exported(found)


def home_of(model: str) -> pathlib.Path:
    """The folder that results about a model go to: the run folder, or the one the file lies in."""
    given = pathlib.Path(model)
    is_run = given.is_dir() and not (holds_export(given) or (given / PRESET).exists())
    return given if is_run else given.absolute().parent


def is_exported(found: pathlib.Path) -> bool:
    """Whether what `find_model` returned is an exported file or folder."""
    return found.suffix in (".tflite", ".onnx") or holds_export(found)


def holds_export(folder: pathlib.Path) -> bool:
    """Whether a folder is a SavedModel or an export for OpenVINO."""
    return any((folder / name).exists() for name in EXPORTED_FOLDERS)


def run_of(model: str) -> pathlib.Path:
    """The folder whose recipe.json describes the data of a model.

    For an export in `exports/` of a run folder, it is that run folder; else it is `home_of`.
    """
    home = home_of(model).absolute()
    if home.name == "exports" and os.path.lexists(home.parent / RECIPE):
        return home.parent
    return home


def new_folder(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of a new output folder; DataError if it already holds something."""
    folder = pathlib.Path(path)
    if holds_something(folder, but=RUN_LOCK):
        what = "a folder that is not empty" if folder.is_dir() else "a file"
        raise DataError(
            f"--out must be a new or empty folder. Received: {folder}, {what}. Choose another "
            "folder, or move the existing one away."
        )
    return folder


def free_folder(path: str | os.PathLike) -> pathlib.Path:
    """Returns `path`, or the first of `path-2`, `path-3`, … that does not exist."""
    folder, number = pathlib.Path(path), 1
    while folder.exists():
        number += 1
        folder = pathlib.Path(f"{path}-{number}")
    return folder


def refuse_existing(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path to write to; DataError where something is there."""
    target = pathlib.Path(path)
    if any(target.iterdir()) if target.is_dir() else target.exists():
        raise DataError(
            f"--out must not exist yet. Received: {target}. Choose another name, or move the "
            "existing one away."
        )
    return target


def say_where(what: str, path: str | os.PathLike) -> None:
    """The line every command ends with."""
    echo(f"{what}: {path}")
