"""From class logits and box deltas of all anchors to detections."""

from keras import ops

from keras_det.boxes import clip_boxes, decode_deltas
from keras_det.layers.nms import NonMaxSuppression, first_of_highest, gather_rows

CANDIDATES = ("best_class", "pairs")
# Pixels. A box that clipping leaves no area overlaps nothing, itself included; LiteRT's soft-NMS
# selects such a box again and again. The tiles of `tf_nms` resolve 0.002 pixel of 1,536.
MIN_SIDE = 0.01


class AnchorDecoder:
    """Chooses the best candidates, decodes their boxes, clips them, removes duplicates.

    The choice is exact in two stages: the k best (anchor, class) pairs belong to the k anchors with
    the highest best class, so most logits are only compared once. Logits stand in the order of
    their sigmoid: only the survivors' are computed. A candidate whose clipped box is thinner than
    0.01 pixel is no detection. The original EfficientDet's "per class"
    evaluation does not clip boxes before NMS, and its "global" export does, as here.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        method: "gaussian", "linear" or "hard"; see `NonMaxSuppression` for it and its settings.
        iou_threshold: float or None (0.5; linear 0.3).
        sigma: float > 0.
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
        image_size,
        method="gaussian",
        iou_threshold=None,
        sigma=0.5,
        score_threshold=0.001,
        pre_nms_top_k=1000,
        max_detections=100,
        class_agnostic=False,
        candidates="best_class",
    ):
        if candidates not in CANDIDATES:
            raise ValueError(
                f"`candidates` must be one of {CANDIDATES}. Received: candidates={candidates!r}. "
                '"best_class" is the default.'
            )
        if pre_nms_top_k < 0:
            raise ValueError(
                "`pre_nms_top_k` must be a number of candidates, or 0 for all. Received: "
                f"pre_nms_top_k={pre_nms_top_k!r}. The default is 1000."
            )
        self.image_size = image_size
        self.pre_nms_top_k = pre_nms_top_k
        self.candidates = candidates
        # The layer checks its settings, and holds them.
        self.nms = NonMaxSuppression(
            method, iou_threshold, sigma, score_threshold, max_detections, class_agnostic
        )

    @property
    def height_and_width(self) -> tuple[int, int]:
        """`image_size` as a pair."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    def __call__(self, class_logits, box_deltas, anchors) -> dict:
        logits, labels, places = self._choose(class_logits)
        deltas = ops.cast(gather_rows(box_deltas, places), "float32")
        near = ops.take(ops.convert_to_tensor(anchors, "float32"), places, axis=0)
        return self.detections(near, deltas, logits, labels)

    def detections(self, anchors, deltas, logits, labels) -> dict:
        """Decodes the candidates, anchors and deltas `(batch, k, 4)`, and removes duplicates."""
        boxes = clip_boxes(decode_deltas(anchors, deltas), *self.height_and_width)
        scores = ops.sigmoid(ops.cast(logits, "float32"))
        sides = ops.minimum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
        return self.suppress(boxes, ops.where(sides >= MIN_SIDE, scores, 0.0), labels)

    def suppress(self, boxes, scores, labels) -> dict:
        """Removes duplicates among the candidates, `(batch, k, 4)`, `(batch, k)`, `(batch, k)`."""
        return self.nms(boxes, scores, labels)

    def _choose(self, class_logits):
        """The best candidates, best first: logits, labels, anchor indices, `(batch, k)` each."""
        num_anchors, num_classes = class_logits.shape[1:]
        pairs = self.candidates == "pairs"
        limit = self.pre_nms_top_k or num_anchors * (num_classes if pairs else 1)
        best, places = ops.top_k(ops.max(class_logits, axis=-1), min(limit, num_anchors))
        logits = gather_rows(class_logits, places)
        if not pairs:
            return best, first_of_highest(logits), places
        kept = places.shape[1] * num_classes
        flat = ops.reshape(logits, (-1, kept))
        best, chosen = ops.top_k(flat, min(limit, kept))
        return best, chosen % num_classes, gather_rows(places, chosen // num_classes)

    def get_config(self) -> dict:
        """Every argument of the constructor."""
        return {
            "image_size": self.image_size,
            "method": self.nms.method,
            "iou_threshold": self.nms.iou_threshold,
            "sigma": self.nms.sigma,
            "score_threshold": self.nms.score_threshold,
            "pre_nms_top_k": self.pre_nms_top_k,
            "max_detections": self.nms.max_detections,
            "class_agnostic": self.nms.class_agnostic,
            "candidates": self.candidates,
        }
