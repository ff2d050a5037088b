import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_det.data import load
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco, write_image, write_voc
from tests.helpers import data_set


def test_coco_folder_finds_splits(tmp_path):
    write_coco(tmp_path, coco_content(), "train2017")
    write_coco(tmp_path, coco_content(num_images=1), "val2017")
    (tmp_path / "annotations" / "captions_train2017.json").write_text("{}")
    assert len(load(tmp_path, "train")) == 2 and load(tmp_path, "train").split == "train2017"
    assert len(load(tmp_path, "val2017")) == len(load(tmp_path, "validation")) == 1
    with pytest.raises(DataError, match="Received: None. The splits are train2017, val2017"):
        load(tmp_path)
    with pytest.raises(DataError, match="Received: 'tran'. .*Did you mean 'train2017'"):
        load(tmp_path, "tran")


@pytest.mark.parametrize("kind", ["json", "coco", "voc"])
def test_class_names_and_image_dir_reach_every_reader(tmp_path, kind):
    if kind == "voc":
        root = write_voc(tmp_path / "set", {"a0": [("cat", 2, 1, 4, 5, 0)]})
        images = root / "JPEGImages"
    else:
        root = tmp_path / "set"
        path = write_coco(root, coco_content([annotation(1, 10, [1, 1, 2, 2])], num_images=1))
        images, root = root / "train2017", path if kind == "json" else root
    images.rename(tmp_path / "elsewhere")
    dataset = load(root, class_names=["dog", "cat"], image_dir=tmp_path / "elsewhere")
    assert dataset.class_names == ("dog", "cat") and dataset.labels.tolist() == [1]
    assert pathlib.Path(dataset.image_paths[0]).parent == tmp_path / "elsewhere"


def test_two_years_of_one_split(tmp_path):
    write_coco(tmp_path, coco_content(), "train2014")
    write_coco(tmp_path, coco_content(), "train2017")
    with pytest.raises(DataError, match="train2014, train2017. Several fit. Give one"):
        load(tmp_path, "train")


def test_single_split_needs_no_name(tmp_path):
    write_coco(tmp_path, coco_content())
    assert len(load(tmp_path)) == 2


def test_json_path_with_images_beside_it(tmp_path):
    write_image(tmp_path / "a0.png")
    (tmp_path / "my.json").write_text(json.dumps(coco_content(num_images=1)))
    assert len(load(tmp_path / "my.json")) == len(load(tmp_path)) == 1


def test_roboflow_layout(tmp_path):
    write_image(tmp_path / "valid" / "a0.png")
    (tmp_path / "valid" / "_annotations.coco.json").write_text(
        json.dumps(coco_content([annotation(1, 10, [1, 1, 2, 2])], num_images=1))
    )
    assert load(tmp_path, "val").split == "valid" and len(load(tmp_path, "val").labels) == 1


def test_image_info_serves_a_split_without_instances(tmp_path):
    content = coco_content(num_images=1)
    del content["annotations"]
    write_coco(tmp_path, content, "test2017").rename(
        tmp_path / "annotations" / "image_info_test2017.json"
    )
    dataset = load(tmp_path, "test")
    assert len(dataset) == 1 and dataset.class_names == ("dog", "cat")


def test_captions_are_refused_by_name(tmp_path):
    path = tmp_path / "annotations" / "captions_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": [], "annotations": [{"caption": "a cat"}]}))
    with pytest.raises(
        DataError, match="captions_val2017.json, which holds captions of images. Give instances"
    ):
        load(path)
    with pytest.raises(DataError, match="laid out as COCO"):
        load(tmp_path, "val")


def test_key_points_are_read_for_their_boxes(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2], keypoints=[0, 0, 0])])
    path = write_coco(tmp_path, content, "val2017")
    path = path.rename(path.with_name("person_keypoints_val2017.json"))
    assert len(load(path).labels) == 1


def test_voc_inside_a_devkit(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", {"a": [("cat", 2, 1, 4, 5, 0)]}, {"val": ["a"]})
    assert len(load(tmp_path)) == len(load(tmp_path, "val")) == 1


def test_paths_that_are_no_data_set(tmp_path):
    with pytest.raises(DataError, match="must exist. Received: .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="laid out as COCO.*Received: .*which holds nothing"):
        load(tmp_path)
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(DataError, match="which holds x.csv. Give the folder above"):
        load(tmp_path)
    with pytest.raises(DataError, match="must be COCO .json. Received: .*x.csv"):
        load(tmp_path / "x.csv")


def test_near_path_is_suggested(tmp_path):
    (tmp_path / "blood").mkdir()
    with pytest.raises(DataError, match="Did you mean 'blood'"):
        load(tmp_path / "bloood")


def test_import_loads_neither_keras_nor_tensorflow():
    code = (
        "import sys, keras_det.data as d; d.load, d.Pipeline, d.Dataset, d.read_image; "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings("ignore:bccd")
def test_bccd():
    root = data_set("bccd")
    with pytest.warns(UserWarning, match=r"2 of 143 boxes dropped.*BloodImage_00338\.xml, object"):
        dataset = load(root)
    # 113 RBC in the files; both boxes without area (images 338 and 343) are RBC.
    assert len(dataset) == 12
    assert dataset.class_counts == {"Platelets": 17, "RBC": 111, "WBC": 13}
    assert [len(load(root, split)) for split in ("train", "val", "test")] == [5, 4, 3]
    with pytest.warns(UserWarning, match=r"1 of 67 boxes dropped.*BloodImage_00343\.xml"):
        load(root, "train")
    assert dataset.boxes.min() == 0 and dataset.boxes[:, 2].max() == 640


def test_coco_layout():
    dataset = load(data_set("drawn"), "train")
    assert (len(dataset), dataset.num_classes, len(dataset.labels)) == (7, 80, 20)
    assert dataset.crowd.sum() == 2 and load(data_set("drawn"), "val").crowd.sum() == 1
    assert dataset.class_names[11] == "stop sign" and dataset.category_ids[11] == 13
    # Annotation 106 of image 490649: [17.62, 37.19, 28.68, 36.51], of area 759.6622.
    sample = dataset[dataset.image_ids.index(490649)]
    np.testing.assert_allclose(sample.boxes[0], [17.62, 37.19, 46.3, 73.7], rtol=1e-6)
    np.testing.assert_allclose(sample.area[0], 759.6622, rtol=1e-6)
    assert dataset.category_ids[sample.labels[0]] == 49
