"""Where training starts: public weights, one's own earlier model, parts that stay as they are."""

import json
import os
import pathlib
import zipfile

import keras
import numpy as np

from keras_det.errors import DataError, suggest
from keras_det.weights import LoadReport
from keras_det.weights.class_outputs import class_rows, picked_outputs

# What stays as it is while the rest trains, from the image on.
FROZEN = {"none": (), "backbone": ("backbone",), "neck": ("backbone", "neck")}


def freeze_parts(model, freeze: str) -> None:
    """Makes parts of a detector trainable or not, batch-norm statistics included.

    Args:
        model: detector with `backbone` and `neck`.
        freeze: "none"; "backbone"; "neck" for backbone and neck, so that only the heads learn.
    """
    if freeze not in FROZEN:
        raise ValueError(
            f"`freeze` must be one of {list(FROZEN)}. Received: {freeze!r}."
            f'{suggest(freeze, FROZEN)} "neck" freezes the backbone too.'
        )
    for name in ("backbone", "neck"):
        _set_trainable(model, name, name not in FROZEN[freeze])


def _set_trainable(model, name, trainable):
    """Freezes a part, or gives its layers back what they were before: some are frozen for good."""
    part, before = getattr(model, name), model.__dict__.setdefault("_trainable_before", {})
    if not trainable and name not in before:
        before[name] = [(layer, layer.trainable) for layer in part._flatten_layers()]
        part.trainable = False
    elif trainable and name in before:
        for layer, value in before.pop(name):
            layer.trainable = value


def is_own(weights) -> bool:
    """Whether weights to start from are a file that a model of this package was saved to."""
    is_path = isinstance(weights, (str, os.PathLike))
    return is_path and str(weights).endswith((".keras", ".weights.h5"))


def load_own(model, path) -> LoadReport:
    """Fills a detector from a `.keras` or `.weights.h5` file of the same network.

    The classes of a `.keras` file may be others: the class prediction then keeps the rows of the
    classes whose names both know and starts anew for the rest.

    Args:
        model: the detector.
        path: the file.

    Raises:
        DataError: no such file, or one of another network; nothing is changed then.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(
            f"The weights to start from must exist. Received: {path}. Check the path; the words "
            '"imagenet" and "coco" fetch public ones.'
        )
    try:
        names = _class_names(path)
        if names is not None and names != model.class_names:
            return _take_over(model, keras.saving.load_model(path, compile=False))
        before = model.get_weights()
        try:
            model.load_weights(path)
        except Exception:
            model.set_weights(before)
            raise
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The weights must be of {model.name} with {model.num_classes} classes. Received: "
            f"{path} ({str(error).splitlines()[0]}). Choose the model they were trained as."
        ) from error
    return LoadReport([variable.path for variable in model.weights], {}, [])


def _class_names(path):
    """The classes of a `.keras` file; None of bare weights."""
    if path.suffix != ".keras":
        return None
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))["config"].get("class_names")


def _take_over(model, other):
    """Copies what has the same place; of the class prediction the rows of common classes."""
    unnamed = other.class_names == [f"class_{i}" for i in range(other.num_classes)]
    names = None if unnamed else other.class_names
    rows = class_rows(model.class_names, other.num_classes, names)
    outputs = model.class_head.num_anchors * model.num_classes
    by_class = {id(v) for v in model.class_head.prediction.weights if v.shape[-1] == outputs}
    ours, arrays = model.weights, []
    refused = DataError(
        f"The weights must be of {model.name}, with any classes. Received: those of {other.name} "
        "with other parts. Build the model that was saved."
    )
    if len(ours) != len(other.weights) or type(model) is not type(other):
        raise refused
    for variable, value in zip(ours, other.weights, strict=True):
        old, new = np.array(variable), np.array(value)
        if id(variable) in by_class and old.shape[:-1] == new.shape[:-1]:
            new = picked_outputs(old, new, rows, other.num_classes)
        if new.shape != old.shape:
            raise refused
        arrays.append(new)
    for variable, array in zip(ours, arrays, strict=True):
        variable.assign(array)
    classes = {
        name: None if row is None else other.class_names[row]
        for name, row in zip(model.class_names, rows, strict=True)
    }
    return LoadReport([variable.path for variable in ours], {}, [], classes=classes)
