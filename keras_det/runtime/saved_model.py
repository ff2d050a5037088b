"""Runs a SavedModel of this package."""

import contextlib
import pathlib
from typing import Any

import numpy as np

from keras_det.errors import DataError

LABELS = pathlib.PurePosixPath("assets", "labels.txt")
# JSON: one number per class, or null. Earlier versions did not write it.
THRESHOLDS = pathlib.PurePosixPath("assets.extra", "score_thresholds.json")


def _check_fingerprint(folder: pathlib.Path) -> None:
    """Reads the file of hashes. TensorFlow prints a traceback for a damaged one, and goes on."""
    import tensorflow as tf

    with contextlib.suppress(FileNotFoundError):  # older versions of TensorFlow wrote none
        tf.saved_model.experimental.read_fingerprint(str(folder))


class SavedModel:
    """A SavedModel and its signatures.

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
            _check_fingerprint(folder)
            # The signatures are only valid as long as the loaded object exists.
            self.loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # of several classes, some of other libraries
            raise DataError(
                f"A SavedModel must be complete and undamaged. Received: {folder} ({error}). "
                "Export it again with `keras-det export`."
            ) from error
        self.signatures: dict[str, Any] = self.loaded.signatures

    def outputs(self) -> dict[str, list[str]]:
        """Returns the names of the outputs by signature."""
        return {
            name: sorted(function.structured_outputs) for name, function in self.signatures.items()
        }

    def run(self, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: its name.
            **inputs: arrays or tensors by the names of its inputs.

        Returns:
            Its outputs as arrays by name.
        """
        import tensorflow as tf

        tensors = {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in self.signatures[signature](**tensors).items()}
