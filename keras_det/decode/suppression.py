"""What all decoders share: their settings, the choice of the best pairs, and suppression."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from keras import ops

from keras_det.boxes import clip_boxes
from keras_det.layers.nms import NonMaxSuppression, check_kinds, gather_rows
from keras_det.types import Config, ImageSize, Size, Tensor

# In pixels. A box without area after clipping overlaps nothing, not even itself, so LiteRT's
# soft-NMS selects it again and again. The tiles of `tf_nms` resolve 0.002 pixel of 1,536.
MIN_SIDE = 0.01


class SuppressingDecoder:
    """Base of the decoders: clips boxes to the image, drops thin ones, removes duplicates.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        pre_nms_top_k: int, the number of candidates that enter NMS; 0 for all.
        nms: removes the duplicates.

    Attributes:
        numbers: settings that change no shape and no operator. They may be tensors: one compiled
            function then serves all their values.
    """

    numbers: ClassVar[tuple[str, ...]] = ("iou_threshold", "sigma", "score_threshold")

    def __init__(self, image_size: ImageSize, pre_nms_top_k: int, nms: NonMaxSuppression) -> None:
        check_kinds(pre_nms_top_k=pre_nms_top_k)
        if nms.score_threshold > 1:
            raise ValueError(
                "`score_threshold` must be in 0..1, as scores are. Received: "
                f"score_threshold={nms.score_threshold!r}. The default is 0.001. For pictures, 0.3 "
                "is usual."
            )
        if pre_nms_top_k < 0:
            raise ValueError(
                "`pre_nms_top_k` must be a number of candidates, or 0 for all. Received: "
                f"pre_nms_top_k={pre_nms_top_k!r}. The default is 1000."
            )
        self.image_size = image_size
        self.pre_nms_top_k = pre_nms_top_k
        self.nms = nms

    @property
    def height_and_width(self) -> Size:
        """`image_size` as a pair."""
        return as_pair(self.image_size)

    def detections_of(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Clips the candidates, drops thin ones, removes duplicates.

        Args:
            boxes: `(batch, k, 4)` xyxy pixels of the network's input. They are clipped here; boxes
                that are then thinner than 0.01 pixel are dropped.
            scores: `(batch, k)` in 0..1.
            labels: `(batch, k)` int32, at least 0.
        """
        boxes = clip_boxes(boxes, *self.height_and_width)
        sides = ops.minimum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
        return self.suppress(boxes, ops.where(sides >= MIN_SIDE, scores, 0.0), labels)

    def suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Removes duplicates among the candidates, `(batch, k, 4)`, `(batch, k)`, `(batch, k)`."""
        return self.nms(boxes, scores, labels)

    def values(self) -> dict[str, float]:
        """The settings in `numbers` that the method uses, by name."""
        config = self.get_config()
        return {name: config[name] for name in self.numbers if config[name] is not None}

    def key(self) -> str:
        """The settings that are not in `values`: decoders of one key differ in numbers only."""
        config, values = self.get_config(), self.values()
        return repr(sorted((name, config[name]) for name in config if name not in values))

    def with_values(self, values: Mapping[str, Tensor]) -> Self:
        """Returns a copy with other numbers, which are not checked.

        Args:
            values: float32 scalars with the names of `values()`.
        """
        decoder: Any = copy.copy(self)
        decoder.nms = NonMaxSuppression(**self.nms_settings())
        for name, value in values.items():
            setattr(decoder.nms if hasattr(decoder.nms, name) else decoder, name, value)
        return decoder

    def nms_settings(self) -> Config:
        """The settings of `NonMaxSuppression`."""
        names = ("method", "iou_threshold", "sigma", "score_threshold", "max_detections")
        return {name: getattr(self.nms, name) for name in (*names, "class_agnostic")}

    def get_config(self) -> Config:
        """Every argument of the constructor."""
        return {
            "image_size": self.image_size,
            "pre_nms_top_k": self.pre_nms_top_k,
            **self.nms_settings(),
        }


def as_pair(size: ImageSize) -> Size:
    """Returns (height, width) from an int or (height, width)."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


def best_pairs(values: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest entries of a table, best first. Among equals the first one comes first.

    The entries are chosen in two stages, and the result is exact: the k best entries belong to the
    k rows whose best entry is highest. So most entries are compared only once. The chosen rows are
    sorted, because the order of equals must not depend on the other entries of their rows.

    Args:
        values: `(batch, rows, columns)` float.
        limit: int >= 1; the table may have fewer entries.

    Returns:
        Values, rows and columns, `(batch, k)` each, the last two int32; k = min(limit, rows *
        columns).
    """
    num_rows, num_columns = values.shape[1:]
    rows = None
    if limit < num_rows:
        _, rows = ops.top_k(ops.max(values, axis=-1), limit)
        rows = ops.sort(rows, axis=-1)
        values, num_rows = gather_rows(values, rows), limit
    entries = num_rows * num_columns
    best, chosen = ops.top_k(ops.reshape(values, (-1, entries)), min(limit, entries))
    places = chosen // num_columns
    return best, places if rows is None else gather_rows(rows, places), chosen % num_columns
