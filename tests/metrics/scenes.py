"""Objects and noisy detections of random images, and of the small data sets in tests/golden."""

import warnings

import numpy as np

import keras_det.data
from tests.helpers import data_set, golden


def random_truth(images, classes, rng, crowd=0.1):
    """Rows of `coco_metrics`' ground truth: 0 to 9 objects of every size, some of them crowds."""
    rows = []
    for _ in range(images):
        count = rng.integers(0, 10)
        corner, sides = rng.uniform(0, 300, (count, 2)), np.exp(rng.uniform(2, 5.5, (count, 2)))
        boxes = np.concatenate([corner, corner + sides], axis=1).astype("float32")
        area = sides.prod(axis=1) * rng.uniform(0.4, 1, count)
        labels, is_crowd = rng.integers(0, classes, count), rng.random(count) < crowd
        rows.append({"boxes": boxes, "labels": labels, "crowd": is_crowd, "area": area})
    return rows


def noisy(truth, classes, rng, most=40):
    """Detections near the objects: moved, doubled, of wrong classes, and some anywhere.

    Half of the images have few different scores, so that many are equal.
    """
    rows = []
    for row in truth:
        count = rng.integers(0, most + 1)
        boxes = rng.uniform(0, 300, (count, 4))
        boxes[:, 2:] = boxes[:, :2] + rng.uniform(5, 120, (count, 2))
        labels = rng.integers(0, classes, count)
        if len(row["labels"]):
            near = rng.random(count) < 0.8
            chosen = rng.integers(0, len(row["labels"]), near.sum())
            sides = np.tile(row["boxes"][chosen, 2:] - row["boxes"][chosen, :2], 2)
            moved = rng.choice([0.0, 0.03, 0.15], (len(chosen), 1))
            boxes[near] = row["boxes"][chosen] + sides * moved * rng.normal(0, 1, sides.shape)
            right = rng.random(len(chosen)) < 0.8
            labels[near] = np.where(right, row["labels"][chosen], labels[near])
        scores = rng.random(count)
        if rng.random() < 0.5:
            scores = np.round(scores, 1)
        rows.append({"boxes": boxes.astype("float32"), "labels": labels, "scores": scores})
    return rows


def random_scenes(images, classes, seed, **more):
    """Ground truth, detections and class names of random images."""
    rng = np.random.default_rng(seed)
    truth = random_truth(images, classes, rng, **more)
    return truth, noisy(truth, classes, rng), [f"class {k}" for k in range(classes)]


def golden_scenes(name, seed=0):
    """Objects of real images, noisy detections and class names.

    Args:
        name: "bccd", the twelve images in tests/golden, or "coco", objects of 80 images of COCO
            with crowd regions.
    """
    rng = np.random.default_rng(seed)
    if name == "coco":
        truth, names = coco_objects()
    else:
        with warnings.catch_warnings(action="ignore"):  # two boxes without an area
            dataset = keras_det.data.load(data_set(name))
        truth, names = dataset.ground_truth(), dataset.class_names
    return truth, noisy(truth, len(names), rng), names


def coco_objects():
    """Rows of ground truth of 80 images of COCO's val2017, and the names of its 80 classes."""
    file = golden("metrics/coco_objects.npz")
    columns = ("boxes", "labels", "crowd", "area")
    image, arrays = file["image"], {name: file[name] for name in columns}
    rows = [
        {name: values[image == i] for name, values in arrays.items()} for i in range(file["images"])
    ]
    return rows, file["class_names"].tolist()


def bccd_found():
    """Objects, detections of a trained detector and class names of 40 images of BCCD."""
    file = golden("metrics/bccd_found.npz")
    parts = {"": ("boxes", "labels"), "found_": ("boxes", "labels", "scores")}
    truth, detections = (
        [
            {name: file[before + name][file[f"{before}image"] == i] for name in names}
            for i in range(file["images"])
        ]
        for before, names in parts.items()
    )
    return truth, detections, file["class_names"].tolist()
