"""From heat maps, embeddings and offsets of corners to detections."""

from keras import ops

from keras_det.decode.suppression import SuppressingDecoder, as_pair, best_pairs, check_kinds
from keras_det.layers.nms import gather_rows

# A logit whose sigmoid is 0. Finite: no arithmetic on the way can make NaN of it.
NO_PEAK = -1e9


class CornerDecoder(SuppressingDecoder):
    """Finds the corners, joins them in pairs, removes duplicates.

    CornerNet section 4.3 (https://arxiv.org/abs/1808.01244), step by step as the original code:

        peaks       logits that are the highest of their class within `peak_window` cells
        corners     the `corner_top_k` best peaks of each kind, over all classes and cells
        points      (column, row) + offset, in map pixels
        pairs       every top-left with every bottom-right corner, unless the classes differ, the
                    embeddings are further apart than `embedding_threshold`, or x2 < x1 or y2 < y1
        score       mean of the two corners' sigmoids
        candidates  the `pre_nms_top_k` best pairs, moved to pixels of the network's input

    Of equal corners and pairs the first wins: by row, column, class; by rank of the top-left
    corner, then of the bottom-right one. The original also pairs cells that are no peaks, with a
    score of 0, where a map has fewer than `corner_top_k` peaks; here they are no corners. Its NMS
    adds one pixel to each side, ours is exact. As in `AnchorDecoder`, a candidate whose clipped
    box is thinner than 0.01 pixel is no detection.

    Args:
        image_size: int or (height, width), pixels of the network's input.
        padded_size: int or (height, width), what the network pads its input to, centred: the top
            margin is `padded_height // 2 - height // 2`. Default: `image_size`, no padding.
        method: "gaussian", "linear" or "hard"; see `NonMaxSuppression` for it and its settings.
        iou_threshold: float in 0..1, for "linear" and "hard". Default: 0.3 and 0.5.
        sigma: float > 0, for "gaussian". Default: 0.5.
        score_threshold: float >= 0; detections score above it.
        pre_nms_top_k: int, pairs that enter NMS; 0 lets all in.
        max_detections: int, slots per image.
        class_agnostic: bool. True lets boxes of different classes suppress one another.
        corner_top_k: int >= 1, corners of each kind.
        embedding_threshold: float >= 0.
        peak_window: odd int >= 1, cells; 1 takes every cell for a peak.

    Call arguments:
        raw: dict of `(batch, height, width, n)`, the map of the padded image: `top_left_heatmaps`,
            `bottom_right_heatmaps` (logits, n = classes), `top_left_embeddings`,
            `bottom_right_embeddings` (n = 1), `top_left_offsets`, `bottom_right_offsets` (n = 2:
            x, y in map pixels).

    Returns:
        dict: `boxes` `(batch, max_detections, 4)` xyxy pixels of the network's input, `scores`,
        `labels`, `num_detections`; empty slots: box 0, score 0, label -1.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        padded_size: int | tuple[int, int] | None = None,
        method: str = "gaussian",
        iou_threshold: float | None = None,
        sigma: float | None = None,
        score_threshold: float = 0.001,
        pre_nms_top_k: int = 1000,
        max_detections: int = 100,
        class_agnostic: bool = False,
        corner_top_k: int = 100,
        embedding_threshold: float = 0.5,
        peak_window: int = 3,
    ):
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
        self.padded_size = padded_size
        self.corner_top_k = corner_top_k
        self.embedding_threshold = embedding_threshold
        self.peak_window = peak_window
        self._check()

    def _check(self):
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
    def padded_height_and_width(self) -> tuple[int, int]:
        """`padded_size` as a pair."""
        return as_pair(self.image_size if self.padded_size is None else self.padded_size)

    def __call__(self, raw) -> dict:
        return self.detections_of(*self._candidates_in_input(raw))

    def with_flipped(self, raw, flipped_raw) -> dict:
        """Detections from an image and its mirror image together, as the published results.

        The candidates of both enter one suppression, `pre_nms_top_k` each. A mirrored box lies at
        x1 = width - x2', x2 = width - x1', in pixels of the network's input: the original mirrors
        the padded image and its map, which is the same where both margins are equal.

        Args:
            raw: the network's outputs for a batch of images.
            flipped_raw: its outputs for the same images, each reversed from left to right.

        Returns:
            The detections dict.
        """
        found, mirrored = self._candidates_in_input(raw), self._candidates_in_input(flipped_raw)
        x1, y1, x2, y2 = (mirrored[0][..., i] for i in range(4))
        width = self.height_and_width[1]
        boxes = ops.stack([width - x2, y1, width - x1, y2], axis=-1)
        pairs = zip(found, (boxes, *mirrored[1:]), strict=True)
        return self.detections_of(*(ops.concatenate(pair, axis=1) for pair in pairs))

    def candidates(self, raw) -> dict:
        """The best pairs before suppression, in pixels of the map.

        Returns:
            dict: `boxes` `(batch, k, 4)` xyxy, not clipped, `scores` `(batch, k)`, highest first,
            `labels` int32, `top_left_scores`, `bottom_right_scores`; where there are fewer than k
            pairs, score 0 says that a row is none.
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

    def _corners(self, raw, kind) -> dict:
        """The best corners of one kind: `points` `(batch, k, 2)`, the rest `(batch, k)`."""
        logits, embeddings, offsets = (
            ops.cast(raw[f"{kind}_{name}"], "float32")
            for name in ("heatmaps", "embeddings", "offsets")
        )
        height, width = logits.shape[1:3]

        def table(values):
            return ops.reshape(values, (-1, height * width, values.shape[-1]))

        # 128 x 128 x 80 on two threads: 2.6 ms with the peaks, 5.4 ms by one top-k over all 1.3
        # million entries. Logits stand in the order of their sigmoids: only the survivors' are
        # computed.
        best, places, labels = best_pairs(table(self._peaks(logits)), self.corner_top_k)
        cells = ops.cast(ops.stack([places % width, places // width], axis=-1), "float32")
        return {
            "points": cells + gather_rows(table(offsets), places),
            "scores": ops.sigmoid(best),
            "labels": labels,
            "embeddings": gather_rows(table(embeddings), places)[..., 0],
        }

    def _peaks(self, logits):
        """The logits, `NO_PEAK` where a neighbour of the same class is higher."""
        if self.peak_window == 1:
            return logits
        window = (self.peak_window, self.peak_window)
        highest = ops.max_pool(logits, window, strides=(1, 1), padding="same")
        return ops.where(logits == highest, logits, NO_PEAK)

    def _pair_scores(self, top_left, bottom_right):
        """`(batch, k, k)`, top-left corners on axis 1; 0 where two corners make no box."""

        def both(name):
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

    def _candidates_in_input(self, raw):
        """Boxes in pixels of the network's input, not clipped; scores; labels."""
        found = self.candidates(raw)
        height, width = self.height_and_width
        padded_height, padded_width = self.padded_height_and_width
        map_height, map_width = raw["top_left_heatmaps"].shape[1:3]
        strides = [padded_width / map_width, padded_height / map_height]
        margins = [padded_width // 2 - width // 2, padded_height // 2 - height // 2]
        boxes = found["boxes"] * ops.convert_to_tensor(strides * 2, "float32")
        boxes = boxes - ops.convert_to_tensor(margins * 2, "float32")
        return boxes, found["scores"], found["labels"]

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "padded_size": self.padded_size,
            "corner_top_k": self.corner_top_k,
            "embedding_threshold": self.embedding_threshold,
            "peak_window": self.peak_window,
        }
