"""A process that loads one model and times it, so that its memory is that of one model.

It reads requests from its standard input and writes answers to the descriptor that was its
standard output, one line of JSON each. `Worker` in `bench_process` starts it.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from keras_det.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from keras_det.profiling.bench_detection import Timed

DRAWN, DRAWN_SIZE = 8, (480, 640)  # images where none are given, and their height and width


def main() -> None:
    """Answers requests until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    try:
        serve(sys.stdin, answers)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # the process that asks has ended, and says so
    os._exit(0)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answers each line of `requests`; an error is an answer too.

    Args:
        requests: lines of JSON: `{"do": name of a method of Bench, …its arguments}`.
        answers: where one line is written for each.
    """
    bench = Bench()
    for line in requests:
        request = json.loads(line)
        try:
            answer = getattr(bench, request.pop("do"))(**request)
        except DataError as error:
            answer = {"data_error": str(error)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


class Bench:
    """One model, and the images that it is timed on."""

    timed: "Timed"

    def open(self, model: str, images: list[str], max_pixels: int | None) -> dict[str, Any]:
        """Loads a model and reads the images; without paths, synthetic images are used."""
        from keras_det.cli.bench_detectors import parts_of
        from keras_det.cli.files import load_any_model
        from keras_det.profiling.bench_detection import Timed
        from keras_det.profiling.machine import peak_memory

        pixels, read = _read(images, max_pixels)
        before, begun = peak_memory(), time.perf_counter()
        parts = parts_of(load_any_model(model))
        self.timed = Timed(parts, pixels)
        return {
            "engine": parts.engine,
            "image_size": list(parts.image_size),
            "multiply_adds": parts.multiply_adds,
            "loading": time.perf_counter() - begun,
            "images": len(pixels),
            "read": read,
            "memory_before": before,
        }

    def warm(self) -> float:
        """Seconds of a call, after calls that are not timed."""
        return self.timed.warm()

    def whole(self, calls: int) -> dict[str, Any]:
        """Seconds of single calls, and the share of the cores that other programs used."""
        from keras_det.profiling.machine import Cores

        cores = Cores()
        seconds = self.timed.whole(calls)
        return {"seconds": seconds, "others": cores.use().others}

    def each(self, calls: int) -> dict[str, list[float]]:
        """Seconds of the parts in single calls."""
        return self.timed.each(calls)

    def batches(self, size: int, calls: int) -> list[float] | None:
        """Seconds of batches."""
        return self.timed.batches(size, calls)

    def peak(self, dtype: str) -> dict[str, Any]:
        """The most multiply-adds per second of a matrix product; see `matmul_peak`."""
        import dataclasses

        from keras_det.profiling.machine import keras_product, matmul_peak, numpy_product

        product = keras_product if "keras" in sys.modules else numpy_product
        return dataclasses.asdict(matmul_peak(product, dtype))

    def memory(self) -> int | None:
        """The largest memory of this process so far, in bytes."""
        from keras_det.profiling.machine import peak_memory

        return peak_memory()


def _read(
    paths: list[str], max_pixels: int | None, clock: Callable[[], float] = time.perf_counter
) -> "tuple[list[np.ndarray], list[float]]":
    """The images, and the seconds of reading each; those that cannot be read are left out."""
    from keras_det.data.image import read_image
    from keras_det.data.shapes import drawn_images

    if not paths:
        return drawn_images(DRAWN, DRAWN_SIZE), []
    pixels, seconds, problem = [], [], ""
    for path in paths:
        begun = clock()
        try:
            pixels.append(read_image(path, max_pixels=max_pixels))
        except DataError as error:
            problem = problem or str(error)
            continue
        seconds.append(clock() - begun)
    if not pixels:
        raise DataError(f"At least one image must be readable. {problem}")
    return pixels, seconds
