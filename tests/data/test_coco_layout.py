"""Which files of a folder are taken as COCO's, and where their images are looked for."""

import json
import pathlib

import pytest

from keras_det.data import load
from keras_det.data.formats.coco import find, resembles
from keras_det.data.formats.coco_kind import kind_of
from keras_det.data.formats.coco_layout import split_of
from keras_det.errors import DataError
from tests.data.builders import annotation, coco_content, write_coco, write_image

CONTENT = coco_content([annotation(1, 10, [1, 1, 2, 2])], num_images=1)
LABELME = {"version": "5.0", "flags": {}, "shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}]}
LABEL_STUDIO = [{"id": 1, "annotations": [{"result": []}], "data": {"image": "a.png"}}]
LABEL_STUDIO_SHORT = [{"image": "a.png", "id": 1, "label": [{"x": 1, "rectanglelabels": ["a"]}]}]
LABEL_STUDIO_TASK = {"id": 1, "annotations": [{"result": []}], "data": {"image": "a.png"}}
CREATE_ML = [{"image": "a.png", "annotations": [{"label": "a", "coordinates": {"x": 1}}]}]
RESULTS = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
CAPTIONS = {"images": [], "annotations": [{"image_id": 1, "id": 1, "caption": "a cat"}]}
PANOPTIC = {"images": [], "annotations": [{"segments_info": [{"id": 1}], "image_id": 1}]}
QUESTIONS = {"data_type": "x", "annotations": [{"question_id": 1, "image_id": 2, "question": "?"}]}
VIA = {"a.png123": {"filename": "a.png", "size": 123, "regions": []}}
DATUMARO = {"info": {}, "categories": {"label": {"labels": []}}, "items": [{"id": "a"}]}
KINDS = [
    ("labelme", LABELME),
    ("labelme", {"imagePath": "a.png", "shapes": []}),
    ("label_studio", LABEL_STUDIO),
    ("label_studio", LABEL_STUDIO_SHORT),
    ("label_studio", LABEL_STUDIO_TASK),
    ("createml", CREATE_ML),
    ("results", RESULTS),
    ("captions", CAPTIONS),
    ("panoptic", PANOPTIC),
    ("questions", QUESTIONS),
    ("via", VIA),
    ("via", {"_via_settings": {}, "_via_img_metadata": {}}),
    ("datumaro", DATUMARO),
    ("coco", CONTENT),
    ("coco", {"annotations": CONTENT["annotations"], "images": CONTENT["images"]}),
    ("coco", {"info": {"description": "shapes"}, "images": [], "categories": []}),
    ("other", {"name": "x"}),
    ("no_json", 3),
    ("other", []),
    ("other", {}),
]


def write(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding)
    return path


@pytest.mark.parametrize("kind, content", KINDS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_kinds_of_json(tmp_path, kind, content, encoding):
    path = write(tmp_path / "a.json", content, encoding)
    assert kind_of(path) == kind
    assert (find(path) is None) == (kind in ("labelme", "label_studio", "createml"))
    if kind != "coco":
        assert find(tmp_path) is None


def test_kind_of_a_large_file(tmp_path):
    long = {"images": CONTENT["images"] * 3000, "annotations": CAPTIONS["annotations"] * 3000}
    assert kind_of(write(tmp_path / "a.json", long)) == "captions"
    long["annotations"] = CONTENT["annotations"] * 3000
    assert kind_of(write(tmp_path / "a.json", long)) == "coco"


def test_kind_of_what_is_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(bytes(range(256)) * 1000)
    assert kind_of(tmp_path / "a.json") == "no_json"
    assert kind_of(tmp_path) == "other" == kind_of(tmp_path / "no")


# Annotation files, images, and the splits that are found.
LAYOUTS = {
    "COCO": (["annotations/instances_train2017.json"], "train2017/a0.png", ["train2017"]),
    "COCO, images/": (["annotations/instances_train.json"], "images/train/a0.png", ["train"]),
    "COCO's image list": (["annotations/image_info_test.json"], "test/a0.png", ["test"]),
    "Roboflow": (["valid/_annotations.coco.json"], "valid/a0.png", ["valid"]),
    "FiftyOne": (["labels.json"], "data/a0.png", ["labels"]),
    "FiftyOne, splits": (["train/labels.json"], "train/data/a0.png", ["train"]),
    "folders of splits": (["train/annotations.json"], "train/a0.png", ["train"]),
    "folders of splits, any name": (["train/my boxes.json"], "train/images/a0.png", ["train"]),
    "folders of splits, annotations/": (["val/annotations/x.json"], "val/images/a0.png", ["val"]),
    "CVAT": (["annotations/instances_default.json"], "images/default/a0.png", ["default"]),
    "CVAT, flat": (["annotations/instances_default.json"], "images/a0.png", ["default"]),
    "Label Studio": (["result.json"], "images/a0.png", ["result"]),
    "one file": (["whatever.json"], "a0.png", ["whatever"]),
    "Annotations/": (["Annotations/train.json"], "train/a0.png", ["train"]),
    "labels/": (["labels/my_train.json"], "images/train/a0.png", ["train"]),
    "one folder, two files": (["train.json", "val.json"], "images/a0.png", ["train", "val"]),
    "LVIS": (["lvis_v1_train.json"], "train/a0.png", ["train"]),
    "COCO, unpacked into a folder": (
        ["annotations_trainval2017/annotations/instances_val2017.json"],
        "val2017/a0.png",
        ["val2017"],
    ),
    "key points": (["annotations/person_keypoints_val2017.json"], "val2017/a0.png", ["val2017"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    files, image, splits = LAYOUTS[name]
    root = tmp_path / "a" / "set"
    for file in files:
        write(root / file, CONTENT)
    write_image(root / image)
    (root / "readme.txt").touch()  # without it, the only folder inside would be the data set
    layout = find(root)
    assert list(layout.splits) == splits
    for split in splits:
        dataset = load(root, split)
        assert len(dataset.labels) == 1 and dataset.split == split and dataset.name == "set"
        assert pathlib.Path(dataset.image_paths[0]) == root / image
    path = root / files[0]
    assert load(path).image_paths == (str(root / image),)


def test_one_file_without_split_is_everything(tmp_path):
    write(tmp_path / "result.json", CONTENT)
    assert find(tmp_path).everything.path.name == "result.json"
    (tmp_path / "result.json").rename(tmp_path / "train.json")
    assert find(tmp_path).everything is None and list(find(tmp_path).splits) == ["train"]


def test_files_of_one_split_keep_their_names(tmp_path):
    write(tmp_path / "train_a.json", CONTENT)
    write(tmp_path / "train_b.json", CONTENT)
    assert list(find(tmp_path).splits) == ["train_a", "train_b"]


def test_other_json_beside_coco_is_passed_over(tmp_path):
    write(tmp_path / "annotations" / "boxes.json", CONTENT)
    write(tmp_path / "annotations" / "0.json", LABELME)
    write(tmp_path / "annotations" / "results.json", RESULTS)
    write(tmp_path / "annotations" / "captions_train.json", CAPTIONS)
    write(tmp_path / "annotations" / "person_keypoints_train.json", CONTENT)
    (tmp_path / "annotations" / "._boxes.json").write_bytes(b"\0\5\x16\7")
    assert list(find(tmp_path).splits) == ["boxes"]


def test_one_json_for_each_image_is_not_coco(tmp_path):
    for i in range(50):
        write(tmp_path / f"{i}.json", CONTENT)
    assert find(tmp_path) is None and resembles(tmp_path) is None


def test_resembles_names_what_holds_no_boxes(tmp_path):
    assert resembles(tmp_path) is None and resembles(tmp_path / "no") is None
    write(tmp_path / "0.json", LABELME)
    assert resembles(tmp_path) is None
    write(tmp_path / "annotations" / "captions_train.json", CAPTIONS)
    assert "annotations/captions_train.json, which holds captions" in resembles(tmp_path)
    (tmp_path / "annotations" / "captions_train.json").write_text("")
    assert resembles(tmp_path) == "has annotations/captions_train.json, which is empty or not JSON"


def test_images_of_another_split_are_not_taken(tmp_path):
    write(tmp_path / "train" / "annotations.json", CONTENT)
    write_image(tmp_path / "val" / "a0.png")
    with pytest.raises(DataError, match="a0.png"):
        load(tmp_path, "train")


@pytest.mark.parametrize(
    "name, split",
    [
        ("instances_val2017.json", "val2017"),
        ("set/train/_annotations.coco.json", "train"),
        ("valid/x.json", "valid"),
        ("my-test_2.json", "test_2"),
        ("lvis_v1_val.json", "val"),
        ("image_info_test-dev2017.json", "test-dev2017"),
        ("x-test-dev2017.json", "test-dev2017"),
        ("trainings.json", None),
        ("result.json", None),
    ],
)
def test_split_in_a_name(name, split):
    assert split_of(pathlib.Path("data") / name) == split


def test_classes_are_the_same_for_every_split(tmp_path):
    content = coco_content([annotation(1, 10, [1, 1, 2, 2], 9)], num_images=1)
    content["categories"] = [{"id": 9, "name": "bird"}, {"id": 3, "name": "dog"}]
    write_coco(tmp_path, content, "val")
    write_coco(tmp_path, coco_content([annotation(1, 10, [1, 1, 2, 2], 7)]), "train")
    train, val = load(tmp_path, "train"), load(tmp_path, "val")
    assert train.class_names == val.class_names == ("dog", "cat", "bird")
    assert train.category_ids == val.category_ids == (3, 7, 9)
    assert (train.labels.tolist(), val.labels.tolist()) == ([1], [2])
    assert load(tmp_path, "val", class_names=["bird"]).labels.tolist() == [0]
    # The same ids, and other names for them: the names count.
    content["categories"] = [{"id": 9, "name": "cat"}, {"id": 7, "name": "dog"}]
    write_coco(tmp_path, content, "val")
    train, val = load(tmp_path, "train"), load(tmp_path, "val")
    assert train.class_names == val.class_names == ("dog", "cat")
    assert (train.labels.tolist(), val.labels.tolist()) == ([1], [1])
    assert train.category_ids == (3, 7) and val.category_ids == (7, 9)
