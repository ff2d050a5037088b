"""Fills variables from named arrays: all of them or none."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_det.errors import DataError
from keras_det.words import counted

NamedArrays = Mapping[str, np.ndarray]
# Weights to load: the path of a file, or its arrays by name.
Source = str | os.PathLike | NamedArrays
# NumPy's kinds of types. bfloat16, which another package adds, is of the kind "V".
FLOATS = "fV"
# The box outputs (dx, dy, dw, dh) of our models, as indices into a file's (ty, tx, th, tw).
XYWH_FROM_YXHW = (1, 0, 3, 2)


def _unchanged(array: np.ndarray) -> np.ndarray:
    return array


def from_torch_kernel(array: np.ndarray) -> np.ndarray:
    """Convolution kernel from torch's layout (outputs, inputs, height, width) to Keras'."""
    return np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array


def from_torch_depthwise(array: np.ndarray) -> np.ndarray:
    """Depthwise kernel from torch's layout (channels, 1, height, width) to Keras'."""
    return np.transpose(array, (2, 3, 0, 1)) if array.ndim == 4 else array


class Slot(NamedTuple):
    """A variable and the tensor of a file that fills it.

    Attributes:
        name: name of the tensor in the file.
        variable: the Keras variable.
        convert: from the file's array to the variable's layout.
    """

    name: str
    variable: Any
    convert: Callable[[np.ndarray], np.ndarray] = _unchanged


def torch_convolution(layer: keras.layers.Layer, name: str) -> Iterator[Slot]:
    """The slots of a `Conv2D` that torch calls `name`."""
    yield Slot(f"{name}.weight", layer.kernel, from_torch_kernel)
    if layer.use_bias:
        yield Slot(f"{name}.bias", layer.bias)


def torch_norm(layer: keras.layers.Layer, name: str) -> Iterator[Slot]:
    """The slots of a batch normalisation that torch calls `name`."""
    yield Slot(f"{name}.weight", layer.gamma)
    yield Slot(f"{name}.bias", layer.beta)
    yield Slot(f"{name}.running_mean", layer.moving_mean)
    yield Slot(f"{name}.running_var", layer.moving_variance)


def called(source: object) -> str:
    """What errors call the weights to load: their path, a mapping or a model."""
    if isinstance(source, Mapping):
        return "a mapping"
    return f"the model {source.name!r}" if isinstance(source, keras.Model) else str(source)


def fill(
    slots: Iterable[Slot], values: NamedArrays, advice: str, source: object = "a mapping"
) -> list[str]:
    """Assigns every slot, after checking that all of them fit.

    Args:
        slots: variables and the names of their tensors.
        values: arrays by name.
        advice: what to do where they do not fit, a sentence.
        source: where they were read; see `called`.

    Returns:
        The names used, in the order of the slots.

    Raises:
        DataError: a tensor is missing, does not hold finite floating-point numbers, or has another
            shape than its variable. Nothing is changed then.
    """
    slots, arrays = list(slots), []
    for slot in slots:
        if slot.name not in values:
            raise DataError(
                f"The weights must hold every tensor of the network. Received: {called(source)}, "
                f"without {slot.name!r} among {counted(len(values), 'tensor')}. {advice}"
            )
        array, wanted = slot.convert(np.asarray(values[slot.name])), tuple(slot.variable.shape)
        if array.shape != wanted:
            raise DataError(
                f"Tensor {slot.name!r} must have shape {wanted} in Keras' layout. Received: "
                f"{array.shape} in {called(source)}. {advice}"
            )
        if array.dtype.kind not in FLOATS:
            raise DataError(
                f"Weights must be floating-point numbers. Received: {called(source)}, where "
                f"{slot.name!r} holds {array.dtype}. {advice}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(
                f"Weights must be finite numbers. Received: {called(source)}, where {slot.name!r} "
                "holds NaN or infinity. Download or save the file again."
            )
        arrays.append(array)
    for slot, array in zip(slots, arrays, strict=True):
        slot.variable.assign(array)
    return [slot.name for slot in slots]


def skip_rest(
    names: Iterable[str],
    used: Sequence[str],
    reasons: Mapping[str, str],
    advice: str,
    source: object = "a mapping",
) -> dict[str, str]:
    """Gives the reason for each tensor that is not used.

    Args:
        names: names of the file's tensors.
        used: those that fill the model.
        reasons: from the start or the end of a name to the reason why it is skipped.
        advice: what to do about a tensor without a reason, a sentence.
        source: as of `fill`.

    Returns:
        dict from the names of the tensors that are not used to the reasons.

    Raises:
        DataError: a tensor has no reason, so the file belongs to another network.
    """
    taken, skipped = set(used), {}
    for name in names:
        if name in taken:
            continue
        parts = [part for part in reasons if name.startswith(part) or name.endswith(part)]
        if not parts:
            raise DataError(
                "The weights must contain only tensors of the model's network. Received: "
                f"{called(source)}, with {name!r}, which the network does not have. {advice}"
            )
        skipped[name] = reasons[parts[0]]
    return skipped
