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


def iou(a, b, pixel=0.0):
    """IoU of two boxes; `pixel=1` for codes that count the last pixel of a side as inside."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + pixel, 0.0)
    areas = [np.prod(np.maximum(box[2:] - box[:2] + pixel, 0.0)) for box in (a, b)]
    common = np.prod(sides)
    return common / (sum(areas) - common) if common > 0 else 0.0


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
        for i in waiting:
            if class_agnostic or labels[i] == labels[best]:
                overlap = iou(boxes[best], boxes[i], pixel)
                if method == "gaussian":
                    scores[i] *= np.exp(-(overlap**2) / sigma)
                elif overlap > threshold:
                    scores[i] *= 1 - overlap if method == "linear" else 0
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
