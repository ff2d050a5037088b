"""Tells by its content whether a file is a classifier's, and fills a backbone with it."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_det.errors import DataError
from keras_det.weights.backbones.efficientnet import (
    PACKAGE_STEM,
    TIMM_STEM,
    hub_model,
    is_h5,
    load_efficientnet,
)
from keras_det.weights.backbones.resnet import load_resnet
from keras_det.weights.common.fill import Source
from keras_det.weights.common.hdf5 import DAMAGE, open_hdf5
from keras_det.weights.common.preset_files import is_hub_backbone
from keras_det.weights.common.report import LoadReport
from keras_det.weights.common.torch_file import read_torch_file

# Tensors that only classifiers of that name have at the top of their state dict.
SIGNS = ({PACKAGE_STEM}, {TIMM_STEM}, {"conv1.weight", "layer1.0.conv1.weight"})
H5_STEM = "stem_conv"
TORCH_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin")
ONLY_BACKBONE = "only the backbone was filled: the file is a classifier's"


def _has_signs(names: Iterable[str]) -> bool:
    return any(sign <= set(names) for sign in SIGNS)


def _h5_layers(path: pathlib.Path) -> set[str]:
    try:
        with open_hdf5(path) as file:
            return set(file.get("model_weights", file))
    except (DataError, *DAMAGE):
        return set()  # the importer says what is wrong with it


def holds_backbone(source: Any) -> bool:
    """Whether weights are those of a classifier, which fill only a detector's backbone.

    Args:
        source: path of a file or of a keras-hub preset's folder, a mapping from names to arrays, or
            a `keras.Model`. Anything else is False.

    Raises:
        DataError: a `.pth` or `.safetensors` file is damaged.
    """
    if isinstance(source, keras.Model):
        return True
    if isinstance(source, Mapping):
        return _has_signs(source)
    if not isinstance(source, str | os.PathLike):
        return False
    path = pathlib.Path(source)
    if path.suffix == ".keras" or path.name.endswith(".weights.h5"):
        return False
    if is_h5(path):
        return H5_STEM in _h5_layers(path)
    if path.suffix in TORCH_SUFFIXES and path.is_file():
        return _has_signs(read_torch_file(path))
    return is_hub_backbone(path)


def load_backbone(backbone: keras.Model, source: Source | keras.Model) -> LoadReport:
    """Fills one of our ResNets or EfficientNets from any file that its own importer reads.

    Args:
        backbone: the ResNet or EfficientNet.
        source: as in `load_resnet` and `load_efficientnet`; for a ResNet also the folder of a
            keras-hub preset.

    Returns:
        `LoadReport`, with a note that only the backbone was filled.

    Raises:
        DataError: the source is of another network, missing or damaged. Nothing is changed then.
    """
    layers = {layer.name for layer in getattr(backbone, "layers", ())}
    if "stage2_block0_conv1" in layers:
        if isinstance(source, str | os.PathLike) and is_hub_backbone(source):
            source = hub_model(source)
        report = load_resnet(backbone, source)
    else:
        report = load_efficientnet(backbone, source)
    return dataclasses.replace(report, notes=[ONLY_BACKBONE, *report.notes])
