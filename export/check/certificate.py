"""Checks an export against its model and makes the report of it."""

import pathlib
import platform
from collections.abc import Iterable
from typing import Any

import keras

from keras_det import __version__
from keras_det.export.check.artefact import Artefact
from keras_det.export.check.budget import Budget
from keras_det.export.check.evidence import Evidence, fill_of
from keras_det.export.check.publishing import weights_sha256
from keras_det.export.check.report import ExportError, ExportReport
from keras_det.export.check.verify import compare
from keras_det.files import files_of, tree_digest
from keras_det.models import Detector
from keras_det.words import counted

MAX_FAILURES_SHOWN = 6


def certify(
    model: Detector,
    artefact: pathlib.Path,
    running: Artefact,
    *,
    images: Evidence,
    budget: Budget,
    format: str,
    settings: dict,
    decoding: dict,
    notes: Iterable[str] = (),
    refusal: str = "",
) -> ExportReport:
    """Runs an export and its model on the same images, and returns the report.

    Args:
        model: the detector, in float32, with the image size of the export.
        artefact: the file or folder of the export.
        running: the same export, opened for the check.
        images: `Evidence` of `evidence.check_images`.
        budget: the allowed differences.
        format: "saved_model", "tflite", "onnx" or "openvino".
        settings: of the export.
        decoding: settings of the decoder in the export, empty if it has none.
        notes: remarks for the report.
        refusal: message of the error. Default: the differences.

    Raises:
        ExportError: the export is outside the budget.
    """
    comparison, source = compare(model, running, images, budget), images.source
    if source == "synthetic":
        notes = [*notes, "checked on synthetic images; give `images=` to check on real ones"]
    report = ExportReport(
        artefact=artefact.name,
        format=format,
        settings=settings,
        comparison=comparison,
        budget=budget,
        image_source=source,
        size_bytes=sum(path.stat().st_size for path in files_of(artefact)),
        sha256=tree_digest(artefact),
        weights_sha256=weights_sha256(model),
        versions={**_versions(), **running.versions},
        preprocessing=_preprocessing(model, running.channels),
        class_names=tuple(model.class_names),
        decoding=decoding,
        signatures=running.outputs(),
        score_thresholds=model.score_thresholds,
        notes=(*notes, *images.unread),
    )
    if not report.passed:
        raise ExportError(refusal or _message(report), report)
    return report


def _message(report: ExportReport) -> str:
    failures = list(report.comparison.failures)
    hidden = len(failures) - MAX_FAILURES_SHOWN
    if hidden > 0:
        failures[MAX_FAILURES_SHOWN:] = [f"and {hidden} more"]
    return (
        "An export must agree with the Keras model within its budget. Received: "
        f"{report.artefact}, which differs on "
        f"{counted(report.comparison.num_images, f'{report.image_source} image')}: "
        f"{'; '.join(failures)}. Nothing was kept. Pass a wider `budget` if you can accept these "
        "differences. Otherwise report them as a defect."
    )


def _versions() -> dict[str, str]:
    import tensorflow as tf

    return {
        "keras_det": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def _preprocessing(model: Detector, channels: int) -> dict[str, Any]:
    layer, mode = model.normalization, model.resize_policy["mode"]
    sampling = "pixel i at i * scale" if mode == "mediapipe" else "half-pixel centres"
    return {
        "resize_mode": mode,
        "image_size": list(model.image_size),
        "fill_color": list(fill_of(model, channels)),
        "interpolation": f"bilinear, {sampling}, no antialias, rounded to uint8",
        "channel_order": "rgb" if channels == 3 else "grey: 0.299 R + 0.587 G + 0.114 B",
        "channels": channels,
        "mean": layer.mean,
        "scale": layer.scale,
        "normalization": "inside the exported file; mean and scale are in the order "
        f"{layer.channel_order}",
    }
