"""The base class of detectors without a Keras network, with their method `detect`."""

import abc
import functools
import inspect
import numbers
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from keras_det.data.image import rgb_pixels
from keras_det.errors import DataError, suggest
from keras_det.types import Detections, Image, Images, OneImage
from keras_det.video.seen import remember
from keras_det.video.sources import OneSource
from keras_det.video.stream import stream, thresholds_for
from keras_det.words import counted


class Runner(Protocol):
    """Runs a network with one input size: `LiteModel` or `OnnxModel`."""

    channels: int

    @property
    def image_size(self) -> tuple[int, int]: ...

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]: ...

    def outputs(self) -> dict[str, list[str]]: ...


Function = TypeVar("Function", bound=Callable[..., Any])


def without_settings(function: Function) -> Function:
    """Decorator for `detect` of an exported file: a setting of the decoder is a TypeError.

    The signature stays as it is.
    """
    known = list(inspect.signature(function).parameters)[1:]

    @functools.wraps(function)
    def checked_call(*args: Any, **given: Any) -> Any:
        for name, value in given.items():
            if name not in known:
                nearest = suggest(name, known)
                advice = nearest or " Leave it out, or detect with the Keras model."
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument {name!r}: an "
                    "exported file has its own decoder; only `score_threshold` can be given. "
                    f"Received: {name}={value!r:.80}.{advice}"
                )
        return function(*args, **given)

    decorated: Any = checked_call
    return decorated


class RunningDetector(abc.ABC):
    """Detects with a file, as `Detector.detect` does with a Keras model.

    Attributes:
        engine: the library that computes the network: "litert", "onnx" or "tensorflow".
        class_names: index k means `class_names[k]`.
        image_size: (height, width) of the network's input in pixels.
        score_thresholds: the score of each class above which a detection is worth showing, or None.
    """

    engine: str
    class_names: list[str]
    image_size: tuple[int, int]
    score_thresholds: list[float] | None = None

    @overload
    def detect(self, images: OneImage, *, score_threshold: float | None = None) -> Detections: ...
    @overload
    def detect(
        self, images: Images, *, score_threshold: float | None = None
    ) -> list[Detections]: ...
    @overload
    def detect(self, images: np.ndarray, *, score_threshold: float | None = None) -> Any: ...
    @without_settings
    def detect(
        self, images: Image | Sequence[Image], *, score_threshold: float | None = None
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of an image; or a batch as one array `(n, height, width, 3)`.
            score_threshold: 0..1; only detections with a higher score are returned. Default: the
                threshold of the decoder.

        Returns:
            `keras_det.types.Detections` (a list of them for a list or batch): a dict with `boxes`
            float32 `(n, 4)` xyxy in pixels of the original image, `scores` float32 `(n,)` from high
            to low, `labels` int32 `(n,)`, `num_detections` n, and `class_names`: the class name of
            each detection.

        Raises:
            DataError: an image does not decode.
            TypeError: `score_threshold` is not a number, or another setting is given.
            ValueError: an array is not a uint8 RGB image or has a side of 0, or `score_threshold`
                is out of range.
        """
        self.check_threshold(score_threshold)
        own = self.score_thresholds
        return for_each(images, lambda image: self._detect(image, score_threshold), own)

    @without_settings
    def stream(
        self,
        source: OneSource | Sequence[OneSource],
        every: int = 1,
        track: bool = False,
        *,
        score_threshold: float | None = None,
    ) -> Generator[Detections, None, None]:
        """Finds objects in images, videos or a camera, one after another.

        The same as `stream` of a Keras detector. Frames go through the network one by one.

        Args:
            source: a file, a folder, a pattern such as "photos/*.jpg", the index of a camera, or a
                list of these.
            every: of a video, take frames 0, `every`, 2 * `every` and so on.
            track: bool. True tracks objects: each keeps its ID through a video (ByteTrack).
            score_threshold: as in `detect`.

        Returns:
            A generator of `keras_det.types.Detections`: the keys of `detect`, and `image`, `path`,
            `frame`, `time` and, with `track`, `track_ids`. Closing it closes the file.

        Raises:
            DataError: a source does not exist, nothing can be read, a package is missing, or
                `track` is set and there is no video.
            TypeError, ValueError: as of `detect`.
        """
        self.check_threshold(score_threshold)
        return self._stream(source, every, track, {"score_threshold": score_threshold})

    def _stream(
        self,
        source: OneSource | Sequence[OneSource],
        every: int,
        track: bool,
        settings: Mapping[str, Any],
    ) -> Generator[Detections, None, None]:
        """What `stream` does, with all settings of `detect` in one mapping."""
        lowest, own = settings.get("score_threshold"), self.score_thresholds
        thresholds = thresholds_for(lowest, own, len(self.class_names))

        def detect(frames: list[np.ndarray]) -> list[Detections]:
            return self.detect(frames, **settings)

        return stream(detect, source, 1, every, track, thresholds)

    def check_threshold(self, score_threshold: float | None) -> None:
        """Raises TypeError or ValueError for a wrong threshold. Subclasses may narrow the range."""
        if score_threshold is None:
            return
        if isinstance(score_threshold, bool) or not isinstance(score_threshold, numbers.Real):
            raise TypeError(
                "`score_threshold` must be a number in 0..1, or None. Received: "
                f"{score_threshold!r:.80}. Give 0.3 for confident detections only."
            )
        if not 0 <= score_threshold <= 1:
            raise ValueError(
                f"`score_threshold` must lie in 0..1. Received: {score_threshold!r}. With 0.3 only "
                "confident detections remain, with 0.001 nearly all."
            )

    @abc.abstractmethod
    def _detect(self, image: np.ndarray, score_threshold: float | None) -> Detections:
        """Detects in one uint8 image; see `detect`."""


def for_each(
    images: Image | Sequence[Image],
    detect: Callable[[np.ndarray], Detections],
    thresholds: Sequence[float] | None = None,
) -> Detections | list[Detections]:
    """Calls `detect` on one image, or on each image of a list or a batch.

    Args:
        images: as of `RunningDetector.detect`.
        detect: function of the pixels of one image.
        thresholds: the score of each class above which a notebook draws a detection.
    """

    def detect_one(image: Any) -> Detections:
        found = detect(rgb_pixels(image))
        remember(found, image, thresholds)
        return found

    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if isinstance(images, list | tuple):
        return [detect_one(image) for image in images]
    return detect_one(images)


def named(
    detections: dict,
    class_names: Sequence[str],
    score_threshold: float | None = None,
    source: object = "a model",
) -> Detections:
    """Converts the detections of one image to the result of `Detector.detect`.

    Args:
        detections: `boxes` `(n, 4)`, `scores` `(n,)`, `labels` `(n,)`, without empty slots.
        class_names: of the model.
        score_threshold: only detections with a higher score are kept. Default: all.
        source: what found them, for the message.

    Raises:
        DataError: a label has no class name.
    """
    scores = detections["scores"]
    keep = np.ones(len(scores), bool) if score_threshold is None else scores > score_threshold
    labels = detections["labels"][keep].astype("int32")
    unknown = labels[(labels < 0) | (labels >= len(class_names))]
    if unknown.size:
        raise DataError(
            f"Labels must lie in 0..{len(class_names) - 1}: there "
            f"{'is' if len(class_names) == 1 else 'are'} "
            f"{counted(len(class_names), 'class name')}. Received: label {unknown[0]} from "
            f"{source}. Export the model again with `keras-det export`, and keep its files "
            "together."
        )
    return Detections(
        boxes=detections["boxes"][keep].astype("float32"),
        scores=scores[keep].astype("float32"),
        labels=labels,
        num_detections=len(labels),
        class_names=[class_names[label] for label in labels],
    )
