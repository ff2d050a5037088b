"""Matches equal those of pycocotools, detection by detection."""

import numpy as np
import pytest

from keras_det.metrics import matching
from keras_det.metrics.columns import columns
from keras_det.metrics.engines import by_pycocotools
from keras_det.metrics.matching import IOUS, match
from tests.metrics.scenes import golden_scenes, random_scenes


def matched_by_pycocotools(objects, found, classes, monkeypatch):
    """`evalImgs` for objects of every size: one list per class with one entry per image."""
    from pycocotools.cocoeval import COCOeval

    kept = []
    accumulate = COCOeval.accumulate
    monkeypatch.setattr(
        COCOeval, "accumulate", lambda self: (kept.append(self.evalImgs), accumulate(self))
    )
    by_pycocotools(objects, found, classes)
    (entries,), images = kept, objects.images
    return [entries[4 * k * images : (4 * k + 1) * images] for k in range(classes)]


SCENES = {
    "3 classes": lambda: random_scenes(40, 3, seed=0),
    "1 class": lambda: random_scenes(30, 1, seed=1, crowd=0.4),
    "no crowd": lambda: random_scenes(30, 5, seed=2, crowd=0),
    "bccd": lambda: golden_scenes("bccd"),
    "coco": lambda: golden_scenes("coco"),
}


@pytest.mark.parametrize("scenes", SCENES)
def test_matches_equal_those_of_pycocotools(scenes, monkeypatch):
    truth, detections, names = SCENES[scenes]()
    objects, found = columns(truth, detections, names)
    matches = match(objects, found)
    expected = matched_by_pycocotools(objects, found, len(names), monkeypatch)
    compared = 0
    for part, entries in zip(matches.class_slices(len(names)), expected, strict=True):
        for image, entry in enumerate(entries):
            own = np.flatnonzero(matches.image[part] == image)
            if entry is None:
                assert not len(own)
                continue
            compared += len(own)
            assert matches.scores[part][own].tolist() == entry["dtScores"]
            wanted = np.asarray(entry["dtMatches"]).reshape(10, -1).astype(int) - 1
            np.testing.assert_array_equal(matches.match[:, part][:, own], wanted)
            np.testing.assert_array_equal(
                matches.ignored[:, part][:, own], np.asarray(entry["dtIgnore"], bool)
            )
    assert compared > 50


def test_the_best_hundred_of_a_class_and_an_image_are_matched():
    box = np.array([[0, 0, 10, 10]], "float32")
    truth = [{"boxes": box, "labels": [0]}]
    found = {"boxes": np.repeat(box, 120, axis=0), "labels": [0] * 120}
    detections = [{**found, "scores": np.linspace(0, 1, 120)}]
    matches = match(*columns(truth, detections, ["a"]))
    assert len(matches.rows) == 100 and matches.scores.min() > 0.16
    assert matches.right.sum(axis=1).tolist() == [1] * 10


def test_blocks_change_nothing(monkeypatch):
    arrays = columns(*random_scenes(20, 2, seed=3))
    whole = match(*arrays)
    monkeypatch.setattr(matching, "BLOCK", 7)
    parts = match(*arrays)
    np.testing.assert_array_equal(whole.match, parts.match)
    assert whole.right.any()


def test_one_overlap_gives_the_row_of_all():
    arrays = columns(*random_scenes(20, 2, seed=4))
    np.testing.assert_array_equal(match(*arrays).match[5:6], match(*arrays, IOUS[5:6]).match)


@pytest.mark.parametrize("images", [0, 2])
def test_without_boxes_there_are_no_matches(images):
    nothing = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    matches = match(*columns([nothing] * images, [nothing] * images, ["a"]))
    assert matches.match.shape == (10, 0) and matches.object_counts(1).tolist() == [0]


def test_values_that_lack_a_box_are_named():
    row = {"boxes": np.zeros((2, 4)), "labels": [0, 0]}
    with pytest.raises(ValueError, match=r"`detections\[0\]\['scores'\]`.*1 value for 2 boxes"):
        columns([row], [{**row, "scores": [0.5]}], ["a"])
    with pytest.raises(ValueError, match=r"`ground_truth\[0\]\['crowd'\]`.*3 values for 2 boxes"):
        columns([{**row, "crowd": [False] * 3}], [{**row, "scores": [1, 1]}], ["a"])
