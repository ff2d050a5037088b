"""From a detector to the bytes of a TFLite file."""

import tempfile

from keras_det.export.calibration import observed_ranges
from keras_det.export.contract import Choice, keep_accuracy, sensitivity
from keras_det.export.flatbuffer import hide_outputs
from keras_det.export.float16 import with_float16_kernels
from keras_det.export.graph import frozen_network, save
from keras_det.export.lite_model import SIGNATURE, LiteModel
from keras_det.export.mediapipe import OUTPUTS, InConvention, OperatorDecoder
from keras_det.export.metadata import with_metadata
from keras_det.export.quantize import FloatFile
from keras_det.export.upsampling import with_resizes
from keras_det.export.verify import compare


def finished(model, opened, decoder, metadata):
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
    if postprocess in ("none", "split"):
        return None
    if postprocess == "mediapipe":
        return OperatorDecoder(model.image_size, model.num_classes, **thresholds)
    decoder = model.decoder(exported=True)
    return decoder if metadata is None else InConvention(decoder)


def convert(model, quantize: str, decoder=None, dtype: str = "uint8", channels: int = 3) -> bytes:
    """Converts a detector; with a decoder the file shows raw outputs and detections.

    Args:
        model: the detector.
        quantize: "float32", "float16" or "dynamic".
        decoder: of `make_decoder`.
        dtype: of the images, numbers of 0..255.
        channels: of the images, 3 or 1.
    """
    import tensorflow as tf

    network = frozen_network(model, batch_size=1, dtype=dtype)
    signature = tf.TensorSpec((1, *model.image_size, channels), dtype, name="images")

    @tf.function(input_signature=[signature])
    def function(images):
        raw = network(images if channels == 3 else tf.concat([images] * 3, axis=-1))
        return {**raw, **model.decode(raw, decoder)} if decoder else raw

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        # Only for ours: `check_operators` refuses others.
        converter.allow_custom_ops = isinstance(decoder, OperatorDecoder)
        content = with_resizes(converter.convert())
    if quantize == "dynamic":
        return FloatFile(content, model).dynamic()
    return with_float16_kernels(content) if quantize == "float16" else content


def choose_int8(
    model, decoder, pixels, pictures, budget, on_progress=None, channels: int = 3
) -> Choice:
    """The int8 file with the fewest layers in float32 that is within the budget.

    Args:
        model: the detector.
        decoder: of `make_decoder`.
        pixels: of `calibration_pixels`.
        pictures: `Evidence` to measure on.
        budget: `Budget`.
        on_progress: as of `tflite`.
        channels: of the images, 3 or 1.
    """
    tell = on_progress or (lambda sentence: None)
    file = FloatFile(convert(model, "float32", decoder, "float32", channels), model)
    ranges = observed_ranges(file.content, file.tensors, file.pixels, pixels)
    tell(f"measured the ranges of {len(ranges)} tensors on {len(pixels)} images")
    errors = sensitivity(file, ranges, pixels, tell)

    def check(content):
        running = LiteModel(model, content, content, decoder, channels)
        return compare(model, running, pictures, budget)

    return keep_accuracy(file, ranges, errors, check, budget, tell)
