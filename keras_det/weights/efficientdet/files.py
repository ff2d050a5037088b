"""Opens EfficientDet's public files: TensorFlow checkpoints by names or objects, Keras .h5, torch.

Opening reads names and shapes alone (torch files excepted); arrays follow when all is known to fit.
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from keras_det.errors import DataError
from keras_det.weights.efficientdet_names import (
    BOX_PREDICTION,
    CLASS_PREDICTION,
    OFFICIAL,
    Properties,
    numbered,
    properties_of,
)
from keras_det.weights.efficientdet_translate import (
    from_object_names,
    from_torch_names,
    with_backbone,
)
from keras_det.weights.fill import from_torch_kernel
from keras_det.weights.resnet import COUNTER
from keras_det.weights.torch_file import read_torch_file

AVERAGE = "/ExponentialMovingAverage"
# What an optimizer adds to the variables of the network.
SLOTS = ("/Momentum", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
BOOKKEEPING = ("global_step", "_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter", "optimizer")
VALUE, SLOT = "/.ATTRIBUTES/VARIABLE_VALUE", "/.OPTIMIZER_SLOT/"
TORCH_PREFIX = re.compile(r"^((model|module)\.)+")
OBJECT_NETWORK = ("backbone/", "resample_layers/", "fpn_cells/", "class_net/", "box_net/")
TORCH_NETWORK = ("backbone.", "fpn.", "class_net.", "box_net.")
FILES = ("*.index", "*.h5", "*/*.index", "*/*.h5")
ARCHIVES = (".tar.gz", ".tgz", ".zip")
TORCH_FILES = (".pth", ".pt", ".safetensors")
TORCH_SIGNATURES = (b"PK\x03\x04", b"\x80")  # how a file begins in the two forms of torch.save

AVERAGED = "its moving average is loaded"
TRAINING = "belongs to the training, not to the network"
FOREIGN = "is no part of the network"
ANCHORS = "anchors are computed from the size of the image"
KIND = (
    "Give an official checkpoint (the file that ends in .index), a Keras .h5 file of the original "
    "code, or a .pth or .safetensors file of effdet's tf_efficientdet_*. Weights that keras_det "
    "saved end in .keras or .weights.h5, or are the folder of a preset."
)


class Tensor(NamedTuple):
    """A tensor of a file: its name there, its shape as the network wants it, how to read it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class Checkpoint(NamedTuple):
    """An opened file.

    Attributes:
        source: what was opened, for messages.
        format: "tensorflow-names", "tensorflow-objects", "keras-h5", "pytorch" or "mapping".
        tensors: by official name; moving averages where the file has them.
        averaged: names in the file of those that are moving averages.
        skipped: from the file's name of every tensor that no network needs to the reason.
        unknown: names of tensors that seem to belong to the network, under no name that is known.
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    averaged: list[str]
    skipped: dict[str, str]
    unknown: list[str]

    @property
    def properties(self) -> Properties:
        """What names and shapes say of the network."""
        return properties_of({name: tensor.shape for name, tensor in self.tensors.items()})

    @property
    def num_classes(self) -> int | None:
        """Class outputs per anchor; None where the file holds no class prediction of such kind."""
        outputs = self.tensors.get(f"{CLASS_PREDICTION}/bias")
        boxes = self.tensors.get(f"{BOX_PREDICTION}/bias")
        if outputs is None or boxes is None or len(outputs.shape) != 1 or len(boxes.shape) != 1:
            return None
        num_anchors = boxes.shape[0] // 4
        whole = num_anchors and outputs.shape[0] % num_anchors == 0
        return outputs.shape[0] // num_anchors if whole else None

    def array(self, name: str) -> np.ndarray:
        """Reads the tensor of an official name; DataError where the file is broken."""
        tensor = self.tensors[name]
        try:
            array = np.asarray(tensor.read())
        except Exception as error:  # whatever the bytes of a broken file happen to mean
            raise _broken(self.source, error) from error
        if array.shape != tensor.shape or array.dtype.kind != "f":
            raise _broken(self.source, f"{tensor.name!r} holds {array.dtype} {array.shape}")
        return array


def _broken(source, error):
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    reason = str(error).strip().split("\n")[0][:300]
    return DataError(
        f"A weights file must be whole, as its writer left it. Received: {source} ({kind}{reason})."
        " Fetch or unpack it again; its size may tell whether it is complete."
    )


def _checkpoint(source, kind, tensors: Iterable[tuple[str | None, Tensor]], reason_of):
    """Sorts tensors with official names: averages first, then plain ones; the rest has a reason."""
    plain, averages, skipped, unknown = {}, {}, {}, []
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
    skipped |= {plain[name].name: AVERAGED for name in averages if name in plain}
    if not plain and not averages:
        names = [*skipped, *unknown]
        seen = f"such as {names[0]!r}" if names else "in it"
        raise DataError(
            f"The weights must be those of an EfficientDet. Received: {source}, with {len(names)} "
            f"tensors {seen}, none of them under a name that EfficientDet has. {KIND}"
        )
    averaged = [tensor.name for tensor in averages.values()]
    return Checkpoint(source, kind, {**plain, **averages}, averaged, skipped, unknown)


def _translated(names: Mapping[str, str], shapes):
    """Completes translated names: the backbone's prefix follows from what the names say."""
    backbone = properties_of({names[name]: shapes[name] for name in names}).backbone
    return {name: with_backbone(official, backbone) for name, official in names.items()}


# ---- names as in the original code ----


def _official(name):
    plain = name.removesuffix(AVERAGE)
    return name if OFFICIAL.match(plain) and not plain.endswith(SLOTS) else None


def _training(name):
    return TRAINING if name.endswith(SLOTS) or name.startswith(BOOKKEEPING) else FOREIGN


def _from_mapping(values):
    tensors = (
        (_official(name), Tensor(name, np.shape(value), lambda value=value: value))
        for name, value in values.items()
    )
    return _checkpoint("a mapping", "mapping", tensors, _training)


def _from_names(source, shapes, reader):
    tensors = (
        (_official(name), Tensor(name, tuple(shape), lambda name=name: reader.get_tensor(name)))
        for name, shape in sorted(shapes.items())
    )
    return _checkpoint(source, "tensorflow-names", tensors, _training)


def _from_objects(source, shapes, reader):
    """The same variables by the path to their object; averages are slots of the optimizer."""
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

    def official(key):
        path, _, slot = paths.get(key, "").partition(SLOT)
        if slot and not slot.endswith("/average"):
            return None
        return names[path] + (AVERAGE if slot else "") if path in names else None

    def reason(key):
        path = paths.get(key, "")
        if SLOT in path:
            return TRAINING
        return None if path.startswith(OBJECT_NETWORK) else _training(path or key)

    tensors = (
        (official(key), Tensor(key, tuple(shape), lambda key=key: reader.get_tensor(key)))
        for key, shape in sorted(shapes.items())
    )
    return _checkpoint(source, "tensorflow-objects", tensors, reason)


def _open_tensorflow(prefix):
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


def _read_h5(path, key):
    import h5py

    with h5py.File(path) as file:
        return file[key][()]


def _open_h5(path):
    """A group per layer of the model, datasets in it by official name and `:0`."""
    import h5py

    shapes = {}

    def note(key, item):
        if isinstance(item, h5py.Dataset):
            shapes[key] = item.shape or ()

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except Exception as error:
        raise _broken(path, error) from error
    tensors = (
        (
            _official(key.partition("/")[2].removesuffix(":0")),
            Tensor(key, shape, lambda key=key: _read_h5(path, key)),
        )
        for key, shape in shapes.items()
    )
    return _checkpoint(path, "keras-h5", tensors, lambda key: FOREIGN)


# ---- torch ----


def _torch_tensors(name, array, object_name):
    """Yields (object name, tensor): one, or one for each of a node's fusion weights."""
    if object_name.endswith("/WSM") and array.ndim == 1:
        for i in range(len(array)):
            yield numbered(object_name, i), Tensor(name, (), lambda i=i: array[i])
        return
    if object_name.endswith("depthwise_kernel") and array.ndim == 4:
        array = np.transpose(array, (2, 3, 0, 1))
    else:
        array = from_torch_kernel(array)
    yield object_name, Tensor(name, array.shape, lambda: array)


def _torch_reason(name):
    name = TORCH_PREFIX.sub("", name)
    if name.endswith("num_batches_tracked"):
        return COUNTER
    if name.startswith("anchors."):
        return ANCHORS
    return None if name.startswith(TORCH_NETWORK) else FOREIGN


def _from_torch(source, values):
    plain = {TORCH_PREFIX.sub("", name): name for name in values}
    objects = from_torch_names(plain)
    tensors = {}
    for short, object_name in objects.items():
        tensors |= dict(_torch_tensors(plain[short], values[plain[short]], object_name))
    names = from_object_names(tensors)
    names = _translated(names, {name: tensors[name].shape for name in names})
    used = {tensors[name].name for name in names}
    rest = [(None, Tensor(name, (), None)) for name in values if name not in used]
    found = [(names[name], tensors[name]) for name in names]
    return _checkpoint(source, "pytorch", [*found, *rest], _torch_reason)


# ---- any of them ----


def _only_file(folder):
    """The one checkpoint or .h5 file in a folder or in the folders in it."""
    found = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    if len(found) != 1:
        others = [
            path for path in sorted(folder.iterdir()) if path.suffix in (".keras", *TORCH_FILES)
        ]
        seen = [str(path.relative_to(folder)) for path in (found or others)[:5]]
        raise DataError(
            "A folder must hold exactly one checkpoint (.index) or .h5 file. Received: "
            f"{folder}, with {len(found)} of them{f', {seen}' if seen else ''}. Point to the file "
            "itself."
        )
    return found[0]


def open_checkpoint(source) -> Checkpoint:
    """Opens a file of EfficientDet's weights, whichever of the known ones it is.

    Args:
        source: a mapping from official names to arrays, or a path: of a TensorFlow checkpoint (its
            prefix or its .index file), of a Keras .h5 file, of a folder that holds exactly one of
            these, or of a .pth or .safetensors file of effdet. A `Checkpoint` is returned as it is.

    Raises:
        DataError: there is no such file, it is broken, it asks to run code, or it holds nothing of
            an EfficientDet.
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
            "The weights must exist; a TensorFlow checkpoint is named by its prefix or by the file "
            f"that ends in .index. Received: {source}. {KIND}"
        )
    with open(path, "rb") as file:
        signature = file.read(8)
    if path.suffix in (".h5", ".hdf5") or signature == b"\x89HDF\r\n\x1a\n":
        return _open_h5(str(path))
    if path.name.endswith(ARCHIVES):
        raise DataError(
            f"The weights must not be an archive. Received: {source}. Unpack it, and give the file "
            "in it that ends in .index."
        )
    if path.suffix not in TORCH_FILES and not signature.startswith(TORCH_SIGNATURES):
        raise DataError(
            f"The weights must be a file of a known kind. Received: {source}, which begins with "
            f"{signature!r}. {KIND}"
        )
    return _from_torch(str(path), read_torch_file(path))
