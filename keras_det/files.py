"""Writes results so that a file is either whole or not there, whatever interrupts."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
import tempfile

from keras_det.errors import DataError


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is either whole or not there, whatever interrupts."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files private; results get the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_json(path: pathlib.Path, content) -> None:
    """Writes JSON (indented, NaN as null: JSON has none) whole or not at all."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def plain(value):
    """The same in types that JSON knows: lists for arrays, null for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def file_digest(path, algorithm: str = "sha256") -> str:
    """Hash of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def files_of(artefact: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or every file of the folder, sorted."""
    if artefact.is_file():
        return [artefact]
    return sorted(path for path in artefact.rglob("*") if path.is_file())


def tree_digest(artefact: pathlib.Path) -> str:
    """SHA-256 of a file's content; of a folder, over each file's relative name and content."""
    digest = hashlib.sha256()
    for path in files_of(artefact):
        if path != artefact:
            digest.update(path.relative_to(artefact).as_posix().encode() + b"\0")
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def staging(path: str | os.PathLike, rule: str):
    """Yields `(final path, path to write to)`; afterwards nothing is left of the latter.

    The second has the same name, in a hidden folder beside the first: on the same disk, so that
    its last step is one rename.

    Args:
        path: a file or folder that does not exist yet, or an empty folder.
        rule: what must hold, for the error: "The export must not exist yet".

    Raises:
        DataError: there is something at `path` already.
    """
    final = pathlib.Path(os.path.abspath(path))
    if final.is_file() or (final.is_dir() and any(final.iterdir())) or final.is_symlink():
        raise DataError(
            f"{rule}. Received: {path}, which holds something. Remove it, or choose another name."
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent)
    try:
        yield final, pathlib.Path(folder) / final.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
