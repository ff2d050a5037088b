"""Opens saved models: whole files only, with finite weights."""

import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.files import opening, other_kind
from keras_det.weights.common.hdf5 import without_plugins
from keras_det.weights.common.keras_file import check_keras_file
from keras_det.weights.common.whole_archive import check_whole

OWN_CLASSES = "If it has classes of your own, import them first. Otherwise save the model again."


def open_saved(path: pathlib.Path, **options: Any) -> Any:
    """Loads a `.keras` file, or the same in a folder: whole, with right checksums, and finite.

    Args:
        path: the file or folder.
        **options: of `keras.saving.load_model`, such as `compile=False`.

    Raises:
        DataError: the file is damaged, was written by another program, names a class that does not
            exist here, or holds numbers that are not finite.
    """
    if not path.is_dir():
        check_whole(path)
        check_keras_file(path)
    rule = "A saved model must be one that keras_det can build"
    with opening(path, rule, OWN_CLASSES):
        with without_plugins():
            model = keras.saving.load_model(path, **options)
        optimizer = getattr(model, "optimizer", None)
        variables = [*model.weights, *(optimizer.variables if optimizer is not None else ())]
    check_finite(variables, path)
    return model


def check_finite(variables: Iterable[Any], source: object) -> None:
    """DataError that names the first variable with a NaN or an infinite number.

    Args:
        variables: Keras variables.
        source: where they were read, for the message.
    """
    bad = [each for each in variables if not is_finite(each)]
    if bad:
        first = getattr(bad[0], "path", None) or bad[0].name
        raise DataError(
            f"Weights must be finite numbers. Received: {source}, where {first!r} holds NaN or "
            f"infinity (variables with such numbers: {len(bad)}). Use a file from before the "
            "training diverged, or train again with a lower learning rate."
        )


def is_finite(variable: Any) -> bool:
    """Whether a Keras variable holds finite numbers only; text counts as finite."""
    array = keras.ops.convert_to_numpy(variable)
    try:
        return bool(np.isfinite(array).all())
    except TypeError:  # bfloat16 and other types that NumPy has from elsewhere
        return array.dtype.kind in "OSU" or bool(np.isfinite(array.astype("float32")).all())


def why_no_file(path: pathlib.Path) -> str:
    """What stands in the place of a file: "which is a folder"; "" where nothing does."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ", a broken link" if path.is_symlink() else ""
    return ", which is a folder" if path.is_dir() else f", which is {other_kind(mode)}"
