"""Says what limits a detector's AP: each row replaces one part of its detections by the truth.

    python benchmarks/oracle.py run/best.keras bccd/ --split test
    python benchmarks/oracle.py run/best.keras bccd/ --split test --settings '{"method": "soft"}'

Rows: `boxes` moves each detection to the object of its class that it covers with an IoU of at least
0.5; `scores` ranks the best box of each object first and all others last; `classes` gives each
detection the class of the object that it covers best; `duplicates` keeps one detection for each
object; `false` leaves out detections that touch no object (IoU below 0.1); `missed` leaves out
objects that no detection of their class covers with an IoU of 0.5.
"""

import argparse
import json

import numpy as np

LEAST, FOUND = 0.1, 0.5


def overlaps(boxes, others):
    """IoU `(n, m)` of xyxy boxes."""
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    sides = np.clip(np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - corner, 0, None)
    common = sides.prod(-1)
    area, other = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, others))
    return common / np.maximum(area[:, None] + other[None] - common, 1e-9)


def best_of_class(found, truth):
    """Per detection the IoU with, and the index of, the best object of its class."""
    iou = overlaps(found["boxes"], truth["boxes"])
    iou = np.where(found["labels"][:, None] == truth["labels"][None], iou, 0)
    return (
        (iou.max(1), iou.argmax(1)) if iou.size else (np.zeros(len(iou)), np.zeros(len(iou), int))
    )


def with_boxes(found, truth):
    iou, index = best_of_class(found, truth)
    moved = found["boxes"].copy()
    moved[iou >= FOUND] = truth["boxes"][index[iou >= FOUND]]
    return {**found, "boxes": moved}, truth


def with_scores(found, truth):
    iou, index = best_of_class(found, truth)
    best = np.zeros(len(truth["labels"]))
    np.maximum.at(best, index[iou > 0], iou[iou > 0])
    first = (iou > 0) & (iou == best[index]) if len(best) else iou > 0
    return {**found, "scores": np.where(first, iou, iou * 1e-3)}, truth


def with_classes(found, truth):
    iou = overlaps(found["boxes"], truth["boxes"])
    if not iou.size:
        return found, truth
    labels = np.where(iou.max(1) >= FOUND, truth["labels"][iou.argmax(1)], found["labels"])
    return {**found, "labels": labels}, truth


def without_duplicates(found, truth):
    iou, index = best_of_class(found, truth)
    kept, taken = [], set()
    for i in np.argsort(-found["scores"], kind="stable"):
        if iou[i] < FOUND or index[i] not in taken:
            kept.append(i)
        if iou[i] >= FOUND:
            taken.add(index[i])
    return {name: value[kept] for name, value in found.items()}, truth


def without_false(found, truth):
    iou = overlaps(found["boxes"], truth["boxes"])
    kept = iou.max(1) >= LEAST if iou.size else np.zeros(len(iou), bool)
    return {name: value[kept] for name, value in found.items()}, truth


def without_missed(found, truth):
    iou = overlaps(found["boxes"], truth["boxes"])
    iou = np.where(found["labels"][:, None] == truth["labels"][None], iou, 0)
    kept = iou.max(0) >= FOUND if len(iou) else np.zeros(iou.shape[1], bool)
    per_object = ("boxes", "labels", "crowd", "area")
    return found, {k: v[kept] if k in per_object else v for k, v in truth.items()}


ORACLES = {
    "as it is": lambda found, truth: (found, truth),
    "boxes": with_boxes,
    "scores": with_scores,
    "classes": with_classes,
    "duplicates": without_duplicates,
    "false": without_false,
    "missed": without_missed,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--split")
    parser.add_argument("--settings", default="{}", help="JSON: settings of `detect`")
    arguments = parser.parse_args()
    from keras_det.data import load
    from keras_det.metrics.coco import coco_metrics
    from keras_det.models import load_model
    from keras_det.training.evaluate import detect_dataset

    model, dataset = load_model(arguments.model), load(arguments.data, split=arguments.split)
    indices, found = detect_dataset(model, dataset, **json.loads(arguments.settings))
    truth = dataset.ground_truth(indices)
    print(f"| replaced | AP | AP50 | AP75 | {' | '.join(model.class_names)} |")
    print("|---" * (4 + len(model.class_names)) + "|")
    for name, change in ORACLES.items():
        pairs = [change(f, t) for f, t in zip(found, truth, strict=True)]
        metrics = coco_metrics([t for _, t in pairs], [f for f, _ in pairs], model.class_names)
        values = [metrics[k] for k in ("AP", "AP50", "AP75")]
        values += [metrics["AP_per_class"][k] for k in model.class_names]
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main()
