"""What `keras-det predict` does: detects in all sources, and writes what was found."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from keras_det.cli.command import echo
from keras_det.cli.files import say_where
from keras_det.cli.prediction_files import WRITERS, Prediction, Unwritten, unique_stems
from keras_det.errors import DataError
from keras_det.words import counted

if TYPE_CHECKING:
    from keras_det.video.frames import Frame
    from keras_det.video.sources import Source

FORMATS = tuple(WRITERS)
LOWEST = 0.001  # score of a detection that may be drawn faintly
BATCH = 8  # frames of a video that go through the network of a Keras model together
# Images whose detections are kept to say whether the model has learned.
MOST_FACTS = 1_000


@dataclasses.dataclass(frozen=True)
class Job:
    """What to do. `thresholds`: the score threshold of each class. `settings`: of the decoder."""

    sources: "Sequence[Source]"
    folder: pathlib.Path
    formats: Sequence[str]
    every: int
    track: bool
    thresholds: list[float]
    settings: dict[str, Any]

    @functools.cached_property
    def expected(self) -> int | None:
        """How many images and frames there will be; None if a source does not say."""
        from keras_det.video.frames import expected_frames

        counts = [expected_frames(source, self.every) for source in self.sources]
        return None if None in counts else sum(count or 0 for count in counts)


def predict_all(detector: Any, job: Job, measured: bool) -> bool:
    """Detects in all sources, writes the files and says what was found.

    Args:
        detector: a model, an exported file, or one of these in tiles.
        job: what to do.
        measured: whether the training of the model has found that it has learned.

    Returns:
        Whether everything could be written.

    Raises:
        DataError: no source is readable.
    """
    from keras_det.video.stream import results

    job.folder.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    facts, written = Facts(job.thresholds), Written(job, detector.class_names)
    # Images one by one: a large one for which there is no memory is left out.
    batch_size = 1 if any(source.kind == "image" for source in job.sources) else BATCH
    pairs = results(
        detect_function(detector, job, batch_size),
        job.sources,
        batch_size,
        job.every,
        job.track,
        job.thresholds,
        notes.append,
    )
    try:
        with contextlib.closing(pairs), written:
            with click.progressbar(pairs, length=job.expected, label="Detecting") as bar:
                for frame, found in bar:
                    facts.add(found, frame.pixels.shape)
                    written.add(frame, found)
    except DataError:
        if not facts.images:
            with contextlib.suppress(OSError):  # where somebody else has written to it
                job.folder.rmdir()
            notes = notes[1:]  # the error repeats the first
        raise
    finally:
        for note in notes:
            echo(f"Note: left out: {note}" if "Received" in note else f"Note: {note}", err=True)
    faint = "pictures" in job.formats and written.images > 0
    echo(facts.sentence(getattr(detector, "score_threshold", None), measured, faint))
    return written.say()


def detect_function(detector: Any, job: Job, batch_size: int) -> Any:
    """A function that detects in a list of frames."""
    # An exported file keeps what its own decoder has found.
    lowest = {"score_threshold": min([LOWEST, *job.thresholds])}
    settings = {**job.settings, **({} if hasattr(detector, "path") else lowest)}
    if batch_size > 1 and hasattr(type(detector), "in_batches"):
        return detector.in_batches(batch_size, settings)
    return lambda frames: [detector.detect(frame, **settings) for frame in frames]


class Written:
    """The files of all formats. They are completed when the `with` block ends, even by Ctrl-C.

    Args:
        job: what to do.
        class_names: of the detector.
    """

    def __init__(self, job: Job, class_names: Sequence[str]) -> None:
        self.job, self.class_names = job, list(class_names)
        self.writers = [
            WRITERS[each](job.folder, class_names) for each in dict.fromkeys(job.formats)
        ]
        self.stems = dict(zip(job.sources, unique_stems(job.sources), strict=True))
        self.unwritten: list[str] = []
        self.images = self.frames = self.detections = 0

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.ExitStack() as stack:  # all are closed, even if one cannot be
            for writer in reversed(self.writers):
                stack.callback(self._try, writer.close)

    def add(self, frame: "Frame", found: Any) -> None:
        """Writes what was found in one image or frame."""
        from keras_det.metrics.score_facts import above_threshold

        kept = above_threshold(found, self.job.thresholds)
        number = self.images + self.frames
        stem, names = self.stems[frame.source], self.class_names
        thresholds, every = self.job.thresholds, self.job.every
        one = Prediction(number, frame, found, kept, stem, names, thresholds, every)
        self.images += frame.number is None
        self.frames += frame.number is not None
        self.detections += int(kept.sum())
        for writer in self.writers:
            self._try(writer.add, one)

    def _try(self, action: Callable[..., None], *given: Any) -> None:
        try:
            action(*given)
        except Unwritten as error:
            self.unwritten.append(str(error))

    def say(self) -> bool:
        """Prints where the results are; returns whether everything could be written."""
        folder, unwritten = self.job.folder, self.unwritten
        if unwritten:
            echo(
                f"Note: {counted(len(unwritten), 'file')} could not be written. The others are "
                f"complete. The first: {unwritten[0]}.",
                err=True,
            )
        parts = [f"Detections: {self.detections}"]
        parts += [f"images: {self.images}"] if self.images or not self.frames else []
        parts += [f"frames: {self.frames}"] if self.frames else []
        say_where(f"{', '.join(parts)}, results", folder)
        return not unwritten


class Facts:
    """What the scores of all images say, in memory that does not grow with their number.

    Args:
        thresholds: the score threshold of each class.
    """

    def __init__(self, thresholds: list[float]) -> None:
        self.thresholds, self.images, self.passing, self.highest = thresholds, 0, 0, 0.0
        self.found: list[Any] = []
        self.sizes: list[tuple[int, ...]] = []

    def add(self, found: Any, size: tuple[int, ...]) -> None:
        """Takes the detections of an image of (height, width, …)."""
        from keras_det.metrics.score_facts import above_threshold

        self.images += 1
        self.passing += int(above_threshold(found, self.thresholds).sum())
        self.highest = max(self.highest, float(max(found["scores"], default=0)))
        if len(self.found) < MOST_FACTS:
            best = {name: found[name][:1].copy() for name in ("boxes", "scores", "labels")}
            self.found.append(best)
            self.sizes.append(size)

    def sentence(self, lowest: float | None, measured: bool, faint: bool) -> str:
        """The highest score, and how many objects are above the threshold; or what is wrong.

        Args:
            lowest: the threshold of the detector itself.
            measured: whether the training of the model has found that it has learned.
            faint: whether the best box of each image is drawn.
        """
        from keras_det.metrics.score_facts import FEWEST_IMAGES, OWN, score_facts

        if not self.highest:
            return (
                f"No detections: no score is above {lowest or LOWEST:g}, the lowest threshold that "
                "the model takes."
            )
        facts = dataclasses.replace(
            score_facts(self.found, self.sizes, self.thresholds),
            images=self.images,
            passing=self.passing,
            highest=self.highest,
        )
        same = len(set(self.thresholds)) == 1
        words = f"the threshold {self.thresholds[0]:.2g}" if same else OWN
        # Few images may hold no object.
        doubt = facts.images >= FEWEST_IMAGES and (not measured or facts.constant)
        text = facts.sentence(words) if doubt else facts.count(words)
        if facts.passing:
            return text
        # One digit below the highest score.
        example = float(f"{0.8 * facts.highest:.1g}")
        drawn = "The best box of each image is drawn faintly; " if faint else ""
        return f"{text} {drawn}--score-threshold {example:g} shows more."
