"""Reads every byte of a `.keras` file and compares the checksums in it."""

import os
import zipfile

from keras_det.errors import DataError
from keras_det.files import open_bytes, opening
from keras_det.weights.common.keras_file import CONFIG, METADATA, WEIGHTS
from keras_det.words import counted

WHOLE = "A saved model must be complete and undamaged"
AGAIN = "Copy or save it again."
# How files of other kinds begin: those of torch before 1.6, and HDF5.
TORCH_STREAM, HDF5 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P", b"\x89HDF\r\n\x1a\n"
TORCH = "a PyTorch file. Rename it to .pth; then --weights or --backbone-weights takes it."


def check_whole(path: str | os.PathLike, rule: str = WHOLE, cure: str = AGAIN) -> None:
    """DataError where a `.keras` file is not whole.

    Keras itself reads the weights without their checksum, so a flipped bit would be a wrong weight.

    Args:
        path: the file.
        rule, cure: the first sentence of the error, without a full stop, and the last.
    """
    with opening(path, rule, cure), open_bytes(path) as file:
        _check_beginning(path, file.read(len(TORCH_STREAM)), rule)
        if not zipfile.is_zipfile(file):
            size = os.fstat(file.fileno()).st_size
            what = (
                f"{counted(size, 'byte')}, not a Keras archive (not a zip file)"
                if size
                else "an empty file"
            )
            raise DataError(f"{rule}. Received: {path}, {what}. {cure}")
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            if any(name.endswith("/data.pkl") for name in members):
                raise DataError(f"{rule}. Received: {path}, {TORCH}")
            missing = [name for name in (METADATA, CONFIG, WEIGHTS) if name not in members]
            if missing:
                raise DataError(f"{rule}. Received: {path}, without {missing[0]}. {cure}")
            damaged = archive.testzip()
    if damaged is not None:
        raise DataError(
            f"{rule}. Received: {path}, whose {damaged} does not match its checksum. {cure}"
        )


def _check_beginning(path: str | os.PathLike, start: bytes, rule: str) -> None:
    """DataError for a file of another kind under this name."""
    if start.startswith(TORCH_STREAM):
        raise DataError(f"{rule}. Received: {path}, {TORCH}")
    if start.startswith(HDF5):
        raise DataError(
            f"{rule}. Received: {path}, an HDF5 file. Rename it to .h5; then --weights takes it."
        )
