"""TFLite files for phones: uint8 image in, detections out."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any

from keras_det.export.check.artefact import FileArtefact
from keras_det.export.check.budget import Budget, check_budget
from keras_det.export.check.certificate import certify
from keras_det.export.check.evidence import Evidence, check_images
from keras_det.export.check.publishing import NEW, labels_text, publish
from keras_det.export.check.report import Comparison, ExportReport
from keras_det.export.check.verify import compare
from keras_det.export.int8.calibration import calibration_pixels
from keras_det.export.int8.float_file import FloatFile
from keras_det.export.int8.float_layers import choose_int8
from keras_det.export.tflite_file.delegates import delegate_report, describe_delegates
from keras_det.export.tflite_file.float16 import with_float16_kernels
from keras_det.export.tflite_file.metadata import with_metadata
from keras_det.export.tflite_file.operators import check_operators
from keras_det.export.tflite_file.outputs import hide_outputs
from keras_det.export.tflite_file.split import cut
from keras_det.export.to_tflite.artefacts import body_and_tail, whole_file
from keras_det.export.to_tflite.conversion import convert
from keras_det.export.to_tflite.decoders import (
    OPERATOR,
    InConvention,
    OperatorDecoder,
    make_decoder,
)
from keras_det.export.to_tflite.options import Options
from keras_det.export.to_tflite.tail import convert_tail
from keras_det.files import staging
from keras_det.models import Detector
from keras_det.runtime.detections import OPERATOR_OUTPUTS
from keras_det.runtime.lite_model import TAIL_SUFFIX


def tflite(
    model: Detector,
    path: str | os.PathLike,
    *,
    quantize: str = "float32",
    postprocess: str = "builtin",
    calibration: Any = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    metadata: str | None = None,
    images: Any = None,
    budget: Budget | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Writes a TFLite file and checks it.

    Input `images`: uint8 `[1, height, width, 3]` RGB, resized as the model was trained. Outputs by
    name of the signature: `boxes` `[1, 100, 4]` xyxy in pixels of the network's input, `scores`
    `[1, 100]`, `labels` int32 `[1, 100]`, `num_detections` int32 `[1]`; unused slots hold box 0,
    score 0, label -1. Soft-NMS is inside. Class names go to `<path>.labels.txt`, one per line.

    postprocess="mediapipe" ends in TFLite's custom operator for detections, which mobile runtimes
    have: hard NMS across all classes, as `detect(method="hard", class_agnostic=True)` does it. With
    it, and with `metadata`, the outputs are in that operator's convention: `locations`
    `[1, 100, 4]` yxyx in 0..1, `classes` float `[1, 100]`, `scores`, `num_detections` float `[1]`;
    what is in unused slots means nothing.

    postprocess="split" makes two files: at `path` a body, everything that an accelerator should
    run, and at `<path>.tail.tflite` what decodes its outputs on the processor; each output of the
    body is the tail's input of the same name. The body takes float32 images in 0..255, uint8 with
    "int8". `settings["delegates"]` of the report says what the lists of the delegates for GPUs,
    NPUs and the Edge TPU leave to the processor.

    metadata="mediapipe" is what MediaPipe's ObjectDetector asks for. It opens both ends, "builtin"
    with soft-NMS included, but not integer labels: hence the outputs' convention. It stretches
    images, and samples them as `resize_mode="mediapipe"` does; the check resizes so too: its
    average precision is the one to expect there.

    Args:
        model: a detector; one of mixed precision is exported in float32.
        path: file that does not exist yet.
        quantize: "float32"; "float16": half the size, kernels are rounded, biases and the
            arithmetic are float32; "dynamic": a quarter of the size, kernels have 8 bits, runtimes
            round what lies between the layers while they run; or "int8": as small, the whole
            network computes with integers, decoding and NMS with floats. The last two need the
            extra `quantize`.
        postprocess: "builtin"; "mediapipe", for detectors with anchors; "split"; or "none": outputs
            are the model's raw ones, `class_logits` and `box_deltas` of an anchor detector, the six
            kinds of maps of a CornerNet.
        calibration: for "int8", which needs it: images of the training set, a
            `keras_det.data.Dataset` or a list of uint8 arrays, paths or bytes. They say which
            numbers occur between the layers; of more than 200, 200 spread over them are taken.
        image_size: int or (height, width) of the network's input. Default: the model's.
        channels: 3, or 1 for grey images `[1, height, width, 1]`, of a thermal camera or the Y of
            YUV. The model, whose three channels see the same then, is compared on grey images.
        score_threshold: float >= 0, with "mediapipe" only; detections score above it. Default:
            0.001.
        iou_threshold: float in 0..1, with "mediapipe" only; of two boxes that overlap more, the
            better stays. Default: 0.5.
        metadata: "mediapipe" writes what MediaPipe needs into the file, class names included; not
            with raw outputs. Default: no metadata.
        images: images to check on: a labelled `Dataset`, on which the average precision of both is
            measured, or uint8 arrays, paths or bytes. Default: synthetic images.
        budget: how far it may be from the model. Default: 0.5 pixels of the network's input and
            1e-3 in score, 1 pixel and 1e-2 for float16; with 8 bits 0.004 of average precision.
            For "int8" layers stay in float32 until it is kept, at most a quarter of them.
        on_progress: called with a sentence now and then while "int8" is measured.

    Returns:
        The check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: outside the budget, or not runnable on a phone; nothing is kept.
        DataError: `path` exists, there is no `calibration` for "int8", or "mediapipe" does not fit
            the model or the other arguments.

    Warns:
        UserWarning: `metadata` for a model trained on letterboxed images. MediaPipe stretches them.
    """
    options = Options(
        quantize, postprocess, metadata, channels, calibration, score_threshold, iou_threshold
    )
    budget = check_budget(budget, quantize)
    model, notes = options.prepared(model, image_size)
    pictures = check_images(images, model, channels)
    decoder = make_decoder(model, postprocess, metadata, score_threshold, iou_threshold)
    with staging(path, NEW) as (final, artefact):
        network = _network(model, decoder, options, pictures, budget, on_progress)
        if postprocess == "split":
            file = _split(model, network.content)
        else:
            file = _whole(model, network.content, decoder, options)
        artefact.write_bytes(file.content)
        report = certify(
            model,
            artefact,
            file.running,
            images=pictures,
            budget=budget,
            format="tflite",
            settings={**options.settings, **network.settings, **file.settings},
            decoding=file.running.decoding,
            notes=[*notes, *network.notes, *file.running.notes, *file.notes],
            refusal=network.refusal,
        )
        beside: dict[str, str | bytes] = {
            ".labels.txt": labels_text(model.class_names),
            ".certificate.json": report.to_json(),
            **file.beside,
        }
        publish(artefact, final, beside)
    return report


@dataclasses.dataclass(frozen=True)
class _Network:
    """A file in its final numbers that still shows raw outputs beside the detections.

    Args:
        content: of the file.
        settings: what the report says about its numbers.
        notes: what the reader of the report should know.
        refusal: message where the check refuses it. Default: what differs.
    """

    content: bytes
    settings: dict = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refusal: str = ""


@dataclasses.dataclass(frozen=True)
class _File:
    """The file that is kept, and what comes with it.

    Args:
        content: of the file.
        running: it, for the check.
        settings: what the report says about it.
        beside: contents of more files by suffix.
        notes: what the reader of the report should know.
    """

    content: bytes
    running: FileArtefact
    settings: dict
    beside: dict[str, bytes] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _network(
    model: Detector,
    decoder: Any,
    options: Options,
    pictures: Evidence,
    budget: Budget,
    on_progress: Callable[[str], None] | None,
) -> _Network:
    """Converts to float32, and from there to the numbers that were asked for."""
    if options.quantize == "int8":
        return _int8_network(model, decoder, options, pictures, budget, on_progress)
    content = convert(model, decoder, options.input_dtype, options.channels)
    if options.quantize == "float16":
        content = with_float16_kernels(content)
    elif options.quantize == "dynamic":
        content = FloatFile(content, model).dynamic()
    return _Network(content)


def _int8_network(
    model: Detector,
    decoder: Any,
    options: Options,
    pictures: Evidence,
    budget: Budget,
    on_progress: Callable[[str], None] | None,
) -> _Network:
    """Converts to int8, with as few layers in float32 as the budget takes."""
    pixels, left_out = calibration_pixels(options.calibration, model, options.channels)
    content = convert(model, decoder, options.input_dtype, options.channels)

    def check(content: bytes) -> Comparison:
        return compare(model, whole_file(model, content, content, decoder), pictures, budget)

    choice = choose_int8(FloatFile(content, model), pixels, check, budget, on_progress)
    settings = {**choice.settings(), "calibration_images": len(pixels)}
    return _Network(choice.content, settings, (*left_out, *choice.notes()), choice.refusal())


def _whole(model: Detector, opened: bytes, decoder: Any, options: Options) -> _File:
    """One file, which no longer shows its raw outputs where it has detections."""
    operators = check_operators(opened, OPERATOR if options.postprocess == "mediapipe" else None)
    content = opened
    if decoder is not None:
        in_convention = isinstance(decoder, OperatorDecoder | InConvention)
        content = hide_outputs(opened, model.output, OPERATOR_OUTPUTS if in_convention else ())
    if options.metadata is not None:
        content = with_metadata(content, name=model.name, class_names=model.class_names)
    running = whole_file(model, content, opened, decoder)
    return _File(content, running, {"operators": operators})


def _split(model: Detector, opened: bytes) -> _File:
    """A body, and a tail that decodes what it gives."""
    body, joints = cut(opened)
    decoder = model.decoder(exported=True)
    tail = convert_tail(model, decoder, joints)
    delegates = delegate_report(body)
    settings = {
        "operators": check_operators(body),
        "tail_operators": check_operators(tail),
        "tail_sha256": hashlib.sha256(tail).hexdigest(),
        "delegates": delegates,
    }
    running = body_and_tail(model, body, tail, joints, decoder)
    notes = tuple(describe_delegates(delegates))
    return _File(body, running, settings, {TAIL_SUFFIX: tail}, notes)
