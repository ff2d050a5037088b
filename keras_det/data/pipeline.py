"""From a data set to padded batches, with `tf.data`: decode, augment, resize, pad."""

import copy
import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.data import augment as augmenting
from keras_det.data.augmenting.engine import Engine
from keras_det.data.augmenting.step import Step
from keras_det.data.dataset import Dataset
from keras_det.data.failures import Failures
from keras_det.data.pipeline_arguments import (
    bool_or_none,
    broken_images,
    check_divisible,
    check_images,
    fill_of,
    plain_after_of,
    policy_of,
    target_rows,
    weights_of,
    whole_number,
    why_unread,
)
from keras_det.data.pipeline_source import Files
from keras_det.data.pixel_limit import pixel_limit
from keras_det.data.resize import check_policy
from keras_det.data.sampling import Sampler
from keras_det.data.slot_stream import readable_slots, report_gaps
from keras_det.data.slots import SharedSlots, Slots, Start, start_of
from keras_det.data.special_files import SpecialFiles
from keras_det.data.vanishing import warn_of_vanishing
from keras_det.names import PADDING_LABEL as PADDING_LABEL
from keras_det.types import AugmentName, SamplingName, TFTensor

if TYPE_CHECKING:
    import tensorflow as tf


class Pipeline:
    """Batches of a data set, for `fit`, `evaluate` and `predict` of a detector.

    `fit` takes its training stream. `evaluate`, `predict`, `validation_data` and iteration take one
    pass over the unchanged images.

    The training stream is endless. Epoch e consists of `steps_per_epoch` full batches. Their order
    depends only on (seed, e), and every random choice only on (seed, e, place in the epoch).

    One pass gives every image once, in order; the last batch may be smaller.
    Training warns once where more than a tenth of the objects vanish; see `find_vanishing`.

    Images are upright, or as they are stored where their labels were drawn so; see `Sample.read`.

    Images that cannot be decoded, or have another size than annotated, are skipped and listed in
    `failed`, with a warning. If they are more than one and more than 5% of the images of an epoch,
    or all of them, a DataError is raised.

    Args:
        dataset: `Dataset`. Crowd objects do not become targets.
        model_or_size: a detector, for its `resize_policy` and its `normalization.mean` as padding
            colour; or the input size, one integer or `(height, width)`, for letterboxing.
        batch_size: int, images per batch.
        augment: a name of `AUGMENTS`, a list of steps such as `[Flip(), Mosaic(0.5)]`, or an
            `Augment`. None means "none".
        seed: int. The same seed gives the same stream, whatever the number of threads.
        training: bool or None. None: the caller decides, as above; with `augment` only the training
            stream can be used. True: only the training stream can be used, also by iteration.
            False: only passes can be used; `fit` refuses the pipeline.
        max_boxes: int, slots per image. If an image has more objects, the largest are kept, with a
            warning.
        fill: padding colour in 0..255, one value or three. None: the model's mean colour, or
            ImageNet's where a size is given.
        num_parallel_calls: int, images that are processed at the same time. None: the number of
            cores.
        sample_weight: `(images,)`, at least 0, the weight of each image of the data set in the
            losses; see `Detector.fit`. Batches are then `(images, targets, sample_weight)`. None:
            every image counts once.
        max_pixels: int. An image with more pixels counts as one that cannot be decoded. Default:
            that of `read_image`.
        sampling: "uniform": an epoch has every image once. "repeat_factor": images with rare
            classes come more often, all at least once. "class_balanced": every class is drawn
            equally often, then one of its images; an epoch is as long as the data set. See
            `keras_det.data.sampling`.
        repeat_threshold: float in (0, 1], for "repeat_factor": classes in a smaller share of the
            images count as rare. LVIS uses 0.001.
        plain_after: int, the first epoch without the strong steps (mosaic, mixup, copy-paste,
            cutout), counted from 0. None: they are never left out.

    Raises:
        TypeError: an argument that must be a whole number or a bool is not.
        ValueError: an argument has a wrong value, or arguments contradict each other.
        DataError: the data set holds no image.
    """

    def __init__(
        self,
        dataset: Dataset,
        model_or_size: Any,
        batch_size: int = 8,
        augment: AugmentName | str | augmenting.Augment | Sequence[Step] | None = None,
        seed: int = 0,
        training: bool | None = None,
        max_boxes: int = 100,
        fill: float | Sequence[float] | None = None,
        num_parallel_calls: int | None = None,
        sample_weight: np.ndarray | Sequence[float] | None = None,
        max_pixels: int | None = None,
        sampling: SamplingName | str = "uniform",
        repeat_threshold: float = 0.001,
        plain_after: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = whole_number("batch_size", batch_size)
        self.augment = augmenting.get_augment(augment, model_or_size)
        self._asked = bool_or_none("training", training)
        chosen = augment is not None or sampling != "uniform"
        self.training = chosen if self._asked is None else self._asked
        self.seed = whole_number("seed", seed, None)
        self.max_boxes = whole_number("max_boxes", max_boxes)
        self.mode, self.size = check_policy(policy_of(model_or_size))
        self.fill = fill_of(fill, model_or_size)
        calls = (os.cpu_count() or 1) if num_parallel_calls is None else num_parallel_calls
        self.num_parallel_calls = whole_number("num_parallel_calls", calls)
        self.sample_weight = None if sample_weight is None else weights_of(sample_weight, dataset)
        self.max_pixels = pixel_limit(max_pixels)
        self.plain_after = plain_after_of(plain_after, self.augment)
        self.sampler = Sampler(dataset, sampling, repeat_threshold)
        self.slots = Slots(self.sampler, len(dataset), self.seed)
        self.first = Start()
        self.workers = 1  # workers that share each batch
        self.warned = False
        self._failures = Failures(dataset.image_paths, self._why_unread)
        self._special = SpecialFiles(dataset.image_paths)
        self._check()
        self.rows = target_rows(dataset, self.max_boxes)

    def _check(self) -> None:
        check_images(self.dataset)
        if not self.training and self._alters:
            raise ValueError(
                "Evaluation must see images as they are. Received: training=False with "
                f"augment={self.augment}, sampling={self.sampler.name!r}. Leave out one of them."
            )

    @property
    def _alters(self) -> bool:
        """Whether the training stream shows other images than a pass."""
        return self.augment != augmenting.AUGMENTS["none"] or self.sampler.name != "uniform"

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch. In training all are full.

        Each image comes at least once, except with "class_balanced" sampling.
        """
        return math.ceil(self.sampler.length / (self.batch_size * self.workers))

    @property
    def batches_per_pass(self) -> int:
        """Batches of one pass, without the images that could not be decoded so far."""
        return max(1, math.ceil((len(self.dataset) - len(self._failures)) / self.batch_size))

    @property
    def failed(self) -> list[str]:
        """Paths of the images that could not be used so far."""
        return self._failures.paths

    def start(self, epoch: int, step: int = 0, broken: bool = False) -> "Pipeline":
        """Makes the next `as_tf_dataset()` start at an epoch and a step of it.

        Its batches are those that an uninterrupted stream has from there on.

        Args:
            epoch: int, from 0.
            step: int, number of batches of that epoch that are left out.
            broken: bool. True: some images cannot be read. The images of the batches that are left
                out are then decoded, to count those that can. With False they are not read at all.

        Returns:
            The pipeline itself.
        """
        self.first = start_of(self.slots, int(epoch), int(step) * self.batch_size, broken)
        return self

    def part(self, worker: int, workers: int) -> "Pipeline":
        """The training stream of one of several workers: its part of every batch.

        The parts together, worker by worker, are the batches of this pipeline. A worker reads no
        other images. Where some cannot be read, it fills its part with its own next ones.

        Args:
            worker: int, index from 0.
            workers: int, number of workers. It must divide the batch size.

        Returns:
            A pipeline for training whose `batch_size` is that of the part; it starts as this one.

        Raises:
            ValueError: the batch cannot be divided.
        """
        check_divisible(self.batch_size, workers, "worker")
        own = copy.copy(self)
        own.workers, own.batch_size = workers, self.batch_size // workers
        own.training, own._asked = True, True
        own.slots = SharedSlots(self.slots, own.batch_size, worker, workers)
        first, read = self.first, bool(self.first.read)
        own.first = start_of(own.slots, first.epoch, first.samples // workers, read)
        return own

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple]:
        """Yields batches of NumPy arrays; DataError where too many images are broken."""
        try:
            yield from self.as_tf_dataset().as_numpy_iterator()
        except Exception as error:
            self.check()
            raise error

    def check(self) -> None:
        """Raises the DataError that stopped the stream; TensorFlow hides it in its own error."""
        if self._failures.error is not None:
            raise self._failures.error

    def as_tf_dataset(self, training: bool | None = None) -> "tf.data.Dataset":
        """The batches as a `tf.data.Dataset`.

        Args:
            training: bool. True: the endless training stream. False: one pass, in order. None: the
                training stream if the pipeline has `training=True` or `augment`, else one pass.

        Returns:
            Dataset of `(images, targets)`, or `(images, targets, sample_weight)` where the pipeline
            has weights. Images are uint8 `(batch, height, width, 3)`; `sample_weight` is float32
            `(batch,)`. Targets are a dict of `boxes` float32 `(batch, max_boxes, 4)` xyxy input
            pixels, 0 in empty slots; `labels` int32 `(batch, max_boxes)`, -1 in empty slots;
            `image_index` int32 `(batch,)`; `image_to_original` float32 `(batch, 4)`: scale x, y,
            offset x, y with original = input * scale + offset (scale x is negative where the image
            is flipped).

        Raises:
            ValueError: the arguments of the pipeline forbid this use.
        """
        import tensorflow as tf

        training = self.training if training is None else training
        self._check_role(training)
        if training:
            self.warned = self.warned or warn_of_vanishing(self)
        # There is no `if` of tensors for AutoGraph to find, and its search takes seconds.
        stream = tf.autograph.experimental.do_not_convert(self._stream)(Files(self), training)
        batches = stream.batch(self.batch_size)
        if training:
            infinite = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            batches = batches.apply(infinite)
        return batches.prefetch(2)

    def _check_role(self, training: bool) -> None:
        """Raises a ValueError for a use that the arguments of the pipeline forbid."""
        if training and self._asked is False:
            raise ValueError(
                "Training needs a pipeline without training=False. Received: a Pipeline with "
                "training=False. Leave out training=False."
            )
        if not training and (self._asked or self._alters):
            raise ValueError(
                "Evaluation must see every image once, as it is. Received: a Pipeline with "
                f"augment={self.augment}, sampling={self.sampler.name!r}, training={self._asked}. "
                "Make another Pipeline of the data set, without these arguments."
            )

    def _engine(self, source: Files, augment: augmenting.Augment | None = None) -> Engine:
        augment = self.augment if augment is None else augment
        return Engine(augment, self.size, self.mode, self.fill, source)

    def _stream(self, source: Files, training: bool) -> "tf.data.Dataset":
        """The samples of all epochs, from `first` on, or of one pass."""
        import tensorflow as tf

        if not training:
            return self._epoch(tf.constant(0, tf.int64), self._engine(source), False)

        def epochs(start: int, stop: int, engine: Engine) -> tf.data.Dataset:
            numbers = tf.data.Dataset.range(start, stop)
            return numbers.flat_map(lambda epoch: self._epoch(epoch, engine, True))

        first, last = self.first.epoch, np.iinfo(np.int64).max
        if self.plain_after is None:
            return epochs(first, last, self._engine(source))
        without = self._engine(source, self.augment.without_strong())
        plain = epochs(max(first, self.plain_after), last, without)
        if first >= self.plain_after:
            return plain
        return epochs(first, self.plain_after, self._engine(source)).concatenate(plain)

    def _epoch(self, epoch: TFTensor, engine: Engine, training: bool) -> "tf.data.Dataset":
        """The samples of one epoch. Slots number them; the last slot of each pass is a marker.

        A broken image raises an error inside `map`, and `ignore_errors` drops its sample. The gap
        in the slot numbers is noticed and reported. The marker makes a gap at the end of a pass
        visible too.
        """
        import tensorflow as tf

        per_pass = self.slots.per_pass(training)
        start, read, left_out = (self.first if training else Start()).of(epoch)
        slots = tf.data.Dataset.range(start, np.iinfo(np.int64).max if training else per_pass)

        def images_at(epoch: int, slot: int) -> list[int]:
            return self._images_at(epoch, slot, engine, training)

        samples = (
            readable_slots(slots, epoch, self._special, images_at)
            .map(
                lambda slot: self._slot(epoch, slot, engine, training),
                num_parallel_calls=self.num_parallel_calls,
                deterministic=True,
            )
            .ignore_errors()
        )

        def report(epoch: int, first: int, stop: int) -> None:
            self._report(epoch, first, stop, engine, training)

        samples = report_gaps(samples, start, epoch, report)
        samples = samples.filter(lambda slot, sample: slot % per_pass != per_pass - 1)
        samples = samples.map(lambda slot, sample: sample)
        if not training:
            return samples
        return samples.skip(read).take(self.steps_per_epoch * self.batch_size - left_out)

    def _slot(
        self, epoch: TFTensor, slot: TFTensor, engine: Engine, training: bool
    ) -> tuple[TFTensor, tuple]:
        """`(slot, (image, targets, …))`; a blank sample for the marker at the end of a pass."""
        import tensorflow as tf

        def blank() -> tuple:
            targets = {
                "boxes": tf.zeros((self.max_boxes, 4)),
                "labels": tf.fill((self.max_boxes,), PADDING_LABEL),
                "image_index": tf.constant(-1),
                "image_to_original": tf.zeros((4,)),
            }
            return self._weighed(tf.zeros((*self.size, 3), tf.uint8), targets, tf.constant(0.0))

        per_pass = self.slots.per_pass(training)
        marker = slot % per_pass == per_pass - 1
        return slot, tf.cond(marker, blank, lambda: self._sample(epoch, slot, engine, training))

    def _weighed(self, image: TFTensor, targets: dict[str, TFTensor], weight: TFTensor) -> tuple:
        """The sample, with its weight where the pipeline has weights."""
        return (image, targets) if self.sample_weight is None else (image, targets, weight)

    def _sample(self, epoch: TFTensor, slot: TFTensor, engine: Engine, training: bool) -> tuple:
        """The input at a slot of an epoch, with its targets."""
        import tensorflow as tf

        index = self.slots.index(epoch, slot, training)
        picture = engine.input(index, self.slots.seed_of(epoch, slot))
        boxes, labels = picture.boxes, picture.labels
        if self.rows.crowded or engine.augment.mixes:
            boxes, labels = augmenting.keep_largest(boxes, labels, self.max_boxes)
        empty = self.max_boxes - tf.shape(labels)[0]
        boxes = tf.ensure_shape(tf.pad(boxes, [[0, empty], [0, 0]]), (self.max_boxes, 4))
        labels = tf.pad(labels, [[0, empty]], constant_values=PADDING_LABEL)
        targets = {
            "boxes": boxes,
            "labels": tf.ensure_shape(labels, (self.max_boxes,)),
            "image_index": tf.cast(index, tf.int32),
            "image_to_original": picture.to_original,
        }
        return self._weighed(picture.image, targets, picture.weight)

    def _why_unread(self, index: int) -> str:
        return why_unread(self.dataset[index], self.max_pixels)

    def _report(self, epoch: int, first: int, stop: int, engine: Engine, training: bool) -> None:
        """Notes the images of missing slots, which could not be read."""
        lost = list[int]()
        for slot in range(first, stop):
            used = self._images_at(epoch, slot, engine, training)
            lost += broken_images(self.dataset, used, self.max_pixels)
        self._failures.add(epoch, lost)

    def _images_at(self, epoch: int, slot: int, engine: Engine, training: bool) -> list[int]:
        """Indices of the images that may take part in a slot; none for a marker."""
        per_pass = self.slots.per_pass(training)
        if slot % per_pass == per_pass - 1:
            return []
        index = int(self.slots.index(np.int64(epoch), slot, training))
        return engine.images_of(index, self.slots.seed_of(np.int64(epoch), np.int64(slot)))
