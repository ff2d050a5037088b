"""Training steps on a CPU with the allocator settings of the command line, and without.

    python benchmarks/allocator.py --model efficientdet_lite0 --size 256 --batch 8

The two alternate, each in a process of its own. "cpu s" is processor time of a step, the system's
part included; "faults" are pages that the system had to provide. The last line is the ratio.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

KINDS = ("without", "with")


def noted():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_stime, used.ru_minflt


def steps(arguments):
    """Medians over the steps: seconds, processor seconds, the system's part, page faults."""
    if arguments.one == "with":
        from keras_det.cli.allocator import keep_freed_memory

        assert keep_freed_memory(), "not with this C library, or the environment sets MALLOC_…"
    import keras

    from keras_det.models import build_model
    from keras_det.training.recipes import RECIPES

    size, batch = arguments.size, arguments.batch
    names = [f"class {k}" for k in range(arguments.classes)]
    model = build_model(arguments.model, class_names=names, image_size=size)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, size * 0.6, (batch, 10, 2))
    sides = rng.uniform(8, size * 0.4, (batch, 10, 2))
    targets = {
        "boxes": np.concatenate([corners, corners + sides], -1).astype("float32"),
        "labels": rng.integers(0, len(names), (batch, 10)).astype("int32"),
    }
    images = rng.integers(0, 256, (batch, size, size, 3)).astype("uint8")
    model.compile(RECIPES["adamw"](model, batch, 1000))
    found = []

    def end(batch, logs):
        found.append(noted())

    model.fit(
        *(images, targets),
        batch_size=batch,
        epochs=arguments.steps,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=end)],
    )
    medians = np.median(np.diff(np.array(found), axis=0)[2:], axis=0).tolist()
    return [*medians, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(steps(arguments)))
        return
    found = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    print("| settings | s | cpu s | of it system | faults | peak MB |")
    print("|---|---|---|---|---|---|")
    medians = {kind: np.median(rows, axis=0) for kind, rows in found.items()}
    for kind, (wall, cpu, system, faults, peak) in medians.items():
        print(f"| {kind} | {wall:.2f} | {cpu:.2f} | {system:.2f} | {faults:,.0f} | {peak:,.0f} |")
    wall, cpu = (medians["with"] / medians["without"])[:2]
    print(f"with / without: {wall:.2f} of the time, {cpu:.2f} of the processor time")


if __name__ == "__main__":
    main()
