"""Checks an artefact against its model and writes down all that was found."""

import pathlib
import platform
from collections.abc import Iterable

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
    """Runs an artefact beside its model.

    Args:
        model: the detector, in float32 and of the artefact's size.
        artefact: file or folder.
        running: it, as the check sees it.
        images: `Evidence` of `evidence.check_images`.
        budget: what it may differ by.
        format: "saved_model", "tflite" or "onnx".
        settings: of the export.
        decoding: settings of the decoder inside the artefact, empty where there is none.
        notes: what the reader of the report should know.
        refusal: message of the error. Default: what differs.

    Raises:
        ExportError: the artefact is outside the budget.
    """
    comparison, source = compare(model, running, images, budget), images.source
    if source == "drawn":
        notes = [*notes, "the images were drawn, not real ones: give `images=` to check on yours"]
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
        notes=(*notes, *images.unread),
    )
    if not report.passed:
        raise ExportError(refusal or _message(report), report)
    return report


def _message(report):
    failures = list(report.comparison.failures)
    hidden = len(failures) - MAX_FAILURES_SHOWN
    if hidden > 0:
        failures[MAX_FAILURES_SHOWN:] = [f"and {hidden} more"]
    return (
        "An export must agree with the Keras model within its budget. Received: "
        f"{report.artefact} differs on {report.comparison.num_images} {report.image_source} "
        f"images: {'; '.join(failures)}. Nothing was kept. Report it with these numbers, or pass "
        "a wider `budget` if you can accept them."
    )


def _versions():
    import tensorflow as tf

    return {
        "keras_det": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def _preprocessing(model, channels):
    layer = model.normalization
    return {
        "resize_mode": model.resize_policy["mode"],
        "image_size": list(model.image_size),
        "fill_color": list(fill_of(model, channels)),
        "interpolation": "bilinear, half-pixel centres, no antialias, rounded to uint8",
        "channel_order": "rgb" if channels == 3 else "grey: 0.299 R + 0.587 G + 0.114 B",
        "channels": channels,
        "mean": layer.mean,
        "scale": layer.scale,
        "normalization": "inside the artefact; the mean and scale are in order "
        f"{layer.channel_order}",
    }
