import pathlib
import random
import re
import warnings

import numpy as np
import pytest

from keras_det.data import load
from keras_det.data.formats import yolo, yolo_labels
from keras_det.data.formats.yolo import read_yolo
from keras_det.data.raw import options_of
from keras_det.errors import DataError
from tests.data.builders import write_files as write
from tests.data.builders import write_image

CAT = "0 0.5 0.5 0.5 0.5\n"  # of an image 6 high and 8 wide: x from 2 to 6, y from 1.5 to 4.5
BOX = [2, 1.5, 6, 4.5]
NAMES = "names: [cat, dog]\n"


def one(root, text, yaml=NAMES):
    """A data set of one image with these labels."""
    write(root, {"images/a.jpg": None, "labels/a.txt": text})
    return write(root, {"data.yaml": yaml} if yaml else {})


def read(root, **options):
    """What the reader hands on for all images, before boxes are judged."""
    return yolo.read(yolo.find(root).everything, options_of(**options))


LAYOUTS = {
    "ultralytics": {
        "images/train/a.jpg": None,
        "images/val/b.jpg": None,
        "labels/train/a.txt": CAT,
        "labels/val/b.txt": "1 0.5 0.5 0.5 0.5",
        "coco8.yaml": f"path: ../datasets/x\ntrain: images/train\nval: images/val\ntest:\n{NAMES}",
    },
    "roboflow": {
        "train/images/a.jpg": None,
        "valid/images/b.jpg": None,
        "train/labels/a.txt": CAT,
        "valid/labels/b.txt": "1 0.5 0.5 0.5 0.5",
        "data.yaml": f"train: ../train/images\nval: ../valid/images\nnc: 2\n{NAMES}",
    },
    "without yaml": {
        "images/train/a.jpg": None,
        "images/val/b.jpg": None,
        "labels/train/a.txt": CAT,
        "labels/val/b.txt": "1 0.5 0.5 0.5 0.5",
        "classes.txt": "cat\r\ndog\r\n",
    },
    "roboflow darknet": {
        "train/a.jpg": None,
        "valid/b.jpg": None,
        "train/a.txt": CAT,
        "valid/b.txt": "1 0.5 0.5 0.5 0.5",
        "train/_darknet.labels": "cat\ndog",
        "valid/_darknet.labels": "cat\ndog",
    },
    "cvat": {
        "obj_train_data/a.jpg": None,
        "obj_train_data/b.jpg": None,
        "obj_train_data/a.txt": CAT,
        "obj_train_data/b.txt": "1 0.5 0.5 0.5 0.5",
        "train.txt": "data/obj_train_data/a.jpg\n",
        "valid.txt": "data/obj_train_data/b.jpg\n",
        "obj.names": "cat\ndog\n",
        "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
        "names = data/obj.names\nbackup = backup/\n",
    },
    "lists": {
        "images/a.jpg": None,
        "images/b.jpg": None,
        "labels/a.txt": CAT,
        "labels/b.txt": "1 0.5 0.5 0.5 0.5",
        "train2017.txt": "./images/a.jpg\n",
        "val2017.txt": "/home/me/coco/images/b.jpg\n",
        "classes.txt": "cat\ndog",
    },
    "lists in yaml": {
        "images/a.jpg": None,
        "images/b.jpg": None,
        "labels/a.txt": CAT,
        "labels/b.txt": "1 0.5 0.5 0.5 0.5",
        "splits/t.txt": "images/a.jpg\n",
        "splits/v.txt": "../images/b.jpg\n",
        "data.yaml": f"train: splits/t.txt\nval: [splits/v.txt]\n{NAMES}",
    },
    "globs of another machine": {
        "images/1/a.jpg": None,
        "images/2/b.jpg": None,
        "labels/1/a.txt": CAT,
        "labels/2/b.txt": "1 0.5 0.5 0.5 0.5",
        "data.yaml": "path: /x/y\ntrain: 'images/1/*.jpg'\nval: 'C:\\z\\images\\2'\n"
        "names:\n  0: cat\n  1: dog\n",
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    root = write(tmp_path, LAYOUTS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, whole = load(root, "train"), load(root)
        val = read_yolo(root, split="val")
    assert [pathlib.Path(path).name for path in train.image_paths] == ["a.jpg"]
    assert [pathlib.Path(path).name for path in val.image_paths] == ["b.jpg"]
    assert train.class_names == val.class_names == whole.class_names == ("cat", "dog")
    assert train.labels.tolist() == [0] and val.labels.tolist() == [1] and len(whole) == 2
    np.testing.assert_allclose(train.boxes, [BOX])


IMAGE, TWO = {"a.jpg": None, "a.txt": CAT}, "cat\ndog"
BESIDE = {"images/a.jpg": None, "labels/a.txt": CAT}
FLAT = {
    "labelImg": {**IMAGE, "classes.txt": TWO},
    "labelImg, labels apart": {**BESIDE, "labels/classes.txt": TWO},
    "Label Studio": {**BESIDE, "classes.txt": TWO, "notes.json": "{}"},
    "FiftyOne, YOLOv4": {
        "data/a.jpg": None,
        "data/a.txt": CAT,
        "images.txt": "data/a.jpg",
        "obj.names": TWO,
    },
    "JPEGImages": {"JPEGImages/a.jpg": None, "labels/a.txt": CAT, "voc.names": TWO},
    "UTF-16": {**BESIDE, "labels/a.txt": CAT.encode("utf-16"), "classes.txt": TWO.encode("utf-16")},
}


@pytest.mark.parametrize("name", FLAT)
def test_flat_layouts(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = read_yolo(write(tmp_path, FLAT[name]))
    assert dataset.class_names == ("cat", "dog") and dataset.split is None
    np.testing.assert_allclose(dataset.boxes, [BOX])


def test_path_of_the_yaml_itself(tmp_path):
    root = write(tmp_path, LAYOUTS["ultralytics"])
    assert (
        len(load(root / "coco8.yaml")) == 2
        and len(read_yolo(root / "coco8.yaml", split="val")) == 1
    )


# One line each; boxes [cx, cy, w, h].
@pytest.mark.parametrize(
    "line, box",
    [
        ("0 .5 .5 .2 .4 0.99", [0.5, 0.5, 0.2, 0.4]),  # confidence
        ("0 .5 .5 .2 .4 17", [0.5, 0.5, 0.2, 0.4]),  # number of a track
        ("0.0\t.5\t.5\t.2\t.4\r\n\r\n", [0.5, 0.5, 0.2, 0.4]),
        ("0,.5,.5,.2,.4", [0.5, 0.5, 0.2, 0.4]),
        ("0, .5, .5, .2, .4", [0.5, 0.5, 0.2, 0.4]),
        ("0 0,5 0,5 0,2 0,4", [0.5, 0.5, 0.2, 0.4]),  # decimal comma: not 4 corners
        ("\ufeff0 .5 .5 .2 .4", [0.5, 0.5, 0.2, 0.4]),
        ("0 .5 .5 .2 .4\r0 .5 .5 .2 .4", [0.5, 0.5, 0.2, 0.4]),
        ("0 0.1 0.2 0.5 0.2 0.3 0.8", [0.3, 0.5, 0.4, 0.6]),  # triangle
        ("0 0.3 0.1 0.5 0.3 0.3 0.5 0.1 0.3", [0.3, 0.3, 0.4, 0.4]),  # rotated square
        ("0 0.1 0.2 0.5 0.2 0.3 0.8 0.95", [0.3, 0.5, 0.4, 0.6]),  # triangle and confidence
        ("0 1.0005 .5 .2 .4", [1, 0.5, 0.2, 0.4]),  # rounding
        ("0 .5 .5 .2 .4 .5 .6 2 0 0 0", [0.5, 0.5, 0.2, 0.4]),  # two key points
    ],
)
def test_lines(tmp_path, line, box):
    raw = read(one(tmp_path, line))
    np.testing.assert_allclose(raw.boxes[0], box)
    assert raw.labels[0] == 0 and raw.box_format == "rel_center_xywh"
    corners = (len(line.splitlines()[0].split()) - 1) // 2
    said = {3: "1 of 1 .* upright box .*: polygons", 4: ": rotated boxes", 5: "2 keypoints"}
    assert re.search(said.get(corners, "^$"), " ".join(raw.notes))


def test_boxes_around_shapes_are_counted_over_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(yolo_labels, "PART", 1)
    rotated = "0 .3 .1 .5 .3 .3 .5 .1 .3"
    write(tmp_path, {"images/b.jpg": None, "labels/b.txt": rotated})
    (note,) = read(one(tmp_path, f"0 .5 .5 .2 .4\n{rotated}")).notes
    assert (note.code, note.number, note.total) == ("boxes-of-shapes", 2, 3)
    assert re.search(r"rotated boxes \(OBB.*first: .*a.txt, line 2", note)


def test_key_points_of_the_yaml(tmp_path):
    # 5 + 3 * 2 = 11 numbers would be an outline of 5 points.
    line = "0 .5 .5 .2 .4 .1 .1 .9 .9 .5 .5"
    raw = read(one(tmp_path, line, f"kpt_shape: [3, 2]\n{NAMES}"))
    np.testing.assert_allclose(raw.boxes, [[0.5, 0.5, 0.2, 0.4]])
    one(tmp_path, "\n".join([line] * 10))
    (note,) = read(tmp_path).notes
    assert "10 of 10 objects read as the upright box" in note and "with 11 numbers each" in note


def test_ids_with_gaps_and_names_that_yaml_would_change(tmp_path):
    raw = read(one(tmp_path, "7 .5 .5 .2 .4", "names: {7: no, 3: 1.50}\nnc: 3\n"))
    assert raw.class_names == ["1.50", "no"] and raw.category_ids == [3, 7]
    assert raw.labels.tolist() == [1]
    (note,) = raw.notes
    what = f"nc is 3 in {tmp_path}/data.yaml, which gives 2 names"
    assert note == f"{what}: the names are used, and nc is ignored."


def test_without_names_the_ids_of_all_splits_count(tmp_path):
    root = write(tmp_path, LAYOUTS["without yaml"] | {"labels/val/b.txt": "2 .5 .5 .2 .4"})
    (root / "classes.txt").unlink()
    with pytest.warns(UserWarning, match=r"No names of classes \(data.yaml.* called 0 to 2"):
        assert load(root, "train").class_names == ("0", "1", "2")


def test_folder_of_one_split_takes_the_names_above(tmp_path):
    root = write(tmp_path, LAYOUTS["roboflow"])
    with pytest.warns(UserWarning, match=r"Class names are from .*data\.yaml"):
        assert load(root / "train").class_names == ("cat", "dog")


def test_images_without_labels_and_labels_without_images(tmp_path):
    root = one(tmp_path, CAT)
    write(
        root, {"images/b.jpg": None, "images/c.jpg": None, "labels/b.txt": "", "labels/d.txt": CAT}
    )
    with pytest.warns(
        UserWarning,
        match=r"(?s)1 of 3 images without a .txt file.*images/c.jpg.*.txt files left out.*d.txt",
    ):
        dataset = load(root)
    assert len(dataset) == 3 and len(dataset.labels) == 1


def test_hidden_images_are_noted_and_those_of_a_mac_are_not(tmp_path):
    more = {"images/.b.jpg": None, "images/.c.png": None, "images/._a.jpg": b"x", "images/.d": "x"}
    (note,) = read(write(one(tmp_path, CAT), more)).notes
    assert note.startswith("Images left out, because their names begin with a dot: 2")
    assert ".b.jpg" in note and note.code == "images-hidden"


def test_an_image_that_is_listed_twice_counts_once(tmp_path):
    root = write(tmp_path, LAYOUTS["lists"])
    write(root, {"train2017.txt": "\ufeffimages/a.jpg\r\n\r\n./images/a.jpg\r\n'images/c.jpg'\n"})
    raw = yolo.read(yolo.find(root).splits["train2017"], options_of())
    assert raw.image_names == ["images/a.jpg", "images/c.jpg"] and len(raw.labels) == 1
    assert raw.notes[-1] == "Images listed more than once, and read once: 1."


def test_names_in_another_form(tmp_path):
    root = write(
        tmp_path, {"images/a\u0308.jpg": None, "labels/\u00e4.txt": CAT, "data.yaml": NAMES}
    )
    assert ".txt files found by a name in another Unicode form or case: 1" in read(root).notes[0]
    assert len(read(root).labels) == 1


def test_no_image_has_labels(tmp_path):
    root = write(tmp_path, {"images/a.jpg": None, "data.yaml": NAMES})
    with pytest.raises(DataError, match=r"no .txt file for 1 image in .*looked in .*images"):
        load(root)


def test_image_dir_where_the_images_lie_elsewhere(tmp_path):
    files = {name: text for name, text in LAYOUTS["ultralytics"].items() if text is not None}
    root = write(tmp_path / "data", files)
    write(tmp_path, {"photos/a.jpg": None, "photos/b.jpg": None})
    dataset = read_yolo(root, split="val", image_dir=tmp_path / "photos")
    assert dataset.image_paths == (str(tmp_path / "photos" / "b.jpg"),)
    assert dataset.labels.tolist() == [1]


def test_ids_counted_from_1_are_refused_however_rare_the_last_class(tmp_path):
    lines = "".join(f"1 0.5 0.5 0.5 0.{k}\n" for k in range(100, 160))
    one(tmp_path, f"{lines}2 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match="0 to 1. Received: 2 in .*line 61; no object has the id 0"):
        read(tmp_path)


def test_names_counted_from_1_are_refused_however_rare_the_first_class(tmp_path):
    lines = "".join(f"1 0.5 0.5 0.5 0.{k}\n" for k in range(100, 160))
    one(tmp_path, f"{lines}0 0.5 0.5 0.5 0.5\n", "names: {1: cat, 2: dog}\n")
    with pytest.raises(DataError, match="1 to 2. Received: 0 .*the id 2, so .*one too small"):
        read(tmp_path)


def test_pixels_instead_of_shares(tmp_path):
    root = one(tmp_path, "0 4 3 4 3\n")
    with pytest.raises(
        DataError, match=r"\[4, 3, 4, 3\] in .*a.txt, line 1.*--box-format center_xywh"
    ):
        load(root)
    raw = read(root, box_format="center_xywh")
    np.testing.assert_allclose(raw.boxes, [[4, 3, 4, 3]])
    # The box of an outline is written as the others are: xmin, ymin, width, height.
    raw = read(one(tmp_path, "0 1 2 5 2 3 8"), box_format="xywh")
    np.testing.assert_allclose(raw.boxes, [[1, 2, 4, 6]])


@pytest.mark.parametrize(
    "line, match",
    [
        ("0 .5 .5 .2", r"line 21: a line must be five numbers or more.*Received: '0 .5 .5 .2'"),
        ("0 .5 x .2 .4", "line 21: a line must be numbers.*'0 .5 x .2 .4'"),
        ("cat .5 .5 .2 .4", "must be numbers.*'cat .5"),
        ("0 nan .5 .2 .4", "must be numbers"),
        ("0 1_0 .5 .2 .4", "must be numbers"),
        ("0 .5 .5 .2\0 .4", "must be numbers"),
        ("1.5 .5 .5 .2 .4", "whole number from 0. Received: 1.5"),
        ("-1 .5 .5 .2 .4", "whole number from 0. Received: -1"),
        ("2 .5 .5 .2 .4", r"must be one of the 2 in .*data.yaml, 0 to 1. Received: 2"),
        ("0 1.5 .5 .2 .4", r"must lie within 0..1. Received: \[1.5, 0.5"),
        ("0 .5 .5 -.2 .4", "must lie within 0..1"),
    ],
)
def test_a_bad_line_is_left_out_and_many_are_an_error(tmp_path, line, match):
    raw = read(one(tmp_path, CAT * 20 + line))
    assert len(raw.labels) == 20
    assert re.search(f"1 of 21 lines left out: unreadable.*a.txt, .*{match}", raw.notes[0])
    with pytest.raises(DataError, match="may be unreadable. Received: 2 of 22"):
        load(one(tmp_path, CAT * 20 + f"{line}\n{line}"))


@pytest.mark.parametrize(
    "yaml, match",
    [
        ("names: [cat\ntrain: x", r"valid YAML. Received: .*data.yaml, line 2, column 6"),
        ("names: 3\ntrain: images", "`names` of .* must be a list of names.*Received: '3'"),
        ("names: {a: b}\ntrain: images", "`names` of .* must be a list of names"),
        ("nc: many\ntrain: images", "`nc` of .* the number of classes. Received: 'many'"),
        ("names: [a]\ntrain: {x: y}", "`train` of .* must be a folder"),
        ("names: [a]\ntrain: imgs/t\nval: imgs/v", r"train: imgs/t, val: imgs/v; none exists in"),
        ("names: [a]\nkpt_shape: 3\ntrain: images", "`kpt_shape` of .*Received: '3'"),
        ("names: [a]\ntrain: /p/images\nval: /q/images", "for both, only .*images is similar"),
        ("names: " + "[" * 3000, "valid YAML"),
    ],
)
def test_damaged_yaml(tmp_path, yaml, match):
    with pytest.raises(DataError, match=match):
        yolo.find(one(tmp_path, CAT, yaml))


def test_a_split_that_does_not_exist_is_noted(tmp_path):
    root = one(tmp_path, CAT, f"train: images\ntest: gone/images2\n{NAMES}")
    assert list(yolo.find(root).splits) == ["train"]
    assert (
        "Paths left out, because they do not exist: 1 in" in read(root).notes[0]
        and "test: gone/images2" in read(root).notes[0]
    )


def test_different_class_files(tmp_path):
    root = write(tmp_path, LAYOUTS["roboflow darknet"])
    (root / "valid" / "_darknet.labels").write_text("dog\ncat")
    with pytest.raises(DataError, match="same classes. Received: different names in"):
        load(root)


def test_empty_file_of_names(tmp_path):
    write(tmp_path, LAYOUTS["cvat"] | {"obj.names": "\n\n"})
    assert read(tmp_path).class_names == ["0", "1"]


def test_other_folders_are_not_yolo(tmp_path):
    write(tmp_path, {"a.jpg": None, "notes.txt": "hello", "conf.yaml": "a: 1", "a.txt": "a cat"})
    assert yolo.find(tmp_path) is None
    assert yolo.resembles(tmp_path) is None
    assert (
        yolo.find(write(tmp_path / "x", {"Annotations/a.xml": "<a/>", "readme.txt": "x"})) is None
    )


def test_resembles_names_the_line(tmp_path):
    one(tmp_path, "cat .5 .5 .5 .5", None)
    assert yolo.find(tmp_path) is None
    assert "begins with 'cat .5 .5 .5 .5'; a line must be `class cx" in yolo.resembles(tmp_path)
    write(tmp_path / "x", {"labels/a.txt": CAT})
    assert yolo.resembles(tmp_path / "x").startswith("labels/ holds YOLO's .txt files")


def test_a_small_yaml_that_would_become_enormous(tmp_path):
    lines = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
    text = "\n".join(["a0: &a0 [x]", *lines, "names: *a12", "train: images"])
    with pytest.raises(
        DataError, match=r"must be a list of names .*Received: \[\[\[...\], \[...\]"
    ):
        yolo.find(one(tmp_path, CAT, text))


def test_many_files_in_parts(tmp_path, monkeypatch):
    from keras_det.data.formats import yolo_labels

    root = one(tmp_path, CAT)
    for i in range(7):
        write(root, {f"labels/b{i}.txt": f"{i % 2} .5 .5 .{i + 1} .5\n" * i})
        write(root, {f"images/b{i}.jpg": b""})
    whole = read(root)
    monkeypatch.setattr(yolo_labels, "PART", 40)
    for column in ("image_index", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(read(root), column), getattr(whole, column))
    assert whole.image_index.tolist() == [0, *(i + 1 for i in range(7) for _ in range(i))]
    assert whole.where(3).endswith("b2.txt, line 2")


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files_are_an_error_or_a_note(tmp_path, seed):
    """Random bytes, cuts and words in the labels and in data.yaml."""
    draw = random.Random(seed)
    root = write(tmp_path, LAYOUTS["ultralytics"])
    label, config = root / "labels/train/a.txt", root / "coco8.yaml"
    label.write_bytes(CAT.encode() * 3)
    for path in (label, config) if seed % 3 else (label,):
        data = bytearray(path.read_bytes())
        place = draw.randrange(len(data))
        junk = draw.choice(
            [b"\xff", b"\0", b"nan ", b"x", b"1e999 ", b"\n\n", b"[", b": ", b"-", b"5"]
        )
        data[place : place + draw.randrange(3)] = junk
        path.write_bytes(bytes(data[: draw.choice([len(data), draw.randrange(1, len(data))])]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = load(root)
        except DataError as error:
            assert "Received:" in str(error)
            return
    assert dataset.notes or len(dataset.labels) in (1, 2, 3, 4)
    assert all(issubclass(each.category, UserWarning) for each in caught)


def test_boxes_agree_with_globox(tmp_path):
    globox = pytest.importorskip("globox")
    draw = np.random.default_rng(0)
    root = write(tmp_path, {"data.yaml": NAMES})
    for i in range(4):
        write_image(root / f"images/{i}.jpg", 30 + i, 40 + 3 * i)
        boxes = np.concatenate([draw.uniform(0.3, 0.7, (5, 2)), draw.uniform(0, 0.5, (5, 2))], 1)
        lines = [f"{k % 2} " + " ".join(f"{v:.6f}" for v in box) for k, box in enumerate(boxes)]
        write(root, {f"labels/{i}.txt": "\n".join(lines)})
    theirs = globox.AnnotationSet.from_yolo_v5(folder=root / "labels", image_folder=root / "images")
    dataset = load(root)
    for i, path in enumerate(dataset.image_paths):
        sample = slice(*dataset.row_splits[i : i + 2])
        boxes = [box.ltrb for box in theirs[pathlib.Path(path).name].boxes]
        np.testing.assert_allclose(dataset.boxes[sample], boxes, atol=1e-3)


def test_boxes_agree_with_labelformat(tmp_path):
    formats = pytest.importorskip("labelformat.formats")
    root = write(tmp_path, LAYOUTS["roboflow"])
    write(root, {"train/labels/a.txt": "1 0.25 0.5 0.125 0.25\n0 0.7 0.3 0.2 0.1\n"})
    (root / "data.yaml").write_text("train: train/images\nval: valid/images\nnames: [cat, dog]\n")
    theirs = formats.YOLOv8ObjectDetectionInput(root / "data.yaml", "train").get_labels()
    objects = [each for label in theirs for each in label.objects]
    dataset = load(root, "train")
    np.testing.assert_allclose(
        dataset.boxes, [(o.box.xmin, o.box.ymin, o.box.xmax, o.box.ymax) for o in objects]
    )
    assert [dataset.class_names[k] for k in dataset.labels] == [o.category.name for o in objects]
