"""Writes an artefact beside its final name, and moves it there only after its check."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile

from keras_det.errors import DataError


@contextlib.contextmanager
def staging(path: str | os.PathLike):
    """Yields `(final path, path to write to)`; afterwards nothing is left of the latter.

    The second has the same name, in a hidden folder beside the first: on the same disk, so that
    `publish` is one rename.

    Raises:
        DataError: there is something at `path` already.
    """
    final = pathlib.Path(path)
    if final.is_file() or (final.is_dir() and any(final.iterdir())) or final.is_symlink():
        raise DataError(
            f"The export must not exist yet. Received: {final}, which does. Remove it, or choose "
            "another name."
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent)
    try:
        yield final, pathlib.Path(folder) / final.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(artefact: pathlib.Path, final: pathlib.Path, beside: dict[str, str]) -> None:
    """Moves a checked artefact to its final name.

    Args:
        artefact: what was written, a file or a folder.
        final: where it goes.
        beside: texts by suffix, written to `<final><suffix>` before the artefact appears.
    """
    for suffix, text in beside.items():
        temporary = artefact.parent / f"{artefact.name}{suffix}"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, final.with_name(f"{final.name}{suffix}"))
    os.replace(artefact, final)


def files_of(artefact: pathlib.Path) -> list[pathlib.Path]:
    """The file itself, or every file of the folder, sorted."""
    if artefact.is_file():
        return [artefact]
    return sorted(path for path in artefact.rglob("*") if path.is_file())


def sha256(artefact: pathlib.Path) -> str:
    """Of a file's contents; of a folder, over each file's relative name and contents."""
    digest = hashlib.sha256()
    for path in files_of(artefact):
        if path != artefact:
            digest.update(path.relative_to(artefact).as_posix().encode() + b"\0")
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def labels_text(class_names) -> str:
    """One name per line; a line break inside a name would shift all that follow."""
    return "".join(" ".join(str(name).split()) + "\n" for name in class_names)
