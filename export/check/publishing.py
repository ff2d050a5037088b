"""Moves an export to its final name after its check."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_det.files import staging
from keras_det.interrupts import stop_if_asked, stoppable
from keras_det.words import printable

# First sentence of the error of `keras_det.files.staging`.
NEW = "The export must not exist yet"


@contextlib.contextmanager
def exporting(
    path: str | os.PathLike, wanted: int = 0
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Yields `(final path, path to write to)`; whatever ends the export, nothing else is left.

    Ctrl-C and SIGTERM end it at the latest before the next image of the check, and before
    `publish`.

    Args:
        path: a file or folder that does not exist yet.
        wanted: about how many bytes will be written.

    Raises:
        DataError, DiskFull: as of `keras_det.files.staging`.
    """
    with stoppable(), staging(path, NEW, wanted) as paths:
        yield paths


def publish(artefact: pathlib.Path, final: pathlib.Path, beside: dict[str, str | bytes]) -> None:
    """Moves a checked export to its final name.

    Args:
        artefact: the file or folder that was written.
        final: its final path.
        beside: contents of more files by suffix. They are written to `<final><suffix>` before the
            export appears.
    """
    stop_if_asked()
    for suffix, text in beside.items():
        temporary = artefact.parent / f"{artefact.name}{suffix}"
        temporary.write_bytes(text.encode() if isinstance(text, str) else text)
        os.replace(temporary, final.with_name(f"{final.name}{suffix}"))
    os.replace(artefact, final)


def weights_sha256(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights.

    It covers the type, shape and little-endian values of each weight, in the model's order. Names
    and the precision of the computation are left out. Two files from the same training have the
    same sum.

    Args:
        model: any Keras model.
    """
    digest = hashlib.sha256()
    for value in model.get_weights():
        value = np.ascontiguousarray(value)
        digest.update(f"{value.dtype} {list(value.shape)}\0".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def labels_text(class_names: Sequence[str]) -> str:
    """Returns one class name per line. A line break in a name is written as "\\n"."""
    return "".join(f"{printable(str(name))}\n" for name in class_names)
