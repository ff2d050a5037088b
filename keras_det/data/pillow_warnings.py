"""Hides Pillow's warnings while this package reads an image, in any thread.

`warnings.catch_warnings` is not for threads: it puts back the filters of the whole process, so one
thread that reads images takes away the warnings of the others. Here a filter is added instead that
matches only in a thread that is reading.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any


class _WhileReading:
    """Stands for the pattern of module names in a filter."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def depth(self) -> int:
        """How many `without_pillow_warnings` are open in this thread."""
        return getattr(self._thread, "depth", 0)

    @depth.setter
    def depth(self, value: int) -> None:
        self._thread.depth = value

    def match(self, module: str) -> bool:
        """Whether a warning of this module is hidden."""
        return self.depth > 0 and module.startswith("PIL.")


_READING = _WhileReading()
_FILTER: Any = ("ignore", None, Warning, _READING, 0)


@contextlib.contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Hides the warnings that Pillow gives in this thread, as of odd but readable files.

    All other warnings, and Pillow's own in other threads, are given as before.
    """
    if not warnings.filters or warnings.filters[0] is not _FILTER:
        # A list of its own, so that a thread that is looking through the old one is not disturbed.
        others = [each for each in warnings.filters if each is not _FILTER]
        warnings.filters[:] = [_FILTER, *others]  # type: ignore[index]
    _READING.depth += 1
    try:
        yield
    finally:
        _READING.depth -= 1
