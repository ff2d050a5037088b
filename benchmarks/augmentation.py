"""Images per second of mosaic with mixup, and what the photometric set costs, in one process.

    python benchmarks/augmentation.py PATH/TO/BCCD

BCCD's 640x480 JPEGs to 640x640, batch 8. The variants take turns, a few batches each, so that a
slow moment of the machine affects all of them. Costs are compared by the processor time of the
fastest turn: on a shared machine, other turns may take half as long again. Without a path,
synthetic images are used. The exit code is 1 if mosaic and mixup together fall below 60 images per
second, or if flips, scale jitter and the photometric set need over 15% more processor time than
flips and scale jitter.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from benchmarks.input_pipeline import rate  # noqa: E402
from keras_det.data import (  # noqa: E402
    Blur,
    Flip,
    JPEGNoise,
    MixUp,
    Mosaic,
    Photometric,
    Pipeline,
    ScaleJitter,
    draw_shapes_dataset,
    load,
)

MIN_RATE, MAX_COST = 60, 0.15
GEOMETRY = [Flip(), ScaleJitter(0.8, 1.25)]
VARIANTS = {
    "flip, jitter": GEOMETRY,
    "flip, jitter, colours": [*GEOMETRY, Photometric()],
    "flip, jitter, photometric set": [*GEOMETRY, Photometric(), Blur(), JPEGNoise()],
    "always mosaic": [Flip(), Mosaic(1.0)],
    "always mosaic, mixup 0.15": [Flip(), Mosaic(1.0), MixUp(0.15)],
    "strong": "strong",
}


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder of BCCD. Default: synthetic images")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=12, help="batches of 8 per turn")
    return parser.parse_args()


def main():
    """Runs the variants in turns and prints a table."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        if args.data:
            dataset = load(args.data, "train")
        else:
            draw_shapes_dataset(f"{folder}/shapes", 100, 1, image_size=640)
            dataset = load(f"{folder}/shapes", "train")
        iterators = {
            name: iter(Pipeline(dataset, args.size, 8, steps).as_tf_dataset())
            for name, steps in VARIANTS.items()
        }
        measured = {name: [] for name in VARIANTS}
        for turn in range(args.rounds + 1):
            for name, iterator in iterators.items():
                found = rate(iterator, args.steps, 8)
                if turn:  # the first warms up
                    measured[name].append(found)
    base = measured["flip, jitter"]
    print(f"{dataset.name}: {len(dataset)} images to {args.size}x{args.size}")
    print(
        "| what | images/s, median (range) | CPU ms per image, median, lowest | lowest over base |"
    )
    print("|---|---|---|---|")
    costs = {}
    for name, found in measured.items():
        speeds, cpu = zip(*found, strict=True)
        costs[name] = min(cpu) / min(own for _, own in base) - 1
        spread = f"{statistics.median(speeds):.0f} ({min(speeds):.0f}-{max(speeds):.0f})"
        times = f"{statistics.median(cpu):.2f}, {min(cpu):.2f}"
        print(f"| {name} | {spread} | {times} | {costs[name]:+.0%} |")
    slow = statistics.median(speed for speed, _ in measured["always mosaic, mixup 0.15"])
    return 0 if slow >= MIN_RATE and costs["flip, jitter, photometric set"] < MAX_COST else 1


if __name__ == "__main__":
    sys.exit(main())
