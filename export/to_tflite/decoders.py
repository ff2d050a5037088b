"""Decoders that end TFLite files: soft-NMS, TFLite's own operator, MediaPipe's convention."""

from typing import Any

import numpy as np
from keras import ops

from keras_det.decode.anchor_decode import AnchorDecoder
from keras_det.decode.suppression import MIN_SIDE
from keras_det.layers.nms import default_iou_threshold
from keras_det.models import Detector
from keras_det.runtime.detections import OPERATOR_OUTPUTS

OPERATOR = "TFLite_Detection_PostProcess"
# Below every threshold: the operator keeps what reaches its threshold, we what exceeds it.
NEVER = -1.0


class OperatorDecoder(AnchorDecoder):
    """`AnchorDecoder` that suppresses by the custom operator `TFLite_Detection_PostProcess`.

    Hard NMS across all classes, the operator's fast kind: its other kind, per class, differed from
    a reference on 2 of 4 images. Candidates are chosen, decoded, clamped and clipped as everywhere
    in this package, so the operator finds what `detect(method="hard", class_agnostic=True)` finds.
    Left to decode them itself it would suppress unclipped boxes of all anchors, and refuse a whole
    image where one box has no width.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        num_classes: int.
        iou_threshold: float or None (0.5).
        score_threshold: float >= 0; detections score above it.

    Returns:
        Function as of `AnchorDecoder`, of a batch of 1, that returns the operator's outputs:
        `locations` `(1, 100, 4)` yxyx in 0..1, `classes` float `(1, 100)`, `scores` `(1, 100)`,
        `num_detections` float `(1,)`. It runs in TFLite only: in TensorFlow all are 0.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        iou_threshold: float | None = None,
        score_threshold: float | None = None,
    ):
        given = {} if score_threshold is None else {"score_threshold": score_threshold}
        # The operator wants a number, and the converter drops it without a word if it gets none.
        overlap = default_iou_threshold("hard") if iou_threshold is None else iou_threshold
        super().__init__(image_size, "hard", overlap, class_agnostic=True, **given)
        self.num_classes = num_classes

    def reference_settings(self) -> dict:
        """Settings of `Detector.decoder` and `detect` that find the same."""
        config = super().get_config()
        del config["image_size"]
        return config

    def get_config(self) -> dict:
        return {**super().get_config(), "num_classes": self.num_classes}

    def suppress(self, boxes: Any, scores: Any, labels: Any) -> dict:
        scores = ops.where(scores > self.nms.score_threshold, scores, NEVER)
        own = ops.one_hot(labels, self.num_classes, dtype="bool")
        table = ops.where(own, ops.expand_dims(scores, -1), NEVER)
        # Around this anchor an encoding is a box: centre and logarithms of the sides.
        anchors = np.tile(np.array([[0, 0, 1, 1]], np.float32), (boxes.shape[1], 1))
        found = self._operator()(self._encodings(boxes), table, anchors)
        return dict(zip(OPERATOR_OUTPUTS, found, strict=True))

    def _encodings(self, boxes):
        height, width = self.height_and_width
        x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
        # The operator refuses the image where a box is empty, whatever it scores.
        sides = [ops.maximum(side, MIN_SIDE) for side in (y2 - y1, x2 - x1)]
        centres = [(y1 + y2) / (2 * height), (x1 + x2) / (2 * width)]
        logarithms = [ops.log(side / n) for side, n in zip(sides, (height, width), strict=True)]
        return ops.stack([*centres, *logarithms], axis=-1)

    def _operator(self):
        """A function that TFLite's converter replaces by the operator, with these attributes."""
        import tensorflow as tf

        slots = self.nms.max_detections

        @tf.function(experimental_implements=self._signature())
        def operator(box_encodings, class_predictions, anchors):
            return tf.zeros((1, slots, 4)), tf.zeros((1, slots)), tf.zeros((1, slots)), tf.zeros(1)

        return operator

    def _signature(self):
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
    """A decoder whose detections leave as the operator's outputs do, which MediaPipe reads.

    Args:
        decoder: one of `Detector.decoder(exported=True)`.
    """

    def __init__(self, decoder: Any):
        self.decoder = decoder

    def __call__(self, *raw: Any) -> dict:
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

    def get_config(self) -> dict:
        return self.decoder.get_config()


def make_decoder(
    model: Detector,
    postprocess: str,
    metadata: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
) -> Any:
    """The decoder inside a TFLite file; None where it gives raw outputs.

    Args:
        model: the detector.
        postprocess, metadata: as of `tflite`.
        score_threshold, iou_threshold: of "mediapipe"; None for the defaults.
    """
    if postprocess in ("none", "split"):
        return None
    if postprocess == "mediapipe":
        return OperatorDecoder(model.image_size, model.num_classes, iou_threshold, score_threshold)
    decoder = model.decoder(exported=True)
    return decoder if metadata is None else InConvention(decoder)
