"""The numbered slots of an epoch: which are not read at all, and which gave no sample."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_det.data.special_files import BLOCK, MOST_AT_ONCE, SpecialFiles
from keras_det.errors import DataError
from keras_det.types import TFTensor

if TYPE_CHECKING:
    import tensorflow as tf


def readable_slots(
    slots: "tf.data.Dataset",
    epoch: TFTensor,
    special: SpecialFiles,
    images_at: Callable[[int, int], list[int]],
) -> "tf.data.Dataset":
    """Leaves out the slots of an epoch whose images TensorFlow would never finish reading.

    Args:
        slots: data set of int64 scalars.
        epoch: int64 scalar.
        special: checks the files: at most `MOST_AT_ONCE` of them before the first slot, then before
            each block as many as it has slots. Without shuffling, these are the block's own images.
        images_at: `images_at(epoch, slot)` gives the indices of the images of a slot.
    """
    import tensorflow as tf

    def readable(epoch: np.ndarray, block: np.ndarray, number: np.ndarray) -> np.ndarray:
        found = special.look(int(block[0]), BLOCK if number else MOST_AT_ONCE)
        if not found:
            return block
        kept = [slot for slot in block if found.isdisjoint(images_at(int(epoch), int(slot)))]
        return np.array(kept, np.int64)

    def check(number: TFTensor, block: TFTensor) -> TFTensor:
        kept = tf.numpy_function(readable, [epoch, block, number], tf.int64)
        return tf.ensure_shape(kept, (None,))

    return slots.batch(BLOCK).enumerate().map(check).prefetch(1).unbatch()


def report_gaps(
    samples: "tf.data.Dataset",
    start: TFTensor,
    epoch: TFTensor,
    report: Callable[[int, int, int], None],
) -> "tf.data.Dataset":
    """Reports slots without a sample as soon as the next one arrives.

    Args:
        samples: data set of `(slot, sample)`; the slots rise.
        start: int64 scalar, the first slot that is expected.
        epoch: int64 scalar.
        report: `report(epoch, first, stop)` for the slots from `first` to `stop - 1`. A DataError
            that it raises ends the stream.

    Returns:
        `samples`, unchanged.
    """
    import tensorflow as tf

    stopped: list[DataError] = []

    def reporting(epoch: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.int64:
        # After an error, batches in preparation call this again, with slots that did not fail.
        if stopped:
            raise stopped[0]
        try:
            report(int(epoch), int(first), int(stop))
        except DataError as error:
            stopped.append(error)
            raise
        return np.int64(0)

    def account(expected: TFTensor, numbered: tuple) -> tuple[TFTensor, tuple]:
        slot = numbered[0]
        missed = tf.cond(
            slot > expected,
            lambda: tf.numpy_function(reporting, [epoch, expected, slot], tf.int64),
            lambda: tf.constant(0, tf.int64),
        )
        return slot + 1 + 0 * tf.reshape(missed, ()), numbered

    return samples.scan(start, account)
