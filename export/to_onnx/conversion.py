"""Converts a detector to an ONNX graph, makes it faster, and appends hard NMS."""

import copy
from types import ModuleType
from typing import Any

from keras_det.decode.tf_nms import tiled
from keras_det.errors import DataError, install_hint
from keras_det.export.network.graph import frozen_network
from keras_det.export.to_onnx.graph_edits import INPUT, make_resizing_plain, transpose_pixels_first
from keras_det.export.to_onnx.suppression import BATCH, CANDIDATE, append_suppression
from keras_det.models import Detector
from keras_det.types import TFTensor

# The first opset with all operators that are used here. Runtimes since 2023 support it.
OPSET = 18


def onnx_libraries() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Returns the modules `onnx`, `onnxruntime` and `tf2onnx`; DataError if one is missing."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise DataError(
            "An export to ONNX needs the packages onnx, onnxruntime and tf2onnx. Received: "
            f"{error}. Install them with {install_hint('onnx')}."
        ) from None
    return onnx, onnxruntime, tf2onnx


def convert(model: Detector, decoder: Any = None) -> Any:
    """Converts a detector to an ONNX model with any batch size.

    Args:
        model: the detector.
        decoder: of `model.decoder(exported=True, method="hard")`; None for raw outputs only.

    Returns:
        `onnx.ModelProto` with the raw outputs and, with a decoder, `suppression.DETECTIONS`.
    """
    import tensorflow as tf

    onnx, _, tf2onnx = onnx_libraries()
    network = frozen_network(model)
    signature = tf.TensorSpec((None, *model.image_size, 3), tf.uint8, name=INPUT)

    def function(images: TFTensor) -> dict[str, TFTensor]:
        raw = network(images)
        return {**raw, **_candidates(model, raw, decoder)} if decoder else raw

    proto, _ = tf2onnx.convert.from_function(
        tf.function(function, input_signature=[signature]), [signature], opset=OPSET
    )
    make_resizing_plain(onnx, proto.graph)
    transpose_pixels_first(onnx, proto.graph)
    if decoder:
        append_suppression(onnx, proto.graph, decoder)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(proto)
    return proto


def _candidates(model: Detector, raw: dict, decoder: Any) -> dict:
    """Returns the candidates of the decoder before NMS, by their output names.

    Overlaps are measured on `tiles`; `boxes` are returned.
    """

    def stop_before(boxes: TFTensor, scores: TFTensor, labels: TFTensor) -> dict[str, TFTensor]:
        separate = not decoder.nms.class_agnostic
        tiles = tiled(boxes, labels, decoder.image_size) if separate else boxes
        found = {"tiles": tiles, "boxes": boxes, "scores": scores, "labels": labels}
        return {f"{CANDIDATE}{name}": value for name, value in found.items()}

    stopping = copy.copy(decoder)
    stopping.suppress = stop_before
    return model.decode(raw, stopping)
