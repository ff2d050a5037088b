"""Reads the tensors of a file that `torch.save` wrote, without torch.

Two forms are read: the zip archive of torch 1.6 and later (`data.pkl`, and one record `data/N` per
storage) and the older stream (magic number, protocol, system, the pickled object, the storages'
keys, the storages). In both, a pickle lists the storages and the part of a storage that each tensor
views. Unpickling can run code that the file names. So only the few names that tensors need are
allowed, and these only build descriptions. The numbers are read afterwards, within checked bounds.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from keras_det.errors import DataError, install_hint

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
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
REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
# Keys under which training loops keep the weights; moving averages (timm) are preferred.
WRAPPERS = ("state_dict_ema", "state_dict", "model")
# DataParallel adds this to every name.
PARALLEL_PREFIX = "module."
MAX_DIMENSIONS = 32
# Largest tensor that repeats its storage (stride 0), in elements: a damaged file must not make us
# allocate more.
MAX_EXPANDED = 1 << 24


class _Storage(NamedTuple):
    """A run of numbers, named but not yet read."""

    key: str
    number: str
    length: int


class _Tensor(NamedTuple):
    """The part of a storage that a tensor views; all numbers count elements."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


class _StorageType(NamedTuple):
    """Stands for a storage class of torch. Immutable, so that a pickle cannot change it."""

    number: str


class _Rebuilder(NamedTuple):
    """Stands for a function of `torch._utils`. When the pickle calls it, it describes a tensor."""

    name: str

    def __call__(self, *arguments: Any) -> _Tensor:
        if self.name == "_rebuild_parameter":
            return _check_type(arguments[0], _Tensor, "a parameter")
        storage, offset, shape, strides, *_ = arguments
        return _Tensor(_check_type(storage, _Storage, "a tensor"), offset, shape, strides)


class _Unpickler(pickle._Unpickler):
    """Builds dicts, lists, tuples, numbers, texts and descriptions of tensors; refuses the rest.

    It extends the unpickler written in Python: the one in C allocates whatever memory a damaged
    file asks for.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in REBUILDERS:
            return _Rebuilder(name)
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageType(STORAGES[name])
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch", "Size"):
            return tuple
        raise DataError(
            "A weights file may hold only tensors, numbers, strings, lists and dicts. Received: "
            f"{module}.{name}, which would have to be executed to read the file. Save the weights "
            "alone: in torch, torch.save(model.state_dict(), path)."
        )

    def persistent_load(self, identifier: Any) -> _Storage:
        kind, storage_type, key, _, length, *view = identifier
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"persistent object {kind!r} is not a plain storage")
        number = _check_type(storage_type, _StorageType, "a storage").number
        return _Storage(str(key), number, _check_type(length, int, "the length of a storage"))


def _check_type(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise pickle.UnpicklingError(f"{what} is made from {type(value).__name__}")
    return value


def _unpickle(stream: BinaryIO) -> Any:
    return _Unpickler(stream, encoding="utf-8").load()


def _item_size(number: str) -> int:
    return 2 if number == "bfloat16" else np.dtype(number).itemsize


def _numbers(
    data: bytes, offset: int, storage: _Storage, byteorder: Literal["<", ">"] = "<"
) -> np.ndarray:
    """`storage.length` numbers of `data` from `offset` on; bfloat16 becomes float32."""
    if not 0 <= storage.length * _item_size(storage.number) <= len(data) - offset:
        raise ValueError(
            f"storage {storage.key} should hold {storage.length} numbers of "
            f"{_item_size(storage.number)} bytes and the file has {len(data) - offset} bytes there"
        )
    number = "<u2" if storage.number == "bfloat16" else storage.number
    dtype = np.dtype(number).newbyteorder(byteorder)
    numbers = np.frombuffer(data, dtype, storage.length, offset)
    if storage.number == "bfloat16":
        # bfloat16 is the upper half of a float32.
        return (numbers.astype("uint32") << 16).view("float32")
    return numbers.astype(dtype.newbyteorder("="), copy=False)


def _view(name: str, tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """The part of a storage that a tensor views, without copying; bounds are checked first."""
    shape, strides = tuple(tensor.shape), tuple(tensor.strides)
    whole = (tensor.offset, *shape, *strides)
    fits = (
        len(shape) == len(strides) <= MAX_DIMENSIONS
        and all(type(value) is int and value >= 0 for value in whole)
        and tensor.offset <= len(numbers)
        and math.prod(shape) <= max(len(numbers), MAX_EXPANDED)
    )
    if fits and 0 not in shape:
        steps = zip(shape, strides, strict=True)
        fits = tensor.offset + sum((n - 1) * step for n, step in steps) < len(numbers)
    if not fits:
        raise ValueError(
            f"tensor {name!r} with shape {shape}, strides {strides} and offset {tensor.offset} "
            f"does not lie within its storage of {len(numbers)} numbers"
        )
    in_bytes = tuple(step * numbers.itemsize for step in strides)
    part = numbers[tensor.offset :]
    return np.lib.stride_tricks.as_strided(part, shape, in_bytes, writeable=False)


def _read_zip(path: str) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    """Returns (pickled object, function from a storage to its numbers) of the zip form."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        # torch does not compress. Records larger than the file would be a zip bomb.
        total = sum(entry.file_size for entry in entries.values())
        if total > os.path.getsize(path):
            raise ValueError(f"the archive's records claim {total} bytes, more than the file has")
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("the archive has no record data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        records = {name.removeprefix(folder): archive.read(name) for name in entries}
    big = records.get("byteorder", b"little").strip() == b"big"

    def numbers(storage: _Storage) -> np.ndarray:
        return _numbers(records[f"data/{storage.key}"], 0, storage, ">" if big else "<")

    return _unpickle(io.BytesIO(records["data.pkl"])), numbers


def _storages_of(structure: Any) -> dict[str, _Storage]:
    """All storages that the tensors in nested dicts, lists and tuples view, by key."""
    storages: dict[str, _Storage] = {}
    seen, waiting = set(), [structure]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Tensor):
            if storages.setdefault(part.storage.key, part.storage) != part.storage:
                raise ValueError(f"storage {part.storage.key} is described in two ways")
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))
            waiting += part.values() if isinstance(part, dict) else part
    return storages


def _read_stream(path: str) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    """The same for the older form: four pickles, the keys, then (count, numbers) per storage."""
    with open(path, "rb") as file:
        data = file.read()
    stream = io.BytesIO(data)
    if _unpickle(stream) != MAGIC_NUMBER or _unpickle(stream) != PROTOCOL_VERSION:
        raise ValueError("it begins with neither a zip archive nor torch's magic number")
    _unpickle(stream)  # sizes of C's types on the writer's machine; numbers are low byte first
    structure, keys = _unpickle(stream), _unpickle(stream)
    storages, position, found = _storages_of(structure), stream.tell(), {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, position)
        storage = storages[key]
        if count != storage.length:
            raise ValueError(f"storage {key} has {count} numbers instead of {storage.length}")
        found[key] = _numbers(data, position + 8, storage)
        position += 8 + count * _item_size(storage.number)
    return structure, lambda storage: found[storage.key]


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DataError(
            f"Reading .safetensors needs the safetensors package. Received: {path}. Install it "
            f"with {install_hint('safetensors')}, or use a .pth file."
        ) from error
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    # Its bfloat16 is a type of the ml_dtypes package, with which NumPy cannot compute.
    return {
        name: array.astype("float32") if array.dtype.name == "bfloat16" else array
        for name, array in arrays.items()
    }


def _state_of(structure: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of the one inside a training checkpoint, by plain name."""
    for wrapper in WRAPPERS:
        if isinstance(structure, dict) and isinstance(structure.get(wrapper), dict):
            structure = structure[wrapper]
            break
    tensors = {}
    for name, value in structure.items() if isinstance(structure, dict) else ():
        if isinstance(name, str) and isinstance(value, _Tensor):
            tensors[name.removeprefix(PARALLEL_PREFIX)] = value
    if not tensors:
        raise ValueError("it holds no dict from names to tensors")
    return tensors


def _read_torch(path: str) -> dict[str, np.ndarray]:
    is_zip = zipfile.is_zipfile(path)
    structure, numbers_of = (_read_zip if is_zip else _read_stream)(path)
    storages: dict[_Storage, np.ndarray] = {}
    arrays = {}
    for name, tensor in _state_of(structure).items():
        if tensor.storage not in storages:
            storages[tensor.storage] = numbers_of(tensor.storage)
        arrays[name] = _view(name, tensor, storages[tensor.storage])
    return arrays


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the weights of a file written by `torch.save` or safetensors, without torch.

    Of a training checkpoint, the tensors under the key "state_dict_ema" (moving averages) are read,
    else those under "state_dict" or "model". The prefix "module." of parallel training is removed.
    Entries that are not tensors are ignored.

    Args:
        path: a `.pth` or `.pt` file in either form of `torch.save`, or a `.safetensors` file, which
            needs the safetensors package.

    Returns:
        dict from the tensors' names to read-only arrays in torch's layout (kernels: outputs,
        inputs, height, width). bfloat16 becomes float32; other types stay as they are.

    Raises:
        DataError: the file is missing or damaged, or names something that tensors do not need. A
            pickle can run any program, so nothing else is allowed.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise DataError(
            f"A weights file must exist. Received: {path}. Give the path of a .pth, .pt or "
            ".safetensors file."
        )
    try:
        return _read_safetensors(path) if path.endswith(".safetensors") else _read_torch(path)
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise any error
        raise DataError(
            "A weights file must be as torch.save or safetensors wrote it. Received: "
            f"{path} ({type(error).__name__}: {error}). Download it again, and compare its size "
            "with the publisher's."
        ) from error
