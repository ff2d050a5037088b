"""`export.tflite`: TFLite files for phones, from a uint8 image to detections."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any

from keras_det.export.check.artefact import FileArtefact
from keras_det.export.check.budget import Budget, check_budget
from keras_det.export.check.certificate import certify
from keras_det.export.check.evidence import Evidence, check_images
from keras_det.export.check.publishing import exporting, labels_text, publish
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
from keras_det.export.tflite_file.split import Joint, cut, joined
from keras_det.export.to_tflite.conversion import convert, convert_tail
from keras_det.export.to_tflite.decoders import (
    OPERATOR,
    InConvention,
    OperatorDecoder,
    make_decoder,
)
from keras_det.export.to_tflite.options import Options
from keras_det.files import write_staged
from keras_det.models import Detector
from keras_det.runtime.detections import OPERATOR_OUTPUTS
from keras_det.runtime.libraries import any_interpreter
from keras_det.runtime.lite_model import TAIL_SUFFIX, LiteModel


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

    Input `images`: uint8 `[1, height, width, 3]` RGB, resized as in training. Outputs by name of
    the signature: `boxes` `[1, 100, 4]` xyxy in pixels of the network's input, `scores` `[1, 100]`,
    `labels` int32 `[1, 100]`, `num_detections` int32 `[1]`. Unused slots hold box 0, score 0,
    label -1. The file includes soft-NMS. `<path>.labels.txt` holds the class names, one per line.

    postprocess="mediapipe" uses TFLite's custom operator for detections, which mobile runtimes
    include. It does hard NMS across all classes, like `detect(method="hard",
    class_agnostic=True)`. With it, and with `metadata`, the outputs follow that operator's
    convention: `locations` `[1, 100, 4]` yxyx in 0..1, `classes` float `[1, 100]`, `scores`,
    `num_detections` float `[1]`. Values in unused slots have no meaning.

    postprocess="split" writes two files. The body at `path` is the part for an accelerator. The
    tail at `<path>.tail.tflite` decodes the body's outputs on the processor. Each output of the
    body is the input of the tail with the same name. The body takes float32 images in 0..255, and
    uint8 images with "int8". `settings["delegates"]` of the report lists the operators that the
    delegates for GPUs, NPUs and the Edge TPU leave to the processor.

    metadata="mediapipe" adds the metadata that MediaPipe's ObjectDetector needs. It works with
    both "builtin", soft-NMS included, and "mediapipe". MediaPipe does not accept integer labels, so
    the outputs follow the operator's convention. MediaPipe stretches images and samples them like
    `resize_mode="mediapipe"`. The check resizes images in the same way, so its average precision
    is the one to expect in MediaPipe.

    Args:
        model: a detector. One of mixed precision is exported in float32.
        path: a file that does not exist yet.
        quantize: number format. "float32". "float16": half the size; kernels are rounded, biases
            and arithmetic stay float32. "dynamic": a quarter to a third of the size; kernels have 8
            bits, and the runtime rounds activations. "int8": as small; the network computes with
            integers, decoding and NMS with floats. The last two need the extra `quantize`.
        postprocess: "builtin"; "mediapipe", for detectors with anchors; "split"; or "none" for the
            raw outputs of the model: `class_logits` and `box_deltas` of an anchor detector, the six
            kinds of maps of a CornerNet.
        calibration: calibration data, required for "int8" and only used with it: images of the
            training set, as a `keras_det.data.Dataset` or a list of uint8 arrays, paths or bytes.
            They give the range of the activations. At most 200 evenly spread images are used.
        image_size: int or (height, width) of the network's input. Default: the model's.
        channels: 3, or 1 for grey images `[1, height, width, 1]`, of a thermal camera or the Y
            plane of YUV. The network gets the grey value in all three channels, and so does the
            model in the check.
        score_threshold: float >= 0, only with "mediapipe"; detections score above it. Default:
            0.001.
        iou_threshold: float in 0..1, only with "mediapipe". If two boxes overlap more, only the
            one with the higher score is kept. Default: 0.5.
        metadata: "mediapipe" writes MediaPipe's metadata and the class names into the file; not
            with raw outputs. Default: no metadata.
        images: images for the check: a labelled `Dataset`, on which the average precision of both
            is measured, or uint8 arrays, paths or bytes. Default: synthetic images.
        budget: the allowed differences from the model. Default: 0.5 pixels of the network's input
            and 1e-3 in score; 1 pixel and 1e-2 for float16; 0.004 of average precision with 8
            bits. An "int8" export keeps layers in float32 until it is within the budget, at most a
            quarter of the layers.
        on_progress: called with a sentence about the progress; only for "int8".

    Returns:
        The report of the check, also written to `<path>.certificate.json`.

    Raises:
        ExportError: the file is outside the budget, or cannot run on a phone. Nothing is kept.
        DataError: `path` exists; "int8" without `calibration`; arguments that exclude each other
            or do not fit the model; or a package is missing.
        ValueError: an unknown choice, or a number out of range.
        TypeError: `model` is not a detector, or `budget` is not a `Budget`.

    Warns:
        UserWarning: `metadata` for a model that was trained on letterboxed images. MediaPipe
            stretches images.
    """
    options = Options(
        quantize=quantize,
        postprocess=postprocess,
        metadata=metadata,
        channels=channels,
        calibration=calibration,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        on_progress=on_progress,
    )
    budget = check_budget(budget, quantize)
    model, notes = options.prepared(model, image_size)
    pictures = check_images(images, model, channels)
    decoder = make_decoder(model, postprocess, metadata, score_threshold, iou_threshold)
    with exporting(path) as (final, artefact):
        network = _network(model, decoder, options, pictures, budget)
        if postprocess == "split":
            file = _split(model, network.content)
        else:
            file = _whole(model, network.content, decoder, options)
        write_staged(artefact, file.content, path)
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
    """A file in its final number format, which still returns raw outputs beside detections.

    Args:
        content: of the file.
        settings: facts about the number format for the report.
        notes: remarks for the report.
        refusal: message of the error if the check fails. Default: the differences.
    """

    content: bytes
    settings: dict = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refusal: str = ""


@dataclasses.dataclass(frozen=True)
class _File:
    """The final file.

    Args:
        content: of the file.
        running: the same file, opened for the check.
        settings: facts about the file for the report.
        beside: contents of more files by suffix.
        notes: remarks for the report.
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
) -> _Network:
    """Converts the model to float32, and then to the number format of the options."""
    if options.quantize == "int8":
        return _int8_network(model, decoder, options, pictures, budget)
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
) -> _Network:
    """Converts the model to int8, with as few layers in float32 as the budget allows."""
    pixels, left_out = calibration_pixels(options.calibration, model, options.channels)
    content = convert(model, decoder, options.input_dtype, options.channels)

    def check(content: bytes) -> Comparison:
        return compare(model, whole_file(model, content, content, decoder), pictures, budget)

    choice = choose_int8(FloatFile(content, model), pixels, check, budget, options.on_progress)
    settings = {**choice.settings(), "calibration_images": len(pixels)}
    return _Network(choice.content, settings, (*left_out, *choice.notes()), choice.refusal())


def _whole(model: Detector, opened: bytes, decoder: Any, options: Options) -> _File:
    """Makes an export of one file. Raw outputs are hidden if there are detections."""
    operators = check_operators(opened, OPERATOR if options.postprocess == "mediapipe" else None)
    content = opened
    if decoder is not None:
        in_convention = isinstance(decoder, OperatorDecoder | InConvention)
        content = hide_outputs(opened, model.output, OPERATOR_OUTPUTS if in_convention else ())
    if options.metadata is not None:
        content = with_metadata(
            content,
            name=model.name,
            class_names=model.class_names,
            score_thresholds=model.score_thresholds,
        )
    running = whole_file(model, content, opened, decoder)
    return _File(content, running, {"operators": operators})


def _split(model: Detector, opened: bytes) -> _File:
    """Makes the body and the tail of a split export."""
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


def whole_file(model: Detector, content: bytes, opened: bytes, decoder: Any) -> FileArtefact:
    """Opens an export of one file.

    Args:
        model: the detector.
        content: the file.
        opened: the same file with visible raw outputs.
        decoder: the decoder in the file; None for raw outputs.
    """
    interpreter, versions, notes = any_interpreter()
    return FileArtefact(
        model,
        LiteModel(content, interpreter=interpreter),
        LiteModel(opened, interpreter=interpreter).values,
        versions,
        decoder.get_config() if decoder else {},
        decoder.reference_settings() if isinstance(decoder, OperatorDecoder) else {},
        notes,
    )


def body_and_tail(
    model: Detector, body: bytes, tail: bytes, joints: dict[str, list[Joint]], decoder: Any
) -> FileArtefact:
    """Opens the two files of a split export.

    Args:
        model: the detector.
        body, tail: the files.
        joints: of `split.cut`: the outputs of the body that form each raw output.
        decoder: the decoder in the tail.
    """
    interpreter, versions, notes = any_interpreter()
    alone = LiteModel(body, interpreter=interpreter)
    shapes = {name: value.shape[1:] for name, value in model.output.items()}
    return FileArtefact(
        model,
        LiteModel(body, tail, interpreter=interpreter),
        lambda pixels: joined(alone.values(pixels), joints, shapes),
        versions,
        decoder.get_config(),
        {},
        notes,
    )
