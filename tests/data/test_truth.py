"""Tests of marks of objects, such as crowd and difficult, in every spelling and format."""

import json
import warnings

import numpy as np
import pytest

from keras_det.data import from_hugging_face, load
from keras_det.data.truth import truth
from tests.data.every_format import image_bytes, write

SET = [1, 1.0, True, "1", "true", "True", " yes ", "Y", "t", "on", "1.0", b"1", np.int64(1)]
NOT_SET = [0, 0.0, False, None, "", "0", "false", "No", "n", "off", "none", "-1", -1, "0.0", "nan"]
NEITHER = ["maybe", [], {}, "1 2", np.zeros(2)]
OBJECT = (
    "<object><name>cat</name>{}<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax>"
    "<ymax>9</ymax></bndbox></object>"
)


@pytest.mark.parametrize("value", SET)
def test_set(value):
    assert truth(value) is True


@pytest.mark.parametrize("value", [*NOT_SET, float("nan")])
def test_not_set(value):
    assert truth(value) is False


@pytest.mark.parametrize("value", NEITHER)
def test_neither(value):
    assert truth(value) is None


def coco(value):
    boxes = [[0, 0, 8, 8], [0, 0, 9, 8]]
    objects = [
        {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": mark}
        for k, (box, mark) in enumerate(zip(boxes, (value, 0), strict=True))
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
    return {"_annotations.coco.json": json.dumps(content)}


def voc(value):
    objects = OBJECT.format(f"<difficult>{value}</difficult>", 8) + OBJECT.format("", 9)
    size = "<size><width>20</width><height>20</height></size>"
    return {"a.xml": f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"}


def csv(value):
    head = "filename,class,xmin,ymin,xmax,ymax,IsGroupOf\n"
    return {"labels.csv": f"{head}a.png,cat,0,0,8,9,{value}\na.png,cat,0,0,9,9,0\n"}


def labelme(value):
    shapes = [
        {"label": "cat", "shape_type": "rectangle", "points": [[0, 0], [x, 9]], "difficult": mark}
        for x, mark in ((8, value), (9, 0))
    ]
    content = {"imagePath": "a.png", "imageHeight": 20, "imageWidth": 20, "shapes": shapes}
    return {"a.json": json.dumps({**content, "version": "5", "imageData": None, "flags": {}})}


@pytest.mark.parametrize("form", [coco, voc, csv, labelme])
@pytest.mark.parametrize(
    "value, crowd", [("yes", True), ("true", True), ("no", False), ("0", False)]
)
def test_every_format_reads_the_same_words(tmp_path, form, value, crowd):
    write(tmp_path, {"a.png": image_bytes(20, 20), **form(value)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path).crowd.tolist() == [crowd, False]


@pytest.mark.parametrize("value, crowd", [("0", False), ("false", False), ("1", True)])
def test_texts_in_hugging_face_rows(tmp_path, value, crowd):
    write(tmp_path, {"a.png": image_bytes(20, 20)})
    objects = {"bbox": [[0, 0, 8, 8], [0, 0, 9, 8]], "category": ["cat"] * 2}
    rows = [{"image": str(tmp_path / "a.png"), "objects": {**objects, "is_crowd": [value, None]}}]
    dataset = from_hugging_face(rows, bounding_box_format="xywh")
    assert dataset.crowd.tolist() == [crowd, False]


def test_a_word_that_is_neither_is_named(tmp_path):
    write(tmp_path, {"a.png": image_bytes(20, 20), **csv("maybe")})
    with pytest.warns(UserWarning, match="1 object read as single objects: .*'maybe' in .* line 2"):
        assert not load(tmp_path).crowd.any()
