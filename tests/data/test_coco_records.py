"""COCO files whose values have other types than COCO's own, one kind after the other."""

import json

import numpy as np
import pytest

from keras_det.data.formats.coco import read_coco
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco, write_image

pytestmark = pytest.mark.filterwarnings("ignore:test_")
BOX = [1, 1, 2, 3]


def change(tmp_path, *, image=None, of_object=None, drop=None):
    """Two images and two objects, all of them changed alike, or with a key dropped."""
    content = coco_content([annotation(1, 10, BOX), annotation(2, 11, BOX, 3)])
    path = write_coco(tmp_path, content)
    for key, records, changes in (
        ("image", content["images"], image),
        ("of_object", content["annotations"], of_object),
    ):
        for record in records:
            record.update(changes or {})
            if drop and drop[0] == key:
                record.pop(drop[1])
    path.write_text(json.dumps(content))
    return read_coco(path)


def with_bad_record(tmp_path, part, index, record):
    """Twenty images with an object each; one record is replaced."""
    rows = [annotation(i, 10 + i, BOX, area=5.0) for i in range(20)]
    content = coco_content(rows, num_images=20)
    path = write_coco(tmp_path, content, images=False)
    data = write_image(tmp_path / "x.png").read_bytes()
    (tmp_path / "train2017").mkdir()
    for entry in content["images"]:
        (tmp_path / "train2017" / entry["file_name"]).write_bytes(data)
    if isinstance(record, dict) and not record.pop("alone", False):
        record = content[part][index] | record
    content[part][index] = record
    path.write_text(json.dumps(content))
    return read_coco(path)


@pytest.mark.parametrize("side", [6, "6", "6.0", 6.0, " 6 "])
def test_height_as_text(tmp_path, side):
    assert change(tmp_path, image={"height": side})[0].original_size == (6, 8)


@pytest.mark.parametrize("side", [None, 0, ""])
def test_height_that_is_not_given_comes_from_the_image(tmp_path, side):
    assert change(tmp_path, image={"height": side})[0].original_size == (6, 8)


@pytest.mark.parametrize("box", [BOX, ["1", "1.0", "2", "3e0"], [BOX], "[1, 1.0, 2, 3]", "1 1 2 3"])
def test_boxes_as_text_or_nested(tmp_path, box):
    dataset = change(tmp_path, of_object={"bbox": box})
    np.testing.assert_array_equal(dataset.boxes, [[1, 1, 3, 4]] * 2)


@pytest.mark.parametrize(
    "value, crowd",
    [(0, 0), (1, 1), ("0", 0), ("1", 1), (False, 0), (True, 1), (None, 0), ("", 0), ("True", 1)],
)
def test_crowd(tmp_path, value, crowd):
    dataset = change(tmp_path, of_object={"iscrowd": value})
    assert dataset.crowd.tolist() == [bool(crowd)] * 2


@pytest.mark.parametrize(
    "value, area, note",
    [
        (4.5, 4.5, ""),
        ("4.5", 4.5, ""),
        (None, 6, ""),
        ("", 6, ""),
        (0, 6, "2 of 2 areas replaced by the area of the box: 0 or less"),
        ("x", 6, "2 of 2 areas replaced by the area of the box: not numbers"),
        (float("nan"), 6, "2 of 2 areas replaced by the area of the box: not numbers"),
        ([1], 6, "2 of 2 areas replaced by the area of the box: not numbers"),
    ],
)
def test_area(tmp_path, value, area, note):
    dataset = change(tmp_path, of_object={"area": value})
    assert dataset.area.tolist() == [area] * 2
    assert (note in dataset.summary) if note else not dataset.notes


def test_ids_as_text_on_one_side(tmp_path):
    content = coco_content([annotation(1, "10", BOX, "7"), annotation(2, 11.0, BOX, 3)])
    dataset = read_coco(write_coco(tmp_path, content))
    assert np.diff(dataset.row_splits).tolist() == [1, 1] and dataset.labels.tolist() == [1, 0]
    assert dataset.image_ids == (10, 11)


def test_ids_that_are_names(tmp_path):
    content = coco_content([annotation("x", "b", BOX, "k"), annotation("y", "a", BOX, 3)])
    for image, key in zip(content["images"], "ab", strict=True):
        image["id"] = key
    content["categories"][0]["id"] = "k"
    dataset = read_coco(write_coco(tmp_path, content))
    assert dataset.image_ids == ("a", "b") and dataset.labels.tolist() == [0, 1]
    assert dataset.category_ids == (3, "k")


def test_number_and_text_of_one_id_are_two_images(tmp_path):
    content = coco_content([annotation(1, 10, BOX)])
    content["images"][1]["id"] = "10"
    with pytest.raises(DataError, match=r"id 10 of 'a0\.png' and id '10' of 'a1\.png'"):
        read_coco(write_coco(tmp_path, content))


@pytest.mark.parametrize("empty", [[], None, "", "[]", [[]]])
def test_object_without_box(tmp_path, empty):
    with pytest.warns(UserWarning, match=r"1 of .* annotations left out: without a box .*\[4\]"):
        dataset = with_bad_record(tmp_path, "annotations", 4, {"bbox": empty})
    assert len(dataset.labels) == 19 and len(dataset) == 20


@pytest.mark.parametrize("drop", [("of_object", "bbox"), None])
def test_no_object_with_box(tmp_path, drop):
    with pytest.raises(
        DataError, match=r"Received: neither in .*\[0\], and none of 2 annotations has"
    ):
        change(tmp_path, drop=drop, of_object=None if drop else {"bbox": []})


def test_box_of_the_polygon_where_there_is_no_other(tmp_path):
    polygon = [[2, 1, 5, 1, 5, 4], [1.5, 2, 3, 2, 3, 3]]
    dataset = change(tmp_path, of_object={"segmentation": polygon}, drop=("of_object", "bbox"))
    np.testing.assert_array_equal(dataset.boxes, [[1.5, 1, 5, 4]] * 2)
    assert "2 boxes taken from `segmentation`" in dataset.summary


def test_image_name_in_the_address_of_lvis(tmp_path):
    content = coco_content([annotation(1, 10, BOX)])
    path = write_coco(tmp_path, content)
    for image in content["images"]:
        image["coco_url"] = "http://x.org/train2017/" + image.pop("file_name")
    path.write_text(json.dumps(content))
    dataset = read_coco(path)
    assert [p.rsplit("/", 2)[1:] for p in dataset.image_paths] == [
        ["train2017", "a0.png"],
        ["train2017", "a1.png"],
    ]


BAD_BOXES = [[1, 2], [1, 2, 3, 4, 5], [1, 2, 3, None], [1, 2, float("nan"), 3], [1, 2, "x", 3], 5]
BAD_BOXES += [
    "1,2,3",
    {"x": 1},
    [BOX, BOX],
    [1, 2, True, 3],
    [1, 2, float("inf"), 3],
    [1e300] * 4,
]
BAD_OBJECTS = [({"bbox": box}, "`bbox` must be four numbers") for box in BAD_BOXES]
BAD_OBJECTS += [
    ({field: value}, f"`{field}` must be a whole number or a string. Received: {text}")
    for field in ("image_id", "category_id")
    for value, text in (
        (None, "null"),
        ([1], r"\[1\]"),
        (1.5, "1.5"),
        (True, "True"),
        ("", "''"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
    )
]
BAD_OBJECTS += [({"iscrowd": value}, "`iscrowd` must be 0 or 1") for value in (2, "x", [], 0.5)]
BAD_OBJECTS += [(value, "it must be an object in braces") for value in (None, 3, "x", [], True)]
BAD_OBJECTS += [
    ({"alone": True, "bbox": BOX}, "`image_id` must be .* Received: no such field"),
]


@pytest.mark.parametrize("record, reason", BAD_OBJECTS)
def test_one_bad_annotation_is_left_out_and_named(tmp_path, record, reason):
    record = dict(record) if isinstance(record, dict) else record
    with pytest.warns(UserWarning, match=rf"1 of 20 annotations left out.*\[7\]: {reason}"):
        dataset = with_bad_record(tmp_path, "annotations", 7, record)
    assert len(dataset.labels) == 19 and len(dataset[7].labels) == 0 and len(dataset) == 20


BAD_IMAGES = [({"file_name": value}, "`file_name` must be") for value in (None, 3, "", [])]
BAD_IMAGES += [({"id": value}, "`id` must be a whole number") for value in (None, [], 1.5, False)]
BAD_IMAGES += [
    ({"height": value}, "`height` must be a whole number of pixels")
    for value in ("x", float("nan"), -1, 6.5, [6], 1e30, 10**30, True, float("inf"))
]
BAD_IMAGES += [(3, "it must be an object in braces")]


@pytest.mark.parametrize("record, reason", BAD_IMAGES)
def test_one_bad_image_is_left_out_with_its_objects(tmp_path, record, reason):
    with pytest.warns(UserWarning, match=rf"1 of 20 images left out.*images\[7\]: {reason}"):
        dataset = with_bad_record(tmp_path, "images", 7, record)
    assert len(dataset.labels) == len(dataset) == 19 and 17 not in dataset.image_ids
    assert "1 of 20 annotations left out" in dataset.summary


def test_many_bad_records_are_an_error(tmp_path):
    with pytest.raises(DataError, match="At most 5% of the annotations .* Received: 2 of 2"):
        change(tmp_path, of_object={"bbox": [1, 2]})
    with pytest.raises(DataError, match="At most 5% of the images .* Received: 2 of 2"):
        change(tmp_path, image={"height": "x"})


def test_the_only_record_must_be_readable(tmp_path):
    content = coco_content([annotation(1, 10, [1, 2])], num_images=1)
    with pytest.raises(
        DataError, match=r"At least one of the annotations must be readable.*\[0\]: `bbox`"
    ):
        read_coco(write_coco(tmp_path, content))


def test_large_numbers_in_every_field(tmp_path):
    content = coco_content([annotation(10**30, 10**30, BOX), annotation(2, 11, BOX)])
    content["images"][0]["id"] = 10**30
    dataset = read_coco(write_coco(tmp_path, content))
    assert dataset.image_ids == (10**30, 11) and len(dataset.labels) == 2
