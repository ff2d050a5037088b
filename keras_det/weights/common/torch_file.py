"""Reads the tensors of a file that `torch.save` wrote, without torch.

Two forms are read: the zip archive of torch 1.6 and later (`data.pkl`, and one record `data/N` per
storage) and the older stream (magic number, protocol, system, the pickled object, the storages'
keys, the storages). In both, a pickle lists the storages and the part of a storage that each tensor
views. Unpickling can run code that the file names, so `torch_pickle` reads them instead. The
numbers are read afterwards, within checked bounds.
"""

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from keras_det.errors import DataError, install_hint
from keras_det.files import why_no_file
from keras_det.weights.common.torch_objects import Storage, Tensor, check_key
from keras_det.weights.common.torch_pickle import MAX_DEPTH, PickleReader
from keras_det.words import counted

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
ZIP_START = b"PK\x03\x04"
# Keys under which training loops keep the weights; moving averages (timm) are preferred.
WRAPPERS = ("state_dict_ema", "state_dict", "model")
# DataParallel adds this to every name.
PARALLEL_PREFIX = "module."
# EfficientDet-D7x has 3,000 tensors, each with a record, and training states several times as many.
MAX_TENSORS, MAX_RECORDS = 1 << 15, 1 << 16
# Largest tensor that repeats its storage (stride 0), in elements: a damaged file must not make us
# allocate more. All tensors of a file together may have this many elements, and in addition several
# times the numbers in the file: tied weights have two names.
MAX_EXPANDED = 1 << 24
MAX_VIEWS = 4


def _item_size(number: str) -> int:
    return 2 if number == "bfloat16" else np.dtype(number).itemsize


def _numbers(
    data: bytes, offset: int, storage: Storage, byteorder: Literal["<", ">"] = "<"
) -> np.ndarray:
    """`storage.length` numbers of `data` from `offset` on; bfloat16 becomes float32."""
    if not 0 <= storage.length * _item_size(storage.number) <= len(data) - offset:
        raise ValueError(
            f"storage {storage.key} should hold {counted(storage.length, 'number')} of "
            f"{counted(_item_size(storage.number), 'byte')}, and the file has "
            f"{counted(len(data) - offset, 'byte')} there"
        )
    number = "<u2" if storage.number == "bfloat16" else storage.number
    dtype = np.dtype(number).newbyteorder(byteorder)
    numbers = np.frombuffer(data, dtype, storage.length, offset)
    if storage.number == "bfloat16":
        # bfloat16 is the upper half of a float32.
        return (numbers.astype("uint32") << 16).view("float32")
    return numbers.astype(dtype.newbyteorder("="), copy=False)


def _view(name: str, tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """The part of a storage that a tensor views, without copying; bounds are checked first."""
    shape, strides = tensor.shape, tensor.strides
    whole = (tensor.offset, *shape, *strides)
    fits = (
        len(shape) == len(strides)
        and min(whole) >= 0
        and tensor.offset <= len(numbers)
        and math.prod(shape) <= max(len(numbers), MAX_EXPANDED)
    )
    if fits and 0 not in shape:
        steps = zip(shape, strides, strict=True)
        fits = tensor.offset + sum((n - 1) * step for n, step in steps) < len(numbers)
    if not fits:
        raise ValueError(
            f"tensor {name!r} with shape {shape}, strides {strides} and offset {tensor.offset} "
            f"does not lie within its storage of {counted(len(numbers), 'number')}"
        )
    in_bytes = tuple(step * numbers.itemsize for step in strides)
    part = numbers[tensor.offset :]
    return np.lib.stride_tricks.as_strided(part, shape, in_bytes, writeable=False)


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The records of an archive by name, after checking that they lie in the file as they are."""
    if len(archive.infolist()) > MAX_RECORDS:
        raise ValueError(f"the archive has more than {MAX_RECORDS} records")
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()):
        raise ValueError("two records of the archive have the same name")
    # torch does not compress. Records larger than the file would be a zip bomb.
    total = sum(entry.file_size for entry in entries.values())
    if total > size:
        raise ValueError(f"the archive's records claim {total} bytes, more than the file has")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("a record of the archive is compressed, and torch compresses none")
    return entries


def _read_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Returns (pickled object, function from a storage to its numbers) of the zip form.

    Only the records that are needed are read, so the archive must stay open.
    """
    entries = _entries(archive, size)
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the archive has no record data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    byteorder = archive.read(order).strip() if order in entries else b"little"
    if byteorder not in (b"little", b"big"):
        raise ValueError(f"its byteorder is {byteorder[:20]!r}, neither little nor big")
    big = byteorder == b"big"

    def numbers(storage: Storage) -> np.ndarray:
        data = archive.read(f"{folder}data/{storage.key}")
        return _numbers(data, 0, storage, ">" if big else "<")

    return PickleReader(archive.read(pickles[0])).load(), numbers


def _storages_of(structure: Any) -> dict[str, Storage]:
    """All storages that the tensors in nested dicts, lists and tuples view, by key."""
    storages: dict[str, Storage] = {}
    seen: set[int] = set()
    depth, level = 0, [structure]
    while level:
        waiting, level = level, []
        for part in waiting:
            if isinstance(part, Tensor):
                storages[part.storage.key] = part.storage
            elif isinstance(part, dict | list | tuple) and id(part) not in seen:
                seen.add(id(part))
                level += part.values() if isinstance(part, dict) else part
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} dicts, lists or tuples are inside each other")
    return storages


def _read_stream(path: str) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """The same for the older form: four pickles, the keys, then (count, numbers) per storage."""
    with open(path, "rb") as file:
        data = file.read()
    if not data:
        raise ValueError("it is empty")
    if data.startswith(ZIP_START):
        raise ValueError("it is the beginning of a zip archive, whose end is missing")
    reader = PickleReader(data)
    for expected in (MAGIC_NUMBER, PROTOCOL_VERSION):
        found = reader.load()
        if type(found) is not int or found != expected:
            raise ValueError("it begins with neither a zip archive nor torch's magic number")
    reader.load()  # sizes of C's types on the writer's machine; numbers are low byte first
    structure, keys = reader.load(), reader.load()
    if type(keys) is not list:
        raise ValueError("the keys of its storages are not a list")
    storages, position, numbers = _storages_of(structure), reader.position, {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, position)
        storage = storages[str(check_key(key, "the key of a storage"))]
        if count != storage.length:
            raise ValueError(
                f"storage {key} has {counted(count, 'number')} instead of {storage.length}"
            )
        numbers[storage.key] = _numbers(data, position + 8, storage)
        position += 8 + count * _item_size(storage.number)
    return structure, lambda storage: numbers[storage.key]


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DataError(
            f"Reading .safetensors needs the safetensors package. Received: {path}. Install it "
            f"with {install_hint('safetensors')}, or use a .pth file."
        ) from error
    with safe_open(path, framework="numpy") as file:
        _check_names(path)
        names = file.keys()
        _check_count(len(names))
        arrays = {name: _safe_tensor(file, name) for name in names}
    # Its bfloat16 is a type of the ml_dtypes package, with which NumPy cannot compute.
    return {
        name: array.astype("float32") if array.dtype.name == "bfloat16" else array
        for name, array in arrays.items()
    }


def _check_names(path: str) -> None:
    """Raises a ValueError if the header has a name twice: the package keeps only one of the two."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            _add(found, name, value)
        return found

    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        json.loads(file.read(size), object_pairs_hook=once)


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if name in found:
        raise ValueError(f"it has the name {name!r} twice")
    found[name] = value


def _safe_tensor(file: Any, name: str) -> np.ndarray:
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError) as error:  # such as the types of 8 bits
        kind = file.get_slice(name).get_dtype()
        raise ValueError(f"tensor {name!r} has numbers of the type {kind}, not in NumPy") from error


def _check_count(count: int) -> None:
    if not count:
        raise ValueError("it holds no tensors")
    if count > MAX_TENSORS:
        raise ValueError(f"it holds {count} tensors, more than {MAX_TENSORS}")


def _state_of(structure: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one inside a training checkpoint, by plain name."""
    for wrapper in WRAPPERS:
        if isinstance(structure, dict) and isinstance(structure.get(wrapper), dict):
            structure = structure[wrapper]
            break
    tensors: dict[str, Tensor] = {}
    for name, value in structure.items() if isinstance(structure, dict) else ():
        if isinstance(name, str) and isinstance(value, Tensor):
            _add(tensors, name.removeprefix(PARALLEL_PREFIX), value)
    if not tensors:
        raise ValueError("it holds no dict from names to tensors")
    _check_count(len(tensors))
    return tensors


def _read_torch(path: str) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        try:
            return _arrays(*_read_stream(path))
        except (IndexError, struct.error) as error:
            raise ValueError("it ends too early") from error
    with zipfile.ZipFile(path) as archive:
        return _arrays(*_read_zip(archive, os.path.getsize(path)))


def _arrays(structure: Any, numbers_of: Callable[[Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name."""
    storages: dict[Storage, np.ndarray] = {}
    arrays = {}
    for name, tensor in _state_of(structure).items():
        if tensor.storage not in storages:
            storages[tensor.storage] = numbers_of(tensor.storage)
        arrays[name] = _view(name, tensor, storages[tensor.storage])
    views = sum(array.size for array in arrays.values())
    allowed = MAX_EXPANDED + MAX_VIEWS * sum(len(numbers) for numbers in storages.values())
    if views > allowed:
        raise ValueError(f"its tensors have {views} elements together, more than {allowed}")
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
            f"A weights file must be an existing file. Received: {path}{why_no_file(path)}. Give "
            "the path of a .pth, .pt or .safetensors file."
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
