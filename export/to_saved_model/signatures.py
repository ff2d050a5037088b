"""The signatures of a SavedModel: for encoded images, pixels of any size, the network's input."""

from collections.abc import Callable
from typing import Any

from keras_det.export.to_saved_model.rows import read_rows, resize, resized_signature, to_original
from keras_det.models import Detector
from keras_det.types import TFTensor

# Values of a row without an image.
EMPTY = {"boxes": 0.0, "scores": 0.0, "labels": -1, "num_detections": 0}


def signatures(model: Detector, network: Callable[[Any], dict], max_pixels: int) -> dict[str, Any]:
    """Returns the TensorFlow functions by name; see `export.saved_model`.

    Args:
        model: the detector.
        network: of `frozen_network`, for any batch size.
        max_pixels: an encoded image with more is not decoded.
    """
    import tensorflow as tf

    height, width = model.image_size
    decoder = model.decoder(exported=True)

    def detect(pixels: TFTensor, back: TFTensor, sizes: TFTensor) -> dict[str, TFTensor]:
        found = model.decode(network(pixels), decoder)
        return {**found, "boxes": to_original(found["boxes"], back, sizes)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes: TFTensor) -> dict[str, TFTensor]:
        pixels, back, sizes, valid = read_rows(model, image_bytes, max_pixels)
        found = detect(pixels, back, sizes)
        return {**_emptied(found, valid), "valid": valid}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def images(images: TFTensor) -> dict[str, TFTensor]:
        signature = resized_signature(model)
        rows = tf.map_fn(lambda x: resize(model, x), images, fn_output_signature=signature)
        return detect(*rows)

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], tf.uint8, name="images")])
    def raw(images: TFTensor) -> dict[str, TFTensor]:
        return network(images)

    return {"serving_default": serving_default, "images": images, "raw": raw}


def _emptied(found: dict[str, TFTensor], valid: TFTensor) -> dict[str, TFTensor]:
    """Removes the detections of rows that are not images."""
    import tensorflow as tf

    emptied = {}
    for name, value in found.items():
        row = tf.reshape(valid, [-1] + [1] * (value.shape.rank - 1))
        emptied[name] = tf.where(row, value, tf.cast(EMPTY[name], value.dtype))
    return emptied
