"""Opens saved models: whole files only, with finite weights, no larger than their weights."""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.files import opening
from keras_det.keras_private import counted_building
from keras_det.names import PRESET_WEIGHTS
from keras_det.weights.common.hdf5 import Held, check_hdf5, without_plugins
from keras_det.weights.common.keras_file import check_keras_file
from keras_det.weights.common.whole_archive import check_whole
from keras_det.words import counted

OWN_CLASSES = "If it has classes of your own, import them first. Otherwise save the model again."
# What a configuration may build, for each data set and each byte of the weights. A float has four
# bytes, an optimizer four numbers for each weight, and most layers have weights.
OBJECTS, FREE_OBJECTS = 10, 1_000
ELEMENTS, FREE_ELEMENTS = 2, 1 << 24


def open_saved(path: pathlib.Path, **options: Any) -> Any:
    """Loads a `.keras` file, or the same in a folder: whole, with right checksums, and finite.

    Args:
        path: the file or folder.
        **options: of `keras.saving.load_model`, such as `compile=False`.

    Raises:
        DataError: the file is damaged, was written by another program, names a class that does not
            exist here, describes a model that is much larger than its weights, or holds numbers
            that are not finite.
    """
    if path.is_dir():
        held = check_hdf5(path / PRESET_WEIGHTS)
    else:
        check_whole(path)
        held = check_keras_file(path).held
    rule = "A saved model must be one that keras_det can build"
    with opening(path, rule, OWN_CLASSES):
        with without_plugins(), no_larger_than(held, path):
            model = keras.saving.load_model(path, **options)
        optimizer = getattr(model, "optimizer", None)
        variables = [*model.weights, *(optimizer.variables if optimizer is not None else ())]
    check_flags(variables, held, path)
    check_finite(variables, path)
    return model


@contextlib.contextmanager
def no_larger_than(held: Held, source: object) -> Iterator[None]:
    """Context manager for building a model from a configuration that may be damaged.

    One number of it can ask for more layers, or more memory, than there is.

    Args:
        held: what the file of the model's weights holds.
        source: what errors call the file.

    Raises:
        DataError: the model has many more layers, or many more numbers, than the weights.
    """
    objects, elements = 0, 0

    def count(made: int) -> None:
        nonlocal objects, elements
        objects, elements = objects + 1, elements + made
        many = objects > OBJECTS * held.datasets + FREE_OBJECTS
        if many or elements > ELEMENTS * held.bytes + FREE_ELEMENTS:
            what = f"{objects:,} layers and variables" if many else f"{elements:,} numbers"
            raise DataError(
                "The configuration of a saved model must fit its weights. Received: "
                f"{source}, which describes {what} or more, and holds {held.datasets:,} arrays of "
                f"{held.bytes:,} bytes. Copy or save it again."
            )

    with counted_building(count):
        yield


def check_flags(variables: Iterable[Any], held: Held, source: object) -> None:
    """DataError if a file has True and False in place of numbers.

    Args:
        variables: Keras variables that the file fills.
        held: what the file holds.
        source: what errors call the file.
    """
    expected = sum(keras.backend.standardize_dtype(each.dtype) == "bool" for each in variables)
    if held.flags > expected:
        raise DataError(
            f"Weights must be numbers. Received: {source}, with {counted(held.flags, 'array')} "
            f"of True and False instead of {expected}. Copy or save it again."
        )


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
