"""COCO's numbers by three libraries: are they the same, and how long do they take?

    pip install hotcoco faster-coco-eval
    python benchmarks/evaluator.py [FOLDER …] [--images 5000] [--rounds 3]

Measures each FOLDER (a data set) and random images with crowd regions. The detections are noisy
copies of the objects, 100 per image. Each library gets the same arrays. The time is the processor
time of all threads until the twelve numbers are computed, with indexing of the arrays. pycocotools
is run once, because it is slow; for the others, the median of the rounds counts. The memory is what
an evaluation adds to the peak of a separate process.
"""

import argparse
import contextlib
import dataclasses
import io
import multiprocessing
import pathlib
import re
import statistics
import time

import numpy as np

import keras_det.data
from keras_det.metrics.columns import columns
from keras_det.metrics.engines import Evaluation, by_hotcoco, by_pycocotools
from keras_det.metrics.matching import IOUS, match

DETECTIONS = 100  # per image


def random_truth(images, classes=80, seed=0):
    """Ground truth like COCO's: 7 objects per image on average, 2% of them crowd regions."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(images):
        count = rng.poisson(7)
        corner, sides = rng.uniform(0, 500, (count, 2)), np.exp(rng.uniform(2, 6, (count, 2)))
        boxes = np.concatenate([corner, corner + sides], axis=1)
        labels, crowd = rng.integers(0, classes, count), rng.random(count) < 0.02
        rows.append({"boxes": boxes, "labels": labels, "crowd": crowd})
    return rows, [f"class {k}" for k in range(classes)]


def noisy(truth, classes, seed=1):
    """100 detections per image, most near an object; every second image has rounded scores."""
    rng, rows = np.random.default_rng(seed), []
    for i, row in enumerate(truth):
        corner = rng.uniform(0, 500, (DETECTIONS, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 200, (DETECTIONS, 2))], axis=1)
        labels = rng.integers(0, classes, DETECTIONS)
        if len(row["labels"]):
            near = rng.integers(0, len(row["labels"]), 80)
            sides = np.tile(row["boxes"][near, 2:] - row["boxes"][near, :2], 2)
            boxes[:80] = row["boxes"][near] + rng.normal(0, 0.1, sides.shape) * sides
            labels[:80] = np.where(rng.random(80) < 0.6, row["labels"][near], labels[:80])
        scores = rng.random(DETECTIONS)
        scores = np.round(scores, 2) if i % 2 else scores
        rows.append({"boxes": boxes, "labels": labels, "scores": scores})
    return rows


def by_faster_coco_eval(objects, found, num_classes):
    """The same by faster-coco-eval, fed in its usual way."""
    from faster_coco_eval import COCO, COCOeval_faster

    def entries(rows, **more):
        names = ("image_id", "category_id", "bbox", *more)
        values = [rows.image.tolist(), rows.labels.tolist(), rows.boxes.tolist()]
        values += [each.tolist() for each in more.values()]
        return [dict(zip(names, each, strict=True)) for each in zip(*values, strict=True)]

    annotations = entries(objects, area=objects.area, iscrowd=objects.crowd.astype(int))
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(objects.images)],
            "categories": [{"id": k, "name": str(k)} for k in range(num_classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        results = truth.loadRes(entries(found, score=found.scores))
        evaluation = COCOeval_faster(truth, results, "bbox", print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Evaluation(np.asarray(evaluation.stats[:12]), evaluation.eval["precision"])


CONTESTANTS = {
    "pycocotools": by_pycocotools,
    "faster-coco-eval": by_faster_coco_eval,
    "hotcoco": by_hotcoco,
}


def peak():
    """Largest memory of this process so far, in megabytes; Linux only."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024


def memory_of(pipe, name, arrays, classes):
    """Sends the megabytes that one evaluation adds to the peak of this process."""
    small = [dataclasses.replace(each, images=1, **first_rows(each)) for each in arrays]
    CONTESTANTS[name](*small, classes)  # imports the library
    before = peak()
    CONTESTANTS[name](*arrays, classes)
    pipe.send(peak() - before)


def first_rows(columns):
    """The first image of the objects or detections."""
    return {
        name: values[columns.image == 0]
        for name, values in vars(columns).items()
        if name != "images"
    }


def peak_memory(name, arrays, classes):
    """What `memory_of` finds in a separate process. The libraries have threads: no fork."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=memory_of, args=(sender, name, arrays, classes))
    process.start()
    sender.close()
    megabytes = receiver.recv()
    process.join()
    return megabytes


def measure(title, truth, names, rounds):
    arrays = columns(truth, noisy(truth, len(names)), names)
    seconds = {name: [] for name in CONTESTANTS}
    answers = {}
    for number in range(rounds):
        for name, call in CONTESTANTS.items():
            if name == "pycocotools" and number:
                continue
            start = time.process_time()
            answers[name] = call(*arrays, len(names))
            seconds[name].append(time.process_time() - start)
    print(f"\n{title}: {len(truth):,} images, {len(arrays[1].labels):,} detections")
    reference, slow = answers["pycocotools"], seconds["pycocotools"][0]
    for name, times in seconds.items():
        typical = statistics.median(times)
        apart = max(
            np.abs(answers[name].numbers - reference.numbers).max(),
            np.abs(answers[name].precision - reference.precision).max(),
        )
        print(
            f"  {name:<17} {typical:8.3f} s  {slow / typical:6.1f} x pycocotools  "
            f"largest difference {apart:.0e}  +{peak_memory(name, arrays, len(names)):.0f} MB"
        )
    start = time.process_time()
    match(*arrays, IOUS[:1])
    print(f"  matching at IoU 0.5 for the thresholds: {time.process_time() - start:.3f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--split")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for folder in arguments.folders:
        dataset = keras_det.data.load(folder, split=arguments.split)
        measure(dataset.name, dataset.ground_truth(), dataset.class_names, arguments.rounds)
    measure("random", *random_truth(arguments.images), arguments.rounds)


if __name__ == "__main__":
    main()
