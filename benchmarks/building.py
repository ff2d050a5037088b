"""How long D0 takes to be built and loaded, and how much memory building D7x takes.

python benchmarks/building.py --checkpoint PATH/TO/checkpoint_d0/model [--repeats 5]

Medians of one process, after one round that is not counted. The memory is the peak of a fresh
process that does nothing but import the package and build the model; the checkpoint is the
name-based TensorFlow one of D0.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CHILD = """
import resource, sys

UNITS_IN_GIB = 2**30 if sys.platform == "darwin" else 2**20  # bytes on macOS, else kilobytes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_IN_GIB

import keras_det
keras_det.EfficientDet
imported = peak()
model = keras_det.EfficientDet(sys.argv[1], num_classes=90)
weights = 4 * model.count_params() / 2**30
print("peaks", imported, peak(), weights)
"""


def peak_memory(variant):
    """GiB: after the imports, after building, and of the weights themselves."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, variant], capture_output=True, text=True, check=True
    )
    return [float(value) for value in done.stdout.split("peaks")[1].split()]


def timed(functions, repeats):
    """Median seconds by name; the functions take turns, the first round is not counted."""
    times = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variant", default="d7x", help="whose building is weighed")
    arguments = parser.parse_args()
    imported, built, weights = peak_memory(arguments.variant)

    import keras

    from keras_det import EfficientDet, load_model
    from keras_det.profiling import multiply_adds
    from keras_det.weights import load_efficientdet

    with tempfile.TemporaryDirectory() as folder:
        model, saved = EfficientDet("d0", num_classes=90), f"{folder}/d0.keras"
        model.save(saved)
        model.save_to_preset(f"{folder}/d0")
        functions = {
            "build": lambda: EfficientDet("d0", num_classes=90),
            "fill from the official checkpoint": lambda: load_efficientdet(
                model, arguments.checkpoint
            ),
            "build and load a .keras file": lambda: load_model(saved),
            "build and load a preset": lambda: EfficientDet.from_preset(f"{folder}/d0"),
            "count the multiply-adds": lambda: multiply_adds(model),
        }
        seconds = timed(functions, arguments.repeats)
    print(f"Keras {keras.__version__}, backend {keras.backend.backend()}\n")
    print("| D0, 90 classes | s |\n|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.2f} |")
    print(f"\n| building {arguments.variant}, 90 classes | GiB |\n|---|---|")
    print(f"| peak memory of the process | {built:.2f} |")
    print(f"| of these after the imports | {imported:.2f} |")
    print(f"| the weights alone | {weights:.2f} |")


if __name__ == "__main__":
    main()
