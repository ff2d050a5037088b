"""Soft-NMS written down as in the paper, in float64 NumPy: what the fast versions must equal."""

import numpy as np


def random_candidates(seed, batch, count, size=128, num_classes=4):
    """Overlapping boxes inside a square image, distinct scores, labels; as float32 and int32."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, size * 0.7, (batch, count, 2))
    sides = rng.uniform(size * 0.05, size * 0.5, (batch, count, 2))
    boxes = np.concatenate([corners, np.minimum(corners + sides, size)], axis=-1)
    scores = rng.permuted(np.tile(np.linspace(0.02, 0.98, count), (batch, 1)), axis=1)
    labels = rng.integers(0, num_classes, (batch, count))
    return boxes.astype("float32"), scores.astype("float32"), labels.astype("int32")


def iou(box, boxes, pixel=0.0):
    """IoU of one box with many; `pixel=1` for codes that count the last pixel of a side."""
    common = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + pixel
    common = np.prod(np.maximum(common, 0.0), axis=-1)
    areas = [np.prod(b[..., 2:] - b[..., :2] + pixel, axis=-1) for b in (box, boxes)]
    return np.where(common > 0, common / np.where(common > 0, sum(areas) - common, 1.0), 0.0)


def soft_nms(
    boxes,
    scores,
    labels,
    method="gaussian",
    iou_threshold=None,
    sigma=0.5,
    score_threshold=0.001,
    max_detections=100,
    class_agnostic=False,
    pixel=0.0,
):
    """Indices and rescored scores of one image, highest first."""
    threshold = iou_threshold or (0.3 if method == "linear" else 0.5)
    boxes, scores = boxes.astype("float64"), scores.astype("float64")
    waiting, chosen, final = list(range(len(scores))), [], []
    while waiting and len(chosen) < max_detections:
        best = max(waiting, key=lambda i: (scores[i], -i))
        if scores[best] <= score_threshold:
            break
        waiting.remove(best)
        chosen.append(best)
        final.append(scores[best])
        overlaps = iou(boxes[best], boxes, pixel)
        for i in waiting:
            if class_agnostic or labels[i] == labels[best]:
                if method == "gaussian":
                    scores[i] *= np.exp(-(overlaps[i] ** 2) / sigma)
                elif overlaps[i] > threshold:
                    scores[i] *= 1 - overlaps[i] if method == "linear" else 0
    return np.array(chosen, int), np.array(final)


def detections_by_oracle(boxes, scores, labels, max_detections=100, **settings):
    """The detections dict of a batch."""
    shape = (len(boxes), max_detections)
    found = {
        "boxes": np.zeros((*shape, 4)),
        "scores": np.zeros(shape),
        "labels": np.full(shape, -1),
        "num_detections": np.zeros(len(boxes), int),
    }
    for i in range(len(boxes)):
        settings["max_detections"] = max_detections
        chosen, final = soft_nms(boxes[i], scores[i], labels[i], **settings)
        found["boxes"][i, : len(chosen)] = boxes[i][chosen]
        found["scores"][i, : len(chosen)] = final
        found["labels"][i, : len(chosen)] = labels[i][chosen]
        found["num_detections"][i] = len(chosen)
    return found
