"""Decoders in TFLite files: soft-NMS, TFLite's detection operator, MediaPipe's convention."""

from typing import Any

import numpy as np
from keras import ops

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.settings import ANCHOR_SETTINGS
from keras_det.decode.suppression import MIN_SIDE
from keras_det.layers.nms import default_iou_threshold
from keras_det.models import Detector
from keras_det.runtime.detections import OPERATOR_OUTPUTS
from keras_det.types import Config, Tensor, TFTensor

OPERATOR = "TFLite_Detection_PostProcess"
# A score below every threshold. The operator keeps scores at its threshold, this package only those
# above it.
NEVER = -1.0


class OperatorDecoder(AnchorDecoder):
    """`AnchorDecoder` with the custom operator `TFLite_Detection_PostProcess` for NMS.

    The operator does hard NMS across all classes, its fast mode. Its mode per class differed from
    a reference on 2 of 4 images. Candidates are chosen, decoded, clamped and clipped before it, as
    everywhere in this package. So the result is that of `detect(method="hard",
    class_agnostic=True)`. If the operator decoded the boxes itself, it would suppress unclipped
    boxes of all anchors, and fail for a whole image if one box has no width.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        num_classes: int.
        iou_threshold: float in 0..1, or None for the default, 0.5.
        score_threshold: float >= 0, or None for the default, 0.001; detections score above it.

    Returns:
        A function like `AnchorDecoder`, for a batch of 1. It returns the outputs of the operator:
        `locations` `(1, 100, 4)` yxyx in 0..1, `classes` float `(1, 100)`, `scores` `(1, 100)`,
        `num_detections` float `(1,)`. It works only in TFLite; in TensorFlow all outputs are 0.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        iou_threshold: float | None = None,
        score_threshold: float | None = None,
    ):
        # The operator needs a number. Without one, the converter omits the operator silently.
        if iou_threshold is None:
            iou_threshold = default_iou_threshold("hard")
        if score_threshold is None:
            score_threshold = ANCHOR_SETTINGS["score_threshold"]
        super().__init__(
            image_size,
            "hard",
            iou_threshold,
            score_threshold=score_threshold,
            class_agnostic=True,
        )
        self.num_classes = num_classes

    def reference_settings(self) -> Config:
        """Returns settings with which `Detector.decoder` and `detect` find the same."""
        config = super().get_config()
        del config["image_size"]
        return config

    def get_config(self) -> Config:
        return {**super().get_config(), "num_classes": self.num_classes}

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        scores = ops.where(scores > self.nms.score_threshold, scores, NEVER)
        own = ops.one_hot(labels, self.num_classes, dtype="bool")
        table = ops.where(own, ops.expand_dims(scores, -1), NEVER)
        # Relative to this anchor, an encoding is a box: centre and logarithms of the sides.
        anchors = np.tile(np.array([[0, 0, 1, 1]], np.float32), (boxes.shape[1], 1))
        found = self._operator()(self._encodings(boxes), table, anchors)
        return dict(zip(OPERATOR_OUTPUTS, found, strict=True))

    def _encodings(self, boxes: Tensor) -> Tensor:
        height, width = self.height_and_width
        x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
        # The operator fails if a box is empty, whatever its score.
        sides = [ops.maximum(side, MIN_SIDE) for side in (y2 - y1, x2 - x1)]
        centres = [(y1 + y2) / (2 * height), (x1 + x2) / (2 * width)]
        logarithms = [ops.log(side / n) for side, n in zip(sides, (height, width), strict=True)]
        return ops.stack([*centres, *logarithms], axis=-1)

    def _operator(self) -> Any:
        """Returns a function that TFLite's converter replaces by the operator."""
        import tensorflow as tf

        slots = self.nms.max_detections

        @tf.function(experimental_implements=self._signature())
        def operator(
            box_encodings: TFTensor, class_predictions: TFTensor, anchors: TFTensor
        ) -> tuple[TFTensor, ...]:
            return tf.zeros((1, slots, 4)), tf.zeros((1, slots)), tf.zeros((1, slots)), tf.zeros(1)

        return operator

    def _signature(self) -> str:
        """Returns the operator's name and attributes for the converter."""
        settings = self.nms_settings()
        slots = settings["max_detections"]
        attributes = {
            "max_detections": f"i: {slots}",
            "max_classes_per_detection": "i: 1",
            "detections_per_class": f"i: {slots}",
            "use_regular_nms": "b: false",
            "nms_score_threshold": f"f: {float(settings['score_threshold'])}",
            "nms_iou_threshold": f"f: {float(settings['iou_threshold'])}",
            **{f"{side}_scale": "f: 1.0" for side in "yxhw"},
            "num_classes": f"i: {self.num_classes}",
        }
        listed = (f'attr {{ key: "{k}" value {{ {v} }} }}' for k, v in attributes.items())
        return f'name: "{OPERATOR}" {" ".join(listed)}'


class InConvention:
    """A decoder with the outputs of `TFLite_Detection_PostProcess`, as MediaPipe expects them.

    Args:
        decoder: of `Detector.decoder(exported=True)`.
    """

    def __init__(self, decoder: Any):
        self.decoder = decoder

    def __call__(self, *raw: Tensor) -> dict[str, Tensor]:
        found = self.decoder(*raw)
        height, width = self.decoder.height_and_width
        boxes = found["boxes"] / np.array([width, height, width, height], np.float32)
        values = (
            ops.take(boxes, [1, 0, 3, 2], axis=-1),
            ops.cast(ops.maximum(found["labels"], 0), "float32"),
            found["scores"],
            ops.cast(found["num_detections"], "float32"),
        )
        return dict(zip(OPERATOR_OUTPUTS, values, strict=True))

    def get_config(self) -> Config:
        return self.decoder.get_config()


def make_decoder(
    model: Detector,
    postprocess: str,
    metadata: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
) -> Any:
    """Returns the decoder in a TFLite file; None for raw outputs.

    Args:
        model: the detector.
        postprocess, metadata: see `tflite`.
        score_threshold, iou_threshold: for "mediapipe"; None for the defaults.
    """
    if postprocess in ("none", "split"):
        return None
    if postprocess == "mediapipe":
        return OperatorDecoder(model.image_size, model.num_classes, iou_threshold, score_threshold)
    decoder = model.decoder(exported=True)
    return decoder if metadata is None else InConvention(decoder)
