"""Fine-tuning: weights of an earlier model to start from, and frozen parts."""

import dataclasses
import os
import pathlib
import warnings
import zipfile
from typing import Any

import keras
import numpy as np

from keras_det.errors import DataError, suggest
from keras_det.files import reason_of, why_no_file
from keras_det.keras_private import all_layers
from keras_det.models.opening import check_finite, open_saved
from keras_det.names import PRESET_WEIGHTS
from keras_det.weights import LoadReport
from keras_det.weights.common.class_outputs import class_rows, class_sources, picked_outputs
from keras_det.weights.common.hdf5 import check_hdf5
from keras_det.weights.common.keras_file import check_keras_file
from keras_det.weights.common.preset_files import (
    is_hub_backbone,
    is_preset,
    preset_folder,
    read_preset,
)
from keras_det.weights.common.whole_archive import check_whole

# Parts of the backbone: its batch normalisation, and its layers up to `EARLY_LEVEL`.
NORM, EARLY = "norm", "early"
EARLY_LEVEL = "P2"
# Arguments of a constructor that give the anchors.
ANCHOR_ARGUMENTS = ("anchor_scale", "num_octaves", "aspect_ratios", "anchor_generator")
COMPLETE = "The weights to start from must be complete"
COPY = "Copy or save them again."
# Choices of `freeze`, and the parts that each of them freezes.
FROZEN: dict[str, tuple[str, ...]] = {
    "none": (),
    "norm": (NORM,),
    "early": (EARLY,),
    "backbone": ("backbone",),
    "neck": ("backbone", "neck"),
}


def freeze_parts(model: keras.Model, freeze: str) -> None:
    """Freezes the chosen parts of a detector, with their batch-norm statistics, and no others.

    Args:
        model: detector with the attribute `backbone`, and `neck` if it has a neck.
        freeze: "none"; "norm" for the batch normalisation of the backbone: its statistics, scales
            and offsets; "early" for the first layers of the backbone, up to the level with stride
            4; "backbone"; "neck" for backbone and neck, so that only the heads learn.

    Raises:
        ValueError: there is no such choice, or the model has no such part.
    """
    if freeze not in FROZEN:
        raise ValueError(
            f"`freeze` must be one of {list(FROZEN)}. Received: {freeze!r}."
            f'{suggest(freeze, FROZEN)} "neck" freezes the backbone too.'
        )
    for part in () if freeze == "none" else ("backbone", *FROZEN[freeze][1:]):
        if not hasattr(model, part):
            other = "backbone" if hasattr(model, "backbone") else "none"
            raise ValueError(
                f"`freeze` must name a part of the network. Received: freeze={freeze!r} for "
                f'{model.name}, which has no {part}. Use "{other}".'
            )
    if freeze == EARLY:
        _check_early(model)
    model.__dict__["frozen_parts"] = freeze
    before = model.__dict__.setdefault("_trainable_before", [])
    for layer, value in before:
        layer.trainable = value
    before.clear()
    for part in FROZEN[freeze]:
        before.extend((layer, layer.trainable) for layer in _layers_of(model, part))
    for layer, _ in before:
        layer.trainable = False


def _layers_of(model: keras.Model, part: str) -> list[keras.Layer]:
    """The layers of a part, at any depth."""
    if part == NORM:
        layers = all_layers(model.backbone)
        return [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    if part == EARLY:
        # The model itself is no layer of the backbone.
        return all_layers(keras.Model(model.backbone.input, model.backbone.output[EARLY_LEVEL]))[1:]
    return all_layers(getattr(model, part))


def _check_early(model: keras.Model) -> None:
    levels = model.backbone.output
    if not isinstance(levels, dict) or EARLY_LEVEL not in levels:
        received = f"levels {', '.join(levels)}" if isinstance(levels, dict) else "no levels"
        raise ValueError(
            f"`freeze` must name a part of the network. Received: freeze={EARLY!r} for "
            f'{model.name}, whose backbone has {received}, not {EARLY_LEVEL}. Use "norm" or '
            '"backbone".'
        )


def is_own(weights: Any) -> bool:
    """Whether weights to start from are a file or preset that this package saved."""
    if not isinstance(weights, str | os.PathLike) or is_hub_backbone(weights):
        return False
    return str(weights).endswith((".keras", ".weights.h5")) or is_preset(weights)


def load_own(model: keras.Model, source: str | os.PathLike) -> LoadReport:
    """Fills a detector with the weights of a saved detector that has the same network.

    The saved detector may have other classes. Then classes of the same name keep their predictions,
    and the others start from random weights. A `.weights.h5` file holds no class names: it must
    have the same number of classes, in the same order.

    Args:
        model: the detector.
        source: a `.keras` or `.weights.h5` file, or a preset: its folder or "hf://owner/name".

    Returns:
        `LoadReport`: what was loaded, and where the class predictions come from.

    Raises:
        DataError: the source does not exist, is damaged, or is of another network. Nothing is
            changed then.
    """
    config: dict[str, Any] = {}
    try:
        whole, weights, config = _opened(source)
        if config and config.get("variant") != model.get_config().get("variant"):
            raise ValueError("another variant")
        names = config.get("class_names")
        if names is None or names == model.class_names:
            report = _load_same(model, weights, names)
        else:
            report = _take_over(model, open_saved(whole, compile=False))
        return dataclasses.replace(report, notes=_note_of_anchors(model, source))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{COMPLETE}. Received: {source} ({reason_of(error)}). {COPY}") from error
    except Exception as error:  # Keras and h5py raise anything for a file of another model
        saved = config.get("name")
        known = f", of {saved}" if saved else ""
        other = saved if saved not in (None, model.name) else "the model that was saved"
        raise DataError(
            f"The weights must be of {model.name}, with the same parts. Received: {source}"
            f"{known} ({reason_of(error)}). Build {other}, or give other weights."
        ) from error


def refuse_two_sources(weights: Any, backbone_weights: Any) -> None:
    """Raises a DataError if both are given: `weights` would overwrite `backbone_weights`."""
    if weights is not None and backbone_weights is not None:
        raise DataError(
            "The backbone must get its weights from one source. Received: backbone_weights="
            f"{str(backbone_weights)!r} (--backbone-weights) with weights={str(weights)!r} "
            "(--weights), which fill the backbone too. Leave out one of them."
        )


def saved_anchors(source: Any) -> dict[str, Any]:
    """The arguments of the anchors of a saved detector, for the constructor of its class.

    The boxes that a detector has learned are offsets from its own anchors: one that starts from its
    weights needs the same.

    Args:
        source: weights to start from, of any kind.

    Returns:
        Those of `ANCHOR_ARGUMENTS` that the saved detector has; `{}` where the source is no saved
        detector with anchors, or cannot be read.
    """
    if not is_own(source):
        return {}
    try:
        config = _opened(source)[2]
    except (DataError, OSError, zipfile.BadZipFile, ValueError):
        return {}  # loading the weights will say what is wrong
    found = {name: config[name] for name in ANCHOR_ARGUMENTS if config.get(name) is not None}
    generator = found.get("anchor_generator")
    if isinstance(generator, dict):
        return {"anchor_generator": keras.saving.deserialize_keras_object(generator)}
    return found


def _note_of_anchors(model: keras.Model, source: str | os.PathLike) -> list[str]:
    """For the report: which anchors of the saved detector the model does not have."""
    config = model.get_config()
    if config.get("anchor_generator") is not None:
        return []
    saved = saved_anchors(source)
    other = {
        name: value
        for name, value in saved.items()
        if np.any(np.not_equal(np.ravel(value), np.ravel(config.get(name))))
    }
    if not other:
        return []
    names = ", ".join(f"{name}={value!r}" for name, value in other.items())
    return [
        f"The saved model has other anchors: {names}. Train this model further, or build it "
        "with the same arguments."
    ]


def _opened(
    source: str | os.PathLike,
) -> tuple[pathlib.Path, pathlib.Path, dict[str, Any]]:
    """Paths of the whole model and of its weights, and its arguments: none for bare weights."""
    if is_preset(source):
        folder = preset_folder(source)
        config, weights = read_preset(folder)[0], folder / PRESET_WEIGHTS
        check_hdf5(weights)
        return folder, weights, _arguments(config)
    path = pathlib.Path(source)
    if not path.is_file():
        raise DataError(
            "The weights to start from must be an existing file. Received: "
            f"{path}{why_no_file(path)}. Check the path. The words 'imagenet' and 'coco' fetch "
            "public weights."
        )
    if path.suffix != ".keras":
        check_hdf5(path, rule=COMPLETE, advice=COPY)
        return path, path, {}
    check_whole(path, COMPLETE, COPY)
    return path, path, _arguments(check_keras_file(path, COMPLETE, COPY).config)


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    arguments = config.get("config")
    return arguments if isinstance(arguments, dict) else {}


def _load_same(model: keras.Model, weights: pathlib.Path, names: list[str] | None) -> LoadReport:
    """Loads weights of the same classes; `names` is None where the file holds no names."""
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            # Where a file lacks layers, Keras only warns: they would keep random weights.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(weights)
        check_finite(model.weights, weights)
    except UserWarning as error:
        model.set_weights(before)
        raise ValueError("other layers") from error
    except Exception:
        model.set_weights(before)
        raise
    classes = class_sources(model.class_names, range(model.num_classes), names)
    return LoadReport([variable.path for variable in model.weights], {}, [], classes=classes)


def _take_over(model: keras.Model, other: keras.Model) -> LoadReport:
    """Copies the weights; of the class predictions only those of classes that both have."""
    unnamed = other.class_names == [f"class_{i}" for i in range(other.num_classes)]
    names = None if unnamed else other.class_names
    rows = class_rows(model.class_names, other.num_classes, names)
    by_class = {id(variable) for variable in model.class_variables()}
    ours, arrays = model.weights, []
    refused = ValueError("other parts")
    if len(ours) != len(other.weights) or type(model) is not type(other):
        raise refused
    for variable, value in zip(ours, other.weights, strict=True):
        old, new = (keras.ops.convert_to_numpy(each) for each in (variable, value))
        if id(variable) in by_class and old.shape[:-1] == new.shape[:-1]:
            new = picked_outputs(old, new, rows, other.num_classes)
        if new.shape != old.shape:
            raise refused
        arrays.append(new)
    for variable, array in zip(ours, arrays, strict=True):
        variable.assign(array)
    classes = class_sources(model.class_names, rows, other.class_names)
    return LoadReport([variable.path for variable in ours], {}, [], classes=classes)
