import numpy as np
import pytest

from keras_det.data import Dataset, Sample
from keras_det.errors import DataError


def sample(path="a.jpg", count=1, label=0):
    return Sample(
        image_path=path,
        boxes=np.tile(np.float32([[0, 0, 2, 3]]), (count, 1)),
        labels=np.full(count, label, np.int32),
        crowd=np.zeros(count, bool),
        area=np.full(count, 6, np.float32),
        original_size=(6, 8),
        image_id=path,
    )


def test_samples_survive_the_round_trip():
    dataset = Dataset.from_samples([sample("a", 2), sample("b", 0), sample("c", 1, 1)], ["x", "y"])
    assert [len(s.labels) for s in dataset] == [2, 0, 1] and dataset[-1].labels.tolist() == [1]
    assert dataset[0].original_size == (6, 8) and dataset.class_counts == {"x": 2, "y": 1}
    chosen = dataset.select([2, 0])
    assert chosen.image_ids == ("c", "a") and chosen.labels.tolist() == [1, 0, 0]
    assert "dataset: 3 images (1 without objects), 3 objects, 2 classes." == dataset.summary


def test_arrays_cannot_be_written():
    dataset = Dataset.from_samples([sample()], ["x"])
    with pytest.raises(ValueError, match="read-only"):
        dataset.boxes[0] = 1


def test_label_out_of_range():
    with pytest.raises(DataError, match=r"must lie in \[0, 0\]. Received: 3 in b, object 0. Map"):
        Dataset.from_samples([sample("a"), sample("b", label=3)], ["x"])


def test_arrays_of_unequal_length():
    with pytest.raises(DataError, match="`crowd` must have 1 entry. Received: 0"):
        Dataset(["a"], [1], [[6, 8]], [[0, 0, 1, 1]], [0], [], [1], [0, 1], ["x"])


def test_samples_need_files_and_indices_a_range():
    with pytest.raises(DataError, match=r"`samples\[0\]` must name the file"):
        Dataset.from_samples([sample("")], ["x"])
    with pytest.raises(IndexError, match=r"\[-1, 0\]. Received: 1"):
        Dataset.from_samples([sample()], ["x"])[1]


def test_names_ids_and_notes_are_kept_and_shown():
    fields = {"category_ids": (7, 9), "name": "zoo", "split": "val", "notes": ("1 box dropped.",)}
    dataset = Dataset.from_samples([sample()], ["x", "y"], **fields)
    assert dataset.categories == [{"id": 7, "name": "x"}, {"id": 9, "name": "y"}]
    assert dataset.summary.startswith("zoo val: 1 image, ")
    assert dataset.summary.endswith("2 classes. 1 box dropped.")


def test_ground_truth_of_chosen_images():
    dataset = Dataset.from_samples([sample("a", 2), sample("b", 0), sample("c", 1, 1)], ["x", "y"])
    rows = dataset.ground_truth([2, 1])
    assert [row["image_id"] for row in rows] == [2, 1] and rows[0]["labels"].tolist() == [1]
    assert rows[0]["size"] == (6, 8) and len(dataset.ground_truth()) == 3


def test_select_takes_any_order_repeats_and_the_end():
    samples = [sample("a", 2), sample("b", 0), sample("c", 1, 1), sample("d", 3)]
    fields = {"category_ids": ("x1", 9), "name": "zoo", "split": "val", "notes": ("note.",)}
    dataset = Dataset.from_samples(samples, ["x", "y"], **fields)
    chosen = dataset.select(np.array([-1, 1, 2, 2, 0]))
    assert chosen.image_paths == ("d", "b", "c", "c", "a") and chosen.split == "val"
    np.testing.assert_array_equal(chosen.row_splits, [0, 3, 3, 4, 5, 7])
    assert chosen.labels.tolist() == [0, 0, 0, 1, 1, 0, 0] and chosen.boxes.shape == (7, 4)
    assert chosen.category_ids == ("x1", 9) and chosen.notes == ("note.",) and chosen.name == "zoo"
    assert dataset[:2].image_paths == ("a", "b") and dataset[::-2].image_paths == ("d", "b")
    empty = dataset.select([])
    assert len(empty) == 0 and empty.boxes.shape == (0, 4) and empty.num_classes == 2
    with pytest.raises(IndexError, match=r"\[-4, 3\]. Received: 4. Count images"):
        dataset.select([0, 4])
    with pytest.raises(TypeError, match="must be whole numbers. Received: bool.*flatnonzero"):
        dataset.select(np.array([True, False, True, False]))
    with pytest.raises(TypeError, match="Received: float64"):
        dataset[1.5]
