"""Opens a SavedModel for its check."""

import pathlib
from typing import Any

import numpy as np

from keras_det.export.check.artefact import Call
from keras_det.runtime.detections import trim
from keras_det.runtime.saved_model import SavedModel


class ServedModel:
    """A SavedModel with all its signatures; see `check.artefact.Artefact`.

    Args:
        folder: of the SavedModel.
    """

    in_original_pixels, channels = True, 3
    decoder_settings: dict[str, Any] = {}

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf

        self.model = SavedModel(folder)
        self.versions = {"tensorflow": tf.__version__}

    def outputs(self) -> dict[str, list[str]]:
        return self.model.outputs()

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return self.model.run("raw", images=pixels)

    def calls(self, image: np.ndarray, pixels: np.ndarray) -> dict[str, Call]:
        import tensorflow as tf

        encoded = tf.io.encode_png(image)[None]
        return {
            "serving_default": lambda: trim(self.model.run("serving_default", image_bytes=encoded)),
            "images": lambda: trim(self.model.run("images", images=image[None])),
        }
