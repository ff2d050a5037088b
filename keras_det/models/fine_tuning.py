"""Where training starts: public weights, one's own earlier model, parts that stay as they are."""

import json
import os
import pathlib
import re
import warnings
import zipfile
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError, suggest
from keras_det.keras_private import all_layers
from keras_det.weights import LoadReport
from keras_det.weights.common.class_outputs import class_rows, class_sources, picked_outputs
from keras_det.weights.common.preset_files import WEIGHTS, is_preset, preset_folder, read_preset

# What stays as it is while the rest trains, from the image on.
FROZEN = {"none": (), "backbone": ("backbone",), "neck": ("backbone", "neck")}


def freeze_parts(model: keras.Model, freeze: str) -> None:
    """Makes parts of a detector trainable or not, batch-norm statistics included.

    Args:
        model: detector with `backbone`, and `neck` where it has one.
        freeze: "none"; "backbone"; "neck" for backbone and neck, so that only the heads learn.
    """
    if freeze not in FROZEN:
        raise ValueError(
            f"`freeze` must be one of {list(FROZEN)}. Received: {freeze!r}."
            f'{suggest(freeze, FROZEN)} "neck" freezes the backbone too.'
        )
    if freeze == "neck" and not hasattr(model, "neck"):
        raise ValueError(
            f"`freeze` must name a part of the network. Received: freeze='neck', {model.name} has "
            'none between backbone and heads. Take "backbone".'
        )
    for name in ("backbone", "neck"):
        if hasattr(model, name):
            _set_trainable(model, name, name not in FROZEN[freeze])


def _set_trainable(model, name, trainable):
    """Freezes a part, or gives its layers back what they were before: some are frozen for good."""
    part, before = getattr(model, name), model.__dict__.setdefault("_trainable_before", {})
    if not trainable and name not in before:
        before[name] = [(layer, layer.trainable) for layer in all_layers(part)]
        part.trainable = False
    elif trainable and name in before:
        for layer, value in before.pop(name):
            layer.trainable = value


def is_own(weights: Any) -> bool:
    """Whether weights to start from are what a model of this package was saved to."""
    is_path = isinstance(weights, (str, os.PathLike))
    return is_path and (str(weights).endswith((".keras", ".weights.h5")) or is_preset(weights))


def load_own(model: keras.Model, source: str | os.PathLike) -> LoadReport:
    """Fills a detector from what a detector of the same network was saved to.

    Its classes may be others: the class prediction then keeps the rows of the classes whose names
    both know and starts anew for the rest. Bare weights hold no names: as many classes, in order.

    Args:
        model: the detector.
        source: a `.keras` or `.weights.h5` file, or a preset: its folder or "hf://owner/name".

    Raises:
        DataError: nothing is there, it is damaged, or of another network; nothing is changed then.
    """
    config = {}
    try:
        whole, weights, config = _opened(source)
        if config and config.get("variant") != model.get_config().get("variant"):
            raise ValueError("another variant")
        names = config.get("class_names")
        if names is None or names == model.class_names:
            return _load_same(model, weights, names)
        return _take_over(model, keras.saving.load_model(whole, compile=False))
    except DataError:
        raise
    except (OSError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise DataError(
            f"The weights to start from must be whole. Received: {source} ({_reason(error)}). Copy "
            "or save them again."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        saved = config.get("name")
        known = f", of {saved}" if saved else ""
        other = saved if saved not in (None, model.name) else "the model that was saved"
        raise DataError(
            f"The weights must be of {model.name}, each part as it is here. Received: {source}"
            f"{known} ({_reason(error)}). Take {other}, or other weights."
        ) from error


def _reason(error):
    """The first sentence of an error, for a message that says the rest."""
    return re.split(r"\.?(?:\s*\n|\. |$)", str(error).strip() or type(error).__name__)[0]


def _opened(source):
    """What holds the whole model, what its weights, and its arguments: none for bare weights."""
    if is_preset(source):
        folder = preset_folder(source)
        return folder, folder / WEIGHTS, read_preset(folder)[0].get("config", {})
    path = pathlib.Path(source)
    if not path.is_file():
        raise DataError(
            f"The weights to start from must exist. Received: {path}. Check the path; the words "
            '"imagenet" and "coco" fetch public ones.'
        )
    if path.suffix != ".keras":
        return path, path, {}
    with zipfile.ZipFile(path) as archive:
        return path, path, json.loads(archive.read("config.json")).get("config", {})


def _load_same(model, weights, names):
    """Loads weights of the same classes; names is None where the file does not say."""
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            # Keras only warns, a page of it, where a file lacks layers: they would stay random.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(weights)
    except UserWarning as error:
        model.set_weights(before)
        raise ValueError("other layers") from error
    except Exception:
        model.set_weights(before)
        raise
    classes = class_sources(model.class_names, range(model.num_classes), names)
    return LoadReport([variable.path for variable in model.weights], {}, [], classes=classes)


def _take_over(model, other):
    """Copies what has the same place; of the class prediction the rows of common classes."""
    unnamed = other.class_names == [f"class_{i}" for i in range(other.num_classes)]
    names = None if unnamed else other.class_names
    rows = class_rows(model.class_names, other.num_classes, names)
    by_class = {id(variable) for variable in model.class_variables()}
    ours, arrays = model.weights, []
    refused = ValueError("other parts")
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
    classes = class_sources(model.class_names, rows, other.class_names)
    return LoadReport([variable.path for variable in ours], {}, [], classes=classes)
