"""Statistics of a data set, counted by hand."""

import json

import numpy as np

from keras_det.data import Dataset, statistics

# Boxes of 10 x 10, 40 x 10, 100 x 100, 16 x 64 and a crowd box. Sides (square roots of the area):
# 10, 20, 100, 32. Width / height: 1, 4, 1, 0.25. The second object has a mask of 2,000 square
# pixels (medium), although its box has 400 (small).
BOXES = [[0, 0, 10, 10], [5, 5, 45, 15], [0, 0, 100, 100], [20, 10, 36, 74], [0, 0, 50, 50]]
AREAS = [100, 2000, 10_000, 1024, 2500]


def dataset():
    return Dataset(
        image_paths=("a", "b", "c", "d"),
        image_ids=(1, 2, 3, 4),
        image_sizes=np.array([(100, 200), (100, 200), (300, 200), (90, 80)]),
        boxes=np.array(BOXES),
        labels=np.array([0, 1, 0, 0, 1]),
        crowd=np.array([False, False, False, False, True]),
        area=np.array(AREAS),
        row_splits=np.array([0, 3, 4, 4, 5]),
        class_names=("cat", "dog", "owl"),
        name="pets",
        split="train",
    )


def test_counts():
    found = statistics(dataset())
    assert (found["name"], found["split"]) == ("pets", "train")
    assert (found["images"], found["objects"], found["crowd"]) == (4, 4, 1)
    assert found["images_without_objects"] == 2  # c, and d with its crowd object
    assert found["most_objects"] == 3


def test_classes():
    assert statistics(dataset())["classes"] == {
        "cat": {"objects": 3, "images": 2, "median_side": 32.0},
        "dog": {"objects": 1, "images": 1, "median_side": 20.0},
        "owl": {"objects": 0, "images": 0, "median_side": None},
    }


def test_sizes_are_those_of_coco():
    # 1024 is 32²: not below it, so medium. 9216 is 96².
    assert statistics(dataset())["sizes"] == {"small": 1, "medium": 2, "large": 1}


def test_histograms():
    found = statistics(dataset())
    assert found["sides"] == {
        "from": [0, 8, 16, 32, 64, 96, 128, 256, 512, 1024],
        "counts": [0, 1, 1, 1, 0, 1, 0, 0, 0, 0],
    }
    assert found["aspect_ratios"]["counts"] == [0, 1, 0, 0, 2, 0, 0, 1, 0]
    assert found["objects_per_image"]["counts"] == [2, 1, 1, 0, 0, 0, 0, 0, 0]


def test_image_sizes():
    found = statistics(dataset())
    assert found["image_sizes"] == [[200, 100, 2], [80, 90, 1], [200, 300, 1]]
    assert found["other_image_sizes"] == 0
    assert (found["smallest_image"], found["largest_image"]) == ([80, 90], [200, 300])


def test_json_holds_it():
    found = statistics(dataset())
    assert json.loads(json.dumps(found)) == found


def test_without_images():
    found = statistics(dataset().select([]))
    assert (found["images"], found["objects"], found["smallest_image"]) == (0, 0, None)
    assert sum(found["sides"]["counts"]) == 0
