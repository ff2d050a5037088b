"""What is said of a folder with the annotations of another tool or data set."""

import json

import pytest

from keras_det.data import load
from keras_det.data.foreign_formats import other_tool, without_boxes
from keras_det.errors import DataError
from tests.data.builders import write_files as write

BOX = {"name": "rect", "x": 1, "y": 1, "width": 2, "height": 2}
REGION = {"shape_attributes": BOX, "region_attributes": {"name": "cat"}}
VIA = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": [REGION]}}
CORNERS = "filename,class,xmin,ymin,xmax,ymax"
# What the file is called and holds, what it looks like, and what to do.
TOOLS = {
    "VIA": ("train/via_region_data.json", VIA, "VGG Image Annotator", "export them as COCO"),
    "VIA project": ("p.json", {"_via_settings": {}}, "a project of the VGG", "export them as COCO"),
    "VIA CSV": (
        "via_export_csv.csv",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        'region_attributes\na.jpg,9,"{}",1,0,"{}","{}"\n',
        "VGG Image Annotator",
        "export them as COCO",
    ),
    "VoTT": (
        "1-asset.json",
        {"asset": {"name": "a.jpg"}, "regions": [{"boundingBox": {}}]},
        "annotations of VoTT",
        "export them as Pascal VOC or CSV",
    ),
    "VoTT export": ("e.json", {"securityToken": "x", "assets": {}}, "of VoTT", "Pascal VOC or CSV"),
    "VoTT project": ("p.vott", "{}", "a project of VoTT", "Pascal VOC or CSV"),
    "Supervisely": (
        "ds0/ann/a.jpg.json",
        {"size": {}, "objects": [{"classTitle": "cat", "geometryType": "rectangle"}]},
        "of Supervisely",
        "as COCO, Pascal VOC or YOLO",
    ),
    "Datumaro": (
        "annotations/default.json",
        {"categories": {"label": {}}, "items": [{"annotations": [{"label_id": 0, "bbox": []}]}]},
        "of Datumaro",
        "-if datumaro -i FOLDER -f coco_instances",
    ),
    "BDD100K": (
        "labels/x.json",
        [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1}}]}],
        "of BDD100K",
        "to COCO, or write one CSV row",
    ),
    "Labelbox": ("e.ndjson", {"data_row": {"external_id": "a.jpg"}}, "of Labelbox", "to COCO"),
    "Darwin": (
        "annotations/a.json",
        {"item": {"slots": []}, "annotations": [{"slot_names": ["0"]}]},
        "of V7 Darwin",
        "In V7, export them as COCO",
    ),
    "SageMaker": ("out.manifest", {"source-ref": "s3://b/a.jpg"}, "of SageMaker", CORNERS),
    "CrowdHuman": ("a.odgt", {"ID": "a", "gtboxes": [{"fbox": []}]}, "of CrowdHuman", CORNERS),
    "Cityscapes": (
        "a.json",
        {"imgHeight": 6, "objects": [{"polygon": []}]},
        "of Cityscapes",
        "to COCO",
    ),
    "KITTI": (
        "label_2/a.txt",
        "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56\n",
        "of KITTI",
        "-if kitti",
    ),
    "WIDER FACE": (
        "split/train_bbx_gt.txt",
        "0--Parade/a.jpg\n1\n449 330 122 149 0 0 0 0 0 0 \n",
        "of WIDER FACE",
        "-if wider_face",
    ),
    "keras-yolo3": ("train.txt", "a.jpg 1,1,4,4,0 2,2,6,6,1\n", "of keras-yolo3", CORNERS),
    "VisDrone": (
        "annotations/a.txt",
        "684,8,273,116,0,0,0,0\n406,119,265,70,1,4,0,0\n",
        "of VisDrone",
        "CSV row for each box: filename,class,x,y,width,height. Leave out the classes 0 and 11",
    ),
    "ICDAR": ("gt_a.txt", "1,1,4,1,4,4,1,4,Word\n", "of ICDAR", "-if icdar_text_localization"),
    "DOTA": (
        "labelTxt/a.txt",
        "imagesource:x\ngsd:0.1\n1.0 1.0 4.0 1.0 4.0 4.0 1.0 4.0 plane 0\n",
        "of DOTA",
        "Take the box around the corners",
    ),
    "OIDv4": (
        "Dataset/train/Alarm clock/Label/a.txt",
        "Alarm clock 10.5 0 40.0 44.25\n",
        "of OIDv4_ToolKit",
        CORNERS,
    ),
    "MOT": ("gt/gt.txt", "1,1,500,200,40,100,1,1,0.9\n", "of the MOT Challenge", "-if mot_seq"),
    "classes": (
        "train/_classes.csv",
        "filename, acne, clear\na.jpg, 1, 0\n",
        "a list of classes of whole images",
        "A detector needs boxes",
    ),
    "masks": (
        "train/_classes.csv",
        "Pixel Value, Class\n0, road\n",
        "a list of classes of masks",
        "export the data set as COCO",
    ),
    "no suffix": (
        "Annotation/dog/a",
        "<annotation><object/></annotation>",
        "Pascal VOC without its suffix",
        r"Rename these files to \*\.xml",
    ),
}


def tree(name, content):
    text = content if isinstance(content, str) else json.dumps(content)
    return {"images/a.jpg": None, name: text, "README.md": "x"}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tool_and_what_to_do_are_said(tmp_path, tool):
    name, content, what, instead = TOOLS[tool]
    write(tmp_path, tree(name, content))
    for path in (tmp_path, tmp_path / name):
        shown = name if path == tmp_path else name.rpartition("/")[2]
        if tool in ("masks", "classes", "VIA CSV") and path != tmp_path:
            assert other_tool(path).startswith(f"{shown} looks like")
            continue
        with pytest.raises(DataError, match=f"{shown} looks like [^.]*{what}.*{instead}"):
            load(path)


def test_lines_of_yolo_are_of_no_other_tool(tmp_path):
    """Also those with names instead of class ids: the line is named, as before."""
    write(tmp_path, {"images/a.jpg": None, "labels/a.txt": "cat 0.5 0.5 0.25 0.25\n"})
    assert other_tool(tmp_path) is None
    with pytest.raises(DataError, match="begins with 'cat 0.5 0.5 0.25 0.25'"):
        load(tmp_path)


def test_a_damaged_or_empty_file_is_of_no_tool(tmp_path):
    write(tmp_path, {"a.json": "", "b.json": "\0\0", "c.txt": "x", "d.csv": ""})
    assert other_tool(tmp_path) is None
    assert other_tool(tmp_path / "a.json") is None


WITHOUT = {
    "images only": ({"a.jpg": None, "README.md": ""}, "holds images, but no annotations"),
    "classes": ({"cat/a.jpg": None, "dog/b.jpg": None}, "in sub-folders, but no annotations"),
    "masks": ({"a.jpg": None, "a_mask.png": None}, "masks of pixels.*maskpair"),
    "own JSON": (
        {"a.jpg": None, "train.txt": "a", "own.json": '{"a.jpg": []}'},
        "If own.json holds annotations.*CSV row",
    ),
    "PPM": ({"a.ppm": "P6", "gt.txt": "x"}, "a.ppm is an image that is not read"),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_images_without_boxes(tmp_path, name):
    files, said = WITHOUT[name]
    write(tmp_path, files)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def test_a_folder_without_images(tmp_path):
    write(tmp_path, {"a.json": "{}"})
    assert without_boxes(tmp_path) is None


def test_a_data_set_in_a_sub_folder_comes_first(tmp_path):
    files = {
        "mine/a.jpg": None,
        "mine/boxes.csv": "filename,class,x1,y1,x2,y2\na.jpg,cat,1,1,4,4\n",
    }
    write(tmp_path, tree("via.json", VIA) | files)
    with pytest.raises(DataError, match=r"mine/ in it is in the format CSV: give") as error:
        load(tmp_path)
    assert "looks like" not in str(error.value)
