"""Statistics as bars and as text."""

import numpy as np

from keras_det.report.draw import class_colour
from keras_det.report.statistics_picture import BLUE, LABEL_WIDTH, draw_statistics, ranges
from keras_det.report.statistics_text import statistics_text

FOUND = {
    "name": "pets",
    "split": "train",
    "images": 1200,
    "images_without_objects": 2,
    "objects": 4,
    "crowd": 1,
    "classes": {
        "cat": {"objects": 1, "images": 1, "median_side": 20.0},
        "a very long name of a class that does not fit into the table of classes": {
            "objects": 3,
            "images": 2,
            "median_side": 32.0,
        },
        "owl": {"objects": 0, "images": 0, "median_side": None},
    },
    "sizes": {"small": 1, "medium": 3, "large": 0},
    "sides": {"from": [0, 8, 16], "counts": [0, 1, 3]},
    "aspect_ratios": {"from": [0, 0.5, 2], "counts": [1, 3, 0]},
    "objects_per_image": {"from": [0, 1, 2, 4], "counts": [2, 1, 1, 0]},
    "most_objects": 3,
    "image_sizes": [[200, 100, 1000], [80, 90, 100], [10, 10, 50], [20, 20, 50]],
    "other_image_sizes": 0,
    "smallest_image": [10, 10],
    "largest_image": [200, 100],
}


def test_ranges():
    assert ranges({"from": [0, 0.5], "counts": [4, 5]}) == [("0 to 0.5", 4), ("0.5 or more", 5)]
    whole = ranges({"from": [0, 1, 2, 4], "counts": [1, 2, 3, 4]}, whole=True)
    assert [text for text, _ in whole] == ["0", "1", "2-3", "4 or more"]


def test_text():
    lines = statistics_text({"train": FOUND}).splitlines()
    assert lines[:5] == [
        "pets train",
        "  1,200 images, 2 without objects",
        "  4 objects, and 1 crowd, at most 3 in an image",
        "  Images, width x height: 200x100 (1,000), 80x90 (100), 10x10 (50)",
        "  50 have other sizes; the smallest is 10x10, the largest 200x100",
    ]
    assert "    8 to 16                    1  25% ##########" in lines
    assert "    16 or more                 3  75% ##############################" in lines
    assert not any(line.startswith("    0 to 8 ") for line in lines)  # empty, at the end
    assert [line.split()[0] for line in lines[7:10]] == ["a", "cat", "owl"]  # by frequency
    assert max(map(len, lines)) <= 80


def test_text_without_objects():
    empty = {**FOUND, "objects": 0, "classes": {}, "images": 0}
    assert "Width" not in statistics_text({"": empty})


# The longest bar of a panel is as long as its grey ground; 1 of 3 objects has a third of it.
def test_bars_have_the_lengths_of_their_counts():
    picture = draw_statistics({"train": FOUND})
    lengths = {}
    for label in (0, 1):
        colour = np.array(class_colour(label))
        rows = (picture == colour).all(axis=-1)[:, :520].sum(axis=1)
        lengths[label] = int(rows.max())
    ground = 520 - LABEL_WIDTH - 90
    assert abs(lengths[1] - ground) <= 1 and abs(lengths[0] - ground / 3) <= 1
    assert (picture == np.array(BLUE)).all(axis=-1)[:, 520:].any()
    assert not (picture == np.array(class_colour(2))).all(axis=-1).any()  # no owl
