"""Runs an ONNX file of this package."""

import json
import os

import numpy as np

from keras_det.runtime.libraries import onnx_session

INPUT = "images"
# Metadata properties of our files; each holds JSON.
PROPERTIES = ("class_names", "preprocessing", "decoding")
NEWER_PROPERTIES = ("score_thresholds",)  # earlier versions did not write them


class OnnxModel:
    """An ONNX file in ONNX Runtime.

    Args:
        model: path of the file, or its content.
        threads: int, or None for ONNX Runtime's default.

    Raises:
        DataError: the file is damaged, or onnxruntime is not installed.
    """

    channels = 3

    def __init__(self, model: str | os.PathLike | bytes, threads: int | None = None):
        self.session = onnx_session(model, threads)
        self.names = [output.name for output in self.session.get_outputs()]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input.

        Raises:
            ValueError: the file has no input `images` of four dimensions.
        """
        shapes = {given.name: given.shape for given in self.session.get_inputs()}
        if len(shapes.get(INPUT, ())) != 4:
            raise ValueError(f"its inputs are {shapes}, not `{INPUT}` of four dimensions")
        _, height, width, _ = shapes[INPUT]
        return height, width

    @property
    def any_batch(self) -> bool:
        """Whether the file takes any number of images at once."""
        shapes = {given.name: given.shape for given in self.session.get_inputs()}
        return not isinstance(shapes[INPUT][0], int)

    def outputs(self) -> dict[str, list[str]]:
        """Returns the names of the outputs. An ONNX file has one signature, without a name."""
        return {"main": sorted(self.names)}

    def properties(self) -> dict:
        """Returns the metadata of the file by the names of `PROPERTIES` and `NEWER_PROPERTIES`.

        Raises:
            KeyError: one of `PROPERTIES` is missing.
            ValueError: a property is not JSON.
        """
        written = self.session.get_modelmeta().custom_metadata_map
        newer = (name for name in NEWER_PROPERTIES if name in written)
        return {name: json.loads(written[name]) for name in (*PROPERTIES, *newer)}

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the file on images, uint8 `(n, height, width, 3)`.

        Returns:
            Raw outputs, or detections in pixels of the input.
        """
        found = self.session.run(self.names, {INPUT: pixels})
        return dict(zip(self.names, found, strict=True))
