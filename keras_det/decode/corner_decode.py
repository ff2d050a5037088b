"""From heat maps, embeddings and offsets of corners to detections."""

from collections.abc import Mapping

from keras import ops

from keras_det.decode.suppression import SuppressingDecoder, as_pair, best_pairs
from keras_det.layers.nms import NonMaxSuppression, check_kinds, gather_rows
from keras_det.types import Config, ImageSize, NMSMethod, Size, Tensor

# A logit whose sigmoid is 0. It is finite, so that no later arithmetic makes it NaN.
NO_PEAK = -1e9


class CornerDecoder(SuppressingDecoder):
    """Finds the corners, joins them in pairs, removes duplicates.

    CornerNet section 4.3 (https://arxiv.org/abs/1808.01244), in the steps of the original code:

        peaks       logits that are the highest of their class within `peak_window` cells
        corners     the `corner_top_k` best peaks of each kind, over all classes and cells
        points      (column, row) + offset, in map pixels
        pairs       every top-left with every bottom-right corner, unless the classes differ, the
                    embeddings are further apart than `embedding_threshold`, or x2 < x1 or y2 < y1
        score       mean of the two corners' sigmoids
        candidates  the `pre_nms_top_k` best pairs, moved to pixels of the network's input

    Among equal scores the first one wins. Corners are ordered by row, column and class; pairs by
    the rank of their top-left corner, then of their bottom-right corner.

    Two things differ from the original. Where a map has fewer than `corner_top_k` peaks, it also
    pairs cells that are not peaks, with a score of 0; here such cells are not corners. Its NMS adds
    one pixel to each side; here sides are exact. As in `AnchorDecoder`, a candidate whose clipped
    box is thinner than 0.01 pixel is dropped.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        padded_size: int or (height, width), the size that the network pads its input to. The image
            is centred: the top margin is `padded_height // 2 - height // 2`. Default: `image_size`,
            no padding.
        method: "gaussian", "linear" or "hard", with the settings that follow; see
            `NonMaxSuppression`.
        iou_threshold: float in 0..1, for "linear" and "hard". Default: 0.3 and 0.5.
        sigma: float > 0, for "gaussian". Default: 0.5.
        score_threshold: float in 0..1; the scores of detections lie above it.
        pre_nms_top_k: int, the number of pairs that enter NMS; 0 for all.
        max_detections: int, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress one another.
        corner_top_k: int >= 1, corners of each kind.
        embedding_threshold: float >= 0.
        peak_window: odd int >= 1, in cells; with 1, every cell is a peak.

    Call arguments:
        raw: dict of maps of the padded image, `(batch, height, width, n)`: `top_left_heatmaps`,
            `bottom_right_heatmaps` (logits, n = classes), `top_left_embeddings`,
            `bottom_right_embeddings` (n = 1), `top_left_offsets`, `bottom_right_offsets` (n = 2:
            x, y in map pixels).

    Returns:
        dict: `boxes` `(batch, max_detections, 4)` xyxy pixels of the network's input, `scores`,
        `labels`, `num_detections`; empty slots: box 0, score 0, label -1.
    """

    numbers = (*SuppressingDecoder.numbers, "embedding_threshold")

    def __init__(
        self,
        image_size: ImageSize,
        padded_size: ImageSize | None = None,
        method: NMSMethod | str = "gaussian",
        iou_threshold: float | None = None,
        sigma: float | None = None,
        score_threshold: float = 0.001,
        pre_nms_top_k: int = 1000,
        max_detections: int = 100,
        class_agnostic: bool = False,
        corner_top_k: int = 100,
        embedding_threshold: float = 0.5,
        peak_window: int = 3,
    ) -> None:
        nms = NonMaxSuppression(
            method, iou_threshold, sigma, score_threshold, max_detections, class_agnostic
        )
        super().__init__(image_size, pre_nms_top_k, nms)
        self.padded_size = padded_size
        self.corner_top_k = corner_top_k
        self.embedding_threshold = embedding_threshold
        self.peak_window = peak_window
        self._check()

    def _check(self) -> None:
        check_kinds(
            corner_top_k=self.corner_top_k,
            embedding_threshold=self.embedding_threshold,
            peak_window=self.peak_window,
        )
        ranges = {
            "corner_top_k": (self.corner_top_k >= 1, "at least 1"),
            "embedding_threshold": (self.embedding_threshold >= 0, "at least 0"),
            "peak_window": (self.peak_window >= 1 and self.peak_window % 2 == 1, "odd, at least 1"),
        }
        for name, (is_right, rule) in ranges.items():
            if not is_right:
                raise ValueError(
                    f"`{name}` must be {rule}. Received: {name}={getattr(self, name)!r}. Leave it "
                    "out for the default."
                )
        sides = zip(self.padded_height_and_width, self.height_and_width, strict=True)
        if any(padded < side for padded, side in sides):
            raise ValueError(
                "`padded_size` must be at least `image_size` on both axes. Received: "
                f"padded_size={self.padded_size!r}, image_size={self.image_size!r}. Leave it out "
                "where the network does not pad."
            )

    @property
    def padded_height_and_width(self) -> Size:
        """`padded_size` as a pair."""
        return as_pair(self.image_size if self.padded_size is None else self.padded_size)

    def __call__(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.detections_of(*self._candidates_in_input(raw))

    def with_flipped(
        self, raw: Mapping[str, Tensor], flipped_raw: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Detections from an image and its mirror image together, as for the published results.

        Each of the two gives `pre_nms_top_k` candidates, and all of them enter one suppression. A
        box of the mirror image is moved to x1 = width - x2', x2 = width - x1', in pixels of the
        network's input. The original mirrors the padded image and its map instead, which is the
        same where both margins are equal.

        Args:
            raw: the network's outputs for a batch of images.
            flipped_raw: its outputs for the same images, mirrored from left to right.

        Returns:
            The detections dict.
        """
        found, mirrored = self._candidates_in_input(raw), self._candidates_in_input(flipped_raw)
        x1, y1, x2, y2 = (mirrored[0][..., i] for i in range(4))
        width = self.height_and_width[1]
        boxes = ops.stack([width - x2, y1, width - x1, y2], axis=-1)
        pairs = zip(found, (boxes, *mirrored[1:]), strict=True)
        return self.detections_of(*(ops.concatenate(pair, axis=1) for pair in pairs))

    def candidates(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The best pairs before suppression, in pixels of the map.

        Returns:
            dict: `boxes` `(batch, k, 4)` xyxy, not clipped, `scores` `(batch, k)`, highest first,
            `labels` int32, `top_left_scores`, `bottom_right_scores`. Where there are fewer than k
            pairs, the remaining rows have score 0.
        """
        top_left, bottom_right = self._corners(raw, "top_left"), self._corners(raw, "bottom_right")
        scores = self._pair_scores(top_left, bottom_right)
        num_pairs = scores.shape[1] * scores.shape[2]
        scores, chosen = ops.top_k(
            ops.reshape(scores, (-1, num_pairs)), min(self.pre_nms_top_k or num_pairs, num_pairs)
        )
        count = bottom_right["scores"].shape[1]
        first, second = chosen // count, chosen % count
        points = gather_rows(top_left["points"], first), gather_rows(bottom_right["points"], second)
        return {
            "boxes": ops.concatenate(points, axis=-1),
            "scores": scores,
            "labels": gather_rows(top_left["labels"], first),
            "top_left_scores": gather_rows(top_left["scores"], first),
            "bottom_right_scores": gather_rows(bottom_right["scores"], second),
        }

    def _corners(self, raw: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
        """The best corners of one kind: `points` `(batch, k, 2)`, the others `(batch, k)`."""
        logits, embeddings, offsets = (
            ops.cast(raw[f"{kind}_{name}"], "float32")
            for name in ("heatmaps", "embeddings", "offsets")
        )
        height, width = logits.shape[1:3]

        def table(values: Tensor) -> Tensor:
            return ops.reshape(values, (-1, height * width, values.shape[-1]))

        # A map of 128 x 128 x 80 on two threads takes 2.6 ms with the peaks. One top-k over all 1.3
        # million entries takes 5.4 ms. Logits have the same order as their sigmoids, so only the
        # sigmoids of the chosen ones are computed.
        best, places, labels = best_pairs(table(self._peaks(logits)), self.corner_top_k)
        cells = ops.cast(ops.stack([places % width, places // width], axis=-1), "float32")
        return {
            "points": cells + gather_rows(table(offsets), places),
            "scores": ops.sigmoid(best),
            "labels": labels,
            "embeddings": gather_rows(table(embeddings), places)[..., 0],
        }

    def _peaks(self, logits: Tensor) -> Tensor:
        """The logits, with `NO_PEAK` where a neighbour of the same class is higher."""
        if self.peak_window == 1:
            return logits
        window = (self.peak_window, self.peak_window)
        highest = ops.max_pool(logits, window, strides=(1, 1), padding="same")
        return ops.where(logits == highest, logits, NO_PEAK)

    def _pair_scores(self, top_left: dict[str, Tensor], bottom_right: dict[str, Tensor]) -> Tensor:
        """Scores `(batch, k, k)`, top-left corners on axis 1; 0 where two corners make no box."""

        def both(name: str) -> tuple[Tensor, Tensor]:
            return ops.expand_dims(top_left[name], 2), ops.expand_dims(bottom_right[name], 1)

        scores, labels, embeddings = both("scores"), both("labels"), both("embeddings")
        points = both("points")
        is_box = (
            (labels[0] == labels[1])
            & (ops.abs(embeddings[0] - embeddings[1]) <= self.embedding_threshold)
            & ops.all(points[1] >= points[0], axis=-1)
            & (scores[0] > 0)
            & (scores[1] > 0)
        )
        return ops.where(is_box, (scores[0] + scores[1]) / 2, 0.0)

    def _candidates_in_input(self, raw: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes in pixels of the network's input, not clipped; their scores; their labels."""
        found = self.candidates(raw)
        height, width = self.height_and_width
        padded_height, padded_width = self.padded_height_and_width
        map_height, map_width = raw["top_left_heatmaps"].shape[1:3]
        strides = [padded_width / map_width, padded_height / map_height]
        margins = [padded_width // 2 - width // 2, padded_height // 2 - height // 2]
        boxes = found["boxes"] * ops.convert_to_tensor(strides * 2, "float32")
        boxes = boxes - ops.convert_to_tensor(margins * 2, "float32")
        return boxes, found["scores"], found["labels"]

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "padded_size": self.padded_size,
            "corner_top_k": self.corner_top_k,
            "embedding_threshold": self.embedding_threshold,
            "peak_window": self.peak_window,
        }
