"""Runs a TFLite file of this package, or a body and its tail one after the other."""

import os
import pathlib

import numpy as np

from keras_det.runtime.detections import as_detections

SIGNATURE, INPUT = "serving_default", "images"
TAIL_SUFFIX = ".tail.tflite"


def tail_of(body: pathlib.Path) -> pathlib.Path:
    """Where the tail of a body lies."""
    return body.with_name(f"{body.name}{TAIL_SUFFIX}")


class LiteModel:
    """One TFLite file, or two of which the second takes what the first gives.

    Args:
        *files: paths or contents: a whole file, or a body and its tail.
        interpreter: class of `libraries.litert_interpreter` or `libraries.any_interpreter`.
        threads: int, or None for the interpreter's own choice.

    Attributes:
        image_size: (height, width) of the network's input.
        channels: of the images that it takes, 3 or 1.

    Raises:
        ValueError: a file is damaged, or has no input `images`.
    """

    def __init__(
        self, *files: str | os.PathLike | bytes, interpreter: type, threads: int | None = None
    ):
        # A runner is only valid while its interpreter lives.
        self.interpreters = [_opened(interpreter, file, threads) for file in files]
        self.runners = [each.get_signature_runner(SIGNATURE) for each in self.interpreters]
        given = self.runners[0].get_input_details()
        if INPUT not in given:
            raise ValueError(f"it has no input `{INPUT}`, but {', '.join(sorted(given))}")
        _, height, width, self.channels = (int(side) for side in given[INPUT]["shape"])
        self.image_size = (height, width)
        self.dtype = given[INPUT]["dtype"]

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs, by signature; of a body and its tail by "body" and "tail"."""
        names = (SIGNATURE,) if len(self.runners) == 1 else ("body", "tail")
        listed = (sorted(runner.get_output_details()) for runner in self.runners)
        return dict(zip(names, listed, strict=True))

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """What the files give for one image, uint8 `(1, height, width, 3)`.

        Returns:
            Raw outputs; or detections in pixels of the input, from MediaPipe's convention too.
        """
        found = self.values(pixels)
        return as_detections(found, self.image_size) if "locations" in found else found

    def values(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The files' outputs under their own names, in their own convention."""
        found = {INPUT: pixels[..., : self.channels].astype(self.dtype)}
        for runner in self.runners:
            found = dict(runner(**found))
        return found


def _opened(interpreter: type, file, threads: int | None):
    given = {"model_content" if isinstance(file, bytes) else "model_path": file}
    if not isinstance(file, bytes):
        given["model_path"] = os.fspath(file)
    return interpreter(**given, num_threads=threads)
