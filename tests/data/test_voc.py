import pathlib

import numpy as np
import pytest

from keras_det.data.formats.voc import read_voc
from keras_det.errors import DataError
from tests.data.builders import write_voc

CAT = ("cat", 2, 1, 4, 5, 0)


def test_pixels_are_counted_from_one(tmp_path):
    # VOC [2, 1, 4, 5] includes columns 2..4 and rows 1..5: x from 1 to 4, y from 0 to 5.
    root = write_voc(tmp_path, {"a": [CAT, ("ant", 1, 1, 8, 6, 1)], "b": []})
    dataset = read_voc(root)
    assert dataset.class_names == ("ant", "cat") and dataset.image_ids == ("a", "b")
    np.testing.assert_array_equal(dataset.boxes, [[1, 0, 4, 5], [0, 0, 8, 6]])
    np.testing.assert_array_equal(dataset.labels, [1, 0])
    np.testing.assert_array_equal(dataset.crowd, [False, True])
    np.testing.assert_array_equal(dataset.area, [15, 48])
    assert dataset[0].read().shape == (6, 8, 3) and len(dataset[1].labels) == 0


def test_pixels_counted_from_zero_where_the_folder_says_so(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [("cat", 0, 1, 3, 3, 0)]})
    np.testing.assert_array_equal(read_voc(root).boxes, [[2, 1, 4, 5], [0, 1, 3, 3]])


def test_splits_share_one_class_order(tmp_path):
    objects = {"a": [CAT], "b": [("ant", 1, 1, 3, 3, 0)]}
    root = write_voc(tmp_path, objects, {"train": ["a"], "val": ["b -1"]})
    train, val = read_voc(root, split="train"), read_voc(root, split="val")
    assert train.class_names == val.class_names == ("ant", "cat")
    assert train.image_ids == ("a",) and train.labels.tolist() == [1]
    assert val.image_ids == ("b",) and val.labels.tolist() == [0]


@pytest.mark.parametrize("name", ["class_names.txt", "labels.txt"])
def test_class_file_gives_the_order(tmp_path, name):
    root = write_voc(tmp_path, {"a": [CAT]})
    (root / name).write_text("dog\ncat\n\n")
    dataset = read_voc(root)
    assert dataset.class_names == ("dog", "cat") and dataset.labels.tolist() == [1]


def test_zero_area_is_dropped_and_named(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, ("cat", 3, 3, 3, 3, 0)]})
    with pytest.warns(UserWarning, match=r"1 of 2 boxes dropped.*a\.xml, object 1"):
        assert len(read_voc(root).labels) == 1


def test_unknown_name(tmp_path):
    with pytest.raises(DataError, match=r"\(dog\). Received: 'cat' in .*a\.xml, object 0"):
        read_voc(write_voc(tmp_path, {"a": [CAT]}), class_names=["dog"])


def test_repeated_class_names(tmp_path):
    with pytest.raises(DataError, match="must differ from each other. Received: 'cat' more than"):
        read_voc(write_voc(tmp_path, {"a": [CAT]}), class_names=["cat", "cat"])


def test_unknown_split_tells_the_splits(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT]}, {"train": ["a"], "val": ["a"], "cat_val": ["a"]})
    with pytest.raises(DataError, match="'vall'; there are the splits train, val.*mean 'val'"):
        read_voc(root, split="vall")


def test_xywh_instead_of_corners(tmp_path):
    root = write_voc(tmp_path, {"a": [("cat", 5, 1, 3, 3, 0), CAT]})
    with pytest.raises(
        DataError,
        match=r"xmin < xmax.*Received: \[5, 1, 3, 3\] in .*a\.xml, "
        "object 0. 1 of 2 boxes are like this: the files seem to store x, y, width",
    ):
        read_voc(root)


@pytest.mark.parametrize(
    "text, match",
    [
        ("<annotation>", "must be valid XML. Received: .*b.xml"),
        ("<x/>", "must start with <annotation>. Received: <x>"),
        ("<annotation><object/></annotation>", "b.xml, object 0 without them"),
        (
            "<annotation><size><height>big</height><width>4</width></size></annotation>",
            "in pixels. Received: height='big', width='4' in .*b.xml",
        ),
    ],
)
def test_broken_files(tmp_path, text, match):
    root = write_voc(tmp_path, {"a": [CAT]})
    (root / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=match):
        read_voc(root)


def test_missing_images_and_annotations(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]}, {"train": ["a", "b", "c"]})
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.warns(
        UserWarning,
        match=r"1 images of the split left out: no annotation.*c\.xml.*\n"
        r"- 1 of 2 images left out: no such file \(first: 'a'",
    ):
        dataset = read_voc(root, split="train")
    assert dataset.image_ids == ("b",) and len(dataset.labels) == 1
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DataError, match="none of 2; no 'a' in .*JPEGImages, .* hold no images"):
        read_voc(root)


def test_folder_without_annotations(tmp_path):
    with pytest.raises(DataError, match=r"must hold Annotations/\*.xml. Received: .* without XML"):
        read_voc(tmp_path)


def test_image_dir(tmp_path):
    root = write_voc(tmp_path / "voc", {"a": [CAT]})
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    dataset = read_voc(root, image_dir=tmp_path / "elsewhere")
    assert [pathlib.Path(path).parent.name for path in dataset.image_paths] == ["elsewhere"]
