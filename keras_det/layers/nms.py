"""Non-maximum suppression with static shapes: hard, linear or Gaussian, per class or not."""

import keras
from keras import ops

from keras_det.boxes import PADDING_LABEL, box_areas

METHODS = ("gaussian", "linear", "hard")


def default_iou_threshold(method: str) -> float:
    """0.5; 0.3 for linear soft-NMS, as in its paper."""
    return 0.3 if method == "linear" else 0.5


def gather_rows(values, indices):
    """`values[i, indices[i]]` for every i: `(batch, n, …)` and `(batch, k)` -> `(batch, k, …)`."""
    batch, count = ops.shape(values)[:2]
    starts = ops.expand_dims(ops.arange(batch, dtype="int32") * count, -1)
    flat = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(flat, ops.cast(indices, "int32") + starts, axis=0)


def first_of_highest(values):
    """Index of the highest value on the last axis, the first of equals: int32, one axis less.

    `ops.argmax` is right, too, but Keras' TensorFlow version looks at the bits of floats to order
    -0.0: slow inside a loop, and BitwiseAnd is no builtin operator of TFLite.
    """
    count = values.shape[-1]
    is_highest = values == ops.max(values, axis=-1, keepdims=True)
    # The last index where nothing is equal, for NaN: an index out of range would stop the program.
    return ops.min(ops.where(is_highest, ops.arange(count, dtype="int32"), count - 1), axis=-1)


def at_least_one(boxes, scores, labels):
    """Adds a candidate of score 0, which never passes, where there is none at all."""
    if boxes.shape[1] != 0:
        return boxes, scores, labels
    row = [[0, 0], [0, 1]]
    return ops.pad(boxes, [*row, [0, 0]]), ops.pad(scores, row), ops.pad(labels, row)


def detections_from(boxes, scores, labels, selected, valid):
    """The detections dict of chosen candidates: empty slots hold box 0, score 0, label -1.

    Args:
        boxes: `(batch, k, 4)` candidates.
        scores: `(batch, max_detections)` final scores, highest first.
        labels: `(batch, k)` of the candidates.
        selected: `(batch, max_detections)` int32 indices into the candidates.
        valid: `(batch, max_detections)` bool, False in empty slots.
    """
    return {
        "boxes": ops.where(ops.expand_dims(valid, -1), gather_rows(boxes, selected), 0.0),
        "scores": ops.where(valid, scores, 0.0),
        "labels": ops.where(valid, gather_rows(labels, selected), PADDING_LABEL),
        "num_detections": ops.sum(ops.cast(valid, "int32"), axis=-1),
    }


@keras.saving.register_keras_serializable(package="keras_det")
class NonMaxSuppression(keras.layers.Layer):
    """Keeps the best boxes and lowers the scores of those that overlap them.

    Soft-NMS, algorithm 1 (https://arxiv.org/abs/1704.04503): again and again the candidate with the
    highest score is taken (of equals the first), and every other one of its class is rescored by

        gaussian  score * exp(-iou^2 / sigma)
        linear    score * (1 - iou)    where iou > iou_threshold
        hard      score * 0            where iou > iou_threshold   (the usual NMS)

    The Gaussian form never drops a box outright: even a duplicate keeps a lowered score, as in
    TensorFlow's operator, whose `soft_nms_sigma` is half of this `sigma`. Areas are exact; the
    NumPy code of the original EfficientDet and CornerNet adds one pixel to each side.

    Shapes are static, so the layer compiles under XLA, and everything runs in float32.

    Args:
        method: "gaussian", "linear" or "hard".
        iou_threshold: float in 0..1, unused by "gaussian". None: 0.5, for "linear" 0.3.
        sigma: float > 0, width of the Gaussian; unused by the others.
        score_threshold: float >= 0. Only candidates whose (rescored) score lies above it are kept.
        max_detections: int >= 1, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress one another.

    Call arguments:
        boxes: `(batch, k, 4)` xyxy, any scale.
        scores: `(batch, k)` in 0..1, any order.
        labels: `(batch, k)` int32.

    Returns:
        dict: `boxes` `(batch, max_detections, 4)` float32, `scores` float32 (rescored, highest
        first), `labels` int32, `num_detections` `(batch,)` int32. Empty slots: box 0, score 0,
        label -1.
    """

    def __init__(
        self,
        method="gaussian",
        iou_threshold=None,
        sigma=0.5,
        score_threshold=0.001,
        max_detections=100,
        class_agnostic=False,
        **kwargs,
    ):
        # Autocasting would round pixels to half precision.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        check_settings(method, iou_threshold, sigma, score_threshold, max_detections)
        self.method = method
        self.iou_threshold = iou_threshold
        self.sigma = sigma
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.class_agnostic = class_agnostic

    def call(self, boxes, scores, labels):
        boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
        boxes, scores, labels = at_least_one(boxes, scores, ops.cast(labels, "int32"))
        kept, selected = self._select(boxes, scores, labels)
        valid = kept > self.score_threshold
        return detections_from(boxes, kept, labels, selected, valid)

    def _select(self, boxes, scores, labels):
        """Greedy choice: final scores and indices, `(batch, max_detections)` each."""
        places = ops.expand_dims(ops.arange(boxes.shape[1], dtype="int32"), 0)
        slots = ops.expand_dims(ops.arange(self.max_detections, dtype="int32"), 0)
        areas = box_areas(boxes)

        def step(index, state):
            remaining, kept, selected = state
            best = ops.expand_dims(first_of_highest(remaining), -1)
            top = ops.max(remaining, axis=-1, keepdims=True)
            decay = self._decay(_iou_with(gather_rows(boxes, best), boxes, areas))
            if not self.class_agnostic:
                decay = ops.where(labels == gather_rows(labels, best), decay, 1.0)
            remaining = ops.where(places == best, 0.0, remaining * decay)
            here = slots == index
            return remaining, ops.where(here, top, kept), ops.where(here, best, selected)

        nothing = ops.zeros((ops.shape(boxes)[0], self.max_detections), "float32")
        state = (scores, nothing, ops.cast(nothing, "int32"))
        _, kept, selected = ops.fori_loop(0, self.max_detections, step, state)
        return kept, selected

    def _decay(self, iou):
        if self.method == "gaussian":
            return ops.exp(ops.square(iou) * (-1.0 / self.sigma))
        threshold = self.iou_threshold
        threshold = default_iou_threshold(self.method) if threshold is None else threshold
        weight = 1.0 - iou if self.method == "linear" else 0.0
        return ops.where(iou > threshold, weight, 1.0)

    def compute_output_spec(self, boxes, scores, labels):
        batch, slots = boxes.shape[0], self.max_detections
        return {
            "boxes": keras.KerasTensor((batch, slots, 4), "float32"),
            "scores": keras.KerasTensor((batch, slots), "float32"),
            "labels": keras.KerasTensor((batch, slots), "int32"),
            "num_detections": keras.KerasTensor((batch,), "int32"),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "method": self.method,
            "iou_threshold": self.iou_threshold,
            "sigma": self.sigma,
            "score_threshold": self.score_threshold,
            "max_detections": self.max_detections,
            "class_agnostic": self.class_agnostic,
        }


def check_settings(method, iou_threshold, sigma, score_threshold, max_detections):
    """Raises ValueError naming the setting that is out of its range."""
    if method not in METHODS:
        raise ValueError(
            f'`method` must be one of {METHODS}. Received: method={method!r}. "hard" is the usual '
            "non-maximum suppression."
        )
    ranges = {
        "iou_threshold": (iou_threshold is None or 0 <= iou_threshold <= 1, "in 0..1 or None"),
        "sigma": (sigma > 0, 'above 0 (method="hard" is the limit of small values)'),
        "score_threshold": (score_threshold >= 0, "at least 0: empty slots have score 0"),
        "max_detections": (max_detections >= 1, "at least 1"),
    }
    received = dict(locals())
    for name, (is_right, rule) in ranges.items():
        if not is_right:
            raise ValueError(
                f"`{name}` must be {rule}. Received: {name}={received[name]!r}. Leave it out for "
                "the default."
            )


def _iou_with(chosen, boxes, areas):
    """IoU of one box per image, `(batch, 1, 4)`, with all: `(batch, k)`."""
    left_top = ops.maximum(boxes[..., :2], chosen[..., :2])
    right_bottom = ops.minimum(boxes[..., 2:], chosen[..., 2:])
    sides = ops.maximum(right_bottom - left_top, 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = areas + box_areas(chosen) - common
    # Without overlap the quotient is 0 whatever stands below; two empty boxes would give 0 / 0.
    return common / ops.where(common > 0, union, 1.0)
