"""Image files that became a named pipe or a device after the data set was read.

TensorFlow's reader waits for such a file for ever, or reads it without end. To ask the system about
one image from inside a graph takes more than 1% of the time of decoding it. So one call asks about
many images.
"""

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from keras_det.files import other_kind

# Slots of a block, and images that are checked before it.
BLOCK = 256
# Most images that are checked before an epoch: checking a million would delay it by seconds.
MOST_AT_ONCE = 50_000
# A network drive answers slowly, but answers many questions at a time.
THREADS = 16


class SpecialFiles:
    """Checks the image files of a data set again and again.

    Args:
        paths: of the images.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._found: set[int] = set()

    def look(self, first: int, count: int | None = None) -> set[int]:
        """Checks images, in their order in the data set; after the last one comes the first.

        Args:
            first: index of the first one, modulo the number of images.
            count: how many. None: all.

        Returns:
            Indices of those that were a pipe, a socket or a device when last checked.
        """
        images = len(self._paths)
        indices = [(first + k) % images for k in range(min(count or images, images))]
        answers = zip(indices, self._ask(indices), strict=True)
        self._found -= set(indices)
        self._found |= {index for index, is_special in answers if is_special}
        return self._found

    def _ask(self, indices: list[int]) -> list[bool]:
        paths = [self._paths[i] for i in indices]
        if len(paths) <= BLOCK:
            return [_is_special(path) for path in paths]
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(_is_special, paths, chunksize=BLOCK))


def _is_special(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # the reader reports why
    return not stat.S_ISREG(mode) and bool(other_kind(mode))
