"""The images and objects of a data set as tensors, for the graph of a pipeline."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.data.augmenting.views import View
from keras_det.data.decoding import Annotated, decode_planned
from keras_det.data.sampling import Sampler
from keras_det.errors import DataError
from keras_det.names import PADDING_LABEL
from keras_det.types import TFTensor
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.data.pipeline import Pipeline

# Shortest side of an object that copy-paste takes, in pixels of its image.
MIN_DONOR_SIDE = 8


class Files:
    """`Source` of the files of a data set; see `keras_det.data.augmenting.engine`.

    Args:
        pipeline: `Pipeline`, for its data set, weights and limits.
    """

    graph = True

    def __init__(self, pipeline: "Pipeline") -> None:
        import tensorflow as tf

        dataset, rows = pipeline.dataset, pipeline.rows
        self.max_pixels = pipeline.max_pixels
        self.sampler: Sampler = pipeline.sampler
        weights = pipeline.sample_weight
        with tf.device("CPU"):
            self._weights = tf.constant([1.0] if weights is None else weights, tf.float32)
            self._paths = tf.constant(dataset.image_paths)
            self._sizes = tf.constant(dataset.image_sizes, tf.int32)
            self._stored = tf.constant(dataset.stored_pixels, tf.bool)
            self._boxes = tf.constant(rows.boxes)
            self._labels = tf.constant(rows.labels)
            self._splits = tf.constant(rows.row_splits)
            self._donors = donor_tables(rows) if pipeline.augment.pastes else {}
        self._weighted = weights is not None

    def decode(
        self, index: TFTensor, make_plan: Callable[[TFTensor, TFTensor], View], whole: bool
    ) -> tuple[TFTensor, View]:
        import tensorflow as tf

        annotated = Annotated(self._sizes[index], self._stored[index], self.max_pixels)
        contents = tf.io.read_file(self._paths[index])
        return decode_planned(contents, make_plan, whole, annotated)

    def rows(self, index: TFTensor) -> tuple[TFTensor, TFTensor]:
        start, stop = self._splits[index], self._splits[index + 1]
        return self._boxes[start:stop], self._labels[start:stop]

    def weight(self, index: TFTensor) -> TFTensor:
        return self._weights[index] if self._weighted else self._weights[0]

    def partner(self, seed: TFTensor, number: int) -> TFTensor:
        """A random image, drawn as often as the sampling says."""
        import tensorflow as tf

        length = tf.constant(self.sampler.length, tf.int64)
        place = tf.random.stateless_uniform((), seed, 0, length, tf.int64)
        return self.sampler.index(place, seed)

    def donor(self, seed: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
        import tensorflow as tf

        donors = self._donors
        draws = tf.random.stateless_uniform((2,), seed)
        label = tf.searchsorted(donors["ends"], draws[:1], side="right")[0]
        start, stop = donors["starts"][label], donors["starts"][label + 1]
        count = tf.cast(stop - start, tf.float32)
        row = donors["rows"][start + tf.cast(tf.floor(draws[1] * count), tf.int64)]
        return donors["images"][row], self._boxes[row], self._labels[row]


def donor_tables(rows: Any) -> dict[str, TFTensor]:
    """The objects that copy-paste may take, by class, and how often each class is drawn.

    Raises:
        DataError: no object is large enough.
    """
    import tensorflow as tf

    sides = np.minimum(*(rows.boxes[:, k + 2] - rows.boxes[:, k] for k in (0, 1)))
    large = np.flatnonzero((sides >= MIN_DONOR_SIDE) & (rows.labels != PADDING_LABEL))
    if not len(large):
        raise DataError(
            f"CopyPaste must find an object with sides of at least {MIN_DONOR_SIDE} pixels. "
            f"Received: {counted(len(rows.labels), 'object')}, all smaller. Leave out CopyPaste."
        )
    ordered = large[np.argsort(rows.labels[large], kind="stable")]
    counts = np.bincount(rows.labels[large])
    shares = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0.0)
    ends = np.cumsum(shares / shares.sum())
    ends[np.flatnonzero(counts)[-1] :] = 1.0
    images = np.searchsorted(rows.row_splits, np.arange(len(rows.labels)), side="right") - 1
    return {
        "ends": tf.constant(ends, tf.float32),
        "starts": tf.constant(np.concatenate([[0], np.cumsum(counts)]), tf.int64),
        "rows": tf.constant(ordered, tf.int64),
        "images": tf.constant(images, tf.int64),
    }
