"""The doctor's estimate of time and memory against a real epoch.

    python benchmarks/doctor_cost.py --images 240 --size 128 --batch 8

Estimate and epoch run in processes of their own, one after the other, so that peaks are their own.
The images are drawn; lite0, augmentation "ssj". The time of the epoch includes its first step,
which compiles, and so does the estimate.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CASES = ("estimate", "epoch")


def estimate(dataset, model, batch):
    """Seconds of an epoch and peak memory in bytes, from a few steps."""
    from keras_det.doctor.cost import measure_cost

    started = time.monotonic()
    cost = measure_cost(dataset, model, "ssj", batch, epochs=1)
    return {
        "seconds": cost.total_seconds,
        "memory": cost.memory,
        "took": time.monotonic() - started,
    }


def epoch(dataset, model, batch):
    """Seconds of a real epoch and its peak memory in bytes."""
    from keras_det.data import Pipeline
    from keras_det.profiling.machine import peak_memory
    from keras_det.training.recipes import adamw

    pipeline = Pipeline(dataset, model, batch, augment="ssj")
    model.compile(adamw(model, batch, pipeline.steps_per_epoch))
    started = time.monotonic()
    model.fit(pipeline, epochs=1, verbose=0)
    seconds = time.monotonic() - started
    return {"seconds": seconds, "memory": peak_memory(), "took": seconds}


def run(case, options):
    """One case, with data and model of its own."""
    from keras_det.data import draw_shapes_dataset, load
    from keras_det.models import build_model

    with tempfile.TemporaryDirectory() as folder:
        draw_shapes_dataset(folder, num_train=options.images, num_val=1, image_size=320, seed=0)
        dataset = load(folder, split="train")
        names = list(dataset.class_names)
        model = build_model(options.model, class_names=names, image_size=options.size)
        return (estimate if case == "estimate" else epoch)(dataset, model, options.batch)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--case", choices=CASES, help="one of them, as JSON")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(options.case, options)))
        return
    print(f"{'':<10}{'epoch, s':>12}{'peak, GiB':>12}{'took, s':>12}")
    found = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        for name in ("model", "images", "size", "batch"):
            command += [f"--{name}", str(getattr(options, name))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[case] = row = json.loads(done.stdout.splitlines()[-1])
        memory = row["memory"] / 2**30
        print(f"{case:<10}{row['seconds']:>12.1f}{memory:>12.2f}{row['took']:>12.1f}", flush=True)
    for name in ("seconds", "memory"):
        ratio = found["estimate"][name] / found["epoch"][name]
        print(f"{name}: estimate / epoch = {ratio:.2f}")


if __name__ == "__main__":
    main()
