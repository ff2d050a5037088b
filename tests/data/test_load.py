import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_det.data import load, recognise, split
from keras_det.data.formats import voc_table
from keras_det.data.load import has_val, load_train_and_val, open_data
from keras_det.data.raw import Format, Layout
from keras_det.data.split_choice import role_of_split
from keras_det.errors import DataError
from tests.data.builders import (
    annotation,
    coco_content,
    voc_xml,
    write_coco,
    write_image,
    write_voc,
)
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
    with pytest.raises(DataError, match="train2014, train2017. Several match. Give one"):
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
    with pytest.raises(DataError, match="must be in one of the formats COCO.*has captions_val"):
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
    with pytest.raises(
        DataError,
        match="must be in one of the formats COCO, .*which holds nothing. Check.*docs/data.md",
    ):
        load(tmp_path)
    (tmp_path / "x.doc").write_text("")
    with pytest.raises(DataError, match="Received: .*which holds x.doc. Check the folder"):
        load(tmp_path)
    with pytest.raises(DataError, match="Received: .*x.doc. Give the folder of the data set"):
        load(tmp_path / "x.doc")
    write_image(tmp_path / "x.png")
    with pytest.raises(DataError, match="Received: .*x.png, an image. Give the folder of the data"):
        load(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz", "SET.7z"])
def test_archives_are_to_be_unpacked(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=rf"{name}, an archive. Unpack it first"):
        load(tmp_path / "a" / name)
    with pytest.raises(DataError, match=rf"Unpack {name} first"):
        load(tmp_path / "a")


def test_the_only_folder_is_entered_whatever_lies_beside_it(tmp_path):
    inner = tmp_path / "download" / "set"
    write_coco(inner, coco_content())
    for folder in (tmp_path, tmp_path / "download"):
        for name in (".DS_Store", "README.dataset.txt", "LICENSE", "notes.md", "set.zip"):
            (folder / name).write_text("x")
        (folder / "__MACOSX").mkdir()
    assert len(load(tmp_path)) == 2


def format_of(name, found):
    """A format without annotations, for what is said about folders."""
    return Format(name, name.upper(), "", found, lambda *_: None, lambda path: None)


@pytest.fixture
def marked(monkeypatch):
    """The only format is that of folders with a file named "marked"."""

    def found(path):
        return Layout(path, {}, path) if (path / "marked").is_file() else None

    monkeypatch.setattr(recognise, "FORMATS", (format_of("x", found),))


def test_the_folder_above_or_below_is_named(tmp_path, marked):
    for name in ("set/train", "set/more", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "set" / "marked").touch()
    match = f"set/ in it is in the format X: give {tmp_path / 'set'}"
    with pytest.raises(DataError, match=match):
        load(tmp_path)
    match = f"The folder that contains it is in the format X: give {tmp_path / 'set'}"
    with pytest.raises(DataError, match=match):
        load(tmp_path / "set" / "train")
    with pytest.raises(DataError, match="which holds nothing. Check the folder"):
        load(tmp_path / "set" / "more")


def test_the_deepest_folder_counts_except_those_inside_a_data_set(tmp_path, monkeypatch):
    formats = [format_of("x", lambda path: Layout(path, {}, path))]
    monkeypatch.setattr(recognise, "FORMATS", formats)
    (tmp_path / "VOCdevkit" / "VOC2012" / "Annotations").mkdir(parents=True)
    assert recognise.recognise(tmp_path)[1].root == tmp_path / "VOCdevkit" / "VOC2012"
    (tmp_path / "VOCdevkit").rename(tmp_path / "train")
    assert recognise.recognise(tmp_path / "train")[1].root == tmp_path / "train" / "VOC2012"
    (tmp_path / "train" / "VOC2012").rename(tmp_path / "train" / "images")
    assert recognise.recognise(tmp_path)[1].root == tmp_path


def test_several_folders_below_are_named(tmp_path, marked):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "marked").touch()
    match = "The folders a/, b/ in it are data sets in the format X: give one.*--val-data"
    with pytest.raises(DataError, match=match):
        load(tmp_path)


def test_two_formats_in_one_folder(tmp_path):
    write_coco(tmp_path, coco_content(num_images=1), "train")
    write_voc(tmp_path, {"b": [("cat", 2, 1, 4, 5, 0)], "c": []})
    with pytest.raises(
        DataError,
        match=r"must be in one format. Received: .*COCO \(split train\), Pascal VOC \(without "
        r'splits\). Give format="coco" \(--format coco\) or format="voc" \(--format voc\)',
    ):
        load(tmp_path)
    assert len(load(tmp_path, format="coco")) == 1 and len(load(tmp_path, format="voc")) == 2


def test_a_format_that_includes_another_one(tmp_path, monkeypatch):
    formats = [format_of(n, lambda path: Layout(path, {}, path)) for n in ("tfrecord", "tfds")]
    monkeypatch.setattr(recognise, "FORMATS", formats)
    assert recognise.recognise(tmp_path)[0].name == "tfds"


def test_what_a_folder_resembles_is_said(tmp_path, monkeypatch):
    made = format_of("x", lambda path: None)
    monkeypatch.setattr(recognise, "FORMATS", (made._replace(resembles=lambda _: "has no y."),))
    with pytest.raises(DataError, match=r"It resembles X: has no y. docs/data.md"):
        load(tmp_path)


def test_a_format_by_name(tmp_path):
    write_coco(tmp_path, coco_content())
    with pytest.raises(DataError, match="`format` must be one of coco, .*voc.*'coko'.*mean 'coco'"):
        load(tmp_path, format="coko")
    with pytest.raises(
        DataError, match=r"in the format Pascal VOC must hold Annotations.*leave out format= \(--f"
    ):
        load(tmp_path, format="voc")


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"sizes": "chek"}, ValueError, "`sizes` must be one of check, file, scale.*'check'"),
        ({"box_format": "xyhw"}, DataError, "`box_format` must be one of xyxy.*'xyhw'"),
        ({"voc_first_pixel": 2}, ValueError, "`voc_first_pixel` must be 0 or 1. Received: 2"),
        ({"drop_other_classes": True}, ValueError, "needs `class_names`"),
        ({"class_names": "cat"}, TypeError, r"a list of names.*Give \['cat'\]"),
        ({"split_by": 80, "split": "val"}, ValueError, "above 0 and below 1. Received: 80"),
        ({"split_by": 0.8}, DataError, "one of the two parts, train and val. Received: split=None"),
        ({"split_by": 0.8, "split": "test"}, DataError, "Received: split='test', split_by=0.8"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, error, match):
    write_coco(tmp_path, coco_content(), "default")
    with pytest.raises(error, match=match):
        load(tmp_path, **arguments)


def test_box_format_of_the_caller(tmp_path):
    content = coco_content([annotation(1, 10, [2, 1, 7, 5]), annotation(2, 11, [5, 4, 8, 6])])
    write_coco(tmp_path, content)
    with pytest.raises(DataError, match="--box-format xyxy"):
        load(tmp_path)
    dataset = load(tmp_path, box_format="xyxy")
    np.testing.assert_array_equal(dataset.boxes, [[2, 1, 7, 5], [5, 4, 8, 6]])


def test_a_split_is_made_of_data_without_one(tmp_path):
    write_coco(tmp_path, coco_content(num_images=10), "default")
    parts = [load(tmp_path, split, split_by=0.7) for split in ("train", "val")]
    assert [(len(part), part.split) for part in parts] == [(7, "train"), (3, "val")]
    assert set(parts[0].image_paths) | set(parts[1].image_paths) == set(load(tmp_path).image_paths)
    made = split(load(tmp_path), 0.7)
    assert [part.image_paths for part in made] == [part.image_paths for part in parts]
    other = load(tmp_path, "validation", split_by=0.7, seed=1)
    assert len(other) == 3 and other.image_paths != parts[1].image_paths


def test_a_split_is_made_of_train_and_tests_are_left_alone(tmp_path):
    write_coco(tmp_path, coco_content(num_images=10), "train2017")
    write_coco(tmp_path, coco_content(num_images=4), "test2017")
    train, val = (load(tmp_path, name, split_by=0.8) for name in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    with pytest.raises(
        DataError, match=r"Received: 'val'. The splits are test2017, train2017. Give split_by=0.8"
    ):
        load(tmp_path, "val")
    write_coco(tmp_path, coco_content(num_images=4), "val2017")
    with pytest.raises(DataError, match="is for data without.*0.8 for .*has the split val2017"):
        load(tmp_path, "val", split_by=0.8)


@pytest.mark.parametrize("wanted", ["train", "val", "validation"])
@pytest.mark.parametrize("layout", ["voc", "default", "file"])
def test_splits_that_data_without_splits_does_not_have(tmp_path, wanted, layout):
    path = tmp_path
    if layout == "voc":
        write_voc(tmp_path, {"a": [("cat", 2, 1, 4, 5, 0)], "b": []})
    else:
        write_coco(tmp_path, coco_content(), "default")
        write_image(tmp_path / "annotations" / "a0.png")
    if layout == "file":
        path = tmp_path / "annotations" / "instances_default.json"
    with pytest.raises(
        DataError,
        match=rf"Received: '{wanted}'. .*Give split_by=0.8 \(--split-by 0.8\) too.*split=None",
    ):
        load(path, wanted)
    with pytest.raises(
        DataError, match=r"Received: 'test'. (?!.*split_by).*split=None \(--split all\)"
    ):
        load(path, "test")


def test_the_split_in_the_name_of_a_file(tmp_path):
    path = write_coco(tmp_path, coco_content(), "train2017")
    assert len(load(path, "train")) == len(load(path)) == 2
    with pytest.raises(DataError, match="Received: 'val'. It has no splits.*split_by=0.8"):
        load(path, "val")


def test_one_coco_file_of_any_name_is_no_split(tmp_path):
    write_image(tmp_path / "images" / "a0.png")
    write_image(tmp_path / "images" / "a1.png")
    (tmp_path / "labels.json").write_text(json.dumps(coco_content()))
    assert load_train_and_val(tmp_path, split_by=0.5).sentence.startswith(
        f"{tmp_path} has no splits: 1 image for training, 1 held out"
    )


def test_no_test_split_is_split(tmp_path):
    write_coco(tmp_path, coco_content(), "test2017")
    with pytest.raises(DataError, match="must have a training split. Received: the splits te"):
        load(tmp_path, "train", split_by=0.5)


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
    with pytest.warns(UserWarning, match=r"2 of 143 boxes left out.*BloodImage_00338\.xml, object"):
        dataset = load(root)
    # 113 RBC in the files; both boxes without area (images 338 and 343) are RBC.
    assert len(dataset) == 12
    assert dataset.class_counts == {"Platelets": 17, "RBC": 111, "WBC": 13}
    assert [len(load(root, split)) for split in ("train", "val", "test")] == [5, 4, 3]
    with pytest.warns(UserWarning, match=r"1 of 67 boxes left out.*BloodImage_00343\.xml"):
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


@pytest.mark.parametrize("box_format", [None, "xyxy"])
def test_splits_whose_boxes_have_different_formats(tmp_path, box_format):
    right, other = [[50, 40, 20, 15], [45, 30, 30, 25]], [[50, 40, 70, 55], [45, 30, 75, 55]]
    if box_format:
        right, other = other, right
    for name, boxes in (("train", right), ("val", other)):
        objects = [annotation(i, 10, box) for i, box in enumerate(boxes * 5)]
        content = coco_content(objects, num_images=1, height=64, width=80)
        write_coco(tmp_path, content, name, images=False)
        write_image(tmp_path / name / "a0.png", 64, 80)
    with pytest.raises(DataError, match="train fits .*--split NAME --box-format .*--val-data"):
        load_train_and_val(tmp_path, box_format=box_format)


def test_opened_data_is_listed_once_and_voc_read_once(tmp_path, monkeypatch):
    objects = [("cat", 2, 1, 4, 5, 0)]
    splits = {"train": ["a0", "a1"], "val": ["a2"]}
    root = write_voc(tmp_path, {f"a{i}": objects for i in range(4)}, splits)
    found, read = [], []
    find, read_file = recognise.recognise, voc_table.read_file
    load_module = importlib.import_module("keras_det.data.load")
    monkeypatch.setattr(load_module, "recognise", lambda *a: found.append(a) or find(*a))
    monkeypatch.setattr(voc_table, "read_file", lambda path: read.append(path) or read_file(path))
    opened = open_data(root)
    assert has_val(opened)
    parts = load_train_and_val(opened)
    assert len(found) == 1 and len(read) == 4
    again = load(opened, "train")
    for dataset in (parts.train, parts.val, again):
        alone = load(root, dataset.split)
        assert dataset.image_ids == alone.image_ids and dataset.notes == alone.notes
        np.testing.assert_array_equal(dataset.boxes, alone.boxes)
    assert len(load(opened)) == 4


@pytest.mark.parametrize(
    "name, role",
    [
        ("train2017", "train"),
        ("train_zip", "train"),
        ("test-set", "test"),
        ("Validation", "val"),
        ("trainval", "trainval"),
        ("default", "default"),
    ],
)
def test_role_of_a_split(name, role):
    assert role_of_split(name) == role


def test_folders_called_train_zip_and_test_zip(tmp_path):
    """The test images stay untouched; before, the split to train on had to be named."""
    for folder, count in (("train_zip/train", 5), ("test_zip/test", 2)):
        for i in range(count):
            write_image(tmp_path / folder / f"{i}.jpg")
            xml = voc_xml([("cat", 2, 1, 4, 5, 0)]).replace("<filename>x</filename>", "")
            (tmp_path / folder / f"{i}.xml").write_text(xml)
    parts = load_train_and_val(tmp_path)
    assert len(parts.train) + len(parts.val) == 5
    assert all("train_zip" in path for path in (*parts.train.image_paths, *parts.val.image_paths))
