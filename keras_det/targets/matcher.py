"""What every matcher does: from ground truth to one target per anchor."""

from keras import ops

from keras_det.boxes import PADDING_LABEL, encode_deltas, valid_slots

BACKGROUND = -1


class Matcher:
    """Base of the matchers: prepares the ground truth, and describes what anchors matched.

    A matcher defines `match(anchors, boxes, valid, level_sizes)`, which gets `(num_anchors, 4)`
    anchors, `(batch, slots, 4)` boxes, 0 in empty slots, the mask `(batch, slots)` of the others,
    at least one slot, and the sizes of the levels. It returns, each `(batch, num_anchors)`, the
    int32 slot of every positive anchor (anything elsewhere), the mask of positives, the mask of
    ignored anchors.
    """

    def assign(self, anchors, boxes, labels, level_sizes=None) -> dict:
        """Returns the targets of one batch; no gradient flows through them.

        Args:
            anchors: `(num_anchors, 4)` float, xyxy pixels.
            boxes: `(batch, max_boxes, 4)` float, xyxy pixels; anything in empty slots.
            labels: `(batch, max_boxes)` int, `PADDING_LABEL` (-1) in empty slots.
            level_sizes: ints, the number of anchors of every pyramid level in their order. Only a
                matcher that looks at levels needs them.

        Returns:
            dict of `class_targets` `(batch, num_anchors)` int32, -1 where not positive;
            `box_targets` `(batch, num_anchors, 4)` float32 deltas, 0 where not positive;
            `positive_mask` and `ignore_mask` `(batch, num_anchors)` bool.
        """
        anchors, boxes = (
            ops.stop_gradient(ops.convert_to_tensor(x, "float32")) for x in (anchors, boxes)
        )
        labels = ops.cast(ops.convert_to_tensor(labels), "int32")
        # One more empty slot, so that there is always one to gather from.
        boxes = ops.pad(boxes, ((0, 0), (0, 1), (0, 0)))
        labels = ops.pad(labels, ((0, 0), (0, 1)), constant_values=PADDING_LABEL)
        valid = valid_slots(labels)
        # An empty slot may hold NaN; a point at the origin overlaps nothing.
        boxes = ops.where(valid[..., None], boxes, 0.0)
        slot, positive, ignore = self.match(anchors, boxes, valid, level_sizes)
        class_targets, matched_boxes = _take_slots(labels, slot), _take_slots(boxes, slot)
        deltas = encode_deltas(anchors[None], matched_boxes)
        return {
            "class_targets": ops.where(positive, class_targets, BACKGROUND),
            "box_targets": ops.where(positive[..., None], deltas, 0.0),
            "positive_mask": positive,
            "ignore_mask": ignore,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _take_slots(values, slots):
    """Picks one slot per anchor from `(batch, slots, …)`: `(batch, anchors, …)`."""
    # A flat gather of whole rows; take_along_axis repeats the index for each coordinate.
    batch, num_slots = ops.shape(values)[0], ops.shape(values)[1]
    rows = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(rows, slots + num_slots * ops.arange(batch, dtype="int32")[:, None], axis=0)
