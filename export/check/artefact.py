"""What the check needs of an export: it returns raw outputs and detections."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from keras_det.models import Detector
from keras_det.runtime.detections import trim
from keras_det.runtime.running import Runner

Call = Callable[[], dict]


class Artefact(Protocol):
    """An export that can be run by the check.

    Attributes:
        in_original_pixels: True: boxes are in pixels of the original image. False: they are in
            pixels of the network's input.
        decoder_settings: settings with which the Keras model decodes in the same way.
        channels: 3, or 1 for an export that takes grey images.
        versions: of the libraries that run it.
    """

    in_original_pixels: bool
    decoder_settings: dict[str, Any]
    channels: int
    versions: dict[str, str]

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the raw outputs for the network's input, uint8 `(1, height, width, 3)`."""
        ...

    def calls(self, image: np.ndarray, pixels: np.ndarray) -> dict[str, Call]:
        """Returns, for each signature name, a function that detects in one image.

        The detections that it returns have no empty slots.

        Args:
            image: uint8 `(height, width, 3)`.
            pixels: the same image as the network's input, uint8 `(1, height, width, 3)`.
        """
        ...

    def outputs(self) -> dict[str, list[str]]:
        """Returns the names of the outputs by signature."""
        ...


class FileArtefact:
    """A TFLite or ONNX file, or a model for OpenVINO, for the check.

    Args:
        model: the detector. It decodes where the file has no decoder.
        kept: runs the file that is written, or the two files of a split export.
        raw: function from the network's input to the raw outputs of the same file.
        versions: of the library that runs it.
        decoding: settings of the decoder in the file; empty for raw outputs.
        decoder_settings: see `Artefact`.
        notes: remarks on the library for the report.
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
    """Converts a dict of the backend's tensors to NumPy arrays."""
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
