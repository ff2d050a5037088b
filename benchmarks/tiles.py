"""AP and time with and without tiles, on large images made of many small ones.

    python benchmarks/tiles.py run/ bccd/ --split test --shrink 2 --tile 240x320

Pastes the images of a data set, shrunk, into mosaics of at most 2,048 pixels a side, and evaluates
a model on them: on whole mosaics, on tiles and the whole mosaic, and on tiles only. Prints COCO's
AP and AP50, the AP of small and of medium objects, and the seconds per mosaic. COCO counts at most
100 detections of a class in an image, which limits the AP of classes with more objects.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from PIL import Image

import keras_det
from keras_det.cli.command import ImageSize
from keras_det.cli.files import find_model
from keras_det.runtime.tiled import TiledDetector
from keras_det.training.evaluate import measured_from

SIDE = 2048


def mosaics(dataset, folder, shrink):
    """A data set of mosaics, each with as many images side by side as fit, shrunk by a factor."""
    largest = np.max([dataset[i].original_size[:2] for i in range(len(dataset))], axis=0)
    height, width = -(-largest // shrink)
    rows, columns = SIDE // height, SIDE // width
    items, count = [], rows * columns
    for first in range(0, len(dataset), count):
        canvas = np.full((rows * height, columns * width, 3), 128, np.uint8)
        boxes, labels = [], []
        for place, index in enumerate(range(first, min(first + count, len(dataset)))):
            sample = dataset[index]
            pixels = np.asarray(Image.fromarray(sample.read()).reduce(shrink))
            top, left = place // columns * height, place % columns * width
            canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            boxes.append(sample.boxes / shrink + np.array([left, top, left, top], "float32"))
            labels.append(sample.labels)
        path = folder / f"{first:05}.png"
        Image.fromarray(canvas).save(path)
        boxes, labels = np.concatenate(boxes), np.concatenate(labels)
        items.append({"images": str(path), "boxes": boxes, "labels": labels})
    form = {"bounding_box_format": "xyxy", "class_names": dataset.class_names}
    return keras_det.data.from_arrays(items, **form)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split")
    parser.add_argument("--tile", default="240x320", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--shrink", type=int, default=2, help="factor on the sides of the images")
    parser.add_argument("--overlap", type=float, default=0.25)
    arguments = parser.parse_args()
    model = keras_det.load_model(find_model(arguments.model))
    source = keras_det.data.load(arguments.data, split=arguments.split)
    tile = ImageSize().convert(arguments.tile, None, None)
    ways = {
        "whole image": model,
        f"whole image and tiles of {arguments.tile}": TiledDetector(model, tile, arguments.overlap),
        "tiles only": TiledDetector(model, tile, arguments.overlap, whole=False),
    }
    with tempfile.TemporaryDirectory() as temporary:
        dataset = mosaics(source, pathlib.Path(temporary), arguments.shrink)
        images = [dataset[i].read() for i in range(len(dataset))]
        print(
            f"{len(images)} mosaics of {images[0].shape[1]}x{images[0].shape[0]} (width x height)"
        )
        print("| detection in | AP | AP50 | AP small | AP medium | seconds per mosaic |")
        print("|---|---|---|---|---|---|")
        for name, detector in ways.items():
            more = {"max_detections": 1000} if detector is model else {}
            detector.detect(images[0], **more)  # compiles
            start = time.perf_counter()
            found = [detector.detect(image, **more) for image in images]
            seconds = (time.perf_counter() - start) / len(images)
            measured = measured_from(dataset, range(len(images)), found, model.class_names).metrics
            numbers = [measured[key] for key in ("AP", "AP50", "AP_small", "AP_medium")]
            print(
                "| " + " | ".join([name, *(f"{x:.3f}" for x in numbers), f"{seconds:.2f}"]) + " |"
            )


if __name__ == "__main__":
    main()
