"""Trains detectors on few images, case by case and seed by seed, and prints one table.

    python benchmarks/few_images.py bccd/ --train-split trainval --test-split test --size 256 \
        --steps 500 --cases published imagenet --out bccd.jsonl
    python benchmarks/few_images.py bccd/ … --report

Every case runs in a process of its own, one seed after another, so its training step is traced
once. Every training adds one line to `--out`; those that are there already are not run again. With
`--jobs 2`, two cases run side by side, each on one core: that takes less time in all, but the
seconds per step are then those of one core. A case is a set of arguments, see `CASES`. AP is
measured on the test split with the averaged weights of the last step; nothing is selected on it.
The table gives the mean over the seeds and, after ±, half the range.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

import numpy as np

# Arguments of the model, and of the training where the name is one of these.
OF_TRAINING = ("weights", "augment", "learning_rate", "anchors", "sampling", "recipe", "input")
CASES = {
    "random": {},
    "imagenet": {"weights": "imagenet"},
    "scale 2": {"weights": "imagenet", "anchor_scale": 2.0},
    "level 2": {"weights": "imagenet", "min_level": 2},
    "fitted input": {"weights": "imagenet", "input": "fitted"},
    "auto anchors": {"weights": "imagenet", "anchors": "auto"},
    "atss": {"weights": "imagenet", "matcher": "atss"},
    "task aligned": {"weights": "imagenet", "matcher": "task_aligned"},
    "simota": {"weights": "imagenet", "matcher": "simota"},
    "giou": {"weights": "imagenet", "box_loss": "giou"},
    "ciou": {"weights": "imagenet", "box_loss": "ciou"},
    "quality focal": {"weights": "imagenet", "class_loss": "quality_focal"},
    "varifocal": {"weights": "imagenet", "class_loss": "varifocal"},
    "flip": {"weights": "imagenet", "augment": "flip"},
    "lsj": {"weights": "imagenet", "augment": "lsj"},
    "light": {"weights": "imagenet", "augment": "light"},
    "strong": {"weights": "imagenet", "augment": "strong"},
}
# The model, losses and augmentation of `recipe="auto"` with one change each: `--cases auto …`.
AUTO = {
    "weights": "imagenet",
    "anchors": "auto",
    "input": "fitted",
    "learning_rate": 0.01,
    "box_loss": "giou",
}
ONE_CHANGE = {
    "auto": {},
    "published anchors": {"anchors": None},
    "auto, ATSS": {"matcher": "atss"},
    "auto, task-aligned": {"matcher": "task_aligned"},
    "auto, SimOTA": {"matcher": "simota"},
    "auto, quality focal": {"class_loss": "quality_focal"},
    "auto, varifocal": {"class_loss": "varifocal"},
    "auto, Huber": {"box_loss": "huber"},
    "auto, CIoU": {"box_loss": "ciou"},
    "auto, level 2": {"min_level": 2},
    "auto, group norm": {"head_norm": "group"},
    "no augmentation": {"augment": "none"},
    "flip only": {"augment": "flip"},
    "lsj instead of ssj": {"augment": "lsj"},
    "IoU crop instead of ssj": {"augment": "flip+IoUCrop"},
    "zoom out and IoU crop": {"augment": "flip+ZoomOut+IoUCrop"},
    "ssj + right angles": {"augment": "ssj+Rotate90"},
    "ssj + photometric": {"augment": "ssj+Photometric"},
    "ssj + cutout": {"augment": "ssj+Cutout"},
    "ssj + mosaic": {"augment": "ssj+Mosaic"},
    "ssj + mixup": {"augment": "ssj+MixUp"},
    "ssj + copy-paste": {"augment": "ssj+CopyPaste"},
    "class-balanced": {"sampling": "class_balanced"},
}
CASES |= {name: {**AUTO, **change} for name, change in ONE_CHANGE.items()}


def parts_of(arguments):
    """The training and the test images of the data set."""
    from keras_det.data import load
    from keras_det.data.splitting import split

    if arguments.test_split is None:
        train, test = split(load(arguments.data, split=arguments.train_split), 0.25, 0)
    else:
        train = load(arguments.data, split=arguments.train_split)
        test = load(arguments.data, split=arguments.test_split)
    if arguments.images:
        rng = np.random.default_rng(arguments.subset_seed)
        train = train.select(np.sort(rng.permutation(len(train))[: arguments.images]))
    return train, test


def build(arguments, case, train):
    from keras_det.models import build_model
    from keras_det.training.input_size import fit_input_size

    given = {name: value for name, value in case.items() if name not in OF_TRAINING}
    fitted = fit_input_size(train, arguments.size) if case.get("input") == "fitted" else None
    size = fitted.size if fitted else arguments.size
    names = {"class_names": train.class_names, "image_size": size}
    model = build_model(arguments.model, **names, **given)
    if case.get("anchors") == "auto":
        from keras_det.training.anchor_fit import fit_anchors

        fitted = fit_anchors(train, model).arguments
        model = build_model(arguments.model, **names, **{**given, **fitted})
    if case.get("weights"):
        model.start_from(case["weights"])
    return model


def augment_of(words):
    """A preset, or steps such as "ssj+Mosaic": those of flip or ssj, and one of each class."""
    from keras_det import data

    name, *classes = words.split("+")
    if not classes:
        return name
    first = [data.Flip()] + ([data.ScaleJitter()] if name == "ssj" else [])
    added = [getattr(data, each)() for each in classes]
    return sorted([*first, *added], key=lambda step: step.kind != "geometry")


def run_seeds(arguments, name, seeds):
    """Trains one case with each seed; yields the lines for the results.

    The first model is trained again with the weights that the next seed draws, and with the
    optimizer as it was at the beginning.
    """
    import keras

    from keras_det.training.recipes import RECIPES

    case = {**CASES.get(name, {}), **json.loads(arguments.changes)}
    train, test = parts_of(arguments)
    model = start = None
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        drawn = build(arguments, case, train)
        if model is None:
            model = drawn
            rate = {"learning_rate": case["learning_rate"]} if "learning_rate" in case else {}
            recipe = RECIPES[case.get("recipe", "adamw")]
            model.compile(recipe(model, arguments.batch, arguments.steps, **rate))
            model.optimizer.build(model.trainable_variables)
            start = [np.array(each) for each in model.optimizer.variables]
        else:
            model.set_weights(drawn.get_weights())
            for variable, value in zip(model.optimizer.variables, start, strict=True):
                variable.assign(value)
        yield train_and_measure(arguments, case, seed, model, train, test, name)


def train_and_measure(arguments, case, seed, model, train, test, name):
    """Trains a model that is ready, and returns the line for the results."""
    from keras_det.data.pipeline import Pipeline
    from keras_det.training.averaging import averaged_weights
    from keras_det.training.evaluate import evaluate

    more = {"sampling": case["sampling"]} if "sampling" in case else {}
    augment = augment_of(case.get("augment", "ssj"))
    pipeline = Pipeline(
        train, model, arguments.batch, augment=augment, seed=seed, training=True, **more
    )
    clock = Clock()
    model.fit(
        pipeline.as_tf_dataset(training=True),
        steps_per_epoch=arguments.steps,
        verbose=0,
        callbacks=[clock.callback()],
    )
    with averaged_weights(model):
        metrics = evaluate(model, test, arguments.batch)
        if arguments.models:
            arguments.models.mkdir(parents=True, exist_ok=True)
            words = f"{name} {arguments.changes} {arguments.images} {arguments.steps} {seed}"
            kept = "".join(c if c.isalnum() else "_" for c in words)
            model.save(arguments.models / f"{kept}.keras")
    kept = {k: float(metrics[k]) for k in ("AP", "AP50", "AP75")}
    per_class = {k: float(v) for k, v in metrics["AP_per_class"].items()}
    return {**kept, "AP_per_class": per_class, "seconds_per_step": clock.median()}


class Clock:
    """Measures steps."""

    def __init__(self):
        self.times = []

    def callback(self):
        import keras

        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.times.append(time.perf_counter())
        )

    def median(self):
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else float("nan")


def key_of(arguments, name, seed):
    """What makes a training the same as an earlier one."""
    return {
        "data": pathlib.Path(arguments.data).name,
        "model": arguments.model,
        "size": arguments.size,
        "images": arguments.images,
        "steps": arguments.steps,
        "batch": arguments.batch,
        "case": name,
        "changes": arguments.changes,
        "seed": seed,
    }


def read_results(path):
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def print_table(results):
    """One row for each case, over its seeds."""
    groups = {}
    for row in results:
        key = {k: v for k, v in row["key"].items() if k != "seed"}
        groups.setdefault(json.dumps(key), []).append(row)
    print("| case | images | steps | seeds | AP | AP50 | AP75 | AP per class | s/step |")
    print("|---|---|---|---|---|---|---|---|---|")
    for key, rows in groups.items():
        key = json.loads(key)
        name = key["case"] + (f" {key['changes']}" if key["changes"] != "{}" else "")
        cells = [name, key["images"] or "all", key["steps"], len(rows)]
        cells += [spread([row[m] for row in rows]) for m in ("AP", "AP50", "AP75")]
        classes = rows[0]["AP_per_class"]
        if len(classes) > 6:
            cells.append("")
        else:
            means = {c: np.mean([row["AP_per_class"][c] for row in rows]) for c in classes}
            cells.append(", ".join(f"{c} {m:.3f}" for c, m in means.items()))
        cells.append(f"{np.median([row['seconds_per_step'] for row in rows]):.2f}")
        print("| " + " | ".join(map(str, cells)) + " |")


def print_comparison(results, base="auto"):
    """One row for each case, one column for each data set: AP, and the difference to `base`.

    A difference is bold where all seeds of the case lie above, or below, all seeds of `base`.
    """
    aps = {}
    for row in results:
        aps.setdefault(row["key"]["case"], {}).setdefault(row["key"]["data"], []).append(row["AP"])
    names = list(aps[base])
    print(f"| case | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for case, of_data in aps.items():
        cells = []
        for name in names:
            own, others = of_data.get(name), aps[base][name]
            if not own:
                cells.append("")
                continue
            change = f"{np.mean(own) - np.mean(others):+.3f}"
            apart = min(own) > max(others) or max(own) < min(others)
            change = f"**{change}**" if apart else change
            cells.append(spread(own) + (f" ({change})" if case != base else ""))
        print(f"| {case} | {' | '.join(cells)} |")


def spread(values):
    return f"{np.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--train-split")
    parser.add_argument("--test-split")
    parser.add_argument("--model", default="efficientdet_lite0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, help="a random part of the training images")
    parser.add_argument("--subset-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", default=["imagenet"], help=", ".join(CASES))
    parser.add_argument("--changes", default="{}", help="JSON: arguments that change every case")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("few_images.jsonl"))
    parser.add_argument("--models", type=pathlib.Path, help="a folder that keeps the models")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, on a core each")
    parser.add_argument("--report", action="store_true", help="print the table only")
    parser.add_argument("--compare", action="store_true", help="print the differences to `auto`")
    parser.add_argument("--one", action="store_true", help="run the first case here")
    arguments = parser.parse_args()
    if arguments.one:
        for result in run_seeds(arguments, arguments.cases[0], arguments.seeds):
            print(json.dumps(result), flush=True)
        return
    if arguments.compare:
        print_comparison(read_results(arguments.out))
        return
    if not arguments.report:
        cores = queue.SimpleQueue()
        for core in range(arguments.jobs):
            cores.put(core if arguments.jobs > 1 else None)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda name: run_apart(arguments, name, cores), arguments.cases))
    print_table(read_results(arguments.out))


def run_apart(arguments, name, cores):
    """Runs one case in a process of its own, with the seeds whose results are not there.

    Args:
        cores: queue of the numbers of free cores, or of None for all of them.
    """
    keys = [key_of(arguments, name, seed) for seed in arguments.seeds]
    known = [row["key"] for row in read_results(arguments.out)]
    keys = [key for key in keys if key not in known]
    if not keys:
        return
    seeds = [str(key["seed"]) for key in keys]
    given = sys.argv[1:]
    command = [sys.executable, __file__, *given, "--one", "--cases", name, "--seeds", *seeds]
    core = cores.get()
    if core is not None:
        command = ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[core]), *command]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        left = iter(keys)
        for line in process.stdout:
            if line.startswith("{"):
                note(arguments, next(left), json.loads(line))
    reader.join()
    cores.put(core)
    if process.returncode:
        print(f"{name}: failed\n{errors[0][-2000:]}", file=sys.stderr)


def note(arguments, key, result):
    """Adds a result to the file as soon as it is there."""
    with arguments.out.open("a") as file:
        file.write(json.dumps({"key": key, **result}) + "\n")
    text = f"{key['case']}, seed {key['seed']}: AP {result['AP']:.3f}"
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
