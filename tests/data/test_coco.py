import json

import numpy as np
import pytest

from keras_det.data.formats.coco import read_coco
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco


def read(tmp_path, annotations, **options):
    return read_coco(write_coco(tmp_path, coco_content(annotations)), **options)


def test_boxes_labels_and_ids(tmp_path):
    # xywh [1, 2, 3, 3] -> xyxy [1, 2, 4, 5]; ids 3 "dog", 7 "cat" -> labels 0, 1.
    dataset = read(
        tmp_path,
        [
            annotation(1, 11, [1, 2, 3, 3], 7, area=5.5),
            annotation(2, 10, [0, 0, 2, 2], 3, iscrowd=1),
            annotation(3, 11, [0.5, 0, 4, 2], 3),
        ],
    )
    assert dataset.class_names == ("dog", "cat") and dataset.category_ids == (3, 7)
    assert dataset.image_ids == (10, 11)
    np.testing.assert_array_equal(dataset.row_splits, [0, 1, 3])
    np.testing.assert_array_equal(dataset[1].boxes, [[1, 2, 4, 5], [0.5, 0, 4.5, 2]])
    np.testing.assert_array_equal(dataset[1].labels, [1, 0])
    np.testing.assert_array_equal(dataset[1].area, [5.5, 8.0])
    np.testing.assert_array_equal(dataset.crowd, [True, False, False])
    assert dataset[1].original_size == (6, 8)
    assert dataset[1].read().shape == (6, 8, 3)
    assert dataset.categories == [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]


def test_images_without_objects_stay(tmp_path):
    dataset = read(tmp_path, [annotation(1, 11, [1, 1, 2, 2])])
    assert len(dataset) == 2 and dataset[0].boxes.shape == (0, 4)
    assert "2 images (1 without objects), 1 object" in dataset.summary


def test_bad_boxes_give_one_line_with_file_index_and_count(tmp_path):
    rows = [[1, 1, 2, 2], [1, 1, 2, 3], [0, 0, 8, 6], [1, 1, 3, 3], [2, 2, 0, 3], [-3, 1, 6, 2]]
    rows += [[20, 1, 2, 2]]
    content = [annotation(i, 10, box) for i, box in enumerate(rows)]
    with pytest.warns(UserWarning) as caught:
        dataset = read(tmp_path, content)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "2 of 7 boxes left out" in message and "json, annotations[4] (id 4)" in message
    assert "1 of 7 boxes clipped" in message and "annotations[5]" in message
    np.testing.assert_array_equal(dataset.boxes[-1], [0, 1, 3, 3])
    assert len(dataset.boxes) == 5 and "2 of 7 boxes left out" in dataset.summary


def test_class_names_give_the_order(tmp_path):
    dataset = read(tmp_path, [annotation(1, 10, [1, 1, 2, 2], 7)], class_names=["cat", "bird"])
    assert dataset.labels.tolist() == [0] and dataset.category_ids == (7, -1)


def test_annotated_class_that_is_not_wanted(tmp_path):
    with pytest.raises(
        DataError,
        match=r"one of `class_names` \(cats\). Received: 'cat' in .*"
        r"annotations\[0\].*Did you mean 'cats'.*Correct the annotation",
    ):
        read(tmp_path, [annotation(1, 10, [1, 1, 2, 2], 7)], class_names=["cats"])


def test_unknown_category(tmp_path):
    with pytest.raises(DataError, match=r"listed in `categories`. Received: 9 in .*annotations\[0"):
        read(tmp_path, [annotation(1, 10, [1, 1, 2, 2], 9)])


@pytest.mark.parametrize("ids, word", [((8, 4), "smaller"), ((6, 2), "larger")])
def test_categories_counted_from_another_number(tmp_path, ids, word):
    objects = [annotation(i, 10, [i, 1, 2, 2], number) for i, number in enumerate(ids)]
    with pytest.raises(DataError, match=f"Ids that are 1 {word} are all listed"):
        read(tmp_path, objects)


@pytest.mark.parametrize("shift", [-1, 1])
def test_images_counted_from_another_number(tmp_path, shift):
    objects = [annotation(i, 10 + i + shift, [0, 0, 2, 2]) for i in range(6)]
    path = write_coco(tmp_path, coco_content(objects, num_images=6))
    with pytest.raises(DataError, match="belong to the image before or after"):
        read_coco(path)


def test_one_image_less_is_no_shift(tmp_path):
    objects = [annotation(i, 10 + i, [0, 0, 2, 2]) for i in range(6)]
    path = write_coco(tmp_path, coco_content(objects, num_images=5))
    with pytest.warns(UserWarning, match="1 of 6 annotations left out: their image is not listed"):
        assert len(read_coco(path).boxes) == 5


def test_name_of_a_category_instead_of_its_id(tmp_path):
    with pytest.raises(DataError, match=r"its name 'cat' in .*\[0\].* Write the id 7"):
        read(tmp_path, [annotation(1, 10, [1, 1, 2, 2], "cat")])


def test_unknown_image_is_left_out_and_named(tmp_path):
    with pytest.warns(UserWarning, match=r"1 of 2 annotations left out.*annotations\[0\]"):
        dataset = read(tmp_path, [annotation(1, 99, [1, 1, 2, 2]), annotation(2, 11, [0, 0, 2, 2])])
    np.testing.assert_array_equal(dataset[1].boxes, [[0, 0, 2, 2]])


def test_missing_image_is_left_out_and_named(tmp_path):
    path = write_coco(tmp_path, coco_content([annotation(1, 11, [1, 1, 2, 2])]))
    (tmp_path / "train2017" / "a0.png").unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 images left out: no such file .*a0\.png"):
        dataset = read_coco(path)
    assert dataset.image_ids == (11,)
    np.testing.assert_array_equal(dataset[0].boxes, [[1, 1, 3, 3]])


def test_images_nowhere(tmp_path):
    path = write_coco(tmp_path, coco_content(), images=False)
    with pytest.raises(
        DataError, match=r"next to it or in image_dir=.*none of 2 images found; no 'a0\.png' in"
    ):
        read_coco(path)


def test_image_dir(tmp_path):
    path = write_coco(tmp_path / "a", coco_content(), images=False)
    write_coco(tmp_path / "b", coco_content())
    assert len(read_coco(path, image_dir=tmp_path / "b" / "train2017")) == 2


def test_size_is_read_from_the_image_where_the_file_names_none(tmp_path):
    content = coco_content()
    path = write_coco(tmp_path, content)
    for image in content["images"]:
        del image["height"]
    path.write_text(json.dumps(content))
    assert read_coco(path)[0].original_size == (6, 8)


def test_xyxy_instead_of_xywh(tmp_path):
    rows = [[3, 3, 7, 5], [4, 2, 8, 6], [0, 0, 2, 2]]
    with pytest.raises(
        DataError,
        match=r"\[x, y, width, height\] in pixels.*Received: \[3, 3, 7, 5\] in .*annotations\[0\].*"
        r"2 of 3 boxes do not fit their image.*xywh 33%, xyxy 100%.*--box-format xyxy",
    ):
        read(tmp_path, [annotation(i, 10, box) for i, box in enumerate(rows)])


def test_two_categories_of_one_name(tmp_path):
    content = coco_content()
    content["categories"].append({"id": 8, "name": "cat"})
    with pytest.raises(DataError, match=r"Received: 'cat' with the ids 7 and 8, categories\[2\]"):
        read_coco(write_coco(tmp_path, content))


def test_two_categories_of_one_id(tmp_path):
    content = coco_content()
    content["categories"].append({"id": "7", "name": "bird"})
    with pytest.raises(DataError, match=r"id 7 for 'cat' and for 'bird', categories\[2\]"):
        read_coco(write_coco(tmp_path, content))


def test_category_listed_again_is_one(tmp_path):
    content = coco_content()
    content["categories"].append({"id": 7, "name": "cat"})
    with pytest.warns(UserWarning, match=r"Class 'cat' \(id 7\) is listed more than once"):
        dataset = read_coco(write_coco(tmp_path, content))
    assert dataset.class_names == ("dog", "cat")


@pytest.mark.parametrize(
    "category", [{"id": 8}, {"name": "x"}, {"id": 8, "name": ""}, {"id": [], "name": "x"}, 3, None]
)
def test_category_without_id_or_name(tmp_path, category):
    content = coco_content()
    content["categories"].append(category)
    with pytest.raises(DataError, match=r"`categories\[2\]` must have an `id`, .* and a `name`"):
        read_coco(write_coco(tmp_path, content))


def test_missing_categories_name_the_ids(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2], 7), annotation(2, 10, [1, 1, 2, 2], 3)])
    path = write_coco(tmp_path, content)
    del content["categories"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'the ids 3, 7. Add `"categories": \[\{"id": 3, "name"'):
        read_coco(path)


def test_group_of_all_other_classes_is_named(tmp_path):
    # As Roboflow writes it: class 0 is the project, and the supercategory of the classes.
    content = coco_content([annotation(1, 10, [1, 1, 2, 2], 7)])
    for category in content["categories"]:
        category["supercategory"] = "animals"
    content["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    with pytest.warns(UserWarning, match=r"Class 'animals' left out: it groups other classes"):
        assert read_coco(write_coco(tmp_path, content)).class_names == ("dog", "cat")
    content["annotations"][0]["category_id"] = 0
    assert not read_coco(write_coco(tmp_path, content)).notes


def test_images_of_one_id(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2])])
    content["images"].append(dict(content["images"][0]))
    with pytest.warns(UserWarning, match=r"1 of . images listed more than once.*'a0\.png', id 10"):
        dataset = read_coco(write_coco(tmp_path, content))
    assert dataset.image_ids == (10, 11) and len(dataset[0].labels) == 1
    content["images"][2]["file_name"] = "a1.png"
    with pytest.raises(DataError, match=r"id 10 of 'a0\.png' and id 10 of 'a1\.png' in"):
        read_coco(write_coco(tmp_path, content))


def test_file_under_two_ids_is_one_image(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2])])
    content["images"][1]["file_name"] = "a0.png"
    with pytest.warns(UserWarning, match=r"listed again: .*a0\.png, images 10 and 11"):
        assert len(read_coco(write_coco(tmp_path, content))) == 1


def test_no_annotation_fits_an_image(tmp_path):
    with pytest.raises(
        DataError, match=r"Received: 99 in .*annotations\[0\].* have the ids 10, 11"
    ):
        read(tmp_path, [annotation(1, 99, [1, 1, 2, 2])])


def test_name_and_split_are_kept(tmp_path):
    dataset = read(tmp_path, [annotation(1, 10, [1, 1, 2, 2], 7)], name="zoo", split="val")
    assert (dataset.name, dataset.split) == ("zoo", "val")
