"""What the checks before a training cost, as a share of its first epoch.

    python benchmarks/quick_check.py [--data BCCD]

`keras-det train` checks boxes, classes and anchors before the first step. This script times these
checks, then a few training steps (after the first ones, which compile), and estimates the epoch
from the median of the steps. Without `--data`, 1,000 images with shapes are drawn. The exit code is
1 where the checks take more than 2% of an epoch.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TARGET = 0.02
WARM_UP = 3


def checks(pipeline, validation_set, model):
    """Seconds of one run of the checks."""
    from keras_det.training.quick_check import say_findings

    lines = []
    started = time.perf_counter()
    say_findings(pipeline, validation_set, model, lines.append)
    return time.perf_counter() - started, lines


def steps(pipeline, model, count):
    """Seconds of each training step, reading of the batch included."""
    import keras

    class Clock(keras.callbacks.Callback):
        times = []

        def on_train_batch_end(self, batch, logs=None):
            self.times.append(time.perf_counter())

    epochs = -(-(count + WARM_UP) // pipeline.steps_per_epoch)
    clock = Clock()
    model.fit(
        pipeline,
        epochs=epochs,
        steps_per_epoch=min(count + WARM_UP, pipeline.steps_per_epoch),
        verbose=0,
        callbacks=[clock],
    )
    times = clock.times[WARM_UP - 1 :]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def measure(data, options):
    """Prints the seconds of checks and epoch; returns the share."""
    from keras_det.data import Pipeline
    from keras_det.data.load import load_train_and_val
    from keras_det.models import build_model
    from keras_det.training.recipes import adamw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        train, val, *_ = load_train_and_val(data)
        reading = time.perf_counter() - started
    names = list(train.class_names)
    model = build_model(options.model, class_names=names, image_size=options.size)
    pipeline = Pipeline(train, model, options.batch, augment="ssj", training=True)
    model.compile(adamw(model, options.batch, pipeline.steps_per_epoch))
    found = [checks(pipeline, val, model) for _ in range(options.rounds)]
    first, usual = found[0][0], statistics.median(seconds for seconds, _ in found)
    step = statistics.median(steps(pipeline, model, options.steps))
    epoch = step * pipeline.steps_per_epoch
    print(f"{len(train)} images, {len(train.labels)} objects, {options.model} at {options.size}")
    for line in found[0][1]:
        print(f"  {line}")
    print(f"reading of the annotations {reading:.2f} s ({reading / epoch:.2%} of an epoch)")
    print(f"step {step:.3f} s, epoch of {pipeline.steps_per_epoch} steps {epoch:.1f} s")
    print(f"checks {first * 1000:.1f} ms the first time, median {usual * 1000:.1f} ms")
    print(f"share of an epoch: {first / epoch:.3%} the first time, median {usual / epoch:.3%}")
    return first / epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a data set; default: shapes are drawn")
    parser.add_argument("--images", type=int, default=1000, help="images that are drawn")
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.data:
        return int(measure(options.data, options) > TARGET)
    from keras_det.data import draw_shapes_dataset

    with tempfile.TemporaryDirectory() as folder:
        draw_shapes_dataset(folder, num_train=options.images, num_val=20, image_size=256, seed=0)
        return int(measure(folder, options) > TARGET)


if __name__ == "__main__":
    sys.exit(main())
