"""AP and time of test-time augmentation: flips, scales, and two ways to fuse the boxes.

    python benchmarks/test_time.py run/ bccd/ --split val --flip both

Evaluates a Keras model image by image: alone, in mirrored views, at several input sizes, and both.
Prints COCO's AP and AP50, the AP of small objects, the median time per image, and its ratio to that
of the plain loop of `detect`. The times of all ways are taken in turn, image by image.
"""

import argparse
import time

import numpy as np

import keras_det
from keras_det.cli.files import find_model
from keras_det.names import FLIP_CHOICES, FUSION_CHOICES
from keras_det.runtime import AugmentedDetector
from keras_det.training.evaluate import measured_from


def ways_of(model, flip, scales):
    """The detectors that are compared, by what they do."""
    at = ", ".join(f"{scale:g}" for scale in scales)
    kinds = {
        f"flip {flip}": {"flip": flip},
        f"scales {at}": {"flip": "none", "scales": scales},
        f"flip {flip}, scales {at}": {"flip": flip, "scales": scales},
    }
    ways = {"the image alone": model}
    for name, arguments in kinds.items():
        for fusion in FUSION_CHOICES:
            ways[f"{name}; {fusion}"] = AugmentedDetector(model, fusion=fusion, **arguments)
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split")
    parser.add_argument("--flip", default="horizontal", choices=FLIP_CHOICES[1:])
    parser.add_argument("--scales", default="0.75,1,1.25", help="with commas between them")
    arguments = parser.parse_args()
    model = keras_det.load_model(find_model(arguments.model))
    dataset = keras_det.data.load(arguments.data, split=arguments.split)
    scales = tuple(float(scale) for scale in arguments.scales.split(","))
    ways = ways_of(model, arguments.flip, scales)
    images = [dataset[i].read() for i in range(len(dataset))]
    found = {name: [] for name in ways}
    seconds = {name: [] for name in ways}
    for detector in ways.values():
        detector.detect(images[0])  # compiles
    for image in images:
        for name, detector in ways.items():
            start = time.perf_counter()
            found[name].append(detector.detect(image))
            seconds[name].append(time.perf_counter() - start)
    print(f"{len(images)} images of {dataset.name}, input {model.image_size[0]}x", end="")
    print(f"{model.image_size[1]} (height x width)")
    print("| detection in; fusion | AP | AP50 | AP small | ms per image | ratio |")
    print("|---|---|---|---|---|---|")
    plain = np.median(seconds["the image alone"])
    for name, detections in found.items():
        measured = measured_from(dataset, range(len(images)), detections, model.class_names).metrics
        numbers = [f"{measured[key]:.3f}" for key in ("AP", "AP50", "AP_small")]
        median = np.median(seconds[name])
        row = [name, *numbers, f"{1e3 * median:.0f}", f"{median / plain:.1f}"]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
