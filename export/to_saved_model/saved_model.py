"""`export.saved_model`: SavedModels for TensorFlow Serving, from images to detections."""

import json
import os
import pathlib
from typing import Any

from keras_det.data.pixel_limit import MAX_SERVED_PIXELS, pixel_limit
from keras_det.export.check.budget import Budget, check_budget
from keras_det.export.check.certificate import certify
from keras_det.export.check.evidence import check_images
from keras_det.export.check.publishing import exporting, labels_text, publish
from keras_det.export.check.report import ExportReport
from keras_det.export.network.graph import exportable, frozen_network, save
from keras_det.export.to_saved_model.artefact import ServedModel
from keras_det.export.to_saved_model.signatures import signatures
from keras_det.export.to_saved_model.warmup import check_warmup, replay, write_warmup
from keras_det.models import Detector
from keras_det.runtime.saved_model import THRESHOLDS

# Version of the signatures in docs/serving.md. It rises when a name, type or meaning changes.
SIGNATURES_VERSION = 1


def saved_model(
    model: Detector,
    path: str | os.PathLike,
    *,
    images: Any = None,
    budget: Budget | None = None,
    warmup: int = 0,
    max_pixels: int = MAX_SERVED_PIXELS,
) -> ExportReport:
    """Writes a SavedModel that runs without this package, and checks it.

    Signatures:

        serving_default(image_bytes: string [batch])          JPEG, PNG, WebP, BMP, GIF; any sizes
        images(images: uint8 [batch, height, width, 3])       any size, one per batch
        raw(images: uint8 [batch, height, width, 3])          the network's input; raw outputs

    The first two resize images as in training. They return `boxes` xyxy in pixels of each original
    image, clipped to it, `scores`, `labels` and `num_detections`. `serving_default` also returns
    `valid` `(batch,)`: False if the bytes are not a complete image or it has too many pixels. Such
    a row has no detections and does not affect the others. `assets/labels.txt` holds one class name
    per line, and `assets.extra/score_thresholds.json` the `score_thresholds` of the model.

    Args:
        model: a detector. One of mixed precision is exported in float32.
        path: a folder that does not exist yet. TensorFlow Serving needs a number: "served/1".
        images: images for the check: a labelled `Dataset`, on which the average precision of both
            is measured, or uint8 arrays, paths or bytes. Default: synthetic images.
        budget: the allowed differences from the model. Default: 0.5 pixels, 1e-3 in score.
        warmup: largest batch size of the server. Requests of that size and of one image are
            written into the SavedModel; the server runs them while it loads the model. They are
            also run here once. 0 writes none.
        max_pixels: an encoded image with more pixels is not decoded. The default is half of what
            `read_image` decodes, because a server decodes several images at once.

    Returns:
        The report of the check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: the SavedModel is outside the budget. Nothing is kept.
        DataError: `path` exists, or `warmup` without the package tensorflow-serving-api.
        ValueError: `warmup` is not an int of at least 0, or `max_pixels` is below 1.
        TypeError: `model` is not a detector, `budget` is not a `Budget`, or `max_pixels` is not a
            whole number.
    """
    warmup, max_pixels = check_warmup(warmup), pixel_limit(max_pixels)
    budget = check_budget(budget, "float32")
    model, notes = exportable(model)
    pictures = check_images(images, model)
    weights = 4 * model.count_params()
    with exporting(path, weights) as (final, artefact):
        write(model, artefact, warmup, max_pixels)
        served = ServedModel(artefact)
        if warmup:
            replay(artefact, served.model.signatures)
        report = certify(
            model,
            artefact,
            served,
            images=pictures,
            budget=budget,
            format="saved_model",
            settings={
                "signatures": SIGNATURES_VERSION,
                "warmup": warmup,
                "max_pixels": max_pixels,
            },
            decoding=model.decoder(exported=True).get_config(),
            notes=notes,
        )
        publish(artefact, final, {".certificate.json": report.to_json()})
    return report


def write(
    model: Detector, folder: pathlib.Path, warmup: int, max_pixels: int = MAX_SERVED_PIXELS
) -> None:
    """Saves the signatures and their version, labels, thresholds, and the warm-up requests.

    Args:
        model: the detector, in float32.
        folder: of the SavedModel.
        warmup: largest batch size of the requests; 0 for none.
        max_pixels: of an encoded image.
    """
    import tensorflow as tf

    # The asset keeps the file name.
    labels = folder.parent / "labels.txt"
    labels.write_text(labels_text(model.class_names), encoding="utf-8")
    module = tf.Module()
    module.labels = tf.saved_model.Asset(str(labels))
    network = frozen_network(model)
    save(module, folder, signatures(model, network, max_pixels))
    extra = folder / "assets.extra"
    extra.mkdir()
    version = {"signatures": SIGNATURES_VERSION}
    (extra / "signatures.json").write_text(json.dumps(version) + "\n", encoding="utf-8")
    thresholds = json.dumps(model.score_thresholds) + "\n"
    (folder / THRESHOLDS).write_text(thresholds, encoding="utf-8")
    if warmup:
        write_warmup(model, folder, warmup)
