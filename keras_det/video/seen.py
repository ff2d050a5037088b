"""The picture of a result in a notebook, without keeping images alive."""

import collections
import contextlib
import contextvars
import io
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_det.data.image import read_image
from keras_det.errors import DataError
from keras_det.names import DEFAULT_THRESHOLD
from keras_det.report.draw import draw_detections
from keras_det.results import Detections

LONGEST = 640  # pixels: the longer side of a picture
MOST_KEPT = 16  # images that are kept, the last ones
MOST_BYTES = 8_000_000  # of an encoded image that is kept

# Small copies of the last images that came as pixels, and the last ones that came as bytes.
_kept: collections.OrderedDict[int, tuple[Any, int]] = collections.OrderedDict()
_numbers = itertools.count()
_wanted = contextvars.ContextVar("_wanted", default=True)


class Seen:
    """Where the image of a result is: in its file, or for a while in memory.

    A result does not hold its image. If it came as a path, the file is read again when a notebook
    shows the result. Of images that came as arrays or bytes, the last 16 are kept, arrays as copies
    of at most 640 pixels a side: 20 MB at most, and 128 MB of bytes. A result whose image is gone
    has no picture.

    Args:
        name: of the image; "" if it has none.
        thresholds: the score of each class from which on a box is drawn.
        path: of the file, or None.
        number: of the image that is kept, or None.
    """

    def __init__(
        self,
        name: str,
        thresholds: Sequence[float],
        path: str | None = None,
        number: int | None = None,
    ) -> None:
        self.name, self.thresholds = name, list(thresholds)
        self.path, self.number = path, number

    def jpeg(self, found: Detections) -> bytes | None:
        """The image with the boxes above the thresholds; None where it is no longer there.

        Where no score is above its threshold, the best box is drawn faintly.
        """
        from PIL import Image

        try:
            pixels, step = self._pixels(found)
        except (DataError, OSError, MemoryError):
            return None
        if pixels is None:
            return None
        picture = Image.fromarray(pixels)
        picture.thumbnail((LONGEST, LONGEST))
        scale = picture.width / pixels.shape[1] / step
        small = found | {"boxes": np.asarray(found["boxes"], "float64") * scale}
        drawn = draw_detections(
            np.asarray(picture), small, _names(found), self.thresholds, show_best=True
        )
        file = io.BytesIO()
        Image.fromarray(drawn).save(file, "JPEG", quality=88, subsampling=0)  # thin lines
        return file.getvalue()

    def _pixels(self, found: Detections) -> tuple[np.ndarray | None, int]:
        """The image or a copy of every `step`-th pixel of it, and `step`."""
        if "image" in found:
            return found["image"], 1
        if self.path is not None:
            return read_image(self.path), 1
        image, step = _kept.get(self.number, (None, 1)) if self.number is not None else (None, 1)
        return (read_image(image) if isinstance(image, bytes) else image), step


@contextlib.contextmanager
def unremembered() -> Iterator[None]:
    """Context manager in which no image is kept, for results that nobody is shown.

    Those of the tiles of an image would push out the images that are kept, and be copied for
    nothing.
    """
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def remember(found: Detections, image: Any, thresholds: Sequence[float] | None) -> None:
    """Lets a result know its image, for a notebook.

    Args:
        found: the result.
        image: as `detect` has got it: pixels, a path or bytes.
        thresholds: the score of each class from which on a box is drawn. Default: 0.3.
    """
    if not _wanted.get():
        return
    lowest = [DEFAULT_THRESHOLD] * (1 + int(max(found["labels"], default=0)))
    lowest = list(lowest if thresholds is None else thresholds)
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        found.seen = Seen(pathlib.Path(path).name, lowest, path=os.path.abspath(path))
        return
    number = None
    if isinstance(image, np.ndarray):
        step = -(-max(image.shape[:2]) // LONGEST)
        number = _keep(image[::step, ::step].copy(), step)
    elif isinstance(image, bytes) and len(image) <= MOST_BYTES:
        number = _keep(image, 1)
    found.seen = Seen("", lowest, number=number)


def _keep(image: Any, step: int) -> int:
    number = next(_numbers)
    _kept[number] = image, step
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return number


def _names(found: Detections) -> list[str]:
    """The class names by label, those of other classes empty."""
    names = [""] * (1 + int(max(found["labels"], default=0)))
    for label, name in zip(found["labels"].tolist(), found["class_names"], strict=True):
        names[label] = str(name)
    return names
