"""Checks `.keras` files and the configurations of models before Keras opens them.

A configuration says which objects Keras builds. Some read files or fetch them when they are built.
A detector needs none of these.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

from keras_det.errors import DataError
from keras_det.files import other_kind
from keras_det.weights.common.hdf5 import Held, check_hdf5

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_CONFIG = 1 << 26  # bytes
# A larger member may have `MAX_RATIO` bytes for each one in the archive. Keras does not compress.
MAX_RATIO, FREE = 100, 1 << 28
# Classes of Keras that read files or fetch them, run other programs, or hold code.
READERS = (
    "FlaxLayer",
    "IndexLookup",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TextVectorization",
    "TFSMLayer",
    "TorchModuleWrapper",
    "__lambda__",
)
# Classes of keras-hub whose names contain one of these read vocabularies.
HUB_READERS = ("Converter", "Packer", "Preprocessor", "Task", "Tokenizer")
HUBS = ("keras_cv", "keras_hub", "keras_nlp")
# Where Keras has what models are made of. Its other modules download, write or change settings.
PARTS = (
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
    *("metrics", "models", "ops", "optimizers", "quantizers", "random", "regularizers"),
)
# Arguments of detectors that name weights to read or fetch. Saved models never have them.
WEIGHTS_ARGUMENTS = ("weights", "backbone_weights")
LOCAL_HEADER = struct.Struct("<26x2H")  # of a zip's member: length of the name, of the extra field
DAMAGE: tuple[type[Exception], ...] = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # an encrypted zip, or JSON nested too deeply
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Checked(NamedTuple):
    """The configuration in a `.keras` file, and what its weights hold."""

    config: dict[str, Any]
    held: Held


class _Part(io.RawIOBase):
    """A part of an open file, read as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file, self.start, self.length, self.position = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.length}[whence]
        self.position = base + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self.length - self.position))
        self.file.seek(self.start + self.position)
        data = self.file.read(wanted)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


def check_keras_file(
    path: str | os.PathLike,
    rule: str = "A .keras file must be complete",
    advice: str = "Copy or save it again.",
) -> Checked:
    """Checks a `.keras` file: opening it must touch nothing else.

    Args:
        path: the file.
        rule, advice: the first and the last sentence of the error for a damaged file.

    Returns:
        The configuration of the model in it, and what its weights hold.

    Raises:
        DataError: the file is damaged, or holds more than a configuration and its weights; or as
            for `check_config` and `check_hdf5`.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            _check_members(path, archive, members)
            config = json.loads(archive.read(CONFIG))
            if not isinstance(config, dict):
                raise ValueError(f"{CONFIG} holds no object")
            check_config(config, path)
            return Checked(config, check_hdf5(_opened(file, archive, members[WEIGHTS]), path))
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{rule}. Received: {path} ({str(error).rstrip('.')}). {advice}") from error


def _check_members(
    path: str | os.PathLike, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> None:
    expected = {CONFIG, METADATA, WEIGHTS}
    if set(members) != expected or len(archive.infolist()) != len(expected):
        other = sorted(set(members) ^ expected)[:5]
        what = f"{other} extra or missing" if other else "a name that occurs twice"
        raise DataError(
            f"A .keras file of a detector must hold {CONFIG}, {METADATA} and {WEIGHTS}, nothing "
            f"else. Received: {path}, with {what}. Copy or save it again."
        )
    for member in members.values():
        large = member.file_size > max(FREE, MAX_RATIO * member.compress_size)
        if large or (member.filename != WEIGHTS and member.file_size > MAX_CONFIG):
            limit = f"{max(FREE, MAX_RATIO * member.compress_size):,}"
            if not large:
                limit = f"{MAX_CONFIG:,}"
            raise DataError(
                f"{member.filename} of a .keras file must unpack to at most {limit} bytes. "
                f"Received: {path}, where it would become {member.file_size:,} bytes from "
                f"{member.compress_size:,}. Copy or save it again."
            )


def _opened(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """A member as a file in which one can go back: without a copy where it is not compressed."""
    if member.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archive.read(member))
    file.seek(member.header_offset)
    name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    start = member.header_offset + LOCAL_HEADER.size + name + extra
    part: Any = _Part(file, start, member.file_size)
    return part


def check_config(config: Any, name: object) -> None:
    """Checks the configuration of a model, as Keras saves it.

    Args:
        config: the configuration, or any part of one.
        name: what errors call the file that it is from.

    Raises:
        DataError: it names weights, or holds an object that reads files or runs code when it is
            built.
    """
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if "class_name" in part:
                _check_object(part, name)


def _check_object(part: dict[str, Any], name: object) -> None:
    words = [part.get(key) for key in ("class_name", "registered_name", "module")]
    registered, module = (str(each or "") for each in words[1:])
    package = (module or registered).partition(".")[0].partition(">")[0]
    hub = package in HUBS or registered.partition(">")[0] in HUBS
    for word in words[:2]:
        plain = str(word).rpartition(">")[2].rpartition(".")[2]
        if plain in READERS or (hub and any(each in plain for each in HUB_READERS)):
            raise DataError(
                "A model file must hold only layers that read no other files and run no code. "
                f"Received: {name}, with the class {plain}, which reads files or runs code when it "
                "is built. If you trust the file, build the model in Python and load only its "
                "weights."
            )
    if package == "keras" and not _is_part(module, words[0]):
        what = part.get("config") if words[0] == "function" else words[0]
        raise DataError(
            "A model file must be made of layers and the functions that they need. Received: "
            f"{name}, with {module}.{what!s:.100}, which is no part of a model. If you trust the "
            "file, build the model in Python and load only its weights."
        )
    arguments = part.get("config")
    if package == "keras_det" and isinstance(arguments, dict):
        check_no_weights(arguments, name)


def _is_part(module: str, class_name: object) -> bool:
    """Whether a module of Keras has parts of models; functions of "keras" itself are none."""
    inside = [each for each in module.split(".")[1:] if each not in ("src", "_tf_keras", "keras")]
    return inside[0] in PARTS if inside else class_name != "function"


def check_no_weights(
    arguments: dict[str, Any], name: object, keys: Iterable[str] = WEIGHTS_ARGUMENTS
) -> None:
    """Raises a DataError if arguments of a saved model name weights to read or fetch."""
    for key in keys:
        if arguments.get(key) is not None:
            raise DataError(
                "The configuration of a saved model must not name weights: they are in the file. "
                f"Received: {name}, with {key}={str(arguments[key])[:100]!r}. Nothing was read or "
                f"fetched. Save the model again, or build it in Python with {key}=…"
            )


def check_weights_file(path: str | os.PathLike) -> Held | None:
    """Checks a file before Keras reads weights from it; see `check_keras_file` and `check_hdf5`.

    A file that does not exist, or is of another kind, is left to Keras.

    Returns:
        What the file holds; None if reading it is left to Keras.

    Raises:
        DataError: as these, or it is no regular file, or names other files with weights.
    """
    name = os.fspath(path)
    kind = other_kind(os.stat(path).st_mode) if os.path.exists(path) else ""
    if kind or name.endswith("weights.json"):
        what = f"which is {kind}" if kind else "a list of files with parts of the weights"
        raise DataError(
            f"Weights must be in one regular file. Received: {name}, {what}. Give a .keras or "
            ".weights.h5 file; model.save_weights without `max_shard_size` writes one."
        )
    if os.path.isfile(path):
        if name.endswith(".keras"):
            return check_keras_file(path).held
        if name.endswith((".h5", ".hdf5")):
            return check_hdf5(path)
    return None
