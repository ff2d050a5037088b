"""Merging: classes by name, ids, images that several data sets hold."""

import dataclasses

import numpy as np
import pytest

from keras_det.data import Dataset, merge
from keras_det.errors import DataError


def dataset(name, class_names, paths, labels, ids=None, first_box=0, **more):
    """One object in each image of 20 x 30 pixels, at (i, i, i + 5, i + 5)."""
    corner = np.arange(len(paths))[:, None] + first_box
    fields = {
        "image_paths": tuple(paths),
        "image_ids": tuple(range(len(paths))),
        "image_sizes": [(20, 30)] * len(paths),
        "boxes": np.concatenate([corner, corner, corner + 5, corner + 5], axis=1),
        "labels": labels,
        "crowd": [False] * len(paths),
        "area": [25] * len(paths),
        "row_splits": range(len(paths) + 1),
        "class_names": class_names,
        "category_ids": ids or range(len(class_names)),
        "name": name,
    }
    return Dataset(**{**fields, **more})


def test_classes_are_joined_by_name():
    one = dataset("one", ["cat", "dog"], ["/a.png", "/b.png"], [0, 1], ids=[3, 7])
    other = dataset("other", ["owl", " dog"], ["/c.png", "/d.png"], [0, 1], ids=[3, 4])
    with pytest.warns(UserWarning, match=r"Class ids that have changed: 2 \(first: 'owl' of o"):
        merged = merge([one, other])
    assert merged.class_names == ("cat", "dog", "owl")
    assert merged.category_ids == (3, 7, 8)  # 3 is taken: the next number
    assert merged.labels.tolist() == [0, 1, 2, 1]
    assert merged.image_paths == ("/a.png", "/b.png", "/c.png", "/d.png")
    assert merged.image_ids == (1, 2, 3, 4)  # 0 and 1 occur twice
    assert merged.boxes[:, 0].tolist() == [0, 1, 0, 1]


def test_free_ids_are_kept():
    one = dataset("one", ["cat"], ["/a.png"], [0], ids=[3], image_ids=["x"])
    other = dataset("other", ["dog"], ["/b.png"], [0], ids=[9], image_ids=["y"])
    merged = merge([one, other])
    assert merged.category_ids == (3, 9) and merged.image_ids == ("x", "y")
    assert merged.notes == ()


def test_names_that_differ_in_case_are_refused():
    one = dataset("one", ["cat"], ["/a.png"], [0])
    other = dataset("other", ["Cat"], ["/b.png"], [0])
    with pytest.raises(DataError, match="'cat' in one and 'Cat' in other"):
        merge([one, other])


# a.png: one has the box at 0, other the boxes at 0 (equal, left out) and, as the second data set
# with first_box=3, at 3.
def test_image_in_several_data_sets():
    one = dataset("one", ["cat"], ["/a.png", "/b.png"], [0, 0])
    equal = dataset("equal", ["cat"], ["/a.png"], [0])
    other = dataset("other", ["cat", "dog"], ["/c.png", "/a.png"], [0, 1], first_box=3)
    with pytest.warns(
        UserWarning, match="(?s)Images that are in several data sets: 2.*1 of . objects left out"
    ):
        merged = merge([one, equal, other])
    assert merged.image_paths == ("/a.png", "/b.png", "/c.png")
    assert merged.row_splits.tolist() == [0, 2, 3, 4]
    assert merged.boxes[:, 0].tolist() == [0, 4, 1, 3]
    assert merged.labels.tolist() == [0, 1, 0, 0]


def test_image_of_two_sizes_is_refused():
    one = dataset("one", ["cat"], ["/a.png"], [0])
    other = dataclasses.replace(one, image_sizes=np.array([(30, 20)]))
    with pytest.raises(DataError, match=r"/a.png as 30x20 and as 20x30 \(width x height\)"):
        merge([one, other])


def test_nothing_to_merge():
    with pytest.raises(DataError, match="at least one data set.*Received: none"):
        merge([])
