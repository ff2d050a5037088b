"""From class logits and box deltas of all anchors to detections."""

from keras import ops

from keras_det.boxes import decode_deltas
from keras_det.decode.suppression import SuppressingDecoder, best_pairs
from keras_det.layers.nms import first_of_highest, gather_rows

CANDIDATES = ("best_class", "pairs")


class AnchorDecoder(SuppressingDecoder):
    """Chooses the best candidates, decodes their boxes, clips them, removes duplicates.

    The choice is exact in two stages: the k best (anchor, class) pairs belong to the k anchors with
    the highest best class, so most logits are only compared once. Logits stand in the order of
    their sigmoid: only the survivors' are computed. A candidate whose clipped box is thinner than
    0.01 pixel is no detection. The original EfficientDet's "per class"
    evaluation does not clip boxes before NMS, and its "global" export does, as here.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        method: "gaussian", "linear" or "hard"; see `NonMaxSuppression` for it and its settings.
        iou_threshold: float in 0..1, for "linear" and "hard". Default: 0.3 and 0.5.
        sigma: float > 0, for "gaussian". Default: 0.5.
        score_threshold: float >= 0; detections score above it.
        pre_nms_top_k: int, candidates that enter NMS; 0 lets all in.
        max_detections: int, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress one another.
        candidates: "best_class": every anchor stands for its best class only. "pairs": one anchor
            may be several classes (the original with `max_nms_inputs`).

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
        image_size: int | tuple[int, int],
        method: str = "gaussian",
        iou_threshold: float | None = None,
        sigma: float | None = None,
        score_threshold: float = 0.001,
        pre_nms_top_k: int = 1000,
        max_detections: int = 100,
        class_agnostic: bool = False,
        candidates: str = "best_class",
    ):
        if candidates not in CANDIDATES:
            raise ValueError(
                f"`candidates` must be one of {CANDIDATES}. Received: candidates={candidates!r}. "
                '"best_class" is the default.'
            )
        super().__init__(
            image_size,
            method,
            iou_threshold,
            sigma,
            score_threshold,
            pre_nms_top_k,
            max_detections,
            class_agnostic,
        )
        self.candidates = candidates

    def __call__(self, class_logits, box_deltas, anchors) -> dict:
        logits, labels, places = self._choose(class_logits)
        deltas = ops.cast(gather_rows(box_deltas, places), "float32")
        near = ops.take(ops.convert_to_tensor(anchors, "float32"), places, axis=0)
        return self.detections(near, deltas, logits, labels)

    def detections(self, anchors, deltas, logits, labels) -> dict:
        """Decodes the candidates, anchors and deltas `(batch, k, 4)`, and removes duplicates."""
        scores = ops.sigmoid(ops.cast(logits, "float32"))
        return self.detections_of(decode_deltas(anchors, deltas), scores, labels)

    def _choose(self, class_logits):
        """The best candidates, best first: logits, labels, anchor indices, `(batch, k)` each."""
        num_anchors, num_classes = class_logits.shape[1:]
        if self.candidates == "pairs":
            limit = self.pre_nms_top_k or num_anchors * num_classes
            best, places, labels = best_pairs(class_logits, limit)
            return best, labels, places
        limit = min(self.pre_nms_top_k or num_anchors, num_anchors)
        best, places = ops.top_k(ops.max(class_logits, axis=-1), limit)
        return best, first_of_highest(gather_rows(class_logits, places)), places

    def get_config(self) -> dict:
        return {**super().get_config(), "candidates": self.candidates}
