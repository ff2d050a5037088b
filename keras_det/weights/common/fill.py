"""Fills variables from named arrays: all of them or none."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from keras_det.errors import DataError


def _as_it_is(array):
    return array


def from_torch_kernel(array):
    """Convolution kernel from torch's layout (outputs, inputs, height, width) to Keras'."""
    return np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array


class Slot(NamedTuple):
    """A variable and the tensor of a file that fills it."""

    name: str
    variable: object
    convert: Callable = _as_it_is


def torch_convolution(layer, name: str) -> Iterator[Slot]:
    """The slots of a `Conv2D` that torch calls `name`."""
    yield Slot(f"{name}.weight", layer.kernel, from_torch_kernel)
    if layer.use_bias:
        yield Slot(f"{name}.bias", layer.bias)


def torch_norm(layer, name: str) -> Iterator[Slot]:
    """The slots of a batch normalisation that torch calls `name`."""
    yield Slot(f"{name}.weight", layer.gamma)
    yield Slot(f"{name}.bias", layer.beta)
    yield Slot(f"{name}.running_mean", layer.moving_mean)
    yield Slot(f"{name}.running_var", layer.moving_variance)


def fill(slots: Iterable[Slot], values: Mapping[str, np.ndarray], advice: str) -> list[str]:
    """Assigns every slot, after checking that all fit.

    Args:
        slots: variables and the names of their tensors.
        values: arrays by name.
        advice: what to do where they do not fit, a sentence.

    Returns:
        The names used, in the order of the slots.

    Raises:
        DataError: a tensor is missing or has another shape than its variable. Nothing is changed.
    """
    slots, arrays = list(slots), []
    for slot in slots:
        if slot.name not in values:
            raise DataError(
                f"The weights must hold every tensor of the network. Received: no {slot.name!r} "
                f"among {len(values)} tensors. {advice}"
            )
        array, wanted = slot.convert(np.asarray(values[slot.name])), tuple(slot.variable.shape)
        if array.shape != wanted:
            raise DataError(
                f"Tensor {slot.name!r} must have shape {wanted} as Keras lays it out. Received: "
                f"{array.shape}. {advice}"
            )
        arrays.append(array)
    for slot, array in zip(slots, arrays, strict=True):
        slot.variable.assign(array)
    return [slot.name for slot in slots]


def skip_rest(values, used, reasons: Mapping[str, str], advice: str) -> dict[str, str]:
    """Says why tensors are not used; DataError for one that a network would need.

    Args:
        values: names of the file's tensors.
        used: those that fill the model.
        reasons: from the beginning or the end of a name to why such a tensor is not needed.
        advice: what to do about a tensor without a reason, a sentence.
    """
    used, skipped = set(used), {}
    for name in values:
        if name in used:
            continue
        parts = [part for part in reasons if name.startswith(part) or name.endswith(part)]
        if not parts:
            raise DataError(
                "The weights must be those of the network built, no more. Received: tensor "
                f"{name!r}, for which it has no place. {advice}"
            )
        skipped[name] = reasons[parts[0]]
    return skipped
