"""Opens EfficientDet's public files: TensorFlow checkpoints by names or objects, Keras .h5, torch.

Opening reads only names and shapes, except for torch files. Arrays are read once everything fits.
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from keras_det.errors import DataError
from keras_det.files import why_no_file
from keras_det.weights.common.archives import ARCHIVE_SUFFIXES
from keras_det.weights.common.fill import (
    NamedArrays,
    Source,
    from_torch_depthwise,
    from_torch_kernel,
)
from keras_det.weights.common.hdf5 import DAMAGE, open_hdf5, without_plugins
from keras_det.weights.common.report import OF_TRAINING, STEP_COUNTER
from keras_det.weights.common.torch_file import read_torch_file
from keras_det.weights.efficientdet.names import (
    BOX_PREDICTION,
    CLASS_PREDICTION,
    OFFICIAL,
    Properties,
    numbered,
    properties_of,
)
from keras_det.weights.efficientdet.translate import (
    from_object_names,
    from_torch_names,
    with_backbone,
)
from keras_det.words import counted

AVERAGE = "/ExponentialMovingAverage"
# Endings of the variables that an optimizer adds.
SLOTS = ("/Momentum", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
BOOKKEEPING = ("global_step", "_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter", "optimizer")
VALUE, SLOT = "/.ATTRIBUTES/VARIABLE_VALUE", "/.OPTIMIZER_SLOT/"
TORCH_PREFIX = re.compile(r"^((model|module)\.)+")
OBJECT_NETWORK = ("backbone/", "resample_layers/", "fpn_cells/", "class_net/", "box_net/")
TORCH_NETWORK = ("backbone.", "fpn.", "class_net.", "box_net.")
FILE_PATTERNS = ("*.index", "*.h5", "*/*.index", "*/*.h5")
TORCH_FILES = (".pth", ".pt", ".safetensors")
TORCH_SIGNATURES = (b"PK\x03\x04", b"\x80")  # the first bytes of the two forms of torch.save

REPLACED_BY_AVERAGE = "its moving average is loaded"
NOT_IN_NETWORK = "is no part of the network"
COMPUTED_ANCHORS = "anchors are computed from the size of the image"
_KNOWN_FILES = (
    "Give an official checkpoint (the file that ends in .index), a Keras .h5 file of the original "
    "code, or a .pth or .safetensors file of effdet's tf_efficientdet_*. Weights that keras_det "
    "saved are other files: .keras, .weights.h5, or the folder of a preset."
)


class Tensor(NamedTuple):
    """A tensor of a file.

    Attributes:
        name: its name in the file.
        shape: its shape in Keras' layout.
        read: function that reads the array.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class Checkpoint(NamedTuple):
    """An opened file.

    Attributes:
        source: what was opened, for error messages.
        format: "tensorflow-names", "tensorflow-objects", "keras-h5", "pytorch" or "mapping".
        tensors: by official name; moving averages where the file has them.
        averaged: names in the file of the tensors that are moving averages.
        skipped: dict from the file's name of each tensor that no network needs to the reason.
        unknown: names of tensors that seem to belong to the network but have an unknown name.
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    averaged: list[str]
    skipped: dict[str, str]
    unknown: list[str]

    @property
    def properties(self) -> Properties:
        """What names and shapes say about the network."""
        return properties_of({name: tensor.shape for name, tensor in self.tensors.items()})

    @property
    def num_classes(self) -> int | None:
        """Class outputs per anchor; None where the file holds no whole class prediction."""
        outputs = self.tensors.get(f"{CLASS_PREDICTION}/bias")
        boxes = self.tensors.get(f"{BOX_PREDICTION}/bias")
        if outputs is None or boxes is None or len(outputs.shape) != 1 or len(boxes.shape) != 1:
            return None
        num_anchors = boxes.shape[0] // 4
        whole = num_anchors and outputs.shape[0] % num_anchors == 0
        return outputs.shape[0] // num_anchors if whole else None

    def array(self, name: str) -> np.ndarray:
        """Reads the tensor of an official name; DataError where the file is damaged."""
        tensor = self.tensors[name]
        try:
            array = np.asarray(tensor.read())
        except Exception as error:  # a damaged file can raise any error
            raise _broken(self.source, error) from error
        if array.shape != tensor.shape or array.dtype.kind != "f":
            raise _broken(self.source, f"{tensor.name!r} holds {array.dtype} {array.shape}")
        return array


def _broken(source: str, error: Exception | str) -> DataError:
    """The error for a damaged file."""
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    reason = str(error).strip().split("\n")[0][:300]
    return DataError(
        f"A weights file must be complete and undamaged. Received: {source} ({kind}{reason}). "
        "Download or unpack it again, and compare its size with the publisher's."
    )


def _checkpoint(
    source: str,
    kind: str,
    tensors: Iterable[tuple[str | None, Tensor]],
    reason_of: Callable[[str], str | None],
) -> Checkpoint:
    """Sorts tensors: averages are preferred to plain values; tensors without a place are skipped.

    Args:
        source: what was opened.
        kind: the format.
        tensors: pairs (official name, None where it has none; tensor).
        reason_of: from the name of a tensor without an official name to why it is skipped, or to
            None where it seems to belong to the network.
    """
    plain: dict[str, Tensor] = {}
    averages: dict[str, Tensor] = {}
    skipped: dict[str, str] = {}
    unknown: list[str] = []
    for official, tensor in tensors:
        if official is None:
            reason = reason_of(tensor.name)
            if reason is None:
                unknown.append(tensor.name)
            else:
                skipped[tensor.name] = reason
        elif official.endswith(AVERAGE):
            averages[official.removesuffix(AVERAGE)] = tensor
        else:
            plain[official] = tensor
    skipped |= {plain[name].name: REPLACED_BY_AVERAGE for name in averages if name in plain}
    if not plain and not averages:
        names = [*skipped, *unknown]
        seen = f"such as {names[0]!r}" if names else "in it"
        raise DataError(
            f"The weights must be those of an EfficientDet. Received: {source}, with "
            f"{counted(len(names), 'tensor')} {seen}. None of them has a name that EfficientDet "
            f"uses. {_KNOWN_FILES}"
        )
    averaged = [tensor.name for tensor in averages.values()]
    return Checkpoint(source, kind, {**plain, **averages}, averaged, skipped, unknown)


def _translated(names: Mapping[str, str], shapes: Mapping[str, tuple]) -> dict[str, str]:
    """Completes the backbone's prefix in translated names: the names say which backbone it is."""
    backbone = properties_of({names[name]: shapes[name] for name in names}).backbone
    return {name: with_backbone(official, backbone) for name, official in names.items()}


# ---- names as in the original code ----


def _official(name: str) -> str | None:
    plain = name.removesuffix(AVERAGE)
    return name if OFFICIAL.match(plain) and not plain.endswith(SLOTS) else None


def _training(name: str) -> str:
    return OF_TRAINING if name.endswith(SLOTS) or name.startswith(BOOKKEEPING) else NOT_IN_NETWORK


def _from_mapping(values: NamedArrays) -> Checkpoint:
    tensors = (
        (_official(name), Tensor(name, np.shape(value), partial(np.asarray, value)))
        for name, value in values.items()
    )
    return _checkpoint("a mapping", "mapping", tensors, _training)


def _from_names(source: str, shapes: Mapping[str, tuple], reader: Any) -> Checkpoint:
    tensors = (
        (_official(name), Tensor(name, tuple(shape), partial(reader.get_tensor, name)))
        for name, shape in sorted(shapes.items())
    )
    return _checkpoint(source, "tensorflow-names", tensors, _training)


def _from_objects(source: str, shapes: Mapping[str, tuple], reader: Any) -> Checkpoint:
    """The same variables by the paths of their objects; averages are slots of the optimizer."""
    stem = "backbone/_stem/_conv_stem/kernel" + VALUE
    prefix = next((key.removesuffix(stem) for key in shapes if key.endswith(stem)), "")
    paths = {
        key: key.removeprefix(prefix).removesuffix(VALUE)
        for key in shapes
        if key.startswith(prefix)
    }
    names = from_object_names({path.split(SLOT)[0] for path in paths.values()})
    plain = {path: shapes[key] for key, path in paths.items() if path in names}
    names = _translated({path: names[path] for path in plain}, plain)

    def official(key: str) -> str | None:
        path, _, slot = paths.get(key, "").partition(SLOT)
        if slot and not slot.endswith("/average"):
            return None
        return names[path] + (AVERAGE if slot else "") if path in names else None

    def reason(key: str) -> str | None:
        path = paths.get(key, "")
        if SLOT in path:
            return OF_TRAINING
        return None if path.startswith(OBJECT_NETWORK) else _training(path or key)

    tensors = (
        (official(key), Tensor(key, tuple(shape), partial(reader.get_tensor, key)))
        for key, shape in sorted(shapes.items())
    )
    return _checkpoint(source, "tensorflow-objects", tensors, reason)


def _open_tensorflow(prefix: str) -> Checkpoint:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DataError(
            f"Reading a TensorFlow checkpoint needs TensorFlow. Received: {prefix}. Install it, or "
            "use an .h5, .pth or .safetensors file of the same model."
        ) from error
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
    except Exception as error:
        raise _broken(prefix, error) from error
    by_objects = any(name.endswith(VALUE) for name in shapes)
    return (_from_objects if by_objects else _from_names)(prefix, shapes, reader)


# ---- Keras .h5 ----


def _read_h5(path: str, key: str) -> np.ndarray:
    import h5py

    with without_plugins(), h5py.File(path) as file:  # `_open_h5` has checked it
        return file[key][()]


def _open_h5(path: str) -> Checkpoint:
    """Opens a file with a group per layer, which holds datasets by official name and `:0`."""
    import h5py

    shapes: dict[str, tuple] = {}

    def note(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[key] = item.shape or ()

    try:
        with open_hdf5(path) as file:
            file.visititems(note)
    except DAMAGE as error:
        raise _broken(path, error) from error
    tensors = (
        (
            _official(key.partition("/")[2].removesuffix(":0")),
            Tensor(key, shape, partial(_read_h5, path, key)),
        )
        for key, shape in shapes.items()
    )
    return _checkpoint(path, "keras-h5", tensors, lambda key: NOT_IN_NETWORK)


# ---- torch ----


def _torch_tensors(name: str, array: np.ndarray, object_name: str) -> Iterator[tuple[str, Tensor]]:
    """Yields (object name, tensor): one pair, or one for each of a node's fusion weights."""
    if object_name.endswith("/WSM") and array.ndim == 1:
        for i in range(len(array)):
            yield numbered(object_name, i), Tensor(name, (), partial(np.asarray, array[i]))
        return
    depthwise = object_name.endswith("depthwise_kernel")
    array = from_torch_depthwise(array) if depthwise else from_torch_kernel(array)
    yield object_name, Tensor(name, array.shape, partial(np.asarray, array))


def _torch_reason(name: str) -> str | None:
    name = TORCH_PREFIX.sub("", name)
    if name.endswith("num_batches_tracked"):
        return STEP_COUNTER
    if name.startswith("anchors."):
        return COMPUTED_ANCHORS
    return None if name.startswith(TORCH_NETWORK) else NOT_IN_NETWORK


def _from_torch(source: str, values: NamedArrays) -> Checkpoint:
    plain = {TORCH_PREFIX.sub("", name): name for name in values}
    objects = from_torch_names(plain)
    tensors: dict[str, Tensor] = {}
    for short, object_name in objects.items():
        tensors |= dict(_torch_tensors(plain[short], values[plain[short]], object_name))
    names = from_object_names(tensors)
    names = _translated(names, {name: tensors[name].shape for name in names})
    used = {tensors[name].name for name in names}
    found = [(names[name], tensors[name]) for name in names]
    rest = [
        (None, Tensor(name, np.shape(value), partial(np.asarray, value)))
        for name, value in values.items()
        if name not in used
    ]
    return _checkpoint(source, "pytorch", [*found, *rest], _torch_reason)


# ---- any of them ----


def _only_file(folder: pathlib.Path) -> pathlib.Path:
    """The one checkpoint or .h5 file in a folder or one level below it."""
    found = sorted({path for pattern in FILE_PATTERNS for path in folder.glob(pattern)})
    if len(found) != 1:
        others = [
            path for path in sorted(folder.iterdir()) if path.suffix in (".keras", *TORCH_FILES)
        ]
        seen = [str(path.relative_to(folder)) for path in (found or others)[:5]]
        raise DataError(
            "A folder must hold exactly one checkpoint (.index) or .h5 file. Received: "
            f"{folder}, with {len(found)} of them{f', {seen}' if seen else ''}. Give the "
            "path of the file itself."
        )
    return found[0]


CheckpointSource = Source | Checkpoint


def open_checkpoint(source: CheckpointSource) -> Checkpoint:
    """Opens a file of EfficientDet's weights in any known format.

    Args:
        source: a mapping from official names to arrays, or a path: of a TensorFlow checkpoint (its
            prefix or its .index file), of a Keras .h5 file, of a folder that holds exactly one of
            these, or of a .pth or .safetensors file of effdet. A `Checkpoint` is returned as it is.

    Raises:
        DataError: the file is missing or damaged, would run code, or holds nothing of an
            EfficientDet.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, Mapping):
        return _from_mapping(source)
    path = pathlib.Path(source)
    if path.is_dir():
        path = _only_file(path)
    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", str(path))
    if os.path.isfile(f"{prefix}.index"):
        return _open_tensorflow(prefix)
    if not path.is_file():
        raise DataError(
            "The weights must be an existing file, or the prefix of a TensorFlow checkpoint. "
            f"Received: {source}{why_no_file(path)}. {_KNOWN_FILES}"
        )
    with open(path, "rb") as file:
        signature = file.read(8)
    if path.suffix in (".h5", ".hdf5") or signature == b"\x89HDF\r\n\x1a\n":
        return _open_h5(str(path))
    if path.name.endswith(ARCHIVE_SUFFIXES):
        raise DataError(
            f"The weights must not be an archive. Received: {source}. Unpack it, and give the file "
            "in it that ends in .index."
        )
    if path.suffix not in TORCH_FILES and not signature.startswith(TORCH_SIGNATURES):
        raise DataError(
            f"The weights must be a file of a known kind. Received: {source}, which starts with "
            f"{signature!r}. {_KNOWN_FILES}"
        )
    return _from_torch(str(path), read_torch_file(path))
