"""Runs a model of this package in OpenVINO, on the processor."""

import json
import os
import pathlib
import threading

import numpy as np

from keras_det.names import OPENVINO_FILE
from keras_det.runtime.libraries import openvino_network
from keras_det.runtime.onnx_model import INPUT, NEWER_PROPERTIES, PROPERTIES

# Where the properties are kept: by `keras_det.export.openvino`, and by OpenVINO's reader of ONNX.
SECTIONS = ("keras_det", "framework")


class OpenVinoModel:
    """A model in OpenVINO: the folder of an export, or an ONNX file. Threads can share it.

    Args:
        model: the folder; the path of an `.onnx` file; or the content of an ONNX file.
        threads: int, or None for OpenVINO's default.

    Raises:
        DataError: the files are damaged, or openvino is not installed.
    """

    channels = 3

    def __init__(self, model: str | os.PathLike | bytes, threads: int | None = None):
        source: pathlib.Path | bytes
        if isinstance(model, bytes):
            source = model
        else:
            source = pathlib.Path(model)
            source = source / OPENVINO_FILE if source.is_dir() else source
        self.network, self.compiled = openvino_network(source, threads)
        self.names = [output.get_any_name() for output in self.network.outputs]
        self._own = threading.local()

    @property
    def _shape(self) -> list[int | None]:
        """Of the input; None where any number is taken. Empty without an input `images`."""
        for each in self.network.inputs:
            if INPUT in each.get_names() and each.partial_shape.rank.is_static:
                return [n.get_length() if n.is_static else None for n in each.partial_shape]
        return []

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input.

        Raises:
            ValueError: the model has no input `images` of four dimensions.
        """
        shape = self._shape
        if len(shape) != 4 or shape[1] is None or shape[2] is None:
            found = {each.get_any_name(): str(each.partial_shape) for each in self.network.inputs}
            raise ValueError(f"its inputs are {found}, not `{INPUT}` of four dimensions")
        return shape[1], shape[2]

    @property
    def any_batch(self) -> bool:
        """Whether the model takes any number of images at once."""
        return self._shape[:1] == [None]

    def outputs(self) -> dict[str, list[str]]:
        """Returns the names of the outputs. There is one signature, without a name."""
        return {"main": sorted(self.names)}

    def properties(self) -> dict:
        """Returns what the model says about itself, as of `OnnxModel.properties`.

        Raises:
            KeyError: one of `PROPERTIES` is missing.
            ValueError: a property is not JSON.
        """
        found = {}
        for name in (*PROPERTIES, *NEWER_PROPERTIES):
            places = ([section, name] for section in SECTIONS)
            place = next(filter(self.network.has_rt_info, places), None)
            if place is not None:
                found[name] = json.loads(str(self.network.get_rt_info(place).value))
            elif name in PROPERTIES:
                raise KeyError(name)
        return found

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model on images, uint8 `(n, height, width, 3)`.

        Returns:
            Raw outputs, or detections in pixels of the input.
        """
        if not hasattr(self._own, "request"):  # one for each thread
            self._own.request = self.compiled.create_infer_request()
        found = self._own.request.infer({INPUT: pixels})
        return dict(zip(self.names, found.values(), strict=True))
