"""TFLite files for phones: uint8 image in, detections out."""

import tempfile
import warnings

from keras import ops

from keras_det.errors import DataError, suggest
from keras_det.export.budget import Budget, check_budget
from keras_det.export.calibration import calibration_pixels, check_given, observed_ranges
from keras_det.export.certificate import certify
from keras_det.export.contract import Choice, keep_accuracy, sensitivity
from keras_det.export.evidence import check_images
from keras_det.export.flatbuffer import check_operators, hide_outputs
from keras_det.export.float16 import with_float16_kernels
from keras_det.export.graph import exportable, frozen_network, save
from keras_det.export.mediapipe import (
    OPERATOR,
    OUTPUTS,
    InConvention,
    OperatorDecoder,
    as_detections,
)
from keras_det.export.metadata import with_metadata
from keras_det.export.quantize import FloatFile, check_installed
from keras_det.export.report import ExportError, ExportReport
from keras_det.export.verify import compare, trim
from keras_det.export.writing import NEW, labels_text, publish
from keras_det.report.files import staging

QUANTIZE = ("float32", "float16", "dynamic", "int8")
POSTPROCESS = ("builtin", "mediapipe", "none")
METADATA = ("mediapipe",)
SIGNATURE = "serving_default"


def tflite(
    model,
    path,
    *,
    quantize: str = "float32",
    postprocess: str = "builtin",
    calibration=None,
    image_size=None,
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

    metadata="mediapipe" is what MediaPipe's ObjectDetector asks for. It opens both ends, "builtin"
    with soft-NMS included, but not integer labels: hence the outputs' convention. It stretches
    images, and it samples them without the half-pixel offset, which moves what the network sees by
    up to half a pixel; images of the network's size go through unchanged.

    Args:
        model: a detector; one of mixed precision is exported in float32.
        path: file that does not exist yet.
        quantize: "float32"; "float16": half the size, kernels are rounded, biases and the
            arithmetic are float32; "dynamic": a quarter of the size, kernels have 8 bits, runtimes
            round what lies between the layers while they run; or "int8": as small, the whole
            network computes with integers, decoding and NMS with floats. The last two need the
            extra `quantize`.
        postprocess: "builtin"; "mediapipe", for detectors with anchors; or "none": outputs are the
            model's raw ones, `class_logits` and `box_deltas` of an anchor detector, the six kinds
            of maps of a CornerNet.
        calibration: for "int8", which needs it: images of the training set, a
            `keras_det.data.Dataset` or a list of uint8 arrays, paths or bytes. They say which
            numbers occur between the layers; of more than 200, 200 spread over them are taken.
        image_size: int or (height, width) of the network's input. Default: the model's.
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
    thresholds = {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
    _check_mediapipe(model, postprocess, metadata, thresholds)
    _check_calibration(quantize, calibration)
    budget = check_budget(budget, quantize)
    model, notes = exportable(model, image_size)
    if metadata is not None:
        notes += _warnings_of_mediapipe(model)
    pictures = check_images(images, model)
    decoder = make_decoder(model, postprocess, metadata, **thresholds)
    settings = {"quantize": quantize, "postprocess": postprocess, "metadata": metadata}
    choice = None
    with staging(path, NEW) as (final, artefact):
        if quantize == "int8":
            pixels, left_out = calibration_pixels(calibration, model)
            choice = choose_int8(model, decoder, pixels, pictures, budget, on_progress)
            opened, notes = choice.content, [*notes, *left_out, *choice.notes()]
            settings.update(choice.settings(), calibration_images=len(pixels))
        else:
            opened = convert(model, quantize, decoder)
        operators = check_operators(opened, OPERATOR if postprocess == "mediapipe" else None)
        content = _finished(model, opened, decoder, metadata)
        artefact.write_bytes(content)
        running = LiteModel(model, content, opened, decoder)
        try:
            report = certify(
                model,
                artefact,
                running,
                images=pictures,
                budget=budget,
                format="tflite",
                settings={**settings, "operators": operators},
                decoding=running.decoding,
                notes=notes + running.notes,
            )
        except ExportError as error:
            if choice is None:
                raise
            raise ExportError(choice.refusal(), error.report) from None
        beside = {
            ".labels.txt": labels_text(model.class_names),
            ".certificate.json": report.to_json(),
        }
        publish(artefact, final, beside)
    return report


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}."
            f"{suggest(value, choices)} Others do not exist yet."
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
    if metadata is not None and postprocess == "none":
        raise DataError(
            "`metadata` describes detections, not raw outputs. Received: "
            f'metadata={metadata!r}, postprocess="none". Export with postprocess="builtin".'
        )
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


def _warnings_of_mediapipe(model) -> list[str]:
    """Warns where MediaPipe does not resize images as the model was trained; the note of it."""
    if model.resize_policy["mode"] == "stretch":
        return []
    note = (
        "MediaPipe stretches images to the network's input, and this model was trained on "
        'letterboxed ones: train it with resize_mode="stretch"'
    )
    warnings.warn(f"{note}.", UserWarning, stacklevel=3)
    return [note]


def _finished(model, opened, decoder, metadata):
    """The file that is kept of one that shows everything."""
    if decoder is None:
        return opened
    in_convention = isinstance(decoder, (OperatorDecoder, InConvention))
    content = hide_outputs(opened, model.output, OUTPUTS if in_convention else ())
    if metadata is None:
        return content
    return with_metadata(content, name=model.name, class_names=model.class_names)


def make_decoder(model, postprocess: str, metadata: str | None = None, **thresholds):
    """The decoder inside the file; None for raw outputs."""
    if postprocess == "none":
        return None
    if postprocess == "mediapipe":
        return OperatorDecoder(model.image_size, model.num_classes, **thresholds)
    decoder = model.decoder(exported=True)
    return decoder if metadata is None else InConvention(decoder)


def convert(model, quantize: str, decoder=None, dtype: str = "uint8") -> bytes:
    """Converts a detector; with a decoder the file shows raw outputs and detections.

    Args:
        model: the detector.
        quantize: "float32", "float16" or "dynamic".
        decoder: of `make_decoder`.
        dtype: of the images, numbers of 0..255.
    """
    import tensorflow as tf

    network = frozen_network(model, batch_size=1, dtype=dtype)
    signature = tf.TensorSpec((1, *model.image_size, 3), dtype, name="images")

    @tf.function(input_signature=[signature])
    def function(images):
        raw = network(images)
        return {**raw, **model.decode(raw, decoder)} if decoder else raw

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        # Only for ours: `check_operators` refuses others.
        converter.allow_custom_ops = isinstance(decoder, OperatorDecoder)
        content = converter.convert()
    if quantize == "dynamic":
        return FloatFile(content, model).dynamic()
    return with_float16_kernels(content) if quantize == "float16" else content


def choose_int8(model, decoder, pixels, pictures, budget, on_progress=None) -> Choice:
    """The int8 file with the fewest layers in float32 that is within the budget.

    Args:
        model: the detector.
        decoder: of `make_decoder`.
        pixels: of `calibration_pixels`.
        pictures: `Evidence` to measure on.
        budget: `Budget`.
        on_progress: as of `tflite`.
    """
    tell = on_progress or (lambda sentence: None)
    file = FloatFile(convert(model, "float32", decoder, dtype="float32"), model)
    ranges = observed_ranges(file.content, file.tensors, pixels)
    tell(f"measured the ranges of {len(ranges)} tensors on {len(pixels)} images")
    errors = sensitivity(file, ranges, pixels, tell)

    def check(content):
        running = LiteModel(model, content, content, decoder)
        return compare(model, running, pictures, budget)

    return keep_accuracy(file, ranges, errors, check, tell)


class LiteModel:
    """A TFLite file as the check sees it.

    Args:
        model: the detector, which decodes where the file does not.
        content: the file.
        opened: the same file with its raw outputs shown.
        decoder: the one inside; None for raw outputs.
    """

    in_original_pixels = False

    def __init__(self, model, content: bytes, opened: bytes, decoder=None):
        self.model = model
        self.decoding = decoder.get_config() if decoder else {}
        by_operator = isinstance(decoder, OperatorDecoder)
        self.decoder_settings = decoder.reference_settings() if by_operator else {}
        interpreter, self.runtime, self.notes = _interpreter()
        # A runner is only valid while its interpreter lives.
        self.interpreters = [interpreter(model_content=each) for each in (content, opened)]
        runners = [each.get_signature_runner(SIGNATURE) for each in self.interpreters]
        self.run, self.run_opened = runners

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        return {SIGNATURE: sorted(self.run.get_output_details())}

    def raw(self, pixels) -> dict:
        """Raw outputs of `(1, height, width, 3)` uint8."""
        found = self.run_opened(images=pixels)
        return {name: found[name] for name in self.model.output}

    def calls(self, image, pixels) -> dict:
        """Detections in the network's input; Keras decodes raw outputs."""

        def call():
            found = self.run(images=pixels)
            if "locations" in found:
                found = as_detections(found, self.model.image_size)
            if "boxes" not in found:
                found = {k: ops.convert_to_numpy(v) for k, v in self.model.decode(found).items()}
            return trim(found)

        return {SIGNATURE: call}


def _interpreter():
    """The interpreter class, its version, and a note where it is not the one of phones."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        note = (
            "run with TensorFlow's own TFLite interpreter, which computes some convolutions with "
            "stride 4 wrongly: install ai-edge-litert"
        )
        return tf.lite.Interpreter, {"interpreter": f"tensorflow {tf.__version__}"}, [note]
    import importlib.metadata

    version = importlib.metadata.version("ai-edge-litert")
    return Interpreter, {"interpreter": f"ai-edge-litert {version}"}, []
