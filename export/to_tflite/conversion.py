"""Converts a detector to TFLite: the whole file, or the tail of a split export."""

import tempfile
from typing import Any

from keras_det.export.network.graph import frozen_network, save
from keras_det.export.tflite_file.split import Joint, value_of
from keras_det.export.tflite_file.upsampling import with_resizes
from keras_det.export.to_tflite.decoders import OperatorDecoder
from keras_det.models import Detector
from keras_det.runtime.lite_model import INPUT, SIGNATURE
from keras_det.types import TFTensor


def convert(model: Detector, decoder: Any = None, dtype: str = "uint8", channels: int = 3) -> bytes:
    """Converts a detector to a float32 file. With a decoder it returns raw outputs and detections.

    Args:
        model: the detector.
        decoder: of `make_decoder`.
        dtype: of the images, whose values are in 0..255.
        channels: of the images, 3 or 1.
    """
    import tensorflow as tf

    network = frozen_network(model, batch_size=1, dtype=dtype)
    signature = tf.TensorSpec((1, *model.image_size, channels), dtype, name=INPUT)

    @tf.function(input_signature=[signature])
    def function(images: TFTensor) -> dict[str, TFTensor]:
        raw = network(images if channels == 3 else tf.concat([images] * 3, axis=-1))
        return {**raw, **model.decode(raw, decoder)} if decoder else raw

    # `check_operators` refuses every custom operator but this one.
    return with_resizes(_converted(function, custom=isinstance(decoder, OperatorDecoder)))


def convert_tail(model: Detector, decoder: Any, joints: dict[str, list[Joint]]) -> bytes:
    """Makes the tail of a split export. It decodes the outputs of the body on the processor.

    Its inputs have the names of the outputs of the body.

    Args:
        model: the detector.
        decoder: of `Detector.decoder(exported=True)`.
        joints: of `split.cut`.
    """
    import tensorflow as tf

    parts = [joint for each in joints.values() for joint in each]
    signature = {
        joint.name: tf.TensorSpec(
            joint.shape, tf.float32 if joint.scale is None else tf.int8, joint.name
        )
        for joint in parts
    }

    @tf.function(input_signature=[signature])
    def function(found: dict[str, TFTensor]) -> dict[str, TFTensor]:
        raw = {}
        for name, each in joints.items():
            values = [value_of(joint, tf.cast(found[joint.name], tf.float32)) for joint in each]
            shape = (1, *model.output[name].shape[1:])
            raw[name] = tf.concat([tf.reshape(x, (1, -1, *shape[2:])) for x in values], axis=1)
            raw[name] = tf.ensure_shape(tf.reshape(raw[name], shape), shape)
        return model.decode(raw, decoder)

    return _converted(function)


def _converted(function: Any, custom: bool = False) -> bytes:
    """Returns the TFLite file of a TensorFlow function.

    Args:
        function: with an input signature.
        custom: whether custom operators are allowed.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.allow_custom_ops = custom
        return converter.convert()
