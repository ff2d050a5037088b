"""Runs a TFLite file of this package, or the two files of a split export."""

import os
import pathlib
from typing import Any

import numpy as np

from keras_det.runtime.detections import as_detections

SIGNATURE, INPUT = "serving_default", "images"
TAIL_SUFFIX = ".tail.tflite"


def tail_of(body: pathlib.Path) -> pathlib.Path:
    """Returns the path of the second file, the tail, of a split export."""
    return body.with_name(f"{body.name}{TAIL_SUFFIX}")


class LiteModel:
    """One TFLite file, or two: the outputs of the first are the inputs of the second.

    Args:
        *files: paths or contents: one file, or the body and the tail of a split export.
        interpreter: class of `libraries.litert_interpreter` or `libraries.any_interpreter`.
        threads: int, or None for the interpreter's default.

    Attributes:
        image_size: (height, width) of the network's input.
        channels: channels of the input images, 3 or 1.

    Raises:
        ValueError: a file is damaged, or has no input `images`.
    """

    def __init__(
        self, *files: str | os.PathLike | bytes, interpreter: type, threads: int | None = None
    ):
        # A runner is only valid as long as its interpreter exists.
        self.interpreters = [_opened(interpreter, file, threads) for file in files]
        self.runners = [each.get_signature_runner(SIGNATURE) for each in self.interpreters]
        given = self.runners[0].get_input_details()
        if INPUT not in given:
            raise ValueError(f"its inputs are {', '.join(sorted(given))}, not `{INPUT}`")
        _, height, width, self.channels = (int(side) for side in given[INPUT]["shape"])
        self.image_size = (height, width)
        self.dtype = given[INPUT]["dtype"]

    def outputs(self) -> dict[str, list[str]]:
        """Returns the names of the outputs by signature; by "body" and "tail" of two files."""
        names = (SIGNATURE,) if len(self.runners) == 1 else ("body", "tail")
        listed = (sorted(runner.get_output_details()) for runner in self.runners)
        return dict(zip(names, listed, strict=True))

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the files on one image, uint8 `(1, height, width, 3)`.

        Returns:
            Raw outputs, or detections in pixels of the input. Detections in MediaPipe's convention
            are converted.
        """
        return self.converted(self.values(pixels))

    def values(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs as the files name them, without conversion."""
        return self.tail(self.body(pixels))

    def body(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs of the first file."""
        return dict(self.runners[0](**{INPUT: pixels[..., : self.channels].astype(self.dtype)}))

    def tail(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of the second file for those of the first, if there are two."""
        for runner in self.runners[1:]:
            found = dict(runner(**found))
        return found

    def converted(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns outputs with detections in pixels of the input, whatever their convention."""
        return as_detections(found, self.image_size) if "locations" in found else found


def _opened(interpreter: type, file: str | os.PathLike | bytes, threads: int | None) -> Any:
    if isinstance(file, bytes):
        return interpreter(model_content=file, num_threads=threads)
    return interpreter(model_path=os.fspath(file), num_threads=threads)
