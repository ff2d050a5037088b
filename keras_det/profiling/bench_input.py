"""Measures the input pipeline alone: images per second, and what each of its stages takes."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_det.data.augment import AUGMENTS
from keras_det.data.augmenting.engine import Engine
from keras_det.data.augmenting.views import draw_view
from keras_det.data.pipeline import Pipeline
from keras_det.data.pipeline_source import Files
from keras_det.profiling.machine import Cores
from keras_det.profiling.verdict import DECODING, READING, InputTimes
from keras_det.types import TFTensor

if TYPE_CHECKING:
    import tensorflow as tf

ROUNDS = 2  # each stream is measured this often, in turn
UNTIMED_BATCHES = 3  # two are ready before they are asked for
# What each stream adds to the one before it.
RESIZING, AUGMENTATION, BATCHING = "resizing", "augmentation", "batching"
MOST_FIRST = 512  # files that are read for the first time


@dataclasses.dataclass(frozen=True)
class InputBench:
    """The pipeline, measured.

    Attributes:
        times: seconds per image.
        rates: images per second of the pipeline up to each stage, by its name; the last is all.
        first_bytes: of the files that were read first, per second.
        others: share of the cores that other programs used.
    """

    times: InputTimes
    rates: dict[str, float]
    first_bytes: float
    others: float


def measure_input(
    pipeline: Pipeline,
    seconds: float = 3.0,
    say: Callable[[str], object] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> InputBench:
    """Measures a training pipeline with more and more of its stages.

    The files are first read once. Then five streams are measured in turn: one that
    only reads the files, one that also decodes them, and so on up to the whole pipeline. The faster
    round of each counts. The time of a stage is the difference between two streams, or 0 if noise
    makes it negative. An augmentation that crops decodes less of an image; this is part of the
    difference too.

    Args:
        pipeline: for training. Its images are read, and its `failed` images are left out.
        seconds: minimum time of each measurement; there are two of each stream.
        say: function called with a few words about what is measured now.
        clock: function that returns seconds.

    Raises:
        DataError: too many images cannot be read.
    """
    pipeline.warned = True  # vanishing objects are not reported here
    say("reading the files")
    first, first_bytes = _first_reading(pipeline, clock)
    running = {name: _Running(stream, pipeline) for name, stream in streams(pipeline).items()}
    running[BATCHING].next()  # raises where no image can be read; the others would search for ever
    found: dict[str, list[float]] = {name: [] for name in running}
    uses = []
    for _ in range(ROUNDS):
        for name, stream in running.items():
            say(name)
            cores = Cores()
            found[name].append(stream.seconds_per_image(seconds, clock))
            uses.append((name, cores.use()))
    each = {name: min(values) for name, values in found.items()}
    last = [use for name, use in uses if name == BATCHING]
    busy = [use.busy for use in last if use.busy is not None]
    times = InputTimes(
        differences(each),
        each[BATCHING],
        first,
        float(np.mean(busy)) if busy else None,
        len(Cores().cores),
    )
    rates = {name: 1 / value for name, value in each.items()}
    return InputBench(times, rates, first_bytes, float(np.mean([use.others for use in last])))


def differences(seconds: dict[str, float]) -> dict[str, float]:
    """What each stage adds to those before it, at least 0, from the time up to each stage."""
    before = [0.0, *seconds.values()][:-1]
    return {k: max(0.0, now - then) for (k, now), then in zip(seconds.items(), before, strict=True)}


def streams(pipeline: Pipeline) -> "dict[str, tf.data.Dataset]":
    """Endless streams of batches by the last stage that they have, in order.

    All but the last give one number per image, so that they copy no pixels.
    """
    import tensorflow as tf

    source = Files(pipeline)
    plain, whole = _engine(pipeline, source, "none"), pipeline._engine(source)

    def read(index: TFTensor, seed: TFTensor) -> TFTensor:
        return tf.strings.length(tf.io.read_file(source._paths[index]))

    def decode(index: TFTensor, seed: TFTensor) -> TFTensor:
        def plan(shape: TFTensor, ratio: TFTensor) -> Any:
            boxes = source.rows(index)[0]
            none = AUGMENTS["none"]
            return draw_view(shape, plain.size, plain.mode, none, seed, ratio, boxes, None)

        return tf.cast(source.decode(index, plan, True)[0][0, 0, 0], tf.int32)

    def shown_by(engine: Engine) -> Callable[[TFTensor, TFTensor], TFTensor]:
        return lambda index, seed: tf.cast(engine.input(index, seed).image[0, 0, 0], tf.int32)

    made = {READING: read, DECODING: decode, RESIZING: shown_by(plain)}
    if pipeline.augment != AUGMENTS["none"]:
        made[AUGMENTATION] = shown_by(whole)
    found = {name: _mapped(pipeline, function) for name, function in made.items()}
    return {**found, BATCHING: pipeline.as_tf_dataset(training=True)}


def _engine(pipeline: Pipeline, source: Files, augment: str) -> Engine:
    return Engine(AUGMENTS[augment], pipeline.size, pipeline.mode, pipeline.fill, source)


def _mapped(
    pipeline: Pipeline, function: Callable[[TFTensor, TFTensor], TFTensor]
) -> "tf.data.Dataset":
    """`function(index, seed)` of the images in a random order, without end."""
    import tensorflow as tf

    count = len(pipeline.dataset)
    numbers = tf.data.Dataset.range(count).shuffle(count, seed=pipeline.seed).repeat()
    samples = numbers.map(
        lambda index: function(index, tf.stack([index, tf.constant(7, tf.int64)])),
        num_parallel_calls=pipeline.num_parallel_calls,
        deterministic=True,
    )
    return samples.ignore_errors().batch(pipeline.batch_size).prefetch(2)


class _Running:
    """A stream that is measured again and again; it starts once."""

    def __init__(self, stream: "tf.data.Dataset", pipeline: Pipeline) -> None:
        self.stream, self.pipeline = stream, pipeline
        self.batches: Iterator[Any] | None = None

    def seconds_per_image(self, seconds: float, clock: Callable[[], float]) -> float:
        """Takes batches for so many seconds."""
        for _ in range(UNTIMED_BATCHES):
            self.next()
        begun, batches = clock(), 0
        while batches == 0 or clock() - begun < seconds:
            self.next()
            batches += 1
        return (clock() - begun) / (batches * self.pipeline.batch_size)

    def next(self) -> None:
        """Takes one batch; DataError where too many images cannot be read."""
        if self.batches is None:
            self.batches = iter(self.stream)
        try:
            next(self.batches)
        except Exception:
            self.pipeline.check()
            raise


def _first_reading(pipeline: Pipeline, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds per file and bytes per second of the first reading, of 512 files at most."""
    import tensorflow as tf

    count = len(pipeline.dataset)
    order = np.random.default_rng(pipeline.seed).permutation(count)[:MOST_FIRST]
    paths = tf.constant([pipeline.dataset.image_paths[i] for i in order])
    sizes = tf.data.Dataset.from_tensor_slices(paths).map(
        lambda path: tf.strings.length(tf.io.read_file(path)),
        num_parallel_calls=pipeline.num_parallel_calls,
    )
    begun = clock()
    read = list(itertools.chain(sizes.ignore_errors().as_numpy_iterator()))
    seconds = max(clock() - begun, 1e-9)
    return seconds / max(1, len(read)), float(np.sum(read)) / seconds
