"""Corners decoded by brute force in NumPy, and raw outputs of a CornerNet to decode."""

import keras
import numpy as np

from tests.nms_oracle import detections_by_oracle

KINDS = ("top_left", "bottom_right")
# Image 100 x 200 in a padding of 127 x 255 and a map of 32 x 64: the margins are
# 63 - 50 = 13 above and 127 - 100 = 27 on the left, but 14 below and 28 on the right.
PADDED = {"image_size": (100, 200), "padded_size": (127, 255)}
MAP_SIZE = (32, 64)


def as_numpy(arrays):
    return {name: keras.ops.convert_to_numpy(value) for name, value in arrays.items()}


def random_raw(seed=0, batch=2, size=(12, 16), classes=3):
    """Raw outputs: noise, with enough close embeddings for dozens of pairs."""
    rng = np.random.default_rng(seed)
    raw = {}
    for kind in KINDS:
        raw[f"{kind}_heatmaps"] = rng.normal(0, 2, (batch, *size, classes))
        raw[f"{kind}_embeddings"] = rng.normal(0, 1, (batch, *size, 1))
        raw[f"{kind}_offsets"] = rng.uniform(0, 1, (batch, *size, 2))
    return {name: array.astype("float32") for name, array in raw.items()}


def raw_of_boxes(boxes, size, classes=3):
    """Raw outputs of one image for boxes `(x1, y1, x2, y2, class, logit)` in pixels of the map.

    Every box has embeddings of its own; those of other cells are far from one another.
    """
    raw = {}
    for i, kind in enumerate(KINDS):
        heatmaps = np.full((1, *size, classes), -20.0)
        embeddings = np.full((1, *size, 1), 1000.0 * (1 + i))
        offsets = np.zeros((1, *size, 2))
        for number, (*corners, label, logit) in enumerate(boxes):
            x, y = corners[2 * i : 2 * i + 2]
            row, column = int(y), int(x)
            heatmaps[0, row, column, int(label)] = logit
            embeddings[0, row, column] = number + 0.2 * i
            offsets[0, row, column] = x - column, y - row
        raw |= {f"{kind}_heatmaps": heatmaps, f"{kind}_embeddings": embeddings}
        raw |= {f"{kind}_offsets": offsets}
    return {name: array.astype("float32") for name, array in raw.items()}


def tied_raw():
    """Two logits besides the background's: ties in peaks, corners, and pairs.

    Their sigmoids are exactly 0.5 and 1: TensorFlow's sigmoid(1) has two values, which differ in
    the last bit, depending on where in a vector it stands.
    """
    raw = random_raw(seed=3)
    for kind in KINDS:
        levels = np.digitize(raw[f"{kind}_heatmaps"], [1.0, 4.0])
        raw[f"{kind}_heatmaps"] = np.array([-50.0, 0.0, 50.0], "float32")[levels]
    return raw


def compare_tied_candidates(found):
    found, raw = as_numpy(found), tied_raw()
    for i in range(len(found["scores"])):
        boxes, scores, labels = candidates_by_oracle(raw, i, top_k=50)
        count = len(scores)
        assert len(np.unique(scores)) == 3 and count > 30
        assert (found["scores"][i] > 0).sum() == count
        np.testing.assert_array_equal(found["labels"][i, :count], labels)
        np.testing.assert_allclose(found["boxes"][i, :count], boxes, atol=1e-5)
        np.testing.assert_allclose(found["scores"][i, :count], scores, atol=1e-6)


def corners_by_oracle(heatmap, embeddings, offsets, top_k, window):
    """List of (x, y, class, embedding, score), best first, of equals by row, column, class."""
    height, width, classes = heatmap.shape
    reach, found = window // 2, []
    for row, column, label in np.ndindex(height, width, classes):
        near = heatmap[
            max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1
        ]
        logit = heatmap[row, column, label]
        if logit == near[..., label].max():
            x, y = np.float32([column, row]) + offsets[row, column]
            score = 1 / (1 + np.exp(-np.float64(logit)))
            found.append((x, y, label, embeddings[row, column, 0], score))
    return sorted(found, key=lambda corner: -corner[4])[:top_k]


def candidates_by_oracle(raw, i, top_k=100, window=3, threshold=0.5, pairs=1000):
    """Boxes in pixels of the map, scores and labels of image i."""
    corners = [
        corners_by_oracle(
            *(raw[f"{kind}_{name}"][i] for name in ("heatmaps", "embeddings", "offsets")),
            top_k,
            window,
        )
        for kind in KINDS
    ]
    found = []
    for x1, y1, label, embedding, score in corners[0]:
        for x2, y2, other_label, other_embedding, other_score in corners[1]:
            close = abs(embedding - other_embedding) <= threshold
            if close and label == other_label and x1 <= x2 and y1 <= y2:
                found.append((x1, y1, x2, y2, (score + other_score) / 2, label))
    found = np.array(sorted(found, key=lambda row: -row[4])[:pairs]).reshape(-1, 6)
    return found[:, :4], found[:, 4], found[:, 5].astype(int)


def in_input(boxes, map_size, image_size, padded_size):
    """Written as the original: divided by the ratio, less the margins."""
    ratio = np.array(map_size) / padded_size
    margins = np.array(padded_size) // 2 - np.array(image_size) // 2
    return boxes / ratio[[1, 0, 1, 0]] - margins[[1, 0, 1, 0]]


def clipped(boxes, scores, image_size):
    boxes = np.clip(boxes, 0, np.array(image_size)[[1, 0, 1, 0]])
    return boxes, np.where((boxes[:, 2:] - boxes[:, :2]).min(-1) >= 0.01, scores, 0.0)


def expected_detections(candidates, image_size, **settings):
    """By `tests.nms_oracle`; candidates: a tuple (boxes in the input, scores, labels) per image."""
    rows = []
    for boxes, scores, labels in candidates:
        boxes, scores = clipped(boxes, scores, image_size)
        arrays = (boxes[None], scores[None], labels[None])
        rows.append(detections_by_oracle(*arrays, **settings))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def assert_same_detections(found, expected):
    found = as_numpy(found)
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
