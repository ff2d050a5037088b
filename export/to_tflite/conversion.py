"""From a detector to the bytes of a TFLite file."""

import tempfile
from typing import Any

from keras_det.export.network.graph import frozen_network, save
from keras_det.export.tflite_file.upsampling import with_resizes
from keras_det.export.to_tflite.decoders import OperatorDecoder
from keras_det.models import Detector
from keras_det.runtime.lite_model import INPUT, SIGNATURE


def convert(model: Detector, decoder: Any = None, dtype: str = "uint8", channels: int = 3) -> bytes:
    """Converts a detector to float32; with a decoder the file shows raw outputs and detections.

    Args:
        model: the detector.
        decoder: of `make_decoder`.
        dtype: of the images, numbers of 0..255.
        channels: of the images, 3 or 1.
    """
    import tensorflow as tf

    network = frozen_network(model, batch_size=1, dtype=dtype)
    signature = tf.TensorSpec((1, *model.image_size, channels), dtype, name=INPUT)

    @tf.function(input_signature=[signature])
    def function(images):
        raw = network(images if channels == 3 else tf.concat([images] * 3, axis=-1))
        return {**raw, **model.decode(raw, decoder)} if decoder else raw

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        # Only for ours: `check_operators` refuses others.
        converter.allow_custom_ops = isinstance(decoder, OperatorDecoder)
        return with_resizes(converter.convert())
