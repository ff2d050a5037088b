"""Gradient checkpointing of CornerNet: peak memory and time of a training step, with and without.

    python benchmarks/remat.py --size 255 --batch 2

Each case runs in a process of its own, so that peaks are its own. Hourglass-104, 80 classes, AdamW,
float32; the time is the median of the steps after the first, which compiles.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

from peer import measure

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def step(remat, size, batch, steps):
    """Peak memory before and after training, GiB, and milliseconds per step."""
    import numpy as np

    from keras_det import CornerNet

    model = CornerNet("hourglass104", num_classes=80, image_size=size, remat=remat)
    model.compile()
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3)).astype("uint8")
    boxes = np.tile(np.array([[[0.1, 0.2, 0.6, 0.7]]], "float32") * size, (batch, 10, 1))
    targets = {"boxes": boxes, "labels": np.zeros((batch, 10), "int32")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    model.train_on_batch(images, targets)
    times = measure(lambda: model.train_on_batch(images, targets), steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"before": before, "peak": peak, "ms": statistics.median(times)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=255)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--case", choices=["plain", "remat"], help="one of them, as JSON")
    options = parser.parse_args()
    settings = (options.size, options.batch, options.steps)
    if options.case:
        print(json.dumps(step(options.case == "remat", *settings)))
        return
    print(f"{'':<10}{'built, GiB':>12}{'peak, GiB':>12}{'ms / step':>12}")
    found = {}
    for case in ("plain", "remat"):
        command = [sys.executable, __file__, "--case", case]
        for name in ("size", "batch", "steps"):
            command += [f"--{name}", str(getattr(options, name))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[case] = row = json.loads(done.stdout.splitlines()[-1])
        print(f"{case:<10}{row['before']:>12.2f}{row['peak']:>12.2f}{row['ms']:>12.0f}", flush=True)
    extra = [found[case]["peak"] - found[case]["before"] for case in ("remat", "plain")]
    slower = found["remat"]["ms"] / found["plain"]["ms"]
    print(f"memory that training adds: {extra[0] / extra[1]:.2f}x; time {slower:.2f}x")


if __name__ == "__main__":
    main()
