"""Which image stands at each slot of an epoch, and where the stream of a pipeline begins."""

import dataclasses

from keras_det.data.sampling import Sampler
from keras_det.types import TFTensor

# `tf.random.experimental.index_shuffle` takes 4 rounds. They leave neighbours together (22 times
# too often among 205 images) and make epochs alike (correlation 0.33). With 8 neither happens.
SHUFFLE_ROUNDS = 8
EPOCH_STRIDE = 1 << 32  # seeds per epoch, more than an epoch has slots


class Slots:
    """The slots of an epoch. Each pass over the images ends with a slot that is a marker.

    Args:
        sampler: which images a pass of the training has.
        images: number of images of the data set.
        seed: of the pipeline.
    """

    def __init__(self, sampler: Sampler, images: int, seed: int) -> None:
        self.sampler, self.images, self.seed = sampler, images, seed

    def per_pass(self, training: bool = True) -> int:
        """Slots of one pass, with its marker."""
        return (self.sampler.length if training else self.images) + 1

    def after(self, samples: int) -> int:
        """The slot that follows this number of samples of the training, if no image is broken."""
        return samples + samples // self.sampler.length

    def index(self, epoch: TFTensor, slot: TFTensor, training: bool = True) -> TFTensor:
        """Index of the image at a slot of an epoch. Each pass has its own permutation."""
        import tensorflow as tf

        slot, per_pass = tf.cast(slot, tf.int64), self.per_pass(training)
        place = slot % per_pass
        if not training:
            return place
        # The operator reads 32 bits of each seed: epoch and pass need a number each.
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch, slot // per_pass])
        last = tf.constant(self.sampler.length - 1, tf.int64)
        place = tf.raw_ops.RandomIndexShuffle(
            index=tf.minimum(place, last), seed=seed, max_index=last, rounds=SHUFFLE_ROUNDS
        )
        # Negative, so that no sample has the same.
        offset_seed = tf.stack([seed[0], -1 - seed[1] * EPOCH_STRIDE - seed[2]])
        return self.sampler.index(place, offset_seed)

    def seed_of(self, epoch: TFTensor, slot: TFTensor) -> TFTensor:
        """The seed of everything that is random in a sample, int64 `(2,)`."""
        import tensorflow as tf

        return tf.stack([tf.constant(self.seed, tf.int64), epoch * EPOCH_STRIDE + slot])


class SharedSlots(Slots):
    """The slots of one worker, which has a part of every batch of the training.

    They are numbered anew, with markers of their own.

    Args:
        whole: the slots of all workers together.
        batch_size: samples of the part.
        worker: index from 0.
        workers: number of workers.
    """

    def __init__(self, whole: Slots, batch_size: int, worker: int, workers: int) -> None:
        super().__init__(whole.sampler, whole.images, whole.seed)
        self.whole, self.batch_size = whole, batch_size
        self.worker, self.workers = worker, workers

    def per_pass(self, training: bool = True) -> int:
        return max(1, self.sampler.length // self.workers) + 1

    def after(self, samples: int) -> int:
        return samples + samples // (self.per_pass() - 1)

    def in_whole(self, slot: TFTensor) -> TFTensor:
        """The slot of all workers together, for one of this worker that is not a marker."""
        sample = slot - slot // self.per_pass()
        step, rest = sample // self.batch_size, sample % self.batch_size
        return self.whole.after((step * self.workers + self.worker) * self.batch_size + rest)

    def index(self, epoch: TFTensor, slot: TFTensor, training: bool = True) -> TFTensor:
        return self.whole.index(epoch, self.in_whole(slot), training)

    def seed_of(self, epoch: TFTensor, slot: TFTensor) -> TFTensor:
        return self.whole.seed_of(epoch, self.in_whole(slot))


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a training stream begins: in an epoch, after some of its samples.

    Attributes:
        epoch: from 0.
        samples: of that epoch that are left out.
        slot: the first one that is read.
        read: samples that are read from there and left out. They count past broken images, whose
            slots give no sample.
    """

    epoch: int = 0
    samples: int = 0
    slot: int = 0
    read: int = 0

    def of(self, epoch: TFTensor) -> tuple[TFTensor, TFTensor, TFTensor]:
        """`(slot, read, samples)` of an epoch, int64: 0 for all but the first one."""
        import tensorflow as tf

        first = tf.cast(tf.equal(epoch, self.epoch), tf.int64)
        return first * self.slot, first * self.read, first * self.samples


def start_of(slots: Slots, epoch: int, samples: int, broken: bool) -> Start:
    """The start of a stream whose first epoch lacks some samples.

    Args:
        slots: of the pipeline.
        epoch: from 0.
        samples: how many of it are left out.
        broken: bool. True: one of the images cannot be read. The left-out images are then decoded,
            to count those that can.
    """
    if broken:
        return Start(epoch, samples, 0, samples)
    return Start(epoch, samples, slots.after(samples), 0)
