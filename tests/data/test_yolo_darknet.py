"""Darknet's folders, and text files that are like YOLO's but are not."""

import pathlib

import pytest

from keras_det.data import load
from keras_det.data.formats import yolo
from keras_det.errors import DataError
from tests.data.builders import write_files as write

CAT = "0 0.5 0.5 0.5 0.5\n"  # of an image 6 high and 8 wide: x from 2 to 6, y from 1.5 to 4.5
BOX = [2, 1.5, 6, 4.5]


def one(root, text):
    """A data set of one image with these labels."""
    return write(root, {"images/a.jpg": None, "labels/a.txt": text})


DARKNET = {
    "data/obj.data": "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\n"
    "names = data/mask.names\nbackup = backup/\n",
    "data/mask.names": "mask\n",
    "data/train.txt": "data/obj/a.jpg\n",
    "data/test.txt": "data/obj/b.jpg\n",
    "data/obj/a.jpg": None,
    "data/obj/b.jpg": None,
    "data/obj/a.txt": CAT,
    "data/obj/b.txt": CAT,
    "cfg/yolov4-obj.cfg": "[net]",
}


def test_darknet_root_has_the_lists_of_data_folder(tmp_path):
    """Its paths are relative to the folder above `data`; test images are not trained on."""
    write(tmp_path, DARKNET)
    layout = yolo.find(tmp_path)
    assert list(layout.splits) == ["train", "valid"]
    for split, name in (("train", "a"), ("valid", "b")):
        dataset = load(tmp_path, split)
        assert [pathlib.Path(path).stem for path in dataset.image_paths] == [name]
        assert dataset.class_names == ("mask",) and dataset.boxes.tolist() == [BOX]


def test_darknet_files_whose_lists_do_not_exist_are_no_data_set(tmp_path):
    lost = DARKNET["data/obj.data"].replace("data/t", "elsewhere/x_t")
    files = DARKNET | {"data/obj.data": lost, "data/second.data": lost}
    write(tmp_path, files)
    assert list(yolo.find(tmp_path).splits) == ["train", "test"]  # the lists in data/
    write(tmp_path, {"data/obj.data": DARKNET["data/obj.data"]})
    assert list(yolo.find(tmp_path).splits) == ["train", "valid"]
    write(tmp_path, {"data/second.data": DARKNET["data/obj.data"]})
    with pytest.raises(DataError, match="Received: obj.data, second.data in .*Give the path"):
        yolo.find(tmp_path)


@pytest.mark.parametrize("line", ["684,8,273,116,0,0,0,0", "1,1,500,200,40,100,1,1,0.9"])
def test_pixels_between_commas_are_not_yolo(tmp_path, line):
    """VisDrone and MOT: `box_format` would make nonsense of them."""
    one(tmp_path, line)
    assert yolo.find(tmp_path) is None
    one(tmp_path / "x", "0,0.5,0.5,0.5,0.5")
    assert yolo.find(tmp_path / "x") is not None


def test_corners_before_the_class_are_named(tmp_path):
    """CARPK writes `xmin ymin xmax ymax class`: no box format reads it."""
    one(tmp_path, "120 18 130 23 1\n40 15 66 35 1\n")
    with pytest.raises(DataError, match="look like `xmin ymin xmax ymax class`.*CSV") as error:
        load(tmp_path)
    assert "--box-format" not in str(error.value)
    one(tmp_path / "x", "0 30 20 20 16\n1 40 25 12 18\n")
    with pytest.raises(DataError, match="--box-format center_xywh"):
        load(tmp_path / "x")
