"""Peak memory of a training step on a CPU, by model, size and batch, beside the estimate.

    python benchmarks/batch_memory.py                   # all cases, into batch_memory.csv
    python benchmarks/batch_memory.py --model retinanet_resnet18 --size 320 --batches 1,2,4

Each model is measured in a process of its own, with the batches in ascending order: the peak after
a batch is the largest resident size until then, minus that before the model was built. 80 classes,
100 boxes per image, AdamW with averaged weights, float32. `cpu_s` is the processor time of the
second step of a batch size, of all threads: other programs do not change it much.
"""

import argparse
import csv
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CASES = (
    ("efficientdet_lite0", 256, "1,2,4,8,16"),
    ("efficientdet_d0", 512, "1,2,4"),
    ("retinanet_resnet18", 320, "1,2,4,8"),
    ("cornernet_tiny", 255, "1,2,4,8"),
)


def resident():
    """The largest resident size of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def batches_of(size, batches):
    """Each batch twice, as a stream of open batch size: the step is traced only once."""
    import numpy as np
    import tensorflow as tf

    def stream():
        rng = np.random.default_rng(0)
        for batch in batches:
            images = rng.integers(0, 256, (batch, size, size, 3)).astype("uint8")
            boxes = np.tile(np.array([[0.1, 0.2, 0.6, 0.7]], "float32") * size, (batch, 100, 1))
            for _ in range(2):
                yield images, {"boxes": boxes, "labels": np.zeros((batch, 100), "int32")}

    targets = {
        "boxes": tf.TensorSpec((None, 100, 4), tf.float32),
        "labels": tf.TensorSpec((None, 100), tf.int32),
    }
    images = tf.TensorSpec((None, size, size, 3), tf.uint8)
    return tf.data.Dataset.from_generator(stream, output_signature=(images, targets))


def rows_of(name, size, batches, remat):
    """One row per batch size; prints it as JSON as soon as it is measured."""
    import keras

    from keras_det.models import build_model
    from keras_det.training.memory import step_memory
    from keras_det.training.recipes import adamw

    keras.utils.set_random_seed(0)
    start = resident()
    model = build_model(name, class_names=[f"{i}" for i in range(80)], image_size=size, remat=remat)
    model.compile(adamw(model, batches[0], 1000))
    estimate = step_memory(model)
    model.make_train_function()
    for i, data in enumerate(batches_of(size, batches)):
        begun = time.process_time()
        model.train_function(iter([data]))
        if i % 2:
            batch = batches[i // 2]
            row = {"model": name, "size": size, "remat": int(remat), "batch": batch}
            row |= {"peak_gb": round(resident() - start, 3)}
            row |= {"estimate_gb": round(estimate.of(batch) / 1e9, 3)}
            row |= {"cpu_s": round(time.process_time() - begun, 3)}
            print(json.dumps(row), flush=True)


def in_a_process(name, size, batches, remat):
    """The rows of `rows_of`, measured in a new process."""
    command = [sys.executable, __file__, "--model", name, "--size", str(size), "--rows"]
    command += ["--batches", batches, *(["--remat"] if remat else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def shown(row):
    off = row["estimate_gb"] / row["peak_gb"] - 1
    case = f"{row['model']} {row['size']} {'remat' if row['remat'] else ''}"
    return (
        f"{case:<32}{row['batch']:>6}{row['peak_gb']:>9.2f} GB{row['estimate_gb']:>9.2f} GB"
        f"{off:>+7.0%}{row['cpu_s']:>9.2f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batches", default="1,2,4")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--rows", action="store_true", help="measure here, and print JSON")
    options = parser.parse_args()
    if options.rows:
        batches = [int(batch) for batch in options.batches.split(",")]
        return rows_of(options.model, options.size, batches, options.remat)
    cases = [(*case, remat) for case in CASES for remat in (False, True)]
    if options.model:
        cases = [(options.model, options.size, options.batches, options.remat)]
    rows = []
    print(f"{'model, size':<32}{'batch':>6}{'peak':>12}{'estimate':>12}{'off':>7}{'CPU time':>11}")
    for case in cases:
        for row in in_a_process(*case):
            rows.append(row)
            print(shown(row), flush=True)
    if not options.model:
        with open(pathlib.Path(__file__).with_suffix(".csv"), "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
