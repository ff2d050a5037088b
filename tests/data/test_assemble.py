import warnings

import numpy as np
import pytest

from keras_det.data.assemble import assemble
from keras_det.data.raw import ReadOptions
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco
from tests.data.raw_annotations import raw_with_images


def assembled(raw, **options):
    """`(data set, its warnings)`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = assemble(raw, ReadOptions(**options))
    return dataset, [str(each.message) for each in caught]


def test_objects_are_sorted_by_image(tmp_path):
    rows = [(1, 0, 1, 1, 2, 2), (0, 1, 0, 0, 4, 2), (1, 1, 2, 2, 5, 6, 1)]
    raw = raw_with_images(tmp_path, rows)
    raw.area[2] = 7.5
    dataset, caught = assembled(raw)
    assert caught == [] and dataset.notes == () and dataset.name == "zoo"
    np.testing.assert_array_equal(dataset.boxes, [[0, 0, 4, 2], [1, 1, 2, 2], [2, 2, 5, 6]])
    np.testing.assert_array_equal(dataset.labels, [1, 0, 1])
    np.testing.assert_array_equal(dataset.row_splits, [0, 1, 3])
    np.testing.assert_array_equal(dataset.area, [8, 1, 7.5])
    np.testing.assert_array_equal(dataset.crowd, [False, False, True])
    assert dataset.image_paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))


def test_one_warning_holds_all_notes_one_a_line(tmp_path):
    good = (0, 0, 1, 1, 2, 2)
    dataset, caught = assembled(raw_with_images(tmp_path / "x", [good, good]))
    assert len(caught) == 1 and caught[0].startswith("zoo train: 1 of 2 objects left out")
    raw = raw_with_images(tmp_path / "y", [good, good, (1, 0, 3, 3, 3, 3)], split=None)
    raw.notes.append("From the reader.")
    dataset, caught = assembled(raw)
    assert len(caught) == 1 and len(dataset.notes) == 3
    assert caught[0] == "zoo:" + "".join(f"\n- {note}" for note in dataset.notes)
    assert caught[0].split("\n- ")[1:3] == [
        "From the reader.",
        "1 of 3 boxes left out: zero area or outside the image (first: labels.txt, line 2).",
    ]
    assert all(note in dataset.summary for note in dataset.notes)


def test_the_warning_names_the_line_of_the_user(tmp_path):
    from keras_det.data import load

    content = [annotation(1, 10, [1, 1, 2, 2]), annotation(2, 10, [1, 1, 2, 2])]
    write_coco(tmp_path, coco_content(content))
    with pytest.warns(UserWarning, match="1 of 2 objects left out") as caught:
        load(tmp_path)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "rows, note",
    [
        ([], "No object is annotated: a model learns nothing"),
        ([(0, 0, 1, 1, 2, 2, 1), (1, 0, 1, 1, 2, 2, 1)], r"Every object \(2\) is marked as crowd"),
    ],
)
def test_a_note_where_nothing_can_be_learnt(tmp_path, rows, note):
    with pytest.warns(UserWarning, match=note) as caught:
        assert len(assemble(raw_with_images(tmp_path, rows), ReadOptions())) == 2
    assert caught[0].filename == __file__


def test_no_object_of_the_wanted_classes_is_left(tmp_path):
    raw = raw_with_images(tmp_path, [(0, 0, 1, 1, 2, 2)])
    dataset, _ = assembled(raw, class_names=("dog",), drop_other_classes=True)
    assert len(dataset.notes) == 2 and dataset.notes[1].startswith("No object is left:")
    assert len(dataset) == 2 and dataset.labels.size == 0


def test_no_box_with_an_area_is_left(tmp_path):
    raw = raw_with_images(tmp_path, [(0, 0, 3, 3, 3, 3), (1, 0, np.nan, 1, 2, 2)])
    with pytest.raises(
        DataError, match="labels.txt, where none of 2 boxes has one; first: .*line 0"
    ):
        assemble(raw, ReadOptions())


def test_objects_of_images_that_are_not_listed(tmp_path):
    rows = [(-1, 0, 1, 1, 2, 2), (0, 1, 1, 1, 2, 2)]
    raw = raw_with_images(tmp_path, rows)
    with pytest.warns(UserWarning, match="1 of 2 annotations left out: their image.*line 0"):
        assert assemble(raw, ReadOptions()).labels.tolist() == [1]
    raw = raw_with_images(tmp_path, rows[:1], image_ids=[7, 8])
    with pytest.raises(
        DataError,
        match="labels.txt, where none of 1 annotation does; the first image is 7, the first "
        "annotation is labels.txt, line 0",
    ):
        assemble(raw, ReadOptions())


def test_an_image_listed_twice_has_the_objects_of_both(tmp_path):
    rows = [(0, 0, 1, 1, 2, 2), (2, 0, 1, 1, 2, 2), (2, 1, 3, 3, 5, 5)]
    dataset, caught = assembled(raw_with_images(tmp_path, rows, ("a.png", "b.png", "a.png")))
    assert len(dataset) == 2 and dataset[0].labels.tolist() == [0, 1]
    assert "1 of 3 images listed again" in caught[0] and "1 of 3 objects left out" in caught[0]
