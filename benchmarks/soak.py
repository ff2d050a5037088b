"""Measures whether memory or the number of open files grows over many calls, case by case.

    python benchmarks/soak.py --calls 10000 --plot soak.png
    python benchmarks/soak.py detect saved_model --calls 300

Each case runs in a process of its own. The sizes of the images and the settings vary from call to
call. The first fifth of the calls (at least 20, at most half) is the warm-up. After it, the
resident memory and the number of open files are noted after each call, and a line is fitted through
them. The table gives its slope with the standard error that the scatter of 20 block means leaves.
"flat" means that the slope is below three standard errors, or below --least bytes per call (and one
open file in all calls).
"""

import argparse
import functools
import gc
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

BLOCKS = 20
SIZE = 96  # of the network's input
# Share of the calls for cases whose calls take longer: compiling, an epoch, a data set.
SHARE = {"recompiled": 0.1, "training": 0.1, "datasets": 0.2}


def resident():
    """Bytes of memory that the process holds."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return len(os.listdir("/proc/self/fd"))


def slope(values):
    """Slope per call, and its standard error from the scatter of the means of blocks.

    Args:
        values: one number for each call.
    """
    blocks = min(BLOCKS, len(values))
    means = np.array([part.mean() for part in np.array_split(np.asarray(values, float), blocks)])
    x = np.arange(blocks) - (blocks - 1) / 2
    rise = (x @ means) / (x @ x)
    left = means - means.mean() - rise * x
    error = np.sqrt(left @ left / max(blocks - 2, 1) / (x @ x))
    calls = len(values) / blocks
    return rise / calls, error / calls


def model(**names):
    import keras

    import keras_det

    keras.utils.set_random_seed(0)
    return keras_det.EfficientDet("lite0", image_size=SIZE, **(names or {"num_classes": 3}))


def pictures(seed=0):
    """Endless images of varying sizes."""
    rng = np.random.default_rng(seed)
    while True:
        height, width = rng.integers(40, 400, 2)
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def detect(folder):
    """The Keras model: thresholds of any value, one or four images, four sets of other settings."""
    net, images, rng = model(), pictures(), np.random.default_rng(1)
    others = ({}, {"method": "hard"}, {"max_detections": 20}, {"class_agnostic": True})
    for call in itertools.count():
        number = {"score_threshold": float(rng.uniform(0.001, 0.9))}
        batch = list(itertools.islice(images, (1, 4)[call % 2]))
        yield net.detect(batch, **number, **others[call // 2 % 4])


def recompiled(folder):
    """The Keras model with new settings in every call: it compiles, and the oldest go."""
    net, images = model(), pictures()
    for call in itertools.count(1):
        yield net.detect(next(images), max_detections=call)


def exported(folder, kind, name):
    import keras_det
    from keras_det import export

    getattr(export, kind)(model(), folder / name)
    detector = keras_det.load_exported(folder / name)
    rng = np.random.default_rng(1)
    for image in pictures():
        yield detector.detect(image, score_threshold=float(rng.uniform(0.01, 0.9)))


def drawn(folder):
    from keras_det.data import draw_shapes_dataset, load

    draw_shapes_dataset(folder, num_train=8, num_val=4, image_size=SIZE, seed=0)
    return lambda split="train": load(folder, split=split)


def training(folder):
    """Epochs of two steps, each measured on images of validation."""
    from keras_det.data import Pipeline
    from keras_det.training import EvaluateAP

    load = drawn(folder)
    train, val = load(), load("val")
    net = model(class_names=train.class_names)
    net.compile()
    pipeline = Pipeline(train, net, 4, augment="ssj", seed=0, training=True)
    while True:
        yield net.fit(pipeline, epochs=1, verbose=0, callbacks=[EvaluateAP(val, 4)])


def datasets(folder):
    """Data sets and pipelines that are made, read and dropped."""
    from keras_det.data import Pipeline

    load = drawn(folder)
    for call in itertools.count():
        augment = ("ssj", None, "strong")[call % 3]
        for batch in Pipeline(load(), (SIZE, SIZE), 4, augment=augment, training=True, seed=call):
            yield batch
            break


CASES = {
    "detect": detect,
    "recompiled": recompiled,
    "saved_model": functools.partial(exported, kind="saved_model", name="saved"),
    "tflite": functools.partial(exported, kind="tflite", name="model.tflite"),
    "onnx": functools.partial(exported, kind="onnx", name="model.onnx"),
    "training": training,
    "datasets": datasets,
}


def run(case, calls):
    """Runs one case in this process: what was noted after each call, the warm-up included."""
    # Written to before, so that noting takes no memory.
    memory, files = np.full((2, calls), -1, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        made = CASES[case](pathlib.Path(folder))
        for call, _ in enumerate(itertools.islice(made, calls)):
            if call % 10 == 0:
                gc.collect()
            memory[call], files[call] = resident(), open_files()
    return {"memory": memory.tolist(), "files": files.tolist()}


def line(case, noted, least):
    """One row of the table."""
    calls = len(noted["memory"])
    warm = min(max(calls // 5, 20), calls // 2)
    memory, files = (np.array(noted[name][warm:]) for name in ("memory", "files"))
    (rise, error), (opened, spread) = slope(memory), slope(files)
    flat = rise < max(3 * error, least) and opened <= max(3 * spread, 1 / calls)
    return (
        f"| {case} | {calls} | {memory.mean() / 1e6:.0f} | {rise / 1e3:+.2f} ± {error / 1e3:.2f} | "
        f"{files[0]} to {files[-1]} | {'flat' if flat else 'GROWS'} |"
    )


def plot(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(found), 1, figsize=(7, 2 * len(found)), squeeze=False)
    for axis, (case, noted) in zip(axes[:, 0], found.items(), strict=True):
        axis.plot(np.array(noted["memory"]) / 1e6, linewidth=0.8)
        axis.set_title(case, loc="left")
        axis.set_ylabel("MB")
    axes[-1, 0].set_xlabel("calls")
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--least", type=float, default=1000.0, help="bytes per call; see above")
    parser.add_argument("--json", help="file for what was noted")
    parser.add_argument("--plot", help="picture to write; needs matplotlib")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(run(given.cases[0], given.calls)))
        return
    print("| case | calls | MB | kB per call | open files | |\n|---|---|---|---|---|---|")
    found = {}
    for case in given.cases or CASES:
        calls = max(20, int(given.calls * SHARE.get(case, 1)))
        command = [sys.executable, __file__, case, "--calls", str(calls), "--child"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {case} | not run: {done.stderr.strip().splitlines()[-1]} |")
            continue
        found[case] = json.loads(done.stdout.splitlines()[-1])
        print(line(case, found[case], given.least), flush=True)
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(found))
    if given.plot:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
