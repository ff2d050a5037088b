"""Presets: folders that hold a detector for publication, in KerasHub's format."""

import datetime
import json
import math
import numbers
import os
import re
from typing import Any

import keras

from keras_det import __version__
from keras_det.errors import DataError
from keras_det.files import reason_of
from keras_det.models.opening import check_finite, no_larger_than
from keras_det.names import PRESET_WEIGHTS
from keras_det.weights.common.hdf5 import check_hdf5
from keras_det.weights.common.preset_files import (
    DIGEST,
    METADATA,
    preset_folder,
    read_json,
    read_preset,
    write_preset,
)

# Parts of a Keras config that a preset does not hold.
NOT_SAVED = ("build_config", "compile_config")


def save_to_preset(
    model: keras.Model,
    preset_dir: str | os.PathLike,
    *,
    source: str | None = None,
    license: str | None = None,
    metrics: dict[str, Any] | str | os.PathLike | None = None,
) -> None:
    """Writes a preset; see `Detector.save_to_preset`."""
    if metrics is not None and not isinstance(metrics, dict):
        metrics = read_json(metrics)
    serialized = keras.saving.serialize_keras_object(model)
    config = {key: value for key, value in serialized.items() if key not in NOT_SAVED}
    metadata = {
        "keras_version": keras.version(),
        "keras_det_version": __version__,
        "parameter_count": model.count_params(),
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "source": source,
        "license": license,
        "metrics": metrics,
    }
    write_preset(
        preset_dir, config, metadata, model.save_weights, lambda facts: model_card(model, facts)
    )


def from_preset(cls: type, preset: str | os.PathLike) -> Any:
    """Loads a preset; see `Detector.from_preset`."""
    folder = preset_folder(preset)
    config, metadata = read_preset(folder)
    found = keras.saving.get_registered_object(str(config.get("registered_name")))
    if not (isinstance(found, type) and issubclass(found, cls)):
        name = config.get("class_name")
        raise DataError(
            f"The preset must hold a {cls.__name__}. Received: {preset}, a {name}. Call "
            "from_preset on that class or on keras_det.models.Detector. If the class is your own, "
            "import it first."
        )
    held = check_hdf5(folder / PRESET_WEIGHTS)
    try:
        with no_larger_than(held, preset):
            model = keras.saving.deserialize_keras_object(config)
        model.load_weights(folder / PRESET_WEIGHTS)
    except DataError:
        raise
    except Exception as error:  # a damaged config can make Keras raise any error
        saved_with = metadata.get("keras_det_version")
        raise DataError(
            f"The preset must fit {found.__name__} of this version, {__version__}. "
            f"Received: {preset}, saved with {saved_with}: {reason_of(error)}. Install that "
            "version, or write the preset again."
        ) from error
    check_finite(model.weights, folder / PRESET_WEIGHTS)
    return model


def model_card(model: keras.Model, metadata: dict[str, Any]) -> str:
    """The README.md of a preset: what the model is and where its weights come from.

    Args:
        model: the detector.
        metadata: content of `metadata.json`; `source`, `license` and `metrics` may be None.
    """
    height, width = model.image_size
    kind = type(model).__name__
    rows = {
        "model": f"`{kind}`, {model.name}",
        "classes": ", ".join(model.class_names),
        "image size": f"{height} x {width} pixels (height x width)",
        "resizing": model.resize_policy["mode"],
        "precision": model.get_config().get("dtype", "not given"),
        "parameters": f"{metadata['parameter_count']:,}",
        "source": metadata["source"] or "not given",
        "licence": metadata["license"] or "not given",
        f"SHA-256 of {PRESET_WEIGHTS}": f"`{metadata[DIGEST]}`",
        "saved": f"{metadata['date_saved']}, keras_det {metadata['keras_det_version']}, Keras "
        f"{metadata['keras_version']}",
    }
    table = "".join(f"| {key} | {_cell(value)} |\n" for key, value in rows.items())
    return (
        f"---\n{_front_matter(metadata)}---\n\n# {model.name}\n\nAn object detector of keras_det. "
        f"Details: `{METADATA}`.\n\n|  |  |\n|---|---|\n{table}\n"
        f"## Average precision\n\n{_metrics_table(metadata['metrics'])}\n"
        "## Use\n\n```python\n"
        f"from keras_det import {kind}\n\n"
        f'model = {kind}.from_preset("hf://owner/name")  # or this folder\n'
        'found = model.detect("photo.jpg", score_threshold=0.3)\n```\n'
    )


def _front_matter(metadata: dict[str, Any]) -> str:
    """The YAML that Hugging Face reads. Strings may be written as in JSON."""
    lines = ["library_name: keras", "pipeline_tag: object-detection", "tags: [keras_det]"]
    license = metadata["license"]
    if license:
        known = re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license.lower())
        lines.append(f"license: {json.dumps(license.lower() if known else 'other')}")
        if not known:
            lines.append(f"license_name: {json.dumps(license)}")
    return "".join(f"{line}\n" for line in lines)


def _cell(text: object) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _metrics_table(metrics: dict[str, Any] | None) -> str:
    """A table of the metrics that are numbers; `metadata.json` also holds the AP per class."""
    numeric = {
        name: value
        for name, value in (metrics or {}).items()
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
    }
    if not numeric:
        return "not measured\n"
    rows = "".join(f"| {_cell(name)} | {value:.4g} |\n" for name, value in numeric.items())
    return f"| metric | value |\n|---|---|\n{rows}"
