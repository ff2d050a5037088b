"""Checks of what an exported file says about itself: its certificate, its properties, its labels.

Each function raises a DataError that names the file.
"""

import numbers
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_det.errors import DataError, suggest
from keras_det.files import tree_digest
from keras_det.names import RESIZE_MODES
from keras_det.words import counted, printable

ADVICE = "Export the model again with `keras-det export`."


def check_digest(path: pathlib.Path, expected: object, certificate: str) -> None:
    """Compares a file with the SHA-256 in its certificate.

    Args:
        path: of the file or folder.
        expected: the SHA-256 in the certificate, hexadecimal.
        certificate: name of the certificate, for the message.
    """
    digest = tree_digest(path)
    if digest != expected:
        raise DataError(
            "An exported file must have the SHA-256 that its certificate states. Received: "
            f"{path} with {digest[:12]}…, but {certificate} states {expected!s:.12}…. Export the "
            "model again with `keras-det export`, or copy the certificate of this file there."
        )


def checked_names(names: Any, path: pathlib.Path) -> list[str]:
    """Returns the class names, as `printable` writes them: a list of at least one str."""
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(
            "The class names of an exported file must be a list of at least one str. "
            f"Received: {names!r:.80} in {path}. {ADVICE}"
        )
    return [printable(name) for name in names]


def checked_size(size: Any, network: Sequence[Any], path: pathlib.Path) -> tuple[int, int]:
    """Returns `(height, width)` in pixels if it is the size of the network's input.

    Args:
        size: what the file says.
        network: (height, width) of the network's input.
        path: of the file.
    """
    whole = isinstance(size, list | tuple) and all(type(side) is int and side >= 1 for side in size)
    if not whole or len(size) != 2:
        raise DataError(
            "`image_size` of an exported file must be [height, width], two whole numbers of at "
            f"least 1. Received: {size!r:.80} in {path}. {ADVICE}"
        )
    if tuple(size) != tuple(network):
        raise DataError(
            "`image_size` of an exported file must be the size of its network's input. Received: "
            f"{list(size)} in {path}, whose network takes {list(network)}. {ADVICE}"
        )
    return size[0], size[1]


def checked_mode(mode: Any, path: pathlib.Path) -> str:
    """Returns the resize mode if it is one of `RESIZE_MODES`."""
    if mode not in RESIZE_MODES:
        raise DataError(
            f"`resize_mode` of an exported file must be one of {', '.join(RESIZE_MODES)}. "
            f"Received: {mode!r:.80} in {path}.{suggest(mode, RESIZE_MODES)} {ADVICE}"
        )
    return mode


def checked_threshold(threshold: Any, path: pathlib.Path) -> float | None:
    """Returns the decoder's score threshold if it lies in 0..1, or None if it is not known."""
    if threshold is None:
        return None
    if not _is_score(threshold):
        raise DataError(
            "`score_threshold` of an exported file must be a number in 0..1, or null. Received: "
            f"{threshold!r:.80} in {path}. {ADVICE}"
        )
    return float(threshold)


def checked_thresholds(
    thresholds: Any, class_names: Sequence[str], path: pathlib.Path
) -> list[float] | None:
    """Returns the score threshold of each class, or None if they were not measured.

    Args:
        thresholds: what the file says.
        class_names: of the file.
        path: of the file.
    """
    if thresholds is None:
        return None
    count = len(class_names)
    listed = thresholds if isinstance(thresholds, list) else []
    if len(listed) != count or not all(map(_is_score, listed)):
        raise DataError(
            f"`score_thresholds` of an exported file must be {counted(count, 'number')} in 0..1, "
            f"one per class, or null. Received: {thresholds!r:.80} in {path}. {ADVICE}"
        )
    return [float(each) for each in listed]


def _is_score(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and bool(0 <= value <= 1)
