"""The base class of all matchers: turns ground truth into one target per anchor."""

from collections.abc import Mapping, Sequence
from typing import Self

from keras import ops

from keras_det.boxes import PADDING_LABEL, encode_deltas, valid_slots
from keras_det.types import Config, Tensor

BACKGROUND = -1


class Matcher:
    """Base class of all matchers: prepares the ground truth and encodes the matched boxes.

    Subclasses define `match`.

    Attributes:
        needs_predictions: whether `assign` needs `raw`, the outputs of the model.
    """

    needs_predictions = False

    def match(
        self,
        anchors: Tensor,
        boxes: Tensor,
        valid: Tensor,
        level_sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decides which object each anchor matches.

        Args:
            anchors: `(num_anchors, 4)`, xyxy pixels.
            boxes: `(batch, slots, 4)`, xyxy pixels, 0 in empty slots; at least one slot.
            valid: `(batch, slots)` bool, False in empty slots.
            level_sizes: the number of anchors of every pyramid level, or None.

        Returns:
            Three tensors `(batch, num_anchors)`: the int32 slot of every positive anchor (any slot
            elsewhere), the mask of positive anchors and the mask of ignored anchors.
        """
        raise TypeError(
            f"A matcher must define `match`. Received: {type(self).__name__} without it. Use "
            "AnchorTargets or ATSSTargets, or define it in the subclass."
        )

    def assign(
        self,
        anchors: Tensor,
        boxes: Tensor,
        labels: Tensor,
        level_sizes: Sequence[int] | None = None,
        raw: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns the targets of one batch; no gradient flows through them.

        Args:
            anchors: `(num_anchors, 4)` float, xyxy pixels.
            boxes: `(batch, max_boxes, 4)` float, xyxy pixels; any values in empty slots.
            labels: `(batch, max_boxes)` int, `PADDING_LABEL` (-1) in empty slots.
            level_sizes: ints, the number of anchors of every pyramid level in their order. Only
                matchers that treat levels separately, such as `ATSSTargets`, need them.
            raw: the outputs of the model for this batch, `class_logits` and `box_deltas`. Only
                matchers with `needs_predictions` read them.

        Returns:
            dict of `class_targets` `(batch, num_anchors)` int32, -1 where not positive;
            `box_targets` `(batch, num_anchors, 4)` float32 deltas, 0 where not positive;
            `positive_mask` and `ignore_mask` `(batch, num_anchors)` bool. `TaskAlignedTargets` adds
            `quality` `(batch, num_anchors)` float32 in 0..1, 0 where not positive.
        """
        anchors, boxes = (
            ops.stop_gradient(ops.convert_to_tensor(x, "float32")) for x in (anchors, boxes)
        )
        labels = ops.cast(ops.convert_to_tensor(labels), "int32")
        # One more empty slot, so that there is always a slot to gather from.
        boxes = ops.pad(boxes, ((0, 0), (0, 1), (0, 0)))
        labels = ops.pad(labels, ((0, 0), (0, 1)), constant_values=PADDING_LABEL)
        valid = valid_slots(labels)
        # An empty slot may hold NaN. The box 0 overlaps nothing.
        boxes = ops.where(valid[..., None], boxes, 0.0)
        (slot, positive, ignore), more = self._matched(
            anchors, boxes, labels, valid, level_sizes, raw
        )
        class_targets, matched_boxes = _take_slots(labels, slot), _take_slots(boxes, slot)
        deltas = encode_deltas(anchors[None], matched_boxes)
        return {
            "class_targets": ops.where(positive, class_targets, BACKGROUND),
            "box_targets": ops.where(positive[..., None], deltas, 0.0),
            "positive_mask": positive,
            "ignore_mask": ignore,
            **more,
        }

    def _matched(
        self,
        anchors: Tensor,
        boxes: Tensor,
        labels: Tensor,
        valid: Tensor,
        level_sizes: Sequence[int] | None,
        raw: Mapping[str, Tensor] | None,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
        """What `match` returns, and further targets by name."""
        return self.match(anchors, boxes, valid, level_sizes), {}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(**config)


def _take_slots(values: Tensor, slots: Tensor) -> Tensor:
    """Takes one slot per anchor from `(batch, slots, …)`: `(batch, anchors, …)`."""
    # A flat gather of whole rows: take_along_axis would repeat the index for each coordinate.
    batch, num_slots = ops.shape(values)[0], ops.shape(values)[1]
    rows = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(rows, slots + num_slots * ops.arange(batch, dtype="int32")[:, None], axis=0)


def checked_level_sizes(
    matcher: str, level_sizes: Sequence[int] | None, num_anchors: int
) -> Sequence[int]:
    """Returns `level_sizes` if they fit the anchors, else raises ValueError."""
    if level_sizes is None or sum(level_sizes) != num_anchors or min(level_sizes) < 1:
        raise ValueError(
            f"{matcher} needs `level_sizes`: the number of anchors of every pyramid level, "
            f"{num_anchors} in all. Received: level_sizes={level_sizes!r}. Pass "
            "`model.level_sizes` of a detector with anchors."
        )
    return level_sizes
