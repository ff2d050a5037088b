"""Runs a SavedModel of this package."""

import pathlib
from typing import Any

import numpy as np

from keras_det.errors import DataError

LABELS = pathlib.PurePosixPath("assets", "labels.txt")


class SavedModel:
    """A SavedModel, through its signatures.

    Args:
        folder: of the SavedModel.

    Attributes:
        signatures: TensorFlow functions by name.

    Raises:
        DataError: the folder is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf

        try:
            # The signatures are only valid while what was loaded lives.
            self.loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # several kinds, some of them of other libraries
            raise DataError(
                f"A SavedModel must be whole. Received: {folder} ({error}). Export it again with "
                "`keras-det export`."
            ) from error
        self.signatures: dict[str, Any] = self.loaded.signatures

    def outputs(self) -> dict[str, list[str]]:
        """Names of the outputs by signature."""
        return {
            name: sorted(function.structured_outputs) for name, function in self.signatures.items()
        }

    def run(self, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        """Outputs of a signature as arrays."""
        import tensorflow as tf

        tensors = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in self.signatures[signature](**tensors).items()}
