"""Frames per second of `model.stream` against a loop of `detect`, and peak memory by length.

    python benchmarks/stream.py
    python benchmarks/stream.py --model run/ --size 1080x1920 --frames 300

Draws a video of moving shapes. The loop reads the same video with PyAV, frame by frame, and calls
`detect` on each. Both ways alternate; medians are printed. Then a video of --memory-frames frames
and one of ten times as many go through `stream` in processes of their own, whose peak memory is
printed. It needs the extra `video`.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import keras_det
from keras_det.cli.command import ImageSize
from keras_det.cli.files import find_model
from keras_det.data import drawn_images
from keras_det.video import VideoWriter


def draw(path, size, count):
    """A video in which a drawn image moves by two pixels a frame."""
    (image,) = drawn_images(1, size, seed=0)
    with VideoWriter(path, 25) as writer:
        for i in range(count):
            writer.add(np.roll(image, 2 * i, axis=1))


def opened(model, image_size):
    if model is None:
        return keras_det.EfficientDet("lite0", num_classes=3, image_size=image_size, weights=None)
    if pathlib.Path(model).suffix in (".tflite", ".onnx"):
        return keras_det.load_exported(model)
    return keras_det.load_model(find_model(model))


def loop(model, path):
    import av

    count = 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            model.detect(frame.to_ndarray(format="rgb24"), score_threshold=0.3)
            count += 1
    return count


def streamed(model, path, **settings):
    return sum(1 for _ in model.stream(path, score_threshold=0.3, **settings))


def peak(arguments, path):
    """Megabytes of a process that streams a video."""
    command = [sys.executable, __file__, "--only", str(path), "--image-size", arguments.image_size]
    command += ["--model", arguments.model] if arguments.model else []
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def speed(arguments, folder):
    model = opened(arguments.model, ImageSize().convert(arguments.image_size, None, None))
    size = ImageSize().convert(arguments.size, None, None)
    draw(folder / "speed.mp4", size, arguments.frames)
    batches = {} if hasattr(model, "engine") else {"batch_size": arguments.batch_size}
    ways = {
        "loop of detect": lambda: loop(model, folder / "speed.mp4"),
        "stream": lambda: streamed(model, folder / "speed.mp4", **batches),
    }
    rates = {name: [] for name in ways}
    for repetition in range(arguments.repetitions + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            assert run() == arguments.frames
            if repetition:  # the first compiles
                rates[name].append(arguments.frames / (time.perf_counter() - start))
    print(f"{arguments.frames} frames of {size[1]}x{size[0]} (width x height), {batches}")
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.1f} frames/s ({min(values):.1f} to "
              f"{max(values):.1f})")  # fmt: skip
    ratio = statistics.median(rates["stream"]) / statistics.median(rates["loop of detect"])
    print(f"stream / loop: {ratio:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="default: EfficientDet-Lite0 with random weights")
    parser.add_argument("--image-size", default="320", help="of the default model")
    parser.add_argument("--size", default="720x1280", help="HEIGHTxWIDTH of the video")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory-frames", type=int, default=200, help="0: none")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        image_size = ImageSize().convert(arguments.image_size, None, None)
        streamed(opened(arguments.model, image_size), arguments.only)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        speed(arguments, folder)
        lengths = (arguments.memory_frames, 10 * arguments.memory_frames)
        for count in lengths if arguments.memory_frames else ():
            draw(folder / "memory.mp4", (240, 320), count)
            print(f"peak memory, {count} frames: {peak(arguments, folder / 'memory.mp4'):.0f} MB")


if __name__ == "__main__":
    main()
