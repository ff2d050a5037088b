"""What a file of `torch.save` may hold: tensors, storages, and the few calls that make them.

Descriptions stand for torch's classes. Keys and arguments are of few types, so that it takes a
short time to hash, compare or print them.
"""

import pickle
from collections import OrderedDict
from typing import Any, NamedTuple, NoReturn

from keras_det.errors import DataError
from keras_det.words import counted

# Storage classes of torch by the numbers they hold, low byte first.
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
PARAMETER, ORDERED_DICT, SIZE = "_rebuild_parameter", "OrderedDict", "Size"
REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", PARAMETER)
MAX_KEY = 4096  # characters
MAX_SHOWN = 100  # characters of a name in an error
MAX_ARGUMENTS = 8
MAX_DIMENSIONS = 32


class Storage(NamedTuple):
    """A run of numbers, named but not yet read."""

    key: str
    number: str
    length: int


class Tensor(NamedTuple):
    """The part of a storage that a tensor views; all numbers count elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class StorageType(NamedTuple):
    """Stands for a storage class of torch."""

    number: str


class Maker(NamedTuple):
    """Stands for a function that the pickle may call: a rebuilder, OrderedDict or torch.Size."""

    name: str


def wrong(what: str) -> NoReturn:
    raise pickle.UnpicklingError(what)


def checked(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, if it has exactly one of the types. The error never prints the value."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        wrong(f"{what} must not be of type {type(value).__name__}")
    return value


def check_key(key: Any, what: str = "a key") -> Any:
    """The value, if it is text of ordinary length or an integer: quick to hash and compare."""
    if type(key) is not str and type(key) is not int:
        wrong(f"{what} must not be of type {type(key).__name__}")
    if type(key) is str and len(key) > MAX_KEY:
        wrong(f"{what} has {len(key)} characters")
    return key


def _integers(value: Any, what: str) -> tuple:
    if len(checked(value, (tuple, list), what)) > MAX_DIMENSIONS:
        wrong(f"{what} has {counted(len(value), 'dimension')}")
    for each in value:
        checked(each, int, what)
    return tuple(value)


def named(module: str, name: str) -> Maker | StorageType:
    """What stands for a global name; DataError for all but the few that tensors need."""
    if module == "torch._utils" and name in REBUILDERS:
        return Maker(name)
    if module in ("torch", "torch.storage") and name in STORAGES:
        return StorageType(STORAGES[name])
    if (module, name) in (("collections", ORDERED_DICT), ("torch", SIZE)):
        return Maker(name)
    raise DataError(
        "A weights file may hold only tensors, numbers, strings, lists and dicts. Received: "
        f"{module[:MAX_SHOWN]}.{name[:MAX_SHOWN]}, which would have to be executed to read the "
        "file. Save the weights alone: in torch, torch.save(model.state_dict(), path)."
    )


def made(maker: Any, given: tuple) -> Any:
    """What the pickle gets from a call."""
    if type(maker) is not Maker:
        wrong(f"{type(maker).__name__} is not callable")
    if len(given) > MAX_ARGUMENTS:
        wrong(f"a call has {len(given)} arguments")
    if maker.name == PARAMETER:
        return checked(given[0], Tensor, "a parameter")
    if maker.name == SIZE:
        return _integers(given[0], "a size")
    if maker.name == ORDERED_DICT:
        result: OrderedDict = OrderedDict()
        for pair in checked(given[0], (list, tuple), "an OrderedDict") if given else ():
            key, value = checked(pair, (list, tuple), "an OrderedDict")
            result[check_key(key)] = value
        return result
    storage, offset, shape, strides, *_ = given
    return Tensor(
        checked(storage, Storage, "a tensor"),
        checked(offset, int, "the offset of a tensor"),
        _integers(shape, "the shape of a tensor"),
        _integers(strides, "the strides of a tensor"),
    )
