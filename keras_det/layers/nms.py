"""Non-maximum suppression with static shapes: hard, linear or Gaussian, per class or not."""

import math
import numbers
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_det.boxes import PADDING_LABEL, box_areas
from keras_det.names import NMS_METHODS, NMS_METHODS_WITH
from keras_det.types import Config, NMSMethod, Tensor

DEFAULT_SIGMA = 0.5  # as in the paper of soft-NMS


def default_iou_threshold(method: str) -> float:
    """Returns 0.5, or 0.3 for linear soft-NMS, as in its paper."""
    return 0.3 if method == "linear" else 0.5


def used_settings(
    method: str, iou_threshold: float | None, sigma: float | None
) -> tuple[float | None, float | None]:
    """`iou_threshold` and `sigma` with their defaults; None where the method does not use it."""
    if method == "gaussian":
        return None, DEFAULT_SIGMA if sigma is None else sigma
    return default_iou_threshold(method) if iou_threshold is None else iou_threshold, None


def gather_rows(values: Tensor, indices: Tensor) -> Tensor:
    """`values[i, indices[i]]` for every i: `(batch, n, …)` and `(batch, k)` -> `(batch, k, …)`."""
    batch, count = ops.shape(values)[:2]
    starts = ops.expand_dims(ops.arange(batch, dtype="int32") * count, -1)
    flat = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(flat, ops.cast(indices, "int32") + starts, axis=0)


def first_of_highest(values: Tensor) -> Tensor:
    """Index of the highest value on the last axis, the first one of equal values.

    `ops.argmax` returns the same index. Under TensorFlow, however, Keras compares the bits of
    floats to order -0.0. That is slow inside a loop and needs BitwiseAnd, which is not a builtin
    operator of TFLite.

    Args:
        values: `(…, n)`.

    Returns:
        int32 `(…,)`.
    """
    count = values.shape[-1]
    is_highest = values == ops.max(values, axis=-1, keepdims=True)
    # With NaN nothing is equal: the last index keeps the result inside the range.
    return ops.min(ops.where(is_highest, ops.arange(count, dtype="int32"), count - 1), axis=-1)


def at_least_one(boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Adds one candidate of score 0, which is never kept, where there are no candidates."""
    if boxes.shape[1] != 0:
        return boxes, scores, labels
    row = [[0, 0], [0, 1]]
    return ops.pad(boxes, [*row, [0, 0]]), ops.pad(scores, row), ops.pad(labels, row)


def detections_from(
    boxes: Tensor, scores: Tensor, labels: Tensor, selected: Tensor, valid: Tensor
) -> dict[str, Tensor]:
    """Builds the detections dict of the selected candidates.

    Args:
        boxes: `(batch, k, 4)`, of the candidates.
        scores: `(batch, max_detections)`, final scores, highest first.
        labels: `(batch, k)`, of the candidates.
        selected: `(batch, max_detections)` int32 indices into the candidates.
        valid: `(batch, max_detections)` bool, False in empty slots.

    Returns:
        dict as of `NonMaxSuppression`: empty slots hold box 0, score 0, label -1.
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

    Soft-NMS, algorithm 1 (https://arxiv.org/abs/1704.04503). The layer repeatedly keeps the
    candidate with the highest score (the first of equal ones) and rescores all others of its class:

        gaussian  score * exp(-iou^2 / sigma)
        linear    score * (1 - iou)    where iou > iou_threshold
        hard      score * 0            where iou > iou_threshold   (the usual NMS)

    The Gaussian form drops no box outright: even a duplicate keeps a lowered score. TensorFlow's
    operator does the same; its `soft_nms_sigma` is half of this `sigma`. Areas are exact, whereas
    the NumPy code of the original EfficientDet and CornerNet adds one pixel to each side.

    Shapes are static, so the layer compiles under XLA. Everything runs in float32.

    Args:
        method: "gaussian", "linear" or "hard".
        iou_threshold: float in 0..1, for "linear" and "hard". Default: 0.3 and 0.5.
        sigma: float > 0, width of the Gaussian, for "gaussian". Default: 0.5.
        score_threshold: float >= 0. Only candidates with a (rescored) score above it are kept.
        max_detections: int >= 1, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress each other.

    Call arguments:
        boxes: `(batch, k, 4)` xyxy, in any unit.
        scores: `(batch, k)` in 0..1, in any order.
        labels: `(batch, k)` int32.

    Returns:
        dict: `boxes` `(batch, max_detections, 4)` float32, `scores` float32 (rescored, highest
        first), `labels` int32, `num_detections` `(batch,)` int32. Empty slots: box 0, score 0,
        label -1.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of its range, or is given with a method that does not use it.
    """

    def __init__(
        self,
        method: NMSMethod | str = "gaussian",
        iou_threshold: float | None = None,
        sigma: float | None = None,
        score_threshold: float = 0.001,
        max_detections: int = 100,
        class_agnostic: bool = False,
        **kwargs: Any,
    ) -> None:
        # Autocasting would round pixels to half precision.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        check_kinds(class_agnostic=class_agnostic)
        check_settings(method, iou_threshold, sigma, score_threshold, max_detections)
        self.method = method
        self.iou_threshold, self.sigma = used_settings(method, iou_threshold, sigma)
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.class_agnostic = class_agnostic

    def call(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
        boxes, scores, labels = at_least_one(boxes, scores, ops.cast(labels, "int32"))
        kept, selected = self._select(boxes, scores, labels)
        valid = kept > self.score_threshold
        return detections_from(boxes, kept, labels, selected, valid)

    def _select(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy choice: final scores and indices, `(batch, max_detections)` each."""
        places = ops.expand_dims(ops.arange(boxes.shape[1], dtype="int32"), 0)
        slots = ops.expand_dims(ops.arange(self.max_detections, dtype="int32"), 0)
        areas = box_areas(boxes)

        def step(
            index: Tensor, state: tuple[Tensor, Tensor, Tensor]
        ) -> tuple[Tensor, Tensor, Tensor]:
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

    def _decay(self, iou: Tensor) -> Tensor:
        """The factor that rescores a candidate with this IoU."""
        if self.sigma is not None:
            return ops.exp(ops.square(iou) * (-1.0 / self.sigma))
        weight = 1.0 - iou if self.method == "linear" else 0.0
        return ops.where(iou > self.iou_threshold, weight, 1.0)

    def compute_output_spec(
        self, boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> dict[str, keras.KerasTensor]:
        batch, slots = boxes.shape[0], self.max_detections
        return {
            "boxes": keras.KerasTensor((batch, slots, 4), "float32"),
            "scores": keras.KerasTensor((batch, slots), "float32"),
            "labels": keras.KerasTensor((batch, slots), "int32"),
            "num_detections": keras.KerasTensor((batch,), "int32"),
        }

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "method": self.method,
            "iou_threshold": self.iou_threshold,
            "sigma": self.sigma,
            "score_threshold": self.score_threshold,
            "max_detections": self.max_detections,
            "class_agnostic": self.class_agnostic,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        # Files of release 0.1.0 hold a value for every setting, used or not.
        method = config.get("method", "gaussian")
        unused = {name for name, methods in NMS_METHODS_WITH.items() if method not in methods}
        return super().from_config({k: v for k, v in config.items() if k not in unused})


def check_settings(
    method: str,
    iou_threshold: float | None,
    sigma: float | None,
    score_threshold: float,
    max_detections: int,
) -> None:
    """Checks the settings of `NonMaxSuppression`, in its units and ranges.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of its range, or the method does not use it; the message names
            it.
    """
    received = {  # not locals(): in a tf.function, they hold more
        "iou_threshold": iou_threshold,
        "sigma": sigma,
        "score_threshold": score_threshold,
        "max_detections": max_detections,
    }
    check_kinds(**received)
    if method not in NMS_METHODS:
        raise ValueError(
            f'`method` must be one of {NMS_METHODS}. Received: method={method!r}. Use "hard" for '
            "the classic non-maximum suppression."
        )
    ranges = {
        "iou_threshold": (iou_threshold is None or 0 <= iou_threshold <= 1, "in 0..1 or None"),
        "sigma": (
            sigma is None or sigma > 0,
            'above 0 (method="hard" is the limit of small values)',
        ),
        "score_threshold": (score_threshold >= 0, "at least 0: empty slots have score 0"),
        "max_detections": (max_detections >= 1, "at least 1"),
    }
    for name, (is_right, rule) in ranges.items():
        if not is_right:
            raise ValueError(
                f"`{name}` must be {rule}. Received: {name}={received[name]!r}. Leave it out for "
                "the default."
            )
    for name, methods in NMS_METHODS_WITH.items():
        if received[name] is not None and method not in methods:
            raise ValueError(
                f"`{name}` is for method={' or '.join(map(repr, methods))}. Received: "
                f"{name}={received[name]!r}, method={method!r}. Leave it out, or choose another "
                "method."
            )


def check_kinds(**settings: Any) -> None:
    """Raises a TypeError for a setting that is not the integer, number or bool it must be.

    Args:
        **settings: names and values. Their ranges are checked elsewhere.
    """
    floats = ("iou_threshold", "sigma", "score_threshold", "embedding_threshold")
    for name, value in settings.items():
        is_bool = isinstance(value, (bool, np.bool_))
        if name == "class_agnostic":
            is_right, rule = is_bool, "True or False"
        elif name in floats:
            is_number = isinstance(value, numbers.Real) and not is_bool and math.isfinite(value)
            is_default = name in ("iou_threshold", "sigma") and value is None
            is_right, rule = is_number or is_default, "a number"
        else:
            is_right, rule = isinstance(value, numbers.Integral) and not is_bool, "an integer"
        if not is_right:
            raise TypeError(
                f"`{name}` must be {rule}. Received: {name}={value!r}. Leave it out for the "
                "default."
            )


def _iou_with(chosen: Tensor, boxes: Tensor, areas: Tensor) -> Tensor:
    """IoU `(batch, k)` of one box per image `(batch, 1, 4)` with all boxes `(batch, k, 4)`."""
    left_top = ops.maximum(boxes[..., :2], chosen[..., :2])
    right_bottom = ops.minimum(boxes[..., 2:], chosen[..., 2:])
    sides = ops.maximum(right_bottom - left_top, 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = areas + box_areas(chosen) - common
    # Without overlap the quotient is 0 for any divisor. Two empty boxes would give 0 / 0.
    return common / ops.where(common > 0, union, 1.0)
