"""Processor time until the first training step is done, against Keras' own step functions.

python benchmarks/first_step.py [--models lite0 d0 resnet18] [--repeats 5]

"Keras" traces the step as Keras does and takes Keras' AdamW; "own functions" traces one function
instead of two; "own" also has the optimizer of keras_det. The rows of a model take turns, each in a
fresh process. Processor seconds of all threads, medians: they depend less on what else the machine
does than seconds on a clock.
"""

import argparse
import os
import statistics
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

KINDS = ("Keras", "own functions", "own")
MODELS = {
    "lite0": ("EfficientDet", "lite0", 256, 8),
    "d0": ("EfficientDet", "d0", 512, 4),
    "resnet18": ("RetinaNet", "resnet18", 320, 4),
}

CHILD = """
import sys, time
import keras, numpy as np, tensorflow as tf
import keras_det
from keras_det.keras_private import StepFunctions
from keras_det.optimizers import AdamW

family, variant, size, batch, kind = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), sys.argv[5]
if kind == "Keras":
    StepFunctions.one_function = lambda self: False
model = getattr(keras_det, family)(variant, num_classes=3, image_size=size)
adamw = AdamW if kind == "own" else keras.optimizers.AdamW
model.compile(adamw(1e-3, weight_decay=4e-5, global_clipnorm=10.0, use_ema=True))
images = np.random.default_rng(0).uniform(0, 255, (batch, size, size, 3)).astype("float32")
targets = {
    "boxes": np.tile(np.float32([[10, 10, 80, 90]]), (batch, 1, 1)),
    "labels": np.zeros((batch, 1), "int32"),
}
batches = iter(tf.data.Dataset.from_tensors((images, targets)).repeat())
model.make_train_function()
times = []
for _ in range(4):
    start = time.process_time()
    float(model.train_function(batches)["loss"])
    times.append(time.process_time() - start)
print("seconds", times[0], min(times[1:]))
"""


def seconds(model, kind):
    """Processor seconds of the first step, and of a later one."""
    arguments = [str(each) for each in MODELS[model]]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments, kind], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return [float(value) for value in done.stdout.split("seconds")[1].split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["lite0", "d0", "resnet18"])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print("| model | kind | first step, s | of Keras' | a later step, s |\n|---|---|---|---|---|")
    for model in given.models:
        found = {kind: [] for kind in KINDS}
        for _ in range(given.repeats):
            for kind in KINDS:
                found[kind].append(seconds(model, kind))
        firsts = {kind: statistics.median(row[0] for row in rows) for kind, rows in found.items()}
        for kind, rows in found.items():
            later = statistics.median(row[1] for row in rows)
            ratio = firsts[kind] / firsts[KINDS[0]]
            print(
                f"| {model} | {kind} | {firsts[kind]:.1f} | {ratio:.2f} | {later:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
