"""The second file of a split export: decodes on the processor what the first one gives."""

import tempfile
from typing import Any

from keras_det.export.network.graph import save
from keras_det.export.tflite_file.split import Joint, value_of
from keras_det.models import Detector
from keras_det.runtime.lite_model import SIGNATURE


def convert_tail(model: Detector, decoder: Any, joints: dict[str, list[Joint]]) -> bytes:
    """The tail: outputs of the body in, under their names, detections out.

    Args:
        model: the detector.
        decoder: what it decodes by.
        joints: of `cut`.
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
    def function(found):
        raw = {}
        for name, each in joints.items():
            values = [value_of(joint, tf.cast(found[joint.name], tf.float32)) for joint in each]
            shape = (1, *model.output[name].shape[1:])
            raw[name] = tf.concat([tf.reshape(x, (1, -1, *shape[2:])) for x in values], axis=1)
            raw[name] = tf.ensure_shape(tf.reshape(raw[name], shape), shape)
        return model.decode(raw, decoder)

    with tempfile.TemporaryDirectory() as folder:
        save(tf.Module(), folder, {SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        return converter.convert()
