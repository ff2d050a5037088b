"""Detects in images, videos and cameras one after another, in memory that does not grow."""

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import numpy as np

from keras_det.errors import DataError
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.results import Detections
from keras_det.video.ahead import ahead
from keras_det.video.frames import Frame, Note, frames, unreadable
from keras_det.video.libraries import needed
from keras_det.video.seen import Seen, unremembered
from keras_det.video.sources import OneSource, Source, find_sources
from keras_det.video.tracks import Tracks

# Detects in frames that go through the network together.
Detect = Callable[[list[np.ndarray]], Sequence[Detections]]


def stream(
    detect: Detect,
    source: OneSource | Sequence[OneSource],
    batch_size: int,
    every: int,
    track: bool,
    thresholds: Sequence[float],
) -> Generator[Detections, None, None]:
    """What the methods `stream` of the detectors do.

    Args:
        detect: function from a list of frames to a list of detections.
        source: as of `find_sources`.
        batch_size: frames that `detect` gets at once; a camera's frames go one by one.
        every: of a video, frames 0, `every`, 2 * `every` and so on.
        track: whether to follow objects through videos.
        thresholds: the score of each class from which on a detection starts a track and is drawn.

    Returns:
        A generator of results. Closing it closes the file.

    Raises:
        DataError: as of `find_sources`; a package is missing; or `track` without a video.
        TypeError, ValueError: an argument is of the wrong type or out of range.
    """
    _check_number(batch_size, "batch_size", "The default is 8.")
    _check_number(every, "every", "1 takes every frame.")
    sources = find_sources(source)
    check_packages(sources, track)

    return _only_results(results(detect, sources, batch_size, every, track, thresholds, _warn))


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=2)


def _only_results(
    pairs: Generator[tuple[Frame, Detections], None, None],
) -> Generator[Detections, None, None]:
    with contextlib.closing(pairs):
        for _, found in pairs:
            yield found


def thresholds_for(
    given: float | None, own: Sequence[float] | None, num_classes: int
) -> Sequence[float]:
    """The score threshold of each class: the one given, else the detector's own, else 0.3."""
    if given is None and own is not None:
        return own
    return [DEFAULT_THRESHOLD if given is None else given] * num_classes


def check_packages(sources: Sequence[Source], track: bool) -> None:
    """DataError where a package is missing, or tracks are asked for and there is no video."""
    kinds = {source.kind for source in sources}
    for kind, package in (("video", "av"), ("camera", "cv2")):
        if kind in kinds:
            needed(package)
    if track:
        if kinds == {"image"}:
            raise DataError(
                "Tracking needs a video or a camera. Received: "
                f"{sources[0].path}, an image. Leave out `track` (--track)."
            )
        needed("trackers"), needed("supervision")


def results(
    detect: Detect,
    sources: Sequence[Source],
    batch_size: int,
    every: int,
    track: bool,
    thresholds: Sequence[float],
    note: Note,
) -> Generator[tuple[Frame, Detections], None, None]:
    """Pairs of a frame and its result, of sources that were found; `note` is as of `frames`."""
    following: tuple[Source, Tracks] | None = None
    some, problems = False, list[str]()

    def left_out(text: str) -> None:
        problems.append(text)
        note(text)

    read = frames(sources, every, left_out)
    if all(source.kind != "camera" for source in sources):  # whose frames must not wait
        read = ahead(read, batch_size)
    with contextlib.closing(read):
        for batch in _batches(read, batch_size):
            for frame, found in _detected(batch, detect, left_out):
                some = True
                if track and frame.rate is not None:
                    if following is None or following[0] is not frame.source:
                        following = frame.source, Tracks(thresholds, float(frame.rate / every))
                    found["track_ids"] = following[1].update(found)
                more = {"image": frame.pixels, "path": frame.source.path}
                found.update({**more, "frame": frame.number, "time": frame.time})
                found.seen = Seen(frame.source.path, thresholds)
                yield frame, found
    if not some:
        raise DataError(f"At least one source must be readable. {problems[0]}")


def _detected(batch: list[Frame], detect: Detect, note: Note) -> Iterator[tuple[Frame, Detections]]:
    """The frames with their detections. An image that is too large for the memory is left out."""
    try:
        with unremembered():  # the results of a stream have their frame
            results = detect([frame.pixels for frame in batch])
    except (DataError, OSError, MemoryError) as error:
        if batch[0].source.kind != "image" or len({frame.source for frame in batch}) < len(batch):
            raise  # every frame of a video is like the others
        if len(batch) == 1:
            note(unreadable(batch[0].source.path, error))
            return
        for frame in batch:
            yield from _detected([frame], detect, note)
        return
    for frame, found in zip(batch, results, strict=True):
        yield frame, found if isinstance(found, Detections) else Detections(found)


def _batches(read: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Frames in lists of `size`; those of a camera one by one, so that they do not wait."""
    waiting: list[Frame] = []
    for frame in read:
        waiting.append(frame)
        if len(waiting) == size or frame.source.kind == "camera":
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _check_number(value: object, name: str, advice: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be a whole number. Received: {value!r:.80}. {advice}")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {value}. {advice}")
