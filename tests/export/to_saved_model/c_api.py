"""Runs a SavedModel through TensorFlow's C API alone: a program of its own, only ctypes and NumPy.

    python c_api.py TENSORFLOW_FOLDER SAVED_MODEL IMAGE… OUT.npz

The images become one batch of `serving_default`. `TF_LoadSessionFromSavedModel` is the loader that
TensorFlow Serving stands on; nothing of TensorFlow's Python layer is imported here.
"""

import ctypes
import pathlib
import sys

import numpy as np

POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t
STRING_TYPE, STRING_BYTES = 7, 24  # TF_STRING; sizeof(TF_TString)
NUMPY_TYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 10: np.bool_}  # of TF_DataType


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = [("data", POINTER), ("length", SIZE), ("deallocator", POINTER)]


class Output(ctypes.Structure):
    """TF_Output: an operation's output."""

    _fields_ = [("operation", POINTER), ("index", ctypes.c_int)]


# Result type and argument types of what is called.
FUNCTIONS = {
    "TF_NewStatus": (POINTER, []),
    "TF_GetCode": (ctypes.c_int, [POINTER]),
    "TF_Message": (ctypes.c_char_p, [POINTER]),
    "TF_NewGraph": (POINTER, []),
    "TF_NewSessionOptions": (POINTER, []),
    "TF_NewBuffer": (ctypes.POINTER(Buffer), []),
    "TF_LoadSessionFromSavedModel": (
        POINTER,
        [POINTER, POINTER, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int]
        + [POINTER, ctypes.POINTER(Buffer), POINTER],
    ),
    "TF_GraphOperationByName": (POINTER, [POINTER, ctypes.c_char_p]),
    "TF_AllocateTensor": (
        POINTER,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, SIZE],
    ),
    "TF_TensorData": (POINTER, [POINTER]),
    "TF_TensorByteSize": (SIZE, [POINTER]),
    "TF_TensorType": (ctypes.c_int, [POINTER]),
    "TF_NumDims": (ctypes.c_int, [POINTER]),
    "TF_Dim": (ctypes.c_int64, [POINTER, ctypes.c_int]),
    "TF_DeleteTensor": (None, [POINTER]),
    "TF_StringInit": (None, [POINTER]),
    "TF_StringCopy": (None, [POINTER, ctypes.c_char_p, SIZE]),
    "TF_StringGetSize": (SIZE, [POINTER]),
    "TF_StringDealloc": (None, [POINTER]),
    "TF_SessionRun": (
        None,
        [POINTER, POINTER, ctypes.POINTER(Output), ctypes.POINTER(POINTER), ctypes.c_int]
        + [ctypes.POINTER(Output), ctypes.POINTER(POINTER), ctypes.c_int]
        + [POINTER, ctypes.c_int, POINTER, POINTER],
    ),
    "TF_CloseSession": (None, [POINTER, POINTER]),
    "TF_DeleteSession": (None, [POINTER, POINTER]),
}


def fields(message: bytes):
    """Yields (number, value) of a protocol buffer's fields: integers, or bytes of the rest."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                return value

    while place < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        length = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        yield number, message[place : place + length]
        place += length


def entries(message: bytes, number: int) -> dict:
    """A map field from strings to messages."""
    pairs = (dict(fields(value)) for field, value in fields(message) if field == number)
    return {pair[1].decode(): pair[2] for pair in pairs}


class Session:
    """A SavedModel behind the C API.

    Args:
        library: path of libtensorflow_cc.so.2.
        folder: of the SavedModel.
    """

    def __init__(self, library, folder):
        self.tf = ctypes.CDLL(str(library))
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(self.tf, name)
            function.restype, function.argtypes = result, arguments
        self.status, self.graph = self.tf.TF_NewStatus(), self.tf.TF_NewGraph()
        description = self.tf.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = self.tf.TF_LoadSessionFromSavedModel(
            *(self.tf.TF_NewSessionOptions(), None, str(folder).encode(), tags, 1),
            *(self.graph, description, self.status),
        )
        self.check()
        # MetaGraphDef, whose field 5 holds the signatures: their inputs are 1, their outputs 2.
        meta_graph = ctypes.string_at(description.contents.data, description.contents.length)
        self.signatures = {
            name: (self._places(value, 1), self._places(value, 2))
            for name, value in entries(meta_graph, 5).items()
            if not name.startswith("__")  # the loader's own, not for clients
        }

    def check(self):
        """Raises what went wrong in the last call."""
        if self.tf.TF_GetCode(self.status):
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def _places(self, signature: bytes, number: int) -> dict:
        """TF_Outputs by name; a TensorInfo's field 1 is "operation:index"."""
        places = {}
        for key, info in entries(signature, number).items():
            tensor = dict(fields(info)).get(1, b"").decode()
            operation, index = tensor.rsplit(":", 1)
            found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
            assert found, operation
            places[key] = Output(found, int(index))
        return places

    def run(self, signature: str, strings: list[bytes]) -> dict:
        """Outputs of a signature whose one input is a vector of strings."""
        inputs, outputs = self.signatures[signature]
        (place,), names = inputs.values(), sorted(outputs)
        tensor, values = self._string_tensor(strings), (POINTER * len(names))()
        self.tf.TF_SessionRun(
            *(self.session, None, ctypes.byref(place), ctypes.byref(POINTER(tensor)), 1),
            *((Output * len(names))(*(outputs[name] for name in names)), values, len(names)),
            *(None, 0, None, self.status),
        )
        self._free_strings(tensor, len(strings))
        self.check()
        return {name: self._array(value) for name, value in zip(names, values, strict=True)}

    def close(self):
        """Ends the session."""
        self.tf.TF_CloseSession(self.session, self.status)
        self.tf.TF_DeleteSession(self.session, self.status)
        self.check()

    def _string_tensor(self, strings):
        shape = (ctypes.c_int64 * 1)(len(strings))
        tensor = self.tf.TF_AllocateTensor(STRING_TYPE, shape, 1, STRING_BYTES * len(strings))
        for place, value in zip(self._string_places(tensor, len(strings)), strings, strict=True):
            self.tf.TF_StringInit(place)
            self.tf.TF_StringCopy(place, value, len(value))
            assert self.tf.TF_StringGetSize(place) == len(value)
        return tensor

    def _string_places(self, tensor, count):
        start = self.tf.TF_TensorData(tensor)
        return [start + STRING_BYTES * i for i in range(count)]

    def _free_strings(self, tensor, count):
        for place in self._string_places(tensor, count):
            self.tf.TF_StringDealloc(place)  # long ones lie outside the tensor's own memory
        self.tf.TF_DeleteTensor(tensor)

    def _array(self, tensor):
        tf = self.tf
        shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
        content = ctypes.string_at(tf.TF_TensorData(tensor), tf.TF_TensorByteSize(tensor))
        array = np.frombuffer(content, NUMPY_TYPES[tf.TF_TensorType(tensor)]).reshape(shape)
        tf.TF_DeleteTensor(tensor)
        return array


def main(tensorflow, folder, *files):
    for name in ("tensorflow", "keras", "keras_det"):
        sys.modules[name] = None  # importing it raises ImportError
    *images, out = map(pathlib.Path, files)
    session = Session(pathlib.Path(tensorflow) / "libtensorflow_cc.so.2", folder)
    found = session.run("serving_default", [image.read_bytes() for image in images])
    session.close()
    np.savez(out, **found)
    loaded = [name for name in sys.modules if "tensorflow" in name and sys.modules[name]]
    assert not loaded, loaded
    print("signatures", *sorted(session.signatures))


if __name__ == "__main__":
    main(*sys.argv[1:])
