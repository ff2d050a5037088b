"""TFLite files for phones: uint8 image in, detections out."""

import dataclasses
import hashlib
import warnings

from keras_det.errors import DataError, suggest
from keras_det.export.budget import Budget, check_budget
from keras_det.export.calibration import calibration_pixels, check_given
from keras_det.export.certificate import certify
from keras_det.export.contract import Choice
from keras_det.export.conversion import choose_int8, convert, finished, make_decoder
from keras_det.export.delegates import delegate_report, describe_delegates
from keras_det.export.evidence import check_images
from keras_det.export.flatbuffer import check_operators
from keras_det.export.graph import exportable
from keras_det.export.lite_model import LiteModel, SplitModel
from keras_det.export.mediapipe import OPERATOR
from keras_det.export.quantize import check_installed
from keras_det.export.report import ExportError, ExportReport
from keras_det.export.split import TAIL_SUFFIX, convert_tail, cut
from keras_det.export.writing import NEW, labels_text, publish
from keras_det.files import staging

QUANTIZE = ("float32", "float16", "dynamic", "int8")
POSTPROCESS = ("builtin", "mediapipe", "split", "none")
METADATA = ("mediapipe",)
CHANNELS = (3, 1)


def tflite(
    model,
    path,
    *,
    quantize: str = "float32",
    postprocess: str = "builtin",
    calibration=None,
    image_size=None,
    channels: int = 3,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    metadata: str | None = None,
    images=None,
    budget: Budget | None = None,
    on_progress=None,
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
            measured, or uint8 arrays, paths or bytes. Default: drawn images.
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
    _check_choice("quantize", quantize, QUANTIZE)
    _check_choice("postprocess", postprocess, POSTPROCESS)
    _check_choice("channels", channels, CHANNELS)
    thresholds = {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
    _check_mediapipe(model, postprocess, metadata, thresholds)
    _check_metadata(metadata, postprocess, channels)
    _check_calibration(quantize, calibration)
    budget = check_budget(budget, quantize)
    model, notes = exportable(model, image_size)
    if metadata is not None:
        model, more = _as_mediapipe_resizes(model)
        notes += more
    pictures = check_images(images, model, channels)
    decoder = make_decoder(model, postprocess, metadata, **thresholds)
    settings = {"quantize": quantize, "postprocess": postprocess, "metadata": metadata}
    with staging(path, NEW) as (final, artefact):
        if quantize == "int8":
            pixels, left_out = calibration_pixels(calibration, model, channels)
            choice = choose_int8(model, decoder, pixels, pictures, budget, on_progress, channels)
            opened, notes = choice.content, [*notes, *left_out, *choice.notes()]
            settings.update(choice.settings(), calibration_images=len(pixels))
        else:
            dtype, choice = "float32" if postprocess == "split" else "uint8", None
            opened = convert(model, quantize, decoder, dtype, channels)
        parts = _parts(model, opened, decoder, postprocess, metadata, channels)
        artefact.write_bytes(parts.content)
        report = _certified(
            choice,
            model=model,
            artefact=artefact,
            running=parts.running,
            images=pictures,
            budget=budget,
            format="tflite",
            settings={**settings, **parts.settings},
            decoding=parts.running.decoding,
            notes=[*notes, *parts.running.notes, *parts.notes],
        )
        beside = {
            ".labels.txt": labels_text(model.class_names),
            ".certificate.json": report.to_json(),
            **parts.beside,
        }
        publish(artefact, final, beside)
    return report


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The file that is kept, and what comes with it.

    Args:
        content: of the file.
        running: it, for the check.
        settings: what the report says about it.
        beside: contents of more files by suffix.
        notes: what the reader of the report should know.
    """

    content: bytes
    running: LiteModel | SplitModel
    settings: dict
    beside: dict
    notes: tuple[str, ...] = ()


def _parts(model, opened, decoder, postprocess, metadata, channels) -> _Parts:
    """Makes of a file that shows everything what is kept."""
    if postprocess != "split":
        operators = check_operators(opened, OPERATOR if postprocess == "mediapipe" else None)
        content = finished(model, opened, decoder, metadata)
        running = LiteModel(model, content, opened, decoder, channels)
        return _Parts(content, running, {"operators": operators}, {})
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
    running = SplitModel(model, body, tail, joints, decoder, channels)
    notes = tuple(describe_delegates(delegates))
    return _Parts(body, running, settings, {TAIL_SUFFIX: tail}, notes)


def _certified(choice: Choice | None, **arguments) -> ExportReport:
    """`certify`; where int8 is refused, what was tried for it is the message."""
    try:
        return certify(**arguments)
    except ExportError as error:
        if choice is None:
            raise
        raise ExportError(choice.refusal(), error.report) from None


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, choices))}. Received: {value!r}."
            f"{suggest(value, choices)}"
        )


def _check_calibration(quantize, calibration):
    """Raises DataError where it is missing, or given to a format that has no use for it."""
    if quantize in ("dynamic", "int8"):
        check_installed()
    if quantize == "int8":
        check_given(calibration)
    elif calibration is not None:
        raise DataError(
            f'`calibration` is for quantize="int8". Received: quantize={quantize!r}. Leave it out, '
            'or export with quantize="int8".'
        )


def _check_mediapipe(model, postprocess, metadata, thresholds):
    """Raises DataError where an argument needs another: the command line passes them on."""
    if metadata is not None:
        _check_choice("metadata", metadata, METADATA)
    given = [name for name, value in thresholds.items() if value is not None]
    if given and postprocess != "mediapipe":
        raise DataError(
            f'`{given[0]}` is for postprocess="mediapipe". Received: postprocess={postprocess!r}. '
            'Leave it out, or export with postprocess="mediapipe".'
        )
    if postprocess == "mediapipe" and not hasattr(model, "anchors"):
        raise DataError(
            'postprocess="mediapipe" is for a detector with anchors: its operator takes one box '
            f"and the scores of all classes from each. Received: {type(model).__name__}. Export it "
            'with postprocess="builtin".'
        )


def _check_metadata(metadata, postprocess, channels):
    """Raises DataError where there is nothing that metadata could describe."""
    if metadata is None:
        return
    if postprocess in ("none", "split"):
        raise DataError(
            "`metadata` describes detections, not raw outputs. Received: "
            f'metadata={metadata!r}, postprocess="{postprocess}". Export with '
            'postprocess="builtin".'
        )
    if channels != 3:
        raise DataError(
            "MediaPipe takes images of three channels. Received: "
            f"metadata={metadata!r}, channels={channels}. Leave one of them out."
        )


def _as_mediapipe_resizes(model) -> tuple:
    """The model that resizes as MediaPipe does, and notes on how it differs from the one given."""
    mode = model.resize_policy["mode"]
    if mode == "mediapipe":
        return model, []
    if mode == "stretch":
        note = "compared on images sampled as MediaPipe does, beside the half-pixel offset"
        return model.with_changes(resize_mode="mediapipe"), [note]
    note = (
        "MediaPipe stretches images to the network's input, and this model was trained on "
        'letterboxed ones: train it with resize_mode="mediapipe"'
    )
    warnings.warn(f"{note}.", UserWarning, stacklevel=3)
    return model.with_changes(resize_mode="mediapipe"), [note]
