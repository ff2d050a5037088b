"""From class logits and box deltas of all anchors to detections."""

from keras import ops

from keras_det.boxes import decode_deltas
from keras_det.decode.suppression import SuppressingDecoder, best_pairs
from keras_det.layers.nms import NonMaxSuppression, first_of_highest, gather_rows
from keras_det.names import CANDIDATES
from keras_det.types import Config, ImageSize, NMSMethod, Tensor


class AnchorDecoder(SuppressingDecoder):
    """Chooses the best candidates, decodes their boxes, clips them, removes duplicates.

    The candidates are chosen in two stages, and the result is exact: the k best (anchor, class)
    pairs belong to the k anchors whose best class scores highest. So most logits are compared only
    once. Logits have the same order as their sigmoids, so only the sigmoids of the chosen ones are
    computed. A candidate whose clipped box is thinner than 0.01 pixel is dropped. Boxes are clipped
    before NMS, as in the original EfficientDet's "global" export; its "per class" evaluation does
    not clip them.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        method: "gaussian", "linear" or "hard", with the settings that follow; see
            `NonMaxSuppression`.
        iou_threshold: float in 0..1, for "linear" and "hard". Default: 0.3 and 0.5.
        sigma: float > 0, for "gaussian". Default: 0.5.
        score_threshold: float in 0..1; the scores of detections lie above it.
        pre_nms_top_k: int, the number of candidates that enter NMS; 0 for all.
        max_detections: int, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress one another.
        candidates: "best_class": each anchor is a candidate for its best class only. "pairs": an
            anchor may be a candidate for several classes (the original with `max_nms_inputs`).

    Call arguments:
        class_logits: `(batch, anchors, classes)`.
        box_deltas: `(batch, anchors, 4)` as `(dx, dy, dw, dh)`.
        anchors: `(anchors, 4)` xyxy pixels.

    Returns:
        dict: `boxes` `(batch, max_detections, 4)` xyxy pixels of the network's input, `scores`,
        `labels`, `num_detections`; empty slots: box 0, score 0, label -1.
    """

    def __init__(
        self,
        image_size: ImageSize,
        method: NMSMethod | str = "gaussian",
        iou_threshold: float | None = None,
        sigma: float | None = None,
        score_threshold: float = 0.001,
        pre_nms_top_k: int = 1000,
        max_detections: int = 100,
        class_agnostic: bool = False,
        candidates: str = "best_class",
    ) -> None:
        if candidates not in CANDIDATES:
            raise ValueError(
                f"`candidates` must be one of {CANDIDATES}. Received: candidates={candidates!r}. "
                'Leave it out for the default, "best_class".'
            )
        nms = NonMaxSuppression(
            method, iou_threshold, sigma, score_threshold, max_detections, class_agnostic
        )
        super().__init__(image_size, pre_nms_top_k, nms)
        self.candidates = candidates

    def __call__(
        self, class_logits: Tensor, box_deltas: Tensor, anchors: Tensor
    ) -> dict[str, Tensor]:
        logits, labels, places = self._choose(class_logits)
        deltas = ops.cast(gather_rows(box_deltas, places), "float32")
        near = ops.take(ops.convert_to_tensor(anchors, "float32"), places, axis=0)
        return self.detections(near, deltas, logits, labels)

    def detections(
        self, anchors: Tensor, deltas: Tensor, logits: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Decodes the boxes of the candidates and removes duplicates.

        Args:
            anchors: `(batch, k, 4)` xyxy pixels, the anchor of each candidate.
            deltas: `(batch, k, 4)`.
            logits: `(batch, k)`, of the class that each candidate stands for.
            labels: `(batch, k)` int32, that class.
        """
        scores = ops.sigmoid(ops.cast(logits, "float32"))
        return self.detections_of(decode_deltas(anchors, deltas), scores, labels)

    def _choose(self, class_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, labels and anchor indices of the best candidates, best first, `(batch, k)`."""
        num_anchors, num_classes = class_logits.shape[1:]
        if self.candidates == "pairs":
            limit = self.pre_nms_top_k or num_anchors * num_classes
            best, places, labels = best_pairs(class_logits, limit)
            return best, labels, places
        limit = min(self.pre_nms_top_k or num_anchors, num_anchors)
        best, places = ops.top_k(ops.max(class_logits, axis=-1), limit)
        return best, first_of_highest(gather_rows(class_logits, places)), places

    def get_config(self) -> Config:
        return {**super().get_config(), "candidates": self.candidates}
