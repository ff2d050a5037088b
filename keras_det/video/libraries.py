"""The packages of the extra `video`, imported where they are used."""

import importlib
import importlib.util
from typing import Any

from keras_det.errors import DataError, install_hint

WORK = {
    "av": "Reading and writing videos",
    "cv2": "Reading a camera",
    "supervision": "Tracking",
    "trackers": "Tracking",
}


def needed(package: str) -> Any:
    """The package; a DataError that names the extra if it cannot be imported."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise DataError(
            f"{WORK[package]} needs the extra `video`. Received: a Python without the package "
            f"{package}{reason}. Install it with {install_hint('video')}."
        ) from error


def is_installed(package: str) -> bool:
    """Whether a package is there; it is not imported."""
    return importlib.util.find_spec(package) is not None
