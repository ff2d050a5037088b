"""The base class of detectors that detect with another one, in tiles or views of each image."""

import abc
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from keras_det.types import Detections, Image, Images
from keras_det.video.sources import OneSource
from keras_det.video.stream import stream, thresholds_for


class WrappedDetector(abc.ABC):
    """Detects with another detector; all other attributes are those of that detector.

    Args:
        detector: a Keras detector, or what `load_exported` returns.
    """

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def __getattr__(self, name: str) -> Any:
        if name == "detector":  # not set yet: the object is being copied
            raise AttributeError(name)
        return getattr(self.detector, name)

    @abc.abstractmethod
    def detect(
        self, images: Image | Images, batch_size: int = 8, **settings: Any
    ) -> Detections | list[Detections]:
        """Finds objects in images of any size; takes and returns what the detector's `detect` does.

        Args:
            images: one image or several, as for the detector.
            batch_size: tiles or views that go through the network of a Keras detector together.
            **settings: of the detector's `detect`.
        """

    def stream(
        self,
        source: OneSource | Sequence[OneSource],
        batch_size: int = 8,
        every: int = 1,
        track: bool = False,
        **settings: Any,
    ) -> Generator[Detections, None, None]:
        """Finds objects in images, videos or a camera, as `stream` of the detector does.

        Args:
            source, every, track: as for the detector.
            batch_size: tiles or views that go through the network of a Keras detector together.
            **settings: as in `detect`.
        """
        own = getattr(self.detector, "score_thresholds", None)
        lowest = settings.get("score_threshold")
        thresholds = thresholds_for(lowest, own, len(self.detector.class_names))

        def detect(frames: list[np.ndarray]) -> Any:
            return self.detect(frames, batch_size, **settings)

        return stream(detect, source, 1, every, track, thresholds)
