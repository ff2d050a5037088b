"""The saved states of a run: whole, with a checksum beside each; the last three are kept."""

import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.files import (
    file_digest,
    open_bytes,
    read_bytes,
    read_object,
    room_for,
    sync,
    write_json,
    write_whole,
)
from keras_det.models import Detector, load_model
from keras_det.models.opening import is_finite
from keras_det.training.averaging import averaged_weights
from keras_det.training.within_epoch import fits, running

CHECKPOINTS = "checkpoints"  # folder of a run
KEPT = 3
NAME = re.compile(r"epoch_(\d+)(?:_step_(\d+))?\.keras")
PARTIAL = ".partial.keras"
# What a program that is killed may leave: hidden files of `save_whole` and `write_whole`.
LEFT_OVER = (f".*{PARTIAL}", ".history.csv.*", ".recipe.json.*", ".metrics.json.*", ".epoch_*")


def place_of(epochs: int, steps: int) -> str:
    """Such as "epoch 3" or "step 40 of epoch 4", for epochs that are done and steps of the next."""
    epoch = f"epoch {epochs + bool(steps)}"
    return f"step {steps:,} of {epoch}" if steps else epoch


class State(NamedTuple):
    """A saved state: its file, the epochs that were done, and the steps of the next epoch."""

    path: pathlib.Path
    epochs: int
    steps: int = 0

    @property
    def place(self) -> str:
        """As from `place_of`."""
        return place_of(self.epochs, self.steps)

    @property
    def after(self) -> str:
        """Such as "after epoch 3", for a sentence on what continues; epoch 0 is the start."""
        return f"after {self.place}" if self.epochs or self.steps else "from the start"


def save_state(
    model: keras.Model,
    folder: pathlib.Path,
    epochs: int,
    steps: int = 0,
    noted: dict[str, Any] | None = None,
) -> State:
    """Saves a model with its optimizer, and the SHA-256 of the file beside it.

    The file is `epoch_0003.keras` after epoch 3, and `epoch_0000.keras` before the first step. In
    an epoch it is `epoch_0003_step_000040.keras`, with a `.json` of the random numbers and the
    means of the logs, see `within_epoch.running`.

    The last `KEPT` states are kept. Later ones are removed too: they were damaged, or of another
    training.

    Args:
        model: the model.
        folder: where the states of the run are; made if it does not exist.
        epochs: number of epochs that the model has trained.
        steps: number of steps of the next epoch that it has trained.
        noted: further content of the `.json`, for a state with steps.

    Raises:
        DataError: a weight or a value of the optimizer is NaN or infinite. Nothing is written then.
        DiskFull: there is no room. The earlier states are whole.
    """
    refuse_not_finite(model)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"epoch_{epochs:04d}" + (f"_step_{steps:06d}" if steps else "")
    state = State(folder / f"{name}.keras", epochs, steps)
    partial = _written(model, state.path)
    digest = file_digest(partial)
    # An old checksum never stands beside a new state, wherever the program is killed.
    checksum_of(state.path).unlink(missing_ok=True)
    if steps:
        content = {"sha256": digest, **running(model), **(noted or {})}
        write_json(running_of(state.path), content, durable=True)
    os.replace(partial, state.path)
    write_whole(checksum_of(state.path), f"{digest}  {state.path.name}\n".encode(), durable=True)
    earlier = [each for each in states_in(folder) if each[1:] <= state[1:]][:KEPT]
    for each in states_in(folder):
        if each not in earlier:
            for path in (each.path, checksum_of(each.path), running_of(each.path)):
                path.unlink(missing_ok=True)
    return state


def checksum_of(path: pathlib.Path) -> pathlib.Path:
    """The file with the checksum of a state, in the form that `sha256sum --check` reads."""
    return path.with_name(f"{path.name}.sha256")


def running_of(path: pathlib.Path) -> pathlib.Path:
    """The file with what Keras does not save of a model in an epoch."""
    return path.with_suffix(".json")


def states_in(folder: str | os.PathLike) -> list[State]:
    """The states in a folder, the newest first."""
    found = ((NAME.fullmatch(path.name), path) for path in pathlib.Path(folder).glob("*.keras"))
    states = [State(path, int(match[1]), int(match[2] or 0)) for match, path in found if match]
    return sorted(states, key=lambda state: state[1:], reverse=True)


def load_newest(
    states: Sequence[State], class_names: Sequence[str], say: Callable[[str], object]
) -> tuple[Detector | None, State | None, dict[str, Any]]:
    """Loads the newest state that is whole, and says which ones are not.

    Args:
        states: as from `states_in`.
        class_names: of the run.
        say: function that gets the lines of text to show.

    Returns:
        `(model, its state, what was noted with it)`; the last is `{}` for one that was saved after
        an epoch. `(None, None, {})` without states.

    Raises:
        DataError: there are states, but all are damaged.
    """
    for state in states:
        try:
            digest = _digest(state.path)
            noted = _noted(state, digest)
            model = _loaded(state.path, digest, class_names)
            if noted and not fits(model, noted):
                raise _Damaged(f"{running_of(state.path).name} belongs to another model")
        except _Damaged as error:
            say(f"Note: {state.path} is not used: {error}.")
            continue
        which = "" if state == states[0] else "from the previous state, "
        say(f"The run continues {which}{state.after}.")
        return model, state, noted
    if not states:
        return None, None, {}
    folder = states[0].path.parent
    raise DataError(
        f"A run to resume must have an undamaged state. Received: {folder}, in which "
        f"{', '.join(state.path.name for state in states)} cannot be used. Start a new run from "
        f"the saved weights (--weights {folder.parent} --out ANOTHER_FOLDER)."
    )


class _Damaged(Exception):
    """Why a state cannot be used, for the middle of a sentence."""


def _digest(path: pathlib.Path) -> str:
    """The SHA-256 of a state. Raises `_Damaged` if it cannot be read."""
    try:
        return file_digest(path)
    except OSError as error:
        raise _Damaged(f"it cannot be read ({_first_line(error)})") from error


def _noted(state: State, digest: str) -> dict[str, Any]:
    """What was noted with a state. Raises `_Damaged` if it is missing, or of another state."""
    if not state.steps:
        return {}
    path = running_of(state.path)
    try:
        noted = read_object(path, "")
    except DataError as error:
        raise _Damaged(f"{path.name} cannot be read ({_first_line(error)})") from error
    if noted.get("sha256") != digest:
        raise _Damaged(f"it is damaged, or {path.name} belongs to another state")
    return noted


def _loaded(path: pathlib.Path, digest: str, class_names: Sequence[str]) -> Detector:
    """The model of a state. Raises `_Damaged` if it is not what was saved."""
    checked = _check_file(path, digest)
    try:
        model: Any = load_model(path)
    except Exception as error:
        if checked:  # it is what was saved: the error is no damage
            raise
        raise _Damaged(f"it cannot be read ({_first_line(error)})") from error
    if not isinstance(model, Detector) or list(model.class_names) != list(class_names):
        raise _Damaged("it holds another model")
    if getattr(model, "optimizer", None) is None:
        raise _Damaged("it holds no optimizer")
    return model


def _check_file(path: pathlib.Path, digest: str) -> bool:
    """True if the state has a checksum and it is right. Raises `_Damaged` for a wrong one.

    States of earlier versions have none: for them, the checksums inside the archive are compared.
    """
    try:
        expected = read_bytes(checksum_of(path)).decode().split()[:1]
    except (OSError, UnicodeDecodeError):
        expected = []
    if expected and digest != expected[0]:
        raise _Damaged("it is damaged (its SHA-256 is not the one that was saved with it)")
    try:
        if not expected:
            with open_bytes(path) as file, zipfile.ZipFile(file) as archive:
                if part := archive.testzip():
                    raise _Damaged(f"it is damaged (in {part})")
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise _Damaged(f"it cannot be read ({_first_line(error)})") from error
    return bool(expected)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def not_finite(model: keras.Model) -> str:
    """The first part that is NaN or infinite, such as "the weight conv/kernel"; "" if none is."""
    optimizer: Any = getattr(model, "optimizer", None)
    # `variables` also has the means of the logs: reading them would need all workers.
    held = [("the weight", model.weights)]
    held += [("the optimizer value", getattr(optimizer, "variables", []))]
    for what, variables in held:
        for variable in variables:
            if not is_finite(variable):
                return f"{what} {variable.path}"
    return ""


def refuse_not_finite(model: keras.Model) -> None:
    """Raises a DataError where a weight or a value of the optimizer is NaN or infinite."""
    if name := not_finite(model):
        raise DataError(
            f"All weights must stay finite. Received: NaN or infinity in {name}. Lower the "
            "learning rate, and check the data set with `keras-det doctor`."
        )


def save_whole(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a `.keras` file completely or not at all, even when it is interrupted.

    Raises:
        DiskFull: there is no room for it.
    """
    path = pathlib.Path(path)
    os.replace(_written(model, path), path)
    sync(path.parent)


def _written(model: keras.Model, path: pathlib.Path) -> pathlib.Path:
    """Writes a model to a hidden file beside `path`, and waits until it is on the disk."""
    partial = path.with_name(f".{path.stem}{PARTIAL}")
    with room_for(path, size_of(model)):
        try:
            model.save(partial)
            sync(partial)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    return partial


def size_of(model: keras.Model) -> int:
    """Bytes of a model's variables and its optimizer's: about the size of its file."""
    optimizer: Any = getattr(model, "optimizer", None)
    variables = [*model.variables, *getattr(optimizer, "variables", [])]
    return sum(int(np.prod(v.shape)) * np.dtype(_plain_type(v.dtype)).itemsize for v in variables)


def _plain_type(dtype: str) -> str:
    return "float16" if dtype == "bfloat16" else dtype


def save_averaged(model: Detector, path: str | os.PathLike) -> None:
    """Saves the model with the averaged weights and without the optimizer."""
    with averaged_weights(model):
        save_whole(model.with_changes(), path)


def remove_left_over(out: pathlib.Path) -> None:
    """Removes the unfinished files of a run that was killed."""
    for folder in (out, out / CHECKPOINTS):
        for pattern in LEFT_OVER:
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
