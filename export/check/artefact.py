"""An export as its check sees it: something that gives raw outputs and detections."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from keras_det.models import Detector
from keras_det.runtime.detections import trim

Call = Callable[[], dict]


class Artefact(Protocol):
    """What a check needs of an export that runs.

    Attributes:
        in_original_pixels: whether detections are in pixels of the image, not of the input.
        decoder_settings: how the Keras model has to decode to find the same.
        channels: 3, or 1 where it takes grey images.
        versions: of the libraries that run it.
    """

    in_original_pixels: bool
    decoder_settings: dict[str, Any]
    channels: int
    versions: dict[str, str]

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Raw outputs of the network's input, uint8 `(1, height, width, 3)`."""
        ...

    def calls(self, image: np.ndarray, pixels: np.ndarray) -> dict[str, Call]:
        """Functions by signature name that return the trimmed detections of one image.

        Args:
            image: uint8 `(height, width, 3)`.
            pixels: the network's input made of it, uint8 `(1, height, width, 3)`.
        """
        ...

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        ...


class Runner(Protocol):
    """What runs a file: `LiteModel` and `OnnxModel` of `keras_det.runtime`."""

    channels: int

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]: ...

    def outputs(self) -> dict[str, list[str]]: ...


class FileArtefact:
    """A TFLite or ONNX file as the check sees it.

    Args:
        model: the detector, which decodes where the file does not.
        kept: runs the file, or the two of a split export.
        raw: function from the network's input to the raw outputs of the same file.
        versions: of the library that runs it.
        decoding: settings of the decoder inside; empty for raw outputs.
        decoder_settings: as of `Artefact`.
        notes: what the reader of the report should know of the library.
    """

    in_original_pixels = False

    def __init__(
        self,
        model: Detector,
        kept: Runner,
        raw: Callable[[np.ndarray], dict],
        versions: dict[str, str],
        decoding: dict[str, Any],
        decoder_settings: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ):
        self.model, self.kept, self.channels = model, kept, kept.channels
        self.versions, self.decoding = versions, decoding
        self.decoder_settings = decoder_settings or {}
        self.notes, self._raw = tuple(notes), raw

    def outputs(self) -> dict[str, list[str]]:
        return self.kept.outputs()

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = self._raw(pixels)
        return {name: found[name] for name in self.model.output}

    def calls(self, image: np.ndarray, pixels: np.ndarray) -> dict[str, Call]:
        def call() -> dict:
            found = self.kept.run(pixels)
            return trim(found if "boxes" in found else to_numpy(self.model.decode(found)))

        return {" and ".join(self.outputs()): call}


def to_numpy(outputs: dict) -> dict[str, np.ndarray]:
    """Arrays of a dict of the backend's tensors."""
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
