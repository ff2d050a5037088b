"""Writes both forms of torch's files without torch, so that tests can load state dicts."""

import io
import math
import pickle
import struct
import zipfile

import numpy as np

from keras_det.weights.common.torch_file import MAGIC_NUMBER, PROTOCOL_VERSION

STORAGE_NAMES = {"float32": "FloatStorage", "int64": "LongStorage"}
# The numbers of the one tensor in `zip_file`: 0 to 5 as float32.
SIX = np.arange(6, dtype="<f4").tobytes()


def part(value):
    """The pickle of a plain value without its frame, to be put between opcodes."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_part(key, kind, length, offset, shape, strides):
    """Opcodes that rebuild a tensor; offset and strides count elements."""
    storage = b"(" + part("storage") + b"ctorch\n" + kind.encode() + b"\n"
    storage += part(key) + part("cpu") + part(length) + b"tQ"
    view = part(offset) + part(shape) + part(strides) + part(False) + part({})
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def stream_head():
    """What comes before the pickled object."""
    return b"".join(pickle.dumps(value, 2) for value in (MAGIC_NUMBER, PROTOCOL_VERSION, {}))


def zip_file(state, numbers=SIX, extra=(), compression=zipfile.ZIP_STORED):
    """A file as `torch.save` writes it since torch 1.6.

    Args:
        state: the pickle of the state dict.
        numbers: bytes of its storage "0".
        extra: further pairs of name and content.
        compression: of all members; torch does not compress.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in [("data.pkl", state), ("data/0", numbers), *extra]:
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def write_torch_file(path, values):
    """Writes a state dict of float32 and int64 arrays as `torch.save` did before torch 1.6."""
    with open(path, "wb") as file:
        file.write(stream_head() + b"\x80\x02}")
        for name, array in values.items():
            array = np.asarray(array, order="C")
            kind, shape = STORAGE_NAMES[array.dtype.name], array.shape
            strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(array.ndim))
            tensor = tensor_part(name, kind, array.size, 0, shape, strides)
            file.write(part(name) + tensor + b"s")
        file.write(b"." + pickle.dumps(list(values), 2))
        for array in values.values():
            file.write(struct.pack("<q", np.size(array)) + np.ascontiguousarray(array).tobytes())
