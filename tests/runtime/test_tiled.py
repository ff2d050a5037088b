"""Detection in tiles: which windows, and what remains of what they find."""

import numpy as np
import pytest

from keras_det.runtime.tiled import TiledDetector, merged, tiles

SIZE = (300, 500)
# Pixels tell where they are, so that the detector below knows which window it sees.
ROWS, COLUMNS = np.indices(SIZE)
IMAGE = np.dstack([COLUMNS % 256, ROWS % 256, COLUMNS // 256 + 16 * (ROWS // 256)]).astype("uint8")


class Seeing:
    """Finds the part of each object that a window holds, if that is at least a fifth of it."""

    engine, class_names, image_size, score_thresholds = "test", ["a", "b"], (100, 100), [0.5, 0.5]

    def __init__(self, objects, labels=None):
        self.objects = np.array(objects, "float64")
        self.labels = np.array(labels or [0] * len(objects))
        self.seen = []

    def detect(self, crops, **settings):
        self.settings = settings
        return [self._one(crop) for crop in crops]

    def _one(self, crop):
        first = crop[0, 0].astype(int)
        left, top = first[0] + 256 * (first[2] % 16), first[1] + 256 * (first[2] // 16)
        height, width = crop.shape[:2]
        self.seen.append((top, left, top + height, left + width))
        boxes = self.objects - [left, top, left, top]
        inside = np.clip(boxes, 0, [width, height, width, height])
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        share = (inside[:, 2:] - inside[:, :2]).prod(axis=1) / area
        shown = share >= 0.2
        return {
            "boxes": inside[shown].astype("float32"),
            "scores": (0.5 + 0.4 * share[shown]).astype("float32"),
            "labels": self.labels[shown].astype("int32"),
        }


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("height, width", [(300, 500), (100, 101), (99, 100), (257, 40)])
def test_windows_cover_the_image_and_overlap(height, width, overlap):
    found = list(tiles(height, width, (100, 100), overlap))
    covered = np.zeros((height, width), int)
    for top, left, bottom, right in found:
        assert (bottom - top, right - left) == (min(100, height), min(100, width))
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1 and len(found) == len(set(found))
    lefts = sorted({left for _, left, _, _ in found})
    assert all(b - a <= 100 * (1 - overlap) for a, b in zip(lefts, lefts[1:], strict=False))


# As many windows as are needed: 500 pixels by 75 after the first 100 need 6 more.
def test_the_number_of_windows_is_the_smallest():
    assert len(list(tiles(100, 500, (100, 100), 0.25))) == 7
    assert len(list(tiles(100, 100, (100, 100), 0.25))) == 1


def random_objects(count, low, high, seed=0):
    """Boxes that do not touch each other."""
    rng, boxes = np.random.default_rng(seed), []
    while len(boxes) < count:
        side = rng.uniform(low, high, 2)
        corner = rng.uniform(0, np.array(SIZE[::-1]) - side)
        box = np.concatenate([corner, corner + side])
        if not any((box[:2] < b[2:] + 3).all() and (b[:2] < box[2:] + 3).all() for b in boxes):
            boxes.append(box)
    return np.array(boxes)


def in_order(boxes):
    return boxes[np.lexsort(boxes.T)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("low, high", [(5, 20), (20, 140)])
def test_each_object_is_found_once_and_whole(seed, low, high):
    objects = random_objects(12, low, high, seed)
    detector = Seeing(objects)
    found = TiledDetector(detector, overlap=0.25).detect(IMAGE)
    np.testing.assert_allclose(in_order(found["boxes"]), in_order(objects), atol=1e-3)
    assert (np.diff(found["scores"]) <= 0).all() and found["num_detections"] == 12
    assert found["class_names"] == ["a"] * 12 and detector.seen[-1] == (0, 0, *SIZE)


def test_without_the_whole_image_a_large_object_is_found_in_parts():
    detector = Seeing([[50, 50, 250, 250]])
    parts = TiledDetector(detector, whole=False).detect(IMAGE)
    assert parts["num_detections"] > 1 and (0, 0, *SIZE) not in detector.seen
    whole = TiledDetector(detector).detect(IMAGE)
    np.testing.assert_allclose(whole["boxes"], [[50, 50, 250, 250]])


def test_classes_do_not_suppress_each_other():
    detector = Seeing([[95, 10, 115, 30], [95, 10, 115, 30]], labels=[0, 1])
    found = TiledDetector(detector).detect(IMAGE)
    assert sorted(found["labels"].tolist()) == [0, 1]


# What one window has found is left as it is: its suppression may have been soft.
def test_boxes_of_one_window_stay():
    twice = {"boxes": np.array([[10, 10, 30, 30], [11, 10, 31, 30]], "float32")}
    twice |= {"scores": np.array([0.9, 0.5], "float32"), "labels": np.zeros(2, "int32")}
    nothing = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0)}
    windows = [(0, 0, 100, 100), (0, 75, 100, 175)]
    boxes, scores, _ = merged([twice, nothing], windows, (100, 175))
    assert len(boxes) == 2 and scores.tolist() == pytest.approx([0.9, 0.5])


def test_a_small_image_is_seen_once():
    detector = Seeing([[10, 10, 30, 30]])
    found = TiledDetector(detector).detect([IMAGE[:90, :80], IMAGE[:100, :100]], batch_size=3)
    assert [each["num_detections"] for each in found] == [1, 1]
    assert detector.seen == [(0, 0, 90, 80), (0, 0, 100, 100)]
    assert detector.settings == {}  # an exported file has no batch size


def test_it_looks_like_the_detector():
    tiled = TiledDetector(Seeing([]), tile=(64, 128))
    assert tiled.class_names == ["a", "b"] and tiled.score_thresholds == [0.5, 0.5]
    assert tiled.tile == (64, 128) and not hasattr(tiled, "nothing")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tile": 31}, "`tile` must be a whole number of at least 32 pixels.*Received: 31"),
        ({"tile": (64, 40.5)}, "`tile` must be"),
        ({"overlap": 0.9}, "`overlap` must lie in 0..0.8. Received: 0.9"),
        ({"overlap": float("nan")}, "`overlap` must lie in"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TiledDetector(Seeing([]), **arguments)
