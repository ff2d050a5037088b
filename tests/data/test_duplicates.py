import numpy as np
import pytest

from keras_det.data import duplicates
from keras_det.data.duplicates import drop_repeated_objects, join_images
from keras_det.errors import DataError
from tests.data.raw_annotations import raw_of

BOX, OTHER = (1, 1, 3, 3), (2, 1, 3, 3)


def dropped(rows):
    """`(boxes and labels that stay, as rows of the input, notes)`."""
    raw = raw_of(["a.jpg", "b.jpg"], rows=rows)
    drop_repeated_objects(raw, ("cat", "dog"))
    return [int(raw.where(row).split()[-1]) for row in range(len(raw.labels))], raw.notes


def test_the_same_object_twice():
    rows = [(0, 0, *OTHER), (0, 0, *BOX), (1, 0, *BOX), (0, 0, *BOX), (0, 0, *BOX), (1, 1, *OTHER)]
    kept, notes = dropped(rows)
    assert kept == [0, 1, 2, 5]
    assert notes == [
        "2 of 6 objects left out: the same image, class and box as another (first: labels.txt, "
        "line 3, as line 1)."
    ]


def test_one_box_with_two_classes_stays():
    kept, notes = dropped([(0, 1, *BOX), (0, 0, *BOX), (1, 0, *BOX), (0, 1, *BOX)])
    assert kept == [0, 1, 2] and len(notes) == 2
    assert notes[0] == "Boxes with two classes: 1 (first: 'cat' and 'dog', labels.txt, line 1)."


def test_objects_that_are_nearly_the_same_stay():
    kept, notes = dropped([(0, 0, *BOX), (0, 0, 1, 1, 3, 3.001), (1, 0, *BOX), (0, 0, *BOX, 1)])
    assert kept == [0, 1, 2, 3] and notes == []
    assert dropped([]) == ([], []) and dropped([(0, 0, *BOX)]) == ([0], [])
    assert dropped([(0, 0, 0.0, 1, 3, 3), (0, 0, -0.0, 1, 3, 3)])[0] == [0]


def test_keys_that_collide(monkeypatch):
    monkeypatch.setattr(duplicates, "_keys", lambda columns: np.zeros(len(columns[0]), np.uint64))
    rows = [(0, 0, *BOX), (0, 0, *OTHER), (0, 0, *BOX), (1, 0, *BOX), (0, 1, *OTHER)]
    kept, notes = dropped(rows)
    assert kept == [0, 1, 3, 4] and len(notes) == 2


def test_random_objects_are_counted_as_numpy_counts_them():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (400, 6)) + [[0, 0, 0, 0, 2, 2]]
    kept, _ = dropped(rows.tolist())
    _, first = np.unique(rows, axis=0, return_index=True)
    assert kept == sorted(first.tolist())


def test_an_image_listed_twice():
    rows = [(0, 0, *BOX), (1, 1, *BOX), (2, 1, *OTHER)]
    raw = raw_of(["a.jpg", "b.jpg", "./a.jpg"], rows=rows, image_ids=[5, 6, 7])
    raw.image_sizes[0] = 0
    assert join_images(raw, ["d/a.jpg", "d/b.jpg", "d/a.jpg"]) == ["d/a.jpg", "d/b.jpg"]
    assert raw.image_ids == [5, 6] and raw.image_index.tolist() == [0, 1, 0]
    assert raw.image_sizes.tolist() == [[6, 8], [6, 8]]
    unknown = raw_of(["a.jpg", "a.jpg"])
    unknown.image_sizes[1] = 0
    assert join_images(unknown, ["a.jpg"] * 2) == ["a.jpg"]
    assert raw.notes == [
        "1 of 3 images listed again: their objects are merged (first: d/a.jpg, images 5 and 7)."
    ]


def test_an_image_listed_with_two_sizes():
    raw = raw_of(["a.jpg", "b.jpg", "a.jpg"])
    raw.image_sizes[2] = (8, 6)
    with pytest.raises(DataError, match="d/a.jpg as 8x6 .image 0. and as 6x8 .image 2. in labels"):
        join_images(raw, ["d/a.jpg", "d/b.jpg", "d/a.jpg"])


def test_images_listed_once():
    raw = raw_of(["a.jpg", "b.jpg"])
    assert join_images(raw, ["a.jpg", "b.jpg"]) == ["a.jpg", "b.jpg"] and raw.notes == []
