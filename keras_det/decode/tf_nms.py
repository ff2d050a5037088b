"""Non-maximum suppression by TensorFlow's operator, for CPUs and for exports.

On a CPU the operator is several times faster than the loop of the layer `NonMaxSuppression`, and
TFLite has it built in. It does not compile in XLA. So training, GPUs and other backends use the
layer, which is the reference.
"""

from typing import Any

import keras
from keras import ops

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.corner_decode import CornerDecoder
from keras_det.decode.suppression import SuppressingDecoder
from keras_det.layers.nms import (
    at_least_one,
    check_settings,
    detections_from,
    used_settings,
)
from keras_det.types import ImageSize, NMSMethod, Tensor, TFTensor

# Each class gets a tile of a grid, so that boxes of different classes do not overlap. The grid has
# two axes to keep offsets small, and with them rounding: 90 classes on one axis would cost a digit.
GRID_COLUMNS = 16


def tf_non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    image_size: ImageSize,
    method: NMSMethod | str = "gaussian",
    iou_threshold: float | None = None,
    sigma: float | None = None,
    score_threshold: float = 0.001,
    max_detections: int = 100,
    class_agnostic: bool = False,
) -> dict[str, Tensor]:
    """`NonMaxSuppression` by TensorFlow's NonMaxSuppressionV5, one call per image.

    To suppress per class, every class gets its own tile: boxes are scaled to 0..1 and moved by
    whole numbers. That rounds coordinates by about one part in a million of the image (0.0015 pixel
    of 1,536). So scores differ from the layer's: by less than 1e-4 for ordinary boxes, and by less
    than 5e-4 for a side of 4 pixels in such an image. That close to its threshold, a hard decision
    may differ too.

    Args:
        boxes: `(batch, k, 4)` xyxy pixels, clipped to the image: a box that leaves it would reach
            into the next tile.
        scores: `(batch, k)` in 0..1.
        labels: `(batch, k)` int32, at least 0.
        image_size: int or (height, width), pixels.
        method: "gaussian" or "hard". TensorFlow has no operator for "linear": use the layer.
        iou_threshold, sigma, score_threshold, max_detections, class_agnostic: as in the layer.

    Returns:
        The detections dict of the layer.

    Raises:
        ValueError: `method` is "linear", or a setting is out of its range.
    """
    if method == "linear":
        raise ValueError(
            '`method` must be "gaussian" or "hard": TensorFlow has no operator for linear '
            "soft-NMS. Received: method='linear'. Use keras_det.layers.NonMaxSuppression."
        )
    check_settings(method, iou_threshold, sigma, score_threshold, max_detections)
    overlap, sigma = used_settings(method, iou_threshold, sigma)
    return _suppressed(
        *(boxes, scores, labels, image_size),
        iou_threshold=overlap,
        sigma=sigma,
        score_threshold=score_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
    )


def _suppressed(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_size: ImageSize,
    *,
    iou_threshold: float | TFTensor | None,
    sigma: float | TFTensor | None,
    score_threshold: float | TFTensor,
    max_detections: int,
    class_agnostic: bool,
) -> dict[str, Tensor]:
    """`tf_non_max_suppression` with checked settings, whose numbers may be tensors."""
    if sigma is not None:
        # LiteRT and TensorFlow agree on soft-NMS only where the threshold has no effect. The
        # operator computes exp(-iou^2 / (2 * soft_nms_sigma)).
        iou_threshold, soft_sigma = 1.0, sigma / 2
    else:
        soft_sigma = 0.0
    boxes, scores, labels = at_least_one(boxes, scores, labels)
    tiles = boxes if class_agnostic else tiled(boxes, labels, image_size)
    selected, kept, count = _batched(
        tiles,
        scores,
        max_output_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        soft_nms_sigma=soft_sigma,
    )
    # LiteRT pads in any case: only the count says how many detections are real.
    valid = ops.arange(max_detections, dtype="int32")[None] < ops.expand_dims(count, -1)
    return detections_from(boxes, kept, labels, selected, valid)


def tiled(boxes: Tensor, labels: Tensor, image_size: ImageSize) -> Tensor:
    """Boxes in units of the image, each class moved to its own tile: classes never overlap."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    column, row = labels % GRID_COLUMNS, labels // GRID_COLUMNS
    offset = ops.cast(ops.stack([column, row, column, row], axis=-1), "float32")
    scale = ops.convert_to_tensor([width, height, width, height], "float32")
    return boxes / scale + offset


def _batched(
    boxes: TFTensor, scores: TFTensor, **settings: Any
) -> tuple[TFTensor, TFTensor, TFTensor]:
    """Indices, scores `(batch, max_output_size)` and counts `(batch,)`."""
    import tensorflow as tf

    def one_image(inputs: tuple[TFTensor, TFTensor]) -> tuple[TFTensor, TFTensor, TFTensor]:
        found = tf.raw_ops.NonMaxSuppressionV5(
            boxes=inputs[0], scores=inputs[1], pad_to_max_output_size=True, **settings
        )
        return found.selected_indices, found.selected_scores, found.valid_outputs

    if boxes.shape[0] is None:
        kinds = (tf.int32, tf.float32, tf.int32)
        slots = settings["max_output_size"]
        signature = [
            tf.TensorSpec(shape, kind)
            for shape, kind in zip(((slots,), (slots,), ()), kinds, strict=True)
        ]
        return tf.map_fn(one_image, (boxes, scores), fn_output_signature=tuple(signature))
    # A batch of known size needs no loop: TFLite gets plain operators.
    images = [one_image((boxes[i], scores[i])) for i in range(boxes.shape[0])]
    indices, kept, counts = (tf.stack(column) for column in zip(*images, strict=True))
    return indices, kept, counts


class TFSuppression(SuppressingDecoder):
    """Mixin that makes a `SuppressingDecoder` suppress by TensorFlow's operator.

    It stands before the decoder in the list of bases. For CPU inference and exports.
    `method="linear"`, for which there is no operator, uses the layer.
    """

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.nms.method == "linear":
            return self.nms(boxes, scores, labels)
        settings = self.nms_settings()
        del settings["method"]  # tells which of the numbers are None
        return _suppressed(boxes, scores, labels, self.image_size, **settings)


class TFAnchorDecoder(TFSuppression, AnchorDecoder):
    """`AnchorDecoder` that suppresses by TensorFlow's operator: same arguments, same result."""


class TFCornerDecoder(TFSuppression, CornerDecoder):
    """`CornerDecoder` that suppresses by TensorFlow's operator: same arguments, same result."""


BY_OPERATOR: dict[type, type[TFAnchorDecoder] | type[TFCornerDecoder]] = {
    AnchorDecoder: TFAnchorDecoder,
    CornerDecoder: TFCornerDecoder,
}


def inference_decoder(
    image_size: ImageSize,
    *,
    decoder: type[AnchorDecoder] | type[CornerDecoder] = AnchorDecoder,
    **settings: Any,
) -> AnchorDecoder | CornerDecoder:
    """The fastest decoder for predictions outside XLA.

    Under TensorFlow on a CPU it suppresses by TensorFlow's operator, elsewhere by the layer.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        decoder: `AnchorDecoder` or `CornerDecoder`, the class.
        **settings: arguments of that class.

    Raises:
        ValueError: `decoder` is another class.
    """
    if decoder not in BY_OPERATOR:
        raise ValueError(
            f"`decoder` must be one of the classes {[each.__name__ for each in BY_OPERATOR]}. "
            f"Received: decoder={decoder!r}. Call other decoders directly."
        )
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_logical_devices("GPU"):
            return BY_OPERATOR[decoder](image_size, **settings)
    return decoder(image_size, **settings)
