import random
import warnings

import numpy as np
import pytest

from keras_det.data import load
from keras_det.data.formats import csv_table
from keras_det.data.formats.csv_table import read_csv
from keras_det.data.raw import options_of
from keras_det.errors import DataError
from tests.data.builders import write_files as write


def read(root, **options):
    return csv_table.read(csv_table.find(root).everything, options_of(**options))


TF = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
# An image 6 high and 8 wide; each file says the box [2, 1, 6, 4] of a cat in a.jpg.
VARIANTS = {
    "TensorFlow": TF + "a.jpg,8,6,cat,2,1,6,4\n",
    "order and case": "YMax;XMax;Class_Name;X_Min;Y_Min;Image Path\n4;6;cat;2;1;a.jpg\n",
    "quotes, tabs": '"filename"\t"label"\t"x1"\t"y1"\t"x2"\t"y2"\n"a.jpg"\t"cat"\t2\t1\t6\t4\n',
    "decimal commas": "image;class;xmin;ymin;xmax;ymax\na.jpg;cat;2,0;1,0;6,0;4,0\n",
    "VoTT": '"image","xmin","ymin","xmax","ymax","label"\n"a.jpg",2.0,1.0,6.0,4.0,"cat"\n',
    "x, y, w, h": "image,label,x,y,w,h\r\na.jpg,cat,2,1,4,3\r\n",
    "x, y, width, height": "image, x, y, width, height, class\na.jpg, 2, 1, 4, 3, cat\n",
    "makesense": "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,"
    "image_height\ncat,2,1,4,3,a.jpg,8,6\n",
    "centre": "filename,class,x_center,y_center,width,height\na.jpg,cat,4,2.5,4,3\n",
    "one column": 'image_id,width,height,bbox,label\na,8,6,"[2.0, 1.0, 4.0, 3.0]",cat\n',
    "OpenImages": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    "a,x,cat,1,0.25,0.75,0.166666667,0.666666667,0\n",
    "keras-retinanet": "a.jpg,2,1,6,4,cat\n",
    "SKU-110K": "a.jpg,2,1,6,4,cat,8,6\n",
    "LISA": "Filename;Annotation tag;Upper left corner X;Upper left corner Y;Lower right corner X;"
    "Lower right corner Y;Occluded,On another road\na.jpg;cat;2;1;6;4;0,0\n",
    "AutoML": "TRAIN,gs://bucket/a.jpg,cat,0.25,0.166666667,,,0.75,0.666666667,,\n",
    "AutoML, four corners": "TRAIN,a.jpg,cat,0.25,0.166666667,0.75,0.166666667,0.75,0.666666667,"
    "0.25,0.666666667\n",
    "blank rows": "\t\t\n" + TF.replace(",", ";") + " ; ;;\t;;;;\na.jpg;8;6;cat;2;1;6;4\n",
    "byte order mark": "\ufeff" + TF + "a.jpg,8,6,cat,2,1,6,4\n",
    "UTF-16": (TF + "a.jpg,8,6,cat,2,1,6,4\n").encode("utf-16"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(tmp_path, name):
    root = write(tmp_path, {"a.jpg": None, "boxes.csv": VARIANTS[name]})
    raw = read(root)
    assert raw.class_names == ["cat"] and raw.labels.tolist() == [0] and raw.notes == []
    assert raw.image_names[0].rpartition("/")[2].partition(".")[0] == "a"
    raw.image_names = ["a.jpg"]
    from keras_det.data.assemble import assemble

    dataset = assemble(raw, options_of())
    np.testing.assert_allclose(dataset.boxes, [[2, 1, 6, 4]], atol=1e-6)
    if "8,6" in str(VARIANTS[name]):
        assert read(root).image_sizes.tolist() == [[6, 8]]


def test_load_recognises_a_folder_and_a_file(tmp_path):
    root = write(tmp_path, {"a.jpg": None, "train.csv": VARIANTS["TensorFlow"]})
    assert len(load(root).labels) == len(load(root, "train").labels) == 1
    assert len(read_csv(root / "train.csv").labels) == 1


def test_images_without_objects(tmp_path):
    text = "a.jpg,2,1,6,4,cat\nb.jpg,,,,,\nc.jpg,,,,,dog\n"
    raw = read(write(tmp_path, {"annotations.csv": text}))
    assert raw.image_names == ["a.jpg", "b.jpg", "c.jpg"] and raw.image_index.tolist() == [0]
    assert "Rows with a class but no box: 1." in raw.notes[0] and "line 3" in raw.notes[0]


def test_list_of_classes_gives_names_order_and_ids(tmp_path):
    rows = "a.jpg,2,1,6,4,cat\na.jpg,2,1,6,4,dog\n"
    raw = read(write(tmp_path, {"annotations.csv": rows, "classes.csv": "dog,0\ncat,1\nowl,2\n"}))
    assert raw.class_names == ["dog", "cat", "owl"] and raw.labels.tolist() == [1, 0]
    assert raw.category_ids == [0, 1, 2]
    assert raw.notes == [f"Class names are from {tmp_path}/classes.csv."]


def test_open_images(tmp_path):
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
    rows = "a,x,/m/02,1,0.25,0.75,0,1,0,1\na,x,/m/01,1,0,0.5,0,1,0,0\n"
    names = "/m/01,Person\n/m/02,Tree\n"
    files = {
        "train/a.jpg": None,
        "train-annotations-bbox.csv": head + rows,
        "train-images-boxable.csv": "image_name,image_url\na.jpg,http://x\n",
        "class-descriptions-boxable.csv": names,
    }
    with pytest.warns(UserWarning, match="Class names are from"):
        dataset = load(write(tmp_path, files), "train")
    assert dataset.class_names == ("Person", "Tree") and dataset.labels.tolist() == [1, 0]
    assert dataset.crowd.tolist() == [True, False]
    np.testing.assert_allclose(dataset.boxes, [[2, 0, 6, 6], [0, 0, 4, 6]])


def test_open_images_of_fiftyone(tmp_path):
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"
    masks = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax\n"
    files = {
        "train/data/a.jpg": None,
        "train/labels/detections.csv": head + "a,x,/m/02,1,0.25,0.75,0,1\n",
        "train/labels/segmentations.csv": masks + "m.png,a,/m/02,b,0.25,0.75,0,1\n",
        "train/metadata/classes.csv": "/m/01,Person\n/m/02,Tree\n",
    }
    with pytest.warns(UserWarning, match="Class names are from .*metadata/classes.csv"):
        dataset = read_csv(write(tmp_path, files), split="train")
    assert dataset.class_names == ("Person", "Tree") and dataset.labels.tolist() == [1]


def test_groups_and_sizes_as_written(tmp_path):
    head = "filename,class,xmin,ymin,xmax,ymax,width,height,iscrowd\n"
    rows = "a,cat,2,1,6,4,8.0,6,TRUE\na,cat,2,1,6,4,9,9,0\nb,cat,2,1,6,4,x,6,1\n"
    raw = read(write(tmp_path, {"a.csv": head + rows}))
    assert raw.crowd.tolist() == [True, False, True]
    assert raw.image_sizes.tolist() == [[6, 8], [0, 0]]  # the first row counts; x is no number


def test_roboflow_splits_share_one_class_order_and_keep_images_apart(tmp_path):
    files = {
        "train/a.jpg": None,
        "valid/a.jpg": None,
        "train/_annotations.csv": TF + "a.jpg,8,6,dog,2,1,6,4\n",
        "valid/_annotations.csv": TF + "a.jpg,8,6,cat,2,1,6,4\n",
    }
    root = write(tmp_path, files)
    train, val, whole = (read_csv(root, split=split) for split in ("train", "valid", None))
    assert train.class_names == val.class_names == ("cat", "dog")
    assert train.labels.tolist() == [1] and val.labels.tolist() == [0]
    assert len(whole) == 2 and whole.image_paths[1].endswith("valid/a.jpg")


def test_split_column(tmp_path):
    rows = ("VALIDATION,b.jpg,dog", "TRAIN,a.jpg,cat")
    text = "".join(f"{row},0,0,,,.5,.5,,\n" for row in rows) + "UNASSIGNED,c.jpg,,,,,,,,,\n"
    root = write(tmp_path, {"all.csv": text, "a.jpg": None, "b.jpg": None, "c.jpg": None})
    assert list(csv_table.find(root).splits) == ["train", "val"]
    dataset = load(root, "val")
    assert dataset.class_names == ("cat", "dog") and dataset.labels.tolist() == [1]
    assert len(load(root)) == 3


def test_wheat_has_one_class(tmp_path):
    text = 'image_id,width,height,bbox,source\na,8,6,"[2, 1, 4, 3]",x\n'
    root = write(tmp_path, {"train/a.jpg": None, "train.csv": text})
    with pytest.warns(UserWarning, match="No column holds the class: all .* called 'object'"):
        dataset = load(root, "train")
    np.testing.assert_allclose(dataset.boxes, [[2, 1, 6, 4]])


@pytest.mark.parametrize(
    "header, match",
    [
        ("pic,kind,a,b", "pic, kind, a, b in .*without the image and the class and the box"),
        ("filename,class,a,b,c,d", "without the box"),
        ("filename,kind,xmin,ymin,xmax,ymax", "without the class"),
        ("", "has no row that can be read"),
    ],
)  # fmt: skip
def test_unknown_columns_are_listed(tmp_path, header, match):
    write(tmp_path, {"x.csv": header + "\n"})
    with pytest.raises(DataError, match=match):
        csv_table.find(tmp_path / "x.csv")
    assert csv_table.find(tmp_path) is None


def test_resembles_says_that_there_is_no_header(tmp_path):
    write(tmp_path, {"boxes.csv": "a.jpg,1,2,3,4,5,6,7,cat\n"})
    assert csv_table.find(tmp_path) is None
    assert csv_table.resembles(tmp_path) == (
        "boxes.csv begins with 'a.jpg,1,2,3,4,5,6,7,cat': add a first line with the names of the "
        "columns"
    )


def test_resembles_names_the_column_that_is_missing(tmp_path):
    write(tmp_path, {"x.csv": "filename,kind,xmin,ymin,xmax,ymax\n"})
    assert csv_table.resembles(tmp_path) == (
        "x.csv has the columns filename, kind, xmin, ymin, xmax, ymax, but none for the class"
    )


def test_several_files_for_one_split(tmp_path):
    write(tmp_path, {name: VARIANTS["TensorFlow"] for name in ("a.csv", "b.csv")})
    with pytest.raises(DataError, match="boxes of the data set. Received: a.csv, b.csv in"):
        csv_table.find(tmp_path)
    write(tmp_path, {name: VARIANTS["TensorFlow"] for name in ("train.csv", "train_2.csv")})
    with pytest.raises(DataError, match="boxes of the split train. Received: train.csv, train_2"):
        csv_table.find(tmp_path)


GOOD = TF + "a.jpg,8,6,cat,2,1,6,4\n" * 20


@pytest.mark.parametrize(
    "row, match",
    [
        ("a.jpg,8,6,cat,2,1,x,4", r"the box must be four numbers. Received: \[2, 1, x, 4\]"),
        ("a.jpg,8,6,cat,2,1,,4", r"the box must be four numbers. Received: \[2, 1, , 4\]"),
        ("a.jpg,8,6,cat,2,1,nan,4", "the box must be four numbers"),
        ("a.jpg,8,6,cat,2,1,inf,4", "the box must be four numbers"),
        (",8,6,cat,2,1,6,4", "the image must be named"),
        ("a.jpg,8,6,,2,1,6,4", "the class must be named"),
        ("a.jpg,8,6,cat", "a row must have 8 columns. Received: 4"),
        ("a.jpg,8,6,cat,2,1,6,4,9", "a row must have 8 columns. Received: 9"),
    ],
)
def test_a_bad_row_is_left_out_and_many_are_an_error(tmp_path, row, match):
    raw = read(write(tmp_path, {"a.csv": GOOD + row}))
    assert len(raw.labels) == 20
    (note,) = raw.notes
    assert "1 of 2" in note and "a.csv, line 22: " in note
    with pytest.raises(DataError, match=f"may be unreadable.*line 22: .*{match}"):
        read(write(tmp_path, {"a.csv": f"{GOOD}{row}\n{row}"}))


def test_class_that_is_not_in_the_list(tmp_path):
    write(tmp_path, {"a.csv": GOOD + "a.jpg,8,6,owl,2,1,6,4", "classes.csv": "cat,0\ndog,1\n"})
    note = read(tmp_path).notes[1]
    assert "line 22: the class must be in the list of classes. Received: 'owl'" in note


@pytest.mark.parametrize(
    "tail, match",
    [
        (b'"a.jpg,8,6,cat,2,1,6,4\n', "closing quote. Received: .*from line 22"),
        (b"\xff,8,6,cat,2,1,6,4\n", "UTF-8 text. Received: .*a.csv, line 22"),
    ],
)
def test_damaged_files(tmp_path, tail, match):
    with pytest.raises(DataError, match=match):
        read(write(tmp_path, {"a.csv": GOOD.encode() + tail}))


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_is_an_error_or_a_note(tmp_path, seed):
    draw = random.Random(seed)
    root = write(tmp_path, {"a.jpg": None})
    name = draw.choice(sorted(VARIANTS))
    data = VARIANTS[name] if isinstance(VARIANTS[name], bytes) else VARIANTS[name].encode()
    data = bytearray(data * (1 if b"m" in data[:80] else 2))
    place = draw.randrange(len(data))
    junk = draw.choice([b"\xff", b"\0", b'"', b",", b"\n", b"x", b"1e999", b"\r", b"-"])
    data[place : place + draw.randrange(3)] = junk
    (root / "a.csv").write_bytes(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = load(root)
        except DataError as error:
            assert "Received:" in str(error)
            return
    assert len(dataset) <= 1 and len(dataset.labels) <= 2


def test_parts_give_the_same(tmp_path, monkeypatch):
    from keras_det.data.formats import csv_rows

    rows = [f"{i % 3}.jpg,8,6,{'cat' if i % 2 else 'dog'},{i},1,{i + 2},4" for i in range(11)]
    root = write(tmp_path, {"a.csv": TF + "\n".join(rows)})
    whole = read(root)
    monkeypatch.setattr(csv_rows, "PART", 4)
    parts = read(root)
    for column in ("image_index", "boxes", "labels", "image_sizes"):
        np.testing.assert_array_equal(getattr(parts, column), getattr(whole, column))
    assert whole.boxes[:, 0].tolist() == list(range(11)) and parts.where(9).endswith("line 11")


def test_boxes_agree_with_globox(tmp_path):
    globox = pytest.importorskip("globox")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"
    draw = np.random.default_rng(0).uniform(0, 0.5, (6, 4))
    rows = [f"a.jpg,x,cat,1,{a:.6f},{a + b:.6f},{c:.6f},{c + d:.6f}" for a, b, c, d in draw]
    root = write(tmp_path, {"a.jpg": None, "boxes.csv": head + "\n".join(rows)})
    theirs = globox.AnnotationSet.from_openimage(root / "boxes.csv", image_folder=root)
    boxes = [box.ltrb for each in theirs for box in each.boxes]
    np.testing.assert_allclose(load(root).boxes, boxes, atol=1e-6)


def test_images_without_a_row_are_noted_once_for_all_splits(tmp_path):
    header = "filename,class,xmin,ymin,xmax,ymax\n"
    images = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", ".e.jpg", "._a.jpg", "A.png"]
    write(tmp_path, {f"images/{name}": None for name in images if name[:2] != "._"})
    (tmp_path / "images" / "._a.jpg").write_bytes(b"x")
    files = {"train.csv": header + "a.jpg,cat,2,1,6,4\n", "val.csv": header + "b.jpg,cat,2,1,6,4\n"}
    with pytest.warns(UserWarning, match="no row names them: 2 .*first: .*c.jpg.*empty cells"):
        dataset = load(write(tmp_path, files), "train")
    assert len(dataset) == 1 and [note.code for note in dataset.notes] == ["images-without-file"]
    # As the note says:
    files["train.csv"] += "c.jpg,,,,,\nd.jpg,,,,,\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(write(tmp_path, files), "train")) == 3
