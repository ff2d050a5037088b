"""Measures a detector: the latency of an image and of its parts, batches, and memory."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Calls before the first timed one: they compile, and fill caches.
WARM = 3
PREPARE, NETWORK, FINISH = "prepare", "network", "finish"


@dataclasses.dataclass(frozen=True)
class Parts:
    """A detector as functions that can be timed alone.

    Attributes:
        whole: from an image, uint8 `(height, width, 3)`, to its detections.
        prepare: from an image to the network's input.
        network: from what `prepare` returns to raw outputs or detections of the input.
        finish: from an image, the network's input and its outputs to the detections.
        timed: the parts of `whole` that can be timed, among "prepare", "network" and "finish".
            The others only make the input of the timed ones.
        batch: from images of one size to their detections, together; None if they go one by one.
        multiply_adds: of the network for one image; None if they are not known.
        engine: library that runs the network.
        image_size: (height, width) of the network's input.
    """

    whole: Callable[[np.ndarray], Any]
    prepare: Callable[[np.ndarray], Any]
    network: Callable[[Any], Any]
    finish: Callable[[np.ndarray, Any, Any], Any]
    timed: tuple[str, ...]
    batch: Callable[[Sequence[np.ndarray]], Any] | None
    multiply_adds: int | None
    engine: str
    image_size: tuple[int, int]


class Timed:
    """Times calls of a detector, with the same images in turn.

    Args:
        parts: the detector.
        images: uint8 `(height, width, 3)`, at least one.
        clock: function that returns seconds.
    """

    def __init__(
        self,
        parts: Parts,
        images: Sequence[np.ndarray],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.parts, self.images, self.clock = parts, list(images), clock
        self.done, self.compiled = 0, False

    def warm(self) -> float:
        """Calls the detector a few times; returns the seconds of the last call."""
        return self.whole(WARM)[-1]

    def whole(self, calls: int) -> list[float]:
        """Seconds of so many calls, each with the next image."""
        return [self._seconds(self.parts.whole, self._next()) for _ in range(calls)]

    def each(self, calls: int) -> dict[str, list[float]]:
        """Seconds of the timed parts in so many calls; before the first, one compiles."""
        found: dict[str, list[float]] = {name: [] for name in self.parts.timed}
        first, self.compiled = int(not self.compiled), True
        for number in range(calls + first):
            image, times = self._next(), [self.clock()]
            pixels = self.parts.prepare(image)
            times.append(self.clock())
            outputs = self.parts.network(pixels)
            times.append(self.clock())
            self.parts.finish(image, pixels, outputs)
            times.append(self.clock())
            if number >= first:
                for name, seconds in zip((PREPARE, NETWORK, FINISH), np.diff(times), strict=True):
                    if name in found:
                        found[name].append(float(seconds))
        return found

    def batches(self, size: int, calls: int) -> list[float] | None:
        """Seconds of so many batches of images; None if they go through the network one by one.

        The images of a batch have one size: that of the first image.
        """
        if self.parts.batch is None:
            return None
        alike = [image for image in self.images if image.shape == self.images[0].shape]
        batch = [alike[i % len(alike)] for i in range(size)]
        self.parts.batch(batch)
        return [self._seconds(self.parts.batch, batch) for _ in range(calls)]

    def _next(self) -> np.ndarray:
        self.done += 1
        return self.images[self.done % len(self.images)]

    def _seconds(self, function: Callable[[Any], Any], given: Any) -> float:
        begun = self.clock()
        function(given)
        return self.clock() - begun


def calls_within(seconds: float, calls: int, longest: float, least: int = 10) -> int:
    """How many calls fit into a time: at least `least`, at most `calls`.

    Args:
        seconds: of one call.
        calls: wanted.
        longest: seconds that all may take.
        least: calls whatever they take.
    """
    return max(min(calls, least), min(calls, int(longest / max(seconds, 1e-9))))
