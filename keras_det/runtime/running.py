"""What everything that detects without a Keras model has in common: `detect`."""

import abc
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_det.data.image import as_image

Image = np.ndarray | str | os.PathLike | bytes


class RunningDetector(abc.ABC):
    """Detects with a file, as `Detector.detect` does with a Keras model.

    Attributes:
        engine: what computes the network: "litert", "onnx", "tensorflow".
        class_names: index k means `class_names[k]`.
        image_size: (height, width) of the network's input in pixels.
    """

    engine: str
    class_names: list[str]
    image_size: tuple[int, int]

    def detect(
        self, images: Image | Sequence[Image], *, score_threshold: float | None = None
    ) -> dict | list[dict]:
        """Finds objects in images of any size.

        Args:
            images: one image or a list: uint8 array `(height, width, 3)` RGB, a path, or the
                encoded bytes of an image; or a batch as one array `(n, height, width, 3)`.
            score_threshold: 0..1; detections score above it. Default: that of the decoder.

        Returns:
            dict (a list of dicts for a list or batch) with `boxes` float32 `(n, 4)` xyxy in pixels
            of the original image, `scores` float32 `(n,)` from high to low, `labels` int32 `(n,)`,
            `num_detections` n, and `class_names`: the name of each detection.

        Raises:
            DataError: an image does not decode.
            ValueError: an array is no uint8 RGB image, or `score_threshold` is out of range.
        """
        self.check_threshold(score_threshold)
        return for_each(images, lambda image: self._detect(image, score_threshold))

    def check_threshold(self, score_threshold: float | None) -> None:
        """ValueError where it is no score; subclasses may know a lower limit."""
        if score_threshold is not None and not 0 <= score_threshold <= 1:
            raise ValueError(
                f"`score_threshold` must lie in 0..1. Received: {score_threshold!r}. Scores are "
                "probabilities: 0.3 shows what is likely, 0.001 nearly everything."
            )

    @abc.abstractmethod
    def _detect(self, image: np.ndarray, score_threshold: float | None) -> dict:
        """`detect` of one uint8 image."""


def for_each(
    images: Image | Sequence[Image], detect: Callable[[np.ndarray], dict]
) -> dict | list[dict]:
    """What `detect` finds in one image, or a list of it for a list or a batch."""
    is_batch = isinstance(images, np.ndarray) and images.ndim == 4
    if is_batch or isinstance(images, list | tuple):
        return [detect(checked(image)) for image in images]
    return detect(checked(images))


def checked(image: Any) -> np.ndarray:
    """uint8 `(height, width, 3)` of an `Image`."""
    pixels = as_image(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            "An image must be uint8 (height, width, 3), RGB. Received: "
            f"{pixels.dtype} {pixels.shape}. Read files with keras_det.data.read_image."
        )
    return pixels


def named(
    detections: dict, class_names: Sequence[str], score_threshold: float | None = None
) -> dict:
    """Trimmed detections of one image as `Detector.detect` gives them.

    Args:
        detections: `boxes` `(n, 4)`, `scores` `(n,)`, `labels` `(n,)`.
        class_names: of the model.
        score_threshold: what scores at most so much is left out. Default: nothing.
    """
    scores = detections["scores"]
    keep = np.ones(len(scores), bool) if score_threshold is None else scores > score_threshold
    labels = detections["labels"][keep].astype("int32")
    return {
        "boxes": detections["boxes"][keep].astype("float32"),
        "scores": scores[keep].astype("float32"),
        "labels": labels,
        "num_detections": len(labels),
        "class_names": [class_names[label] for label in labels],
    }
