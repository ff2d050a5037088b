"""Hugging Face: rows in Python, data sets of the package, folders with metadata."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_det.data import from_hugging_face, load
from keras_det.data.formats import hugging_face
from keras_det.data.image import read_image
from keras_det.errors import DataError
from tests.data.builders import write_image
from tests.data.record_builders import encoded

NAMES = ("cat", "dog")
# xywh in an image 6 high and 8 wide. As xyxy the second would end left of its beginning.
OBJECTS = {"bbox": [[1, 2, 3, 4], [5, 2, 2, 1]], "category": [1, 0]}


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def row(objects=OBJECTS, value=100, **more):
    return {"image": {"bytes": encoded(value), "path": None}, "objects": objects, **more}


def read(rows, tmp_path, **options):
    options = {"class_names": NAMES, "image_dir": tmp_path / "cache", **options}
    return quiet(from_hugging_face, rows, **options)


@pytest.mark.parametrize(
    "objects",
    [
        OBJECTS,
        [{"bbox": [1, 2, 3, 4], "category": 1}, {"bbox": [5, 2, 2, 1], "category": 0}],
        {"boxes": np.array(OBJECTS["bbox"]), "labels": np.array([1, 0])},
        {"bbox": OBJECTS["bbox"], "label": ["dog", "cat"]},
    ],
)
def test_objects_in_all_their_forms(tmp_path, objects):
    dataset = read(
        [row(objects), row(None, 7, image_id=4), row({"bbox": [], "label": []}, 9)], tmp_path
    )
    np.testing.assert_array_equal(dataset.boxes, [[1, 2, 4, 6], [5, 2, 7, 3]])
    assert dataset.labels.tolist() == [1, 0] and dataset.class_names == NAMES
    assert dataset.row_splits.tolist() == [0, 2, 2, 2] and dataset.image_ids == (0, 4, 2)
    assert [read_image(path)[0, 0, 0] for path in dataset.image_paths] == [100, 7, 9]
    assert [path.rpartition("/")[2] for path in dataset.image_paths] == [
        "000000.png",
        "4.png",
        "000002.png",
    ]


def test_the_format_of_boxes_is_found_and_noted(tmp_path):
    assert (
        "Boxes are read as xywh: 100% fit their images, 50% as xyxy."
        in read([row()], tmp_path).notes
    )
    corners = {"bbox": [[5, 2, 7, 3], [1, 2, 8, 6]], "category": [0, 1]}
    dataset = read([row(corners)], tmp_path)
    np.testing.assert_array_equal(dataset.boxes, corners["bbox"])
    assert "Boxes are read as xyxy: 100% fit their images, 0% as xywh." in dataset.notes


def test_boxes_that_could_be_either_are_refused(tmp_path):
    either = {"bbox": [[1, 1, 3, 3]], "category": [0]}
    with pytest.raises(
        DataError, match=r"format of the boxes must be known.*\[1, 1, 3, 3\] in row 0"
    ):
        read([row(either)], tmp_path)
    for form, expected in (("xywh", [1, 1, 4, 4]), ("xyxy", [1, 1, 3, 3])):
        dataset = read([row(either)], tmp_path, bounding_box_format=form)
        np.testing.assert_array_equal(dataset.boxes, [expected])
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of.*'xyhw'.*'xywh'"):
        read([row(either)], tmp_path, bounding_box_format="xyhw")


def test_advice_names_the_argument_of_this_function():
    for message, expected in (
        ('give box_format="xyxy" (--box-format xyxy).', 'give bounding_box_format="xyxy".'),
        ("give box_format= (--box-format).", "give bounding_box_format=."),
        ("image_dir= (--image-dir)", "image_dir= (--image-dir)"),
    ):
        assert hugging_face._own_argument(message) == expected


def test_crowd_and_area(tmp_path):
    dataset = read([row({**OBJECTS, "iscrowd": [0, 1], "area": [2.5, None]})], tmp_path)
    assert dataset.crowd.tolist() == [False, True] and dataset.area.tolist() == [2.5, 2]


def test_images_as_pixels_files_and_bytes(tmp_path):
    file = write_image(tmp_path / "f" / "x.png", value=3)
    pixels = np.full((6, 8, 3), 4, np.uint8)
    rows = [
        row(image=str(file)),
        row(image=pixels),
        row(image=Image.fromarray(pixels + 1)),
        row(image=encoded(6)),
    ]
    for each, kind in zip(rows, (0, 1, 2, 3), strict=True):
        each["image_id"] = f"i{kind}"
    dataset = read(rows, tmp_path)
    assert [read_image(path)[0, 0, 0] for path in dataset.image_paths] == [3, 4, 5, 6]
    assert dataset.image_paths[0] == str(file)
    assert "Images given as pixels, which are written as PNG: 2." in dataset.notes
    assert len(quiet(from_hugging_face, rows[:1], class_names=NAMES)) == 1
    with pytest.raises(DataError, match="`image_dir` must name a folder"):
        from_hugging_face(rows, class_names=NAMES)


def test_classes_as_texts_and_numbers_without_names(tmp_path):
    texts = {"bbox": OBJECTS["bbox"], "label": ["zebra", "ape"]}
    dataset = read([row(texts)], tmp_path, class_names=None)
    assert dataset.class_names == ("ape", "zebra") and dataset.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="numbers up to 1 without names in dataset; first: row 0"):
        read([row()], tmp_path, class_names=None)
    with pytest.raises(DataError, match=r"from 0 to 0 .*row 0, object 0 \(objects like it: 1;"):
        read([row()], tmp_path, class_names=("cat",))


@pytest.mark.parametrize(
    "objects, reason",
    [
        ({"bbox": [[1, 2, 3]], "category": [0]}, "four finite numbers. Received: [1, 2, 3]"),
        ({"bbox": [[1, 2, 3, float("nan")]], "category": [0]}, "four finite numbers"),
        ({"bbox": [[1, 2, 3, 4]], "category": [0, 1]}, "one class for each box. Received: 2 for 1"),
        ({"bbox": [[1, 2, 3, 4]], "category": [0.5]}, "must be a whole number or a string"),
        ({"category": [0]}, "must have a box (`bbox`). Received: the keys category"),
        ({"bbox": [[1, 2, 3, 4]]}, "must have a class (`category`)"),
        ({"bbox": [[1, 2, 3, 4]], "category": [0], "area": []}, "`area` must hold one value"),
        ([1, 2], "a dictionary of lists or a list of dictionaries"),
        ("text", "must be a list"),
    ],
)
def test_a_bad_row_is_left_out_and_named(tmp_path, objects, reason):
    dataset = read([row(), row(objects, 3), row(value=9)], tmp_path)
    assert len(dataset) == 2
    note = next(note for note in dataset.notes if "1 of 3 rows left out" in note)
    assert "row 1" in note and reason in note


def test_objects_without_a_box_are_left_out(tmp_path):
    some = {"bbox": [None, *OBJECTS["bbox"]], "category": [0, 1, 0]}
    dataset = read([row(some)], tmp_path)
    assert len(dataset.labels) == 2
    assert any(
        "1 object left out: without a box (first: row 0, object 0)" in n for n in dataset.notes
    )
    with pytest.raises(DataError, match="must have a box. Received: none of 1"):
        read([row({"bbox": [[]], "category": [0]})], tmp_path)


def test_what_is_no_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="one split.*train, test. Give one of them"):
        from_hugging_face({"train": [row()], "test": [row()]})
    with pytest.raises(TypeError, match="Load it first: datasets.load_dataset"):
        from_hugging_face("cppe-5")
    with pytest.raises(DataError, match="must hold rows"):
        from_hugging_face([])


@pytest.mark.parametrize("declared", ["dictionary of lists", "list of dictionaries"])
def test_data_sets_of_the_package(tmp_path, declared):
    datasets = pytest.importorskip("datasets")
    value, names = datasets.Value, datasets.ClassLabel(names=list(NAMES))
    kind, objects = {"bbox": [value("float32")], "category": names}, OBJECTS
    if declared == "list of dictionaries":
        kind = [kind]
        objects = [{"bbox": b, "category": c} for b, c in zip(*OBJECTS.values(), strict=True)]
    else:
        kind = {"bbox": [[value("float32")]], "category": [names]}
    features = datasets.Features({"image": datasets.Image(), "objects": kind})
    rows = {"image": [{"bytes": encoded(8), "path": "p.png"}], "objects": [objects]}
    table = datasets.Dataset.from_dict(rows, features=features)
    dataset = read(table, tmp_path, class_names=None)
    assert dataset.class_names == NAMES and dataset.labels.tolist() == [1, 0]
    assert open(dataset.image_paths[0], "rb").read() == encoded(8)
    assert dataset.image_paths[0].endswith("/p.png")
    with pytest.raises(DataError, match="`objects_column` must be a column.*'object';.*'objects'"):
        read(table, tmp_path, objects_column="object")


def write_folder(root, name="metadata.jsonl", objects=OBJECTS):
    lines = [
        {"file_name": "a.png", "objects": objects},
        {"file_name": "b.png", "objects": {"bbox": [], "category": []}},
    ]
    for line in lines:
        write_image(root / line["file_name"])
    if name.endswith(".jsonl"):
        text = "\n".join(map(json.dumps, lines)) + "\n\n"
    else:
        quoted = [json.dumps(line["objects"]).replace('"', '""') for line in lines]
        text = "file_name,objects\n" + "".join(
            f'{line["file_name"]},"{q}"\n' for line, q in zip(lines, quoted, strict=True)
        )
    (root / name).write_text(text)
    return root


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_images(tmp_path, name):
    write_folder(tmp_path, name)
    dataset = quiet(load, tmp_path, class_names=NAMES)
    np.testing.assert_array_equal(dataset.boxes, [[1, 2, 4, 6], [5, 2, 7, 3]])
    assert dataset.labels.tolist() == [1, 0] and dataset.row_splits.tolist() == [0, 2, 2]
    assert dataset.image_paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    first = 1 if name.endswith("jsonl") else 2
    with pytest.raises(DataError, match=f"{name}, line {first}. Give class_names= .--classes."):
        load(tmp_path / name)


def test_splits_share_their_classes_and_a_class_file(tmp_path):
    for split, label in (("train", "zebra"), ("test", "ape")):
        write_folder(
            tmp_path / "data" / split, objects={"bbox": [[5, 2, 2, 1]], "category": [label]}
        )
    assert list(hugging_face.find(tmp_path).splits) == ["test", "train"]
    dataset = quiet(load, tmp_path, "train")
    assert dataset.class_names == ("ape", "zebra") and dataset.labels.tolist() == [1]
    (tmp_path / "classes.txt").write_text("zebra\nape\n")
    assert quiet(load, tmp_path, "train").labels.tolist() == [0]
    folder = tmp_path / "data" / "train"
    for path in (folder, folder / "metadata.jsonl"):
        assert hugging_face.find(path).everything.split == "train"


def test_metadata_of_other_kinds_is_not_taken(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cat"}\n')
    assert hugging_face.find(tmp_path) is None
    assert "without `file_name` and `objects`" in hugging_face.resembles(tmp_path)
    (tmp_path / "table.csv").write_text("filename,xmin\n")
    assert hugging_face.find(tmp_path / "table.csv") is None


def test_damaged_metadata(tmp_path):
    file = write_folder(tmp_path) / "metadata.jsonl"
    good = file.read_text()
    file.write_text(good + "{'a': 1\n")
    dataset = quiet(load, tmp_path, class_names=NAMES)
    assert any("metadata.jsonl, line 4: it must be a JSON object" in note for note in dataset.notes)
    file.write_text(good + "[" * 100_000 + "\n" + "x\n")
    with pytest.raises(DataError, match="line 4"):
        load(tmp_path, class_names=NAMES)
    file.write_bytes(good.encode() + b"\xff\n")
    with pytest.raises(DataError, match="line 4: the byte 0xff is not UTF-8"):
        load(tmp_path, class_names=NAMES)
    file.write_text(good, encoding="utf-16")
    assert len(quiet(load, tmp_path, class_names=NAMES)) == 2


def test_any_damage_to_metadata_is_a_data_error_or_a_data_set(tmp_path):
    file = write_folder(tmp_path) / "metadata.jsonl"
    data, rng, seen = file.read_bytes(), np.random.default_rng(3), set()
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        file.write_bytes(damaged)
        try:
            dataset = quiet(load, file, class_names=NAMES)
        except DataError as error:
            assert str(tmp_path) in str(error)
            seen.add("error")
            continue
        seen.add("read")
        assert np.isfinite(dataset.boxes).all()
    assert seen == {"error", "read"}
