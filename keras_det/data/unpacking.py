"""Writes images that lie inside files of records into a folder, where a `Dataset` can name them."""

import hashlib
import io
import os
import pathlib
import re
import sys
from typing import Any

from keras_det.data.image_names import stem
from keras_det.data.notes import Note
from keras_det.errors import DataError
from keras_det.files import read_bytes, write_whole
from keras_det.words import counted

# The folder beside the records, where the caller names none.
FOLDER = "unpacked_images"
# How the files of images begin, and the suffixes that they may have, the usual one first.
BEGINNINGS = (
    (b"\xff\xd8\xff", (".jpg", ".jpeg")),
    (b"\x89PNG\r\n\x1a\n", (".png",)),
    (b"GIF8", (".gif",)),
    (b"BM", (".bmp",)),
    (b"II*\0", (".tif", ".tiff")),
    (b"MM\0*", (".tif", ".tiff")),
)
MAX_NAME = 150
PROGRESS = 500  # images between two lines of progress


def suffixes_of(content: bytes) -> tuple[str, ...]:
    """The suffixes that fit the encoded image, the usual one first; empty for other content."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return (".webp",)
    return next((fit for start, fit in BEGINNINGS if content.startswith(start)), ())


def png_of(value: Any) -> bytes:
    """Pixels, a Pillow image or an array, as a PNG file, which keeps every pixel."""
    import PIL.Image

    image = value if isinstance(value, PIL.Image.Image) else PIL.Image.fromarray(value)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class UnpackedImages:
    """A folder of unpacked images. A file is written once, and never replaced.

    An image has its own name in the folder. Where another image has that name already, a part of
    its hash is added: an image is never taken for another one.

    Args:
        folder: the folder; it is made with the first image.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.written = 0
        self.bytes_written = 0

    def add(self, name: str, content: bytes) -> str:
        """Writes an image unless it is there.

        Args:
            name: its name or path in the data set; only the last part is used.
            content: the encoded image, of a kind that `suffixes_of` knows.

        Returns:
            The name of its file in the folder.

        Raises:
            DataError: the folder cannot be written.
        """
        plain = _file_name(name, suffixes_of(content))
        head, suffix = os.path.splitext(plain)
        mark = hashlib.sha256(content).hexdigest()[:12]
        try:
            for each in (plain, f"{head}-{mark}{suffix}"):
                path = self.folder / each
                if not path.exists():
                    self._write(path, content)
                    return each
                if path.stat().st_size == len(content) and read_bytes(path) == content:
                    return each
            # A damaged file of this hash: only this one is replaced.
            self._write(path, content)
        except OSError as error:
            raise DataError(
                "The images inside the records must be written into a folder. Received: "
                f"{self.folder} ({error.strerror or error}). Name another one with image_dir= "
                "(--image-dir), on a disk with enough space."
            ) from error
        return each

    def _write(self, path: pathlib.Path, content: bytes) -> None:
        if not self.written:
            self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        self.written += 1
        self.bytes_written += len(content)
        if self.written % PROGRESS == 0 and sys.stderr.isatty():
            print(f"\rUnpacking images: {self.written}", end="", file=sys.stderr, flush=True)

    def notes(self) -> list[Note]:
        """One note that says where images were written, or none."""
        if not self.written:
            return []
        if self.written >= PROGRESS and sys.stderr.isatty():
            print(file=sys.stderr)
        size = self.bytes_written / 1e6
        text = (
            f"{counted(self.written, 'image')} ({size:.1f} MB) unpacked into {self.folder}. Images "
            "are read from there, and not written again."
        )
        return [Note("images-unpacked", text, self.written)]


def _file_name(name: str, suffixes: tuple[str, ...]) -> str:
    """A name that every disk takes, with a suffix that fits the content."""
    base = re.sub(r"[^\w.+@() -]", "_", re.split(r"[/\\]", name.strip())[-1]).strip(" .") or "image"
    suffix = os.path.splitext(base)[1]
    head = stem(base) if suffix.lower() in suffixes else base
    other = stem(base)
    if suffix.lower() not in suffixes:
        head, suffix = other, suffixes[0]
    while len(head.encode()) > MAX_NAME:
        head = head[:-1]
    return head + suffix
