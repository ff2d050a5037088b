"""A file that is written beside its place, and takes it when it is complete."""

import os
import pathlib
import tempfile

from keras_det.files import make_public


class HiddenFile:
    """An empty file in the folder of another one, under a hidden name.

    Args:
        path: where the file will be. Its folder must exist.

    Attributes:
        name: path to write to.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        beginning, suffix = f".{self.path.stem[:60]}.", self.path.suffix
        handle, self.name = tempfile.mkstemp(suffix, beginning, self.path.parent)
        os.close(handle)

    def publish(self) -> None:
        """Moves the file to its place, where it replaces another one."""
        make_public(self.name)
        os.replace(self.name, self.path)

    def remove(self) -> None:
        """Removes the file; does nothing if it is not there."""
        pathlib.Path(self.name).unlink(missing_ok=True)
