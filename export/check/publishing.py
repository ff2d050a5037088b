"""Writes an artefact beside its final name, and moves it there only after its check."""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

# What `keras_det.files.staging` says where there is something already.
NEW = "The export must not exist yet"


def publish(artefact: pathlib.Path, final: pathlib.Path, beside: dict[str, str | bytes]) -> None:
    """Moves a checked artefact to its final name.

    Args:
        artefact: what was written, a file or a folder.
        final: where it goes.
        beside: texts and contents by suffix, written to `<final><suffix>` before the artefact
            appears.
    """
    for suffix, text in beside.items():
        temporary = artefact.parent / f"{artefact.name}{suffix}"
        temporary.write_bytes(text.encode() if isinstance(text, str) else text)
        os.replace(temporary, final.with_name(f"{final.name}{suffix}"))
    os.replace(artefact, final)


def weights_sha256(model: keras.Model) -> str:
    """Of a model's weights: type, shape and little-endian values of each, in the model's order.

    It tells whether two files come from the same training; names and precision of the computation
    do not enter.

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
    """One name per line; a line break inside a name would shift all that follow."""
    return "".join(" ".join(str(name).split()) + "\n" for name in class_names)
