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
    with pytest.warns(
        UserWarning, match="Pixels are counted from 0: 1 of 2 boxes with a side at 0"
    ):
        np.testing.assert_array_equal(read_voc(root).boxes, [[2, 1, 4, 5], [0, 1, 3, 3]])
    boxes = read_voc(root, voc_first_pixel=1).boxes
    np.testing.assert_array_equal(boxes, [[1, 0, 4, 5], [0, 0, 3, 3]])


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
    with pytest.warns(UserWarning, match=r"1 of 2 boxes left out.*a\.xml, object 1"):
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
        "object 0. 1 of 2 boxes is like this: the files seem to store x, y, width",
    ):
        read_voc(root)


@pytest.mark.parametrize(
    "text, match",
    [
        ("<annotation>", "must be valid XML. Received: no element found"),
        ("<x/>", "must start with <annotation>. Received: <x>"),
        (
            "<annotation><size><height>big</height><width>4</width></size></annotation>",
            "in whole pixels. Received: height='big'",
        ),
    ],
)
def test_unreadable_files_are_left_out_or_too_many(tmp_path, text, match):
    root = write_voc(tmp_path, {"a": [CAT]}, {"train": ["a", "b"]})
    (root / "Annotations" / "b.xml").write_text(text)
    with pytest.warns(UserWarning, match=rf"1 of 2 annotation files left out.*b\.xml: .*{match}"):
        dataset = read_voc(root, split="train")
    assert dataset.image_ids == ("a",) and "no annotation" not in dataset.summary
    (root / "Annotations" / "c.xml").write_text(text)
    with pytest.raises(DataError, match=rf"Received: 2 of 3 in .*b\.xml: .*{match}"):
        read_voc(root)
    (root / "Annotations" / "a.xml").write_text(text)
    match = f"none of 3 files in .*{match}" if "x/" not in text else "starts with <x>, not with"
    with pytest.raises(DataError, match=match):
        read_voc(root)


def test_missing_images_and_annotations(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]}, {"train": ["a", "b", "c"]})
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.warns(
        UserWarning,
        match=r"Images of the split left out, because they have no annotation: 1.*c\.xml.*\n"
        r"- 1 of 2 images left out: no such file \(first: 'a'",
    ):
        dataset = read_voc(root, split="train")
    assert dataset.image_ids == ("b",) and len(dataset.labels) == 1
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(
        DataError, match=r"none of 2 images found; no 'a' in .*JPEGImages, .* \(no images there\)"
    ):
        read_voc(root)


def test_folder_without_annotations(tmp_path):
    with pytest.raises(DataError, match=r"must hold Annotations/\*.xml. Received: .* without XML"):
        read_voc(tmp_path)


def test_image_dir(tmp_path):
    root = write_voc(tmp_path / "voc", {"a": [CAT]})
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    dataset = read_voc(root, image_dir=tmp_path / "elsewhere")
    assert [pathlib.Path(path).parent.name for path in dataset.image_paths] == ["elsewhere"]


def test_objects_without_a_box_or_with_a_bad_one(tmp_path):
    good = [
        ("cat", x, y, right, 5, 0) for x in range(2, 7) for y in range(1, 5) for right in (7, 8)
    ]
    root = write_voc(tmp_path, {"a": good, "b": [("cat", 2, "1,5", 4, 5, 0)], "c": []})
    (root / "Annotations" / "c.xml").write_text(
        "<annotation><object/><object><name>cat</name><bndbox/></object></annotation>"
    )
    with pytest.warns(
        UserWarning,
        match=r"(?s)1 of 43 objects left out: unreadable.*b\.xml, object 0.*ymin='1,5'.*"
        r"2 objects left out: without <bndbox> \(first: .*c\.xml, object 0\)",
    ):
        dataset = read_voc(root)
    assert len(dataset) == 3 and len(dataset.labels) == 40
    (root / "Annotations" / "a.xml").unlink()
    (root / "Annotations" / "c.xml").rename(root / "c.txt")
    with pytest.raises(DataError, match=r"none of 1 in .*b\.xml, object 0: .*ymin='1,5'"):
        read_voc(root)
    (root / "Annotations" / "b.xml").unlink()
    (root / "c.txt").rename(root / "Annotations" / "c.xml")
    with pytest.raises(DataError, match=r"none of 2 objects in .* has one; first: .*c\.xml"):
        read_voc(root)


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_class_name(tmp_path, name):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT, (name, 2, 1, 4, 5, 0)]})
    with pytest.raises(DataError, match=r"<name></name> in .*b\.xml, object 1 \(1 object has"):
        read_voc(root)


def test_blanks_around_a_name_are_told(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [("cat ", 2, 1, 4, 5, 0)]})
    with pytest.warns(UserWarning, match=r"1 of . class names with spaces at their ends.*b\.xml"):
        assert read_voc(root).class_names == ("cat",)


def test_class_file_lacks_an_annotated_class(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT]})
    (root / "class_names.txt").write_text("catt\n")
    with pytest.raises(DataError, match=r"'cat' in .*a\.xml, object 0. Did you mean 'catt'"):
        read_voc(root)
    (root / "class_names.txt").rename(root / "labels.txt")
    with pytest.warns(UserWarning, match=r"labels.txt is not used: it names none of the annotated"):
        assert read_voc(root).class_names == ("cat",)


def test_labelmap_of_cvat(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT]})
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,2,3::\ncat:250,50,83:a,b:\n"
    )
    assert read_voc(root).class_names == ("dog", "cat")


def test_two_boxes_of_one_object(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, ("cat", 3, 1, 4, 5, 0)]})
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("</object><object><name>cat</name>", ""))
    with pytest.warns(UserWarning, match="2 boxes from an <object> with several <bndbox>"):
        assert read_voc(root).labels.tolist() == [0, 0]


def test_unclear_difficult_is_told(tmp_path):
    words = ("maybe", "yes", "False")
    root = write_voc(
        tmp_path, {"a": [("cat", 2, 1, 4 + i, 5, text) for i, text in enumerate(words)]}
    )
    with pytest.warns(
        UserWarning, match=r"1 of . objects read as not difficult.*'maybe'.*object 0"
    ):
        assert read_voc(root).crowd.tolist() == [False, True, False]
