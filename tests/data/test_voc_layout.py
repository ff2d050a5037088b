"""The folders in which Pascal VOC's files are found."""

import pathlib

import numpy as np
import pytest

from keras_det.data.formats.voc import find, read, resembles
from keras_det.data.raw import ReadOptions
from tests.data.builders import voc_xml, write_image, write_voc

CAT = ("cat", 2, 1, 4, 5, 0)
DOG = ("dog", 1, 1, 8, 6, 0)


def write(root, tree):
    """Writes `{path: objects, text or None}`: XML files, other texts and images of 6 x 8."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            path.write_text(voc_xml(content).replace("<filename>x</filename>", ""))
        elif content is None:
            write_image(path)
        else:
            path.write_text(content)
    return root


def summary(root, split=None):
    """Names of the images found, their ids and the classes of a split as `read` gives them."""
    layout = find(root)
    raw = read(layout.everything if split is None else layout.splits[split], ReadOptions())
    paths = []
    for name in raw.image_names:
        there = [folder / f"{name}.jpg" for folder in raw.folders]
        paths.append(next(str(path.relative_to(root)) for path in there if path.exists()))
    return paths, raw.image_ids, raw.class_names


ONE_SET = {
    "devkit": ("Annotations/a.xml", "JPEGImages/a.jpg"),
    "labelImg": ("a.xml", "a.jpg"),
    "FiftyOne": ("labels/a.xml", "data/a.jpg"),
    "Kaggle": ("annotations/a.xml", "images/a.jpg"),
    "lower case": ("annotations/a.xml", "jpegimages/a.jpg"),
    "upper case": ("ANNOTATIONS/a.XML", "Images/a.jpg"),
    "xmls": ("xmls/a.xml", "a.jpg"),
    "unusual folder of images": ("Annotations/a.xml", "photographs/a.jpg"),
    "CVAT": ("Annotations/day/a.xml", "JPEGImages/day/a.jpg"),
    "images beside the annotations": ("Annotations/a.xml", "Annotations/a.jpg"),
    "labelImg in subfolders": ("day/a.xml", "day/a.jpg"),
    "inside another folder": (
        "VOCdevkit/VOC2007/Annotations/a.xml",
        "VOCdevkit/VOC2007/Images/a.jpg",
    ),
}


@pytest.mark.parametrize("name", ONE_SET)
def test_one_set(tmp_path, name):
    xml, image = ONE_SET[name]
    tree = {xml: [CAT], image: None, "__MACOSX/b.xml": [CAT], "code/readme.md": "x"}
    write(tmp_path, {**tree, xml.replace("a.", "._a."): "x"})
    paths, ids, classes = summary(tmp_path)
    assert paths == [image] and classes == ["cat"]
    assert ids == ["day/a" if "day" in xml else "a"]
    assert not find(tmp_path).splits


SPLITS = {
    "Roboflow": ("{}/{}.xml", "{}/{}.jpg"),
    "folders inside": ("{}/Annotations/{}.xml", "{}/JPEGImages/{}.jpg"),
    "lower folders inside": ("{}/annotations/{}.xml", "{}/images/{}.jpg"),
    "annotations above": ("Annotations/{}/{}.xml", "JPEGImages/{}/{}.jpg"),
    "labels above": ("labels/{}/{}.xml", "images/{}/{}.jpg"),
    "images aside": ("{}/{}.xml", "images/{}/{}.jpg"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_split_folders(tmp_path, name):
    # Every split has an image "a": each must keep its own.
    xml, image = SPLITS[name]
    for split, objects in (("train", [CAT]), ("valid", [DOG]), ("test", [])):
        write(tmp_path, {xml.format(split, "a"): objects, image.format(split, "a"): None})
    assert set(find(tmp_path).splits) == {"train", "valid", "test"}
    for split in ("train", "valid"):
        assert summary(tmp_path, split) == ([image.format(split, "a")], ["a"], ["cat", "dog"])
    paths, ids, _ = summary(tmp_path)
    assert ids == ["test/a", "train/a", "valid/a"]
    assert paths == [image.format(id.split("/")[0], "a") for id in ids]


def test_one_split_folder_alone(tmp_path):
    write(tmp_path, {"train/a.xml": [CAT], "train/a.jpg": None, "valid/b.xml": [DOG]})
    assert summary(tmp_path / "train") == (["a.jpg"], ["a"], ["cat"])


def test_annotations_folder_alone(tmp_path):
    write(tmp_path, {"Annotations/a.xml": [CAT], "JPEGImages/a.jpg": None})
    layout = find(tmp_path / "Annotations")
    raw = read(layout.everything, ReadOptions())
    assert raw.image_names == ["a"] and tmp_path / "JPEGImages" in raw.folders


def test_lists_of_cvat(tmp_path):
    tree = {f"Annotations/{name}.xml": [CAT] for name in ("a", "sub/b")}
    tree |= {f"JPEGImages/{name}.jpg": None for name in ("a", "sub/b")}
    write(
        tmp_path, {**tree, "ImageSets/Main/default.txt": "sub/b\n", "labelmap.txt": "cat:1,2,3::"}
    )
    assert summary(tmp_path, "default") == (["JPEGImages/sub/b.jpg"], ["sub/b"], ["cat"])
    assert summary(tmp_path)[1] == ["a", "sub/b"]


def test_lists_of_one_class_are_no_splits(tmp_path):
    lists = {"train": ["a"], "val": ["b"], "cat_train": ["a  1"], "cat_val": ["b"]}
    lists |= {"aeroplane_train": ["a -1"], "my_train": ["a"], "2007_train": ["a"]}
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]}, lists)
    assert list(find(root).splits) == ["2007_train", "my_train", "train", "val"]


def test_lists_beside_the_folders(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]})
    (root / "train.txt").write_text("./JPEGImages/b.jpg ./Annotations/b.xml\n")
    (root / "notes.txt").write_text("b\n")
    assert list(find(root).splits) == ["train"] and summary(root, "train")[1] == ["b"]


def test_links(tmp_path):
    write(tmp_path / "store", {"day/a.xml": [CAT], "day/a.jpg": None, "b.xml": [], "b.jpg": None})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "Annotations").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "day" / "loop").symlink_to(tmp_path / "store")
    assert summary(tmp_path / "set")[1] == ["b", "day/a"]


@pytest.mark.parametrize("folder", ["ImageSets", "ImageSets/Segmentation", "imagesets/main"])
def test_lists_in_other_folders(tmp_path, folder):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]})
    write(root, {f"{folder}/val.txt": "b\n"})
    assert summary(root, "val")[1] == ["b"]


def test_two_years_are_read_together(tmp_path):
    for year, objects in (("VOC2007", [CAT]), ("VOC2012", [DOG])):
        write_voc(tmp_path / year, {"a": objects}, {"train": ["a"]})
    write_voc(tmp_path / "VOC2007", {"b": [CAT]}, {"test": ["b"]})
    assert summary(tmp_path, "train") == (
        ["VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/a.jpg"],
        ["VOC2007/a", "VOC2012/a"],
        ["cat", "dog"],
    )
    assert summary(tmp_path, "test")[:2] == (["VOC2007/JPEGImages/b.jpg"], ["b"])
    (tmp_path / "VOC2012" / "class_names.txt").write_text("dog\ncat\n")
    assert summary(tmp_path)[2] == ["dog", "cat"]


def test_rows_follow_the_list(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, DOG], "b": [DOG]}, {"train": ["b", "a"]})
    raw = read(find(root).splits["train"], ReadOptions())
    assert raw.image_ids == ["b", "a"] and raw.image_index.tolist() == [0, 1, 1]
    assert [raw.class_names[label] for label in raw.labels] == ["dog", "cat", "dog"]
    np.testing.assert_array_equal(raw.boxes, [[0, 0, 8, 6], [1, 0, 4, 5], [0, 0, 8, 6]])
    assert raw.where(2).endswith("a.xml, object 1") and raw.other_names == ["x", "x"]


def test_images_without_annotation_are_counted(tmp_path):
    tree = {"Annotations/a.xml": [CAT], "Annotations/b.jpg.xml": [CAT], "Annotations/e.xml": "x"}
    tree |= {f"JPEGImages/{name}.jpg": None for name in ("A", "b", "c", "d", "e", "sub/f")}
    root = write(tmp_path, {**tree, "ImageSets/Main/train.txt": "a\n"})
    layout = find(root)
    notes = read(layout.everything, ReadOptions()).notes
    assert "because they have no XML file: 2 (first:" in notes[-1]
    assert notes[-1].endswith("c.jpg).")
    for source, options in (
        (layout.splits["train"], ReadOptions()),
        (layout.everything, ReadOptions(image_dir=tmp_path)),
    ):
        assert "XML file (" not in " ".join(read(source, options).notes)
    write(tmp_path / "set", {"train/a.xml": [CAT], "train/g.jpg": None, "val/b.xml": [CAT]})
    assert (
        "no XML file: 1 (first"
        in read(find(tmp_path / "set").splits["train"], ReadOptions()).notes[-1]
    )
    assert not read(find(tmp_path / "set").splits["val"], ReadOptions()).notes


NOT_VOC = {
    "other XML": ({"annotations.xml": "<annotations/>"}, "annotations.xml, which starts with <ann"),
    "COCO": ({"annotations/instances_train.json": "{}", "train/a.jpg": None}, None),
    "YOLO": ({"labels/a.txt": "0 1 1 1 1", "images/a.jpg": None}, None),
    "no annotations": ({"JPEGImages/a.jpg": None}, "has JPEGImages/ but no Annotations/"),
    "no XML": ({"Annotations/a.json": "", "JPEGImages/a.jpg": None}, "has Annotations/ but no"),
    "lists only": ({"ImageSets/Main/train.txt": "a"}, "has ImageSets/ but no Annotations/"),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("name", NOT_VOC)
def test_what_is_missing(tmp_path, name):
    tree, missing = NOT_VOC[name]
    write(tmp_path, tree)
    assert find(tmp_path) is None
    said = resembles(tmp_path)
    assert said is None if missing is None else missing in said


def test_single_files(tmp_path):
    write(tmp_path, {"a.xml": [CAT], "b.txt": "x"})
    assert find(tmp_path / "a.xml") is None is resembles(tmp_path / "b.txt")
    assert "give the folder" in resembles(tmp_path / "a.xml")
    assert find(pathlib.Path(tmp_path / "nowhere")) is None is resembles(tmp_path / "nowhere")


def test_splits_in_the_folder_of_images(tmp_path):
    """TensorFlow's tutorial: images/train and images/test with images and XML files together."""
    write(
        tmp_path,
        {
            "images/train/a.jpg": None,
            "images/train/a.xml": [CAT],
            "images/test/b.jpg": None,
            "images/test/b.xml": [DOG],
            "images/train_labels.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n",
            "annotations/label_map.pbtxt": "item {}",
        },
    )
    assert sorted(find(tmp_path).splits) == ["test", "train"]
    assert summary(tmp_path, "train") == (["images/train/a.jpg"], ["a"], ["cat", "dog"])
    assert summary(tmp_path, "test")[0] == ["images/test/b.jpg"]
    # Two folders with such splits are not taken for one data set.
    write(tmp_path, {"more/train/c.jpg": None, "more/train/c.xml": [CAT]})
    assert not find(tmp_path).splits
