"""The base class of matchers that use the model's predictions."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keras import ops

from keras_det.boxes import decode_deltas
from keras_det.targets.matcher import Matcher
from keras_det.targets.search import FAR, Pairs, in_blocks, rounded_centres
from keras_det.types import Tensor


class Scene(NamedTuple):
    """A batch, arranged for the search for the best anchors of every object.

    Attributes:
        boxes: `(batch, slots, 4)` objects, 0 in empty slots.
        labels: `(batch, slots)` int32.
        valid: `(batch, slots)` bool.
        logits: `(batch, anchors, classes)`.
        centres: `(2, blocks, BLOCK)`, x and y of the anchors' centres; `FAR` in the padding.
        predicted: `(batch * blocks, 4, BLOCK)`, decoded boxes in xyxy pixels.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    logits: Tensor
    centres: Tensor
    predicted: Tensor

    def boxes_of(self, pairs: Pairs) -> Tensor:
        """Boxes `(n, 4)` of the objects of some pairs."""
        return ops.take(ops.reshape(self.boxes, (-1, 4)), pairs.objects, axis=0)

    def centres_of(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """x and y `(n, BLOCK)` of the anchors' centres."""
        x, y = (ops.take(self.centres[i], pairs.blocks, axis=0) for i in range(2))
        return x, y

    def predicted_of(self, pairs: Pairs) -> Tensor:
        """Predicted boxes `(n, 4, BLOCK)`."""
        blocks = self.centres.shape[1]
        return ops.take(self.predicted, pairs.images * blocks + pairs.blocks, axis=0)

    def anchors_of(self, pairs: Pairs) -> Tensor:
        """Flat index image * anchors + anchor `(n, BLOCK)`; in the padding that of the last one."""
        size, count = self.centres.shape[2], self.logits.shape[1]
        anchor = pairs.blocks[:, None] * size + ops.arange(size, dtype="int32")
        return pairs.images[:, None] * count + ops.minimum(anchor, count - 1)

    def logits_of(self, pairs: Pairs) -> Tensor:
        """Logits `(n, BLOCK)` of the class of each object."""
        classes = self.logits.shape[2]
        label = ops.take(ops.reshape(self.labels, (-1,)), pairs.objects)
        label = ops.clip(label, 0, classes - 1)[:, None]
        return ops.take(
            ops.reshape(self.logits, (-1,)), self.anchors_of(pairs) * classes + label, axis=0
        )


class PredictionMatcher(Matcher):
    """Base class of matchers that need the model's outputs. Subclasses define `match_scene`.

    The outputs decide which anchors learn an object. No gradient flows through that choice.
    """

    needs_predictions = True

    def match_scene(
        self, anchors: Tensor, scene: Scene, level_sizes: Sequence[int] | None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Decides which object each anchor matches.

        Args:
            anchors: `(num_anchors, 4)`, xyxy pixels.
            scene: the batch.
            level_sizes: the number of anchors of every pyramid level, or None.

        Returns:
            `(batch, num_anchors)` int32 slot of every positive anchor, the mask of positive
            anchors, and further targets by name.
        """
        raise TypeError(
            "A matcher that uses predictions must define `match_scene`. Received: "
            f"{type(self).__name__} without it. Use TaskAlignedTargets or SimOTATargets, or define "
            "it in the subclass."
        )

    def _matched(
        self,
        anchors: Tensor,
        boxes: Tensor,
        labels: Tensor,
        valid: Tensor,
        level_sizes: Sequence[int] | None,
        raw: Mapping[str, Tensor] | None,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
        if raw is None or not {"class_logits", "box_deltas"} <= set(raw):
            received = raw if raw is None else sorted(raw)
            raise ValueError(
                f"{type(self).__name__} needs `raw`, the model's `class_logits` and `box_deltas`. "
                f"Received: raw={received!r}. Pass `raw=model(images)`."
            )
        logits, deltas = (
            ops.stop_gradient(ops.cast(raw[name], "float32"))
            for name in ("class_logits", "box_deltas")
        )
        predicted = decode_deltas(anchors, deltas)
        coordinates = ops.stack([in_blocks(predicted[..., i]) for i in range(4)], axis=2)
        centres = in_blocks(ops.transpose(rounded_centres(anchors)), FAR)
        size = centres.shape[2]
        scene = Scene(
            boxes, labels, valid, logits, centres, ops.reshape(coordinates, (-1, 4, size))
        )
        slot, positive, more = self.match_scene(anchors, scene, level_sizes)
        return (slot, positive, ops.zeros_like(positive)), more
