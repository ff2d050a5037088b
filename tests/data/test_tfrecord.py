"""TFRecord files: boxes, classes, shards, damage, and images that are unpacked once."""

import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from keras_det.data import load, read_tfrecord
from keras_det.data.formats import tfrecord
from keras_det.data.formats.label_map import read_label_map
from keras_det.data.formats.tfrecord_shards import compression, is_record
from keras_det.data.image import read_image
from keras_det.errors import DataError
from tests.data.record_builders import encoded, example, write_label_map, write_records

# Shares of an image 6 high and 8 wide: xyxy (2, 3, 6, 6) in pixels.
DOG = (0.25, 0.5, 0.75, 1.0, 2, "dog")
CAT = (0.0, 0.0, 0.5, 0.5, 1, "cat")  # (0, 0, 4, 3)


def write_set(root, records=None, name="train.tfrecord"):
    """One file of two images and a label map."""
    if records is None:
        records = [example("a.png", [DOG, CAT]), example("b.png", [], encoded(50))]
    write_label_map(root)
    return write_records(root / name, records)


def read(path, **options):
    """Reads without the warning; notes are looked at in the data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_tfrecord(path, **options)


def note_of(dataset, text):
    found = [note for note in dataset.notes if text in note]
    assert len(found) == 1, dataset.notes
    return found[0]


def test_boxes_classes_and_images(tmp_path):
    write_set(tmp_path)
    dataset = read(tmp_path)
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (1, 2)
    np.testing.assert_array_equal(dataset.boxes, [[2, 3, 6, 6], [0, 0, 4, 3]])
    np.testing.assert_array_equal(dataset.labels, [1, 0])
    np.testing.assert_array_equal(dataset.row_splits, [0, 2, 2])
    np.testing.assert_array_equal(dataset.image_sizes, [[6, 8], [6, 8]])
    assert dataset.image_ids == ("a.png", "b.png") and dataset.split == "train"
    assert [read_image(path)[0, 0, 0] for path in dataset.image_paths] == [100, 50]
    assert (tmp_path / "unpacked_images" / "a.png").read_bytes() == encoded()


def test_images_are_written_once_and_the_note_says_where(tmp_path):
    write_set(tmp_path)
    first = read(tmp_path)
    assert f"2 images (0.0 MB) unpacked into {tmp_path / 'unpacked_images'}" in first.notes[0]
    file = tmp_path / "unpacked_images" / "a.png"
    before = file.stat().st_mtime_ns, file.stat().st_ino
    second = read(tmp_path)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert second.notes == () and second.image_paths == first.image_paths


def test_a_file_of_another_image_is_never_taken_or_replaced(tmp_path):
    write_set(tmp_path)
    cache = tmp_path / "mine"
    cache.mkdir()
    (cache / "a.png").write_bytes(encoded(7))
    for _ in range(2):
        dataset = read(tmp_path, image_dir=cache)
        assert read_image(dataset.image_paths[0])[0, 0, 0] == 100
        assert (cache / "a.png").read_bytes() == encoded(7)
    assert len(list(cache.iterdir())) == 3 and not (tmp_path / "unpacked_images").exists()


def test_names_are_safe_and_have_the_suffix_of_their_content(tmp_path):
    names = ("../../up.png", "C:\\x\\b*.jpg", ".hidden", "a.b", "")
    records = [example(name, [DOG], encoded(i)) for i, name in enumerate(names)]
    write_set(tmp_path, records)
    dataset = read(tmp_path)
    found = [path.rpartition("/")[2] for path in dataset.image_paths]
    assert found == ["up.png", "b_.png", "hidden.png", "a.b.png", "train.tfrecord-000004.png"]
    assert not list(tmp_path.parent.glob("*.png"))


def test_shards_splits_and_what_is_missing(tmp_path):
    write_label_map(tmp_path)
    for i in (0, 2):
        record = example(f"{i}.png", [DOG], encoded(i))
        write_records(tmp_path / f"coco_train.record-{i:05d}-of-00003", [record])
    write_records(tmp_path / "coco_val.record-00000-of-00001", [example("v.png", [CAT])])
    layout = tfrecord.find(tmp_path)
    assert list(layout.splits) == ["train", "val"] and layout.everything is None
    with pytest.warns(
        UserWarning, match="Read without its missing shards: 1 .first: coco_train.record-00001"
    ):
        assert len(load(tmp_path, "train")) == 2
    assert len(read(tmp_path, split="val")) == 1
    with pytest.raises(DataError, match="`split` must name one.*'test'.*train, val"):
        read_tfrecord(tmp_path, split="test")
    with pytest.raises(DataError, match="`split` must name one"):
        read_tfrecord(tmp_path)


@pytest.mark.parametrize(
    "names, splits",
    [
        (["train-00000-of-00001"], ["train"]),
        (["train/Cells.tfrecord", "valid/Cells.tfrecord"], ["train", "valid"]),
        (["train2017.record", "val2017.record"], ["train2017", "val2017"]),
        (["train00-462.tfrec", "train01-462.tfrec"], ["train"]),
        (["pets_train.tfrecord-00000-of-00001", "lvis_train.record"], ["lvis_train", "pets_train"]),
        (["a.record", "b.record"], []),
        (["a.tfrecord.gz"], []),
    ],
)
def test_layouts(tmp_path, names, splits):
    for name in names:
        write_records(tmp_path / name, [b""])
    layout = tfrecord.find(tmp_path)
    assert sorted(layout.splits) == splits
    assert (layout.everything is None) == bool(splits)
    found = {file for source in layout.splits.values() for file in source.files}
    found |= set(layout.everything.files if layout.everything else ())
    assert len(found) == len(names)


def test_other_files_are_not_taken(tmp_path):
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"PAR1" * 9)
    (tmp_path / "train-00000-of-00001").write_bytes(b"something else")
    (tmp_path / "labels.json").write_text("{}")
    assert tfrecord.find(tmp_path) is None
    assert tfrecord.find(tmp_path / "labels.json") is None
    assert tfrecord.find(tmp_path / "nothing") is None
    write_label_map(tmp_path)
    assert "label_map.pbtxt, but no files such as" in tfrecord.resembles(tmp_path)


def test_compressed_files(tmp_path):
    for kind in ("GZIP", "ZLIB"):
        path = write_records(tmp_path / kind / "a.tfrecord", [example("a", [DOG])], kind)
        write_label_map(path.parent)
        assert compression(path) == kind and len(read(path).labels) == 1
    assert is_record(write_set(tmp_path)) and compression(tmp_path / "train.tfrecord") == ""


def test_crowds_areas_and_source_ids(tmp_path):
    content = {"image__object__is_crowd": [1, 0, 0], "image__object__difficult": [0, 1, 0]}
    content |= {"image__object__area": [5.0, 0.0, 6.0], "image__source_id": [b"12"]}
    write_set(tmp_path, [example("a.png", [CAT, DOG, (0.5, 0, 1, 0.5, 1, "cat")], **content)])
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.crowd, [True, True, False])
    np.testing.assert_allclose(dataset.area, [5, 12, 6])  # (6 - 2) * (6 - 3) = 12
    assert dataset.image_ids == (12,)
    assert note_of(dataset, "difficult").startswith("Objects with `image/object/difficult`: 1.")
    note_of(dataset, "0 or less")


def test_the_same_source_id_everywhere_gives_way_to_file_names(tmp_path):
    names = ("a.png", "b.png")
    same = {"image__source_id": [b"0"]}
    write_set(tmp_path, [example(n, [DOG], encoded(i), **same) for i, n in enumerate(names)])
    dataset = read(tmp_path)
    assert dataset.image_ids == names
    note_of(dataset, "`image/source_id` is missing or the same")


def test_labels_from_0_are_told_by_their_texts(tmp_path):
    write_set(tmp_path, [example("a", [(*DOG[:4], 1, "dog"), (*CAT[:4], 0, "cat")])])
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.labels, [1, 0])
    assert "2 of 2 labels differ from their text: the labels count from 0" in dataset.notes[1]


def test_label_0_without_text_is_refused(tmp_path):
    write_set(tmp_path, [example("a", [(*DOG[:4], 0, None), (*CAT[:4], 1, None)])])
    with pytest.raises(
        DataError, match="must be an id of the label map. Received: 0 in .*object 0"
    ):
        read_tfrecord(tmp_path)


def test_a_text_that_the_label_map_lacks_is_noted(tmp_path):
    write_set(tmp_path, [example("a", [(*DOG[:4], 2, "hound")])])
    dataset = read(tmp_path)
    assert dataset.labels.tolist() == [1]
    assert "'hound' is 'dog' by its number 2" in note_of(dataset, "Objects whose text")


def test_display_names_and_escapes_in_label_maps(tmp_path):
    (tmp_path / "label_map.pbtxt").write_bytes(
        b'\xef\xbb\xbf# classes\nitem { name: "/m/1", id: 1, display_name: "caf\\303\\251" }\n'
        b"item{ id:3 name:'/m/3' display_name:'a \"b\" {' keypoints { id: 9 name: 'nose' } }"
    )
    found = read_label_map(tmp_path / "label_map.pbtxt")
    assert {number: entry.name for number, entry in found.items()} == {1: "café", 3: 'a "b" {'}
    write_records(tmp_path / "x.tfrecord", [example("a", [(*DOG[:4], 3, "/m/3")])])
    dataset = read(tmp_path)
    assert dataset.category_ids == (1, 3) and dataset.labels.tolist() == [1]
    assert len(dataset.notes) == 1  # the text is the other name: no contradiction


@pytest.mark.parametrize(
    "text, message",
    [
        ('item { name: "cat" }', "must have `id`.*id missing, name cat in .*line 1"),
        ("item { id: 1 }", "name missing"),
        (
            'item { id: 1 name: "a" }\nitem { id: 1 name: "b" }',
            "id of its own.*'a' and 'b'.*line 2",
        ),
        ('item { id: 1 name: "a"', "ends inside an item"),
        ('item { id: 1\n name: "a }', "must hold items.*line 2"),
        ("\xff", "must be UTF-8"),
    ],
)
def test_damaged_label_maps(tmp_path, text, message):
    (tmp_path / "label_map.pbtxt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"(?s){message}"):
        read_label_map(tmp_path / "label_map.pbtxt")


def test_a_graph_beside_the_records_is_no_label_map(tmp_path):
    write_records(tmp_path / "train.record", [example("a", [CAT])])
    (tmp_path / "graph.pbtxt").write_text('node { name: "a" } // item {')
    assert read(tmp_path).class_names == ("cat",)
    (tmp_path / "classes.pbtxt").write_text('item { id: 1 name: "cat" }')
    assert len(read(tmp_path).notes) == 0


def test_label_maps_of_splits_must_agree(tmp_path):
    for split, names in (("train", ("cat", "dog")), ("valid", ("cat", "cow"))):
        write_records(tmp_path / split / "x.tfrecord", [example("a", [CAT])])
        write_label_map(tmp_path / split, names)
    with pytest.raises(DataError, match="one id one name. Received: id 2 is 'dog' in .*'cow'"):
        read_tfrecord(tmp_path, split="train")


def test_without_a_label_map_the_texts_of_all_splits_are_the_classes(tmp_path):
    write_records(tmp_path / "train.record", [example("a", [(*DOG[:4], 1, "zebra")])])
    write_records(tmp_path / "val.record", [example("v", [(*DOG[:4], 2, "ape")])])
    for split, label in (("train", 0), ("val", 1)):
        dataset = read(tmp_path, split=split)
        assert dataset.class_names == ("zebra", "ape") and dataset.labels.tolist() == [label]
    assert "in the order of their labels" in note_of(dataset, "No label map found")
    dataset = read(tmp_path, split="val", class_names=("ape", "zebra"))
    assert dataset.labels.tolist() == [0]


def test_without_a_label_map_and_texts_an_error_says_what_to_write(tmp_path):
    write_records(tmp_path / "train.record", [example("a", [(*DOG[:4], 4, None)])])
    with pytest.raises(DataError, match="label 4 without text.*Write .*label_map.pbtxt .*id: 4"):
        read_tfrecord(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image__object__bbox__xmax": [0.5, 0.7]}, "xmax` must hold one value .* 2 values for 1"),
        ({"image__object__class__text": [b"a", b"b"]}, "text` must hold one value"),
        ({"image__object__class__label": [1.5]}, "label` must hold whole numbers"),
        ({"image__object__bbox__xmin": [b"x"]}, "xmin` must hold numbers"),
        ({"image__height": [-4]}, "height` must be a whole number of pixels. Received: -4"),
        ({"image__encoded": [b"pixels"]}, "encoded` must be a JPEG"),
        ({"image__object__is_crowd": [1, 0]}, "is_crowd` must hold one value"),
    ],
)
def test_a_bad_record_is_left_out_and_named(tmp_path, change, message):
    good = [example(f"{i}.png", [DOG], encoded(i)) for i in range(3)]
    write_set(tmp_path, [good[0], example("bad.png", [DOG], **change), *good[1:]])
    dataset = read(tmp_path)
    assert len(dataset) == 3 and len(dataset.labels) == 3
    note = note_of(dataset, "1 of 4 records left out")
    assert "train.tfrecord, record 1" in note and re.search(message, note)


def test_bytes_that_are_no_example_and_boxes_that_are_not_finite(tmp_path):
    good = [example(f"{i}.png", [DOG], encoded(i)) for i in range(3)]
    nan = example("n.png", [(float("nan"), 0, 1, 1, 1, "cat"), CAT], encoded(9))
    write_set(tmp_path, [*good, b"\xff\xff\xff", nan])
    dataset = read(tmp_path)
    note_of(dataset, "record 3: it must be a tf.train.Example")
    assert "1 of 5 boxes left out" in note_of(
        dataset, "four finite numbers. Received: [nan, 0, 1, 1]"
    )
    assert len(dataset.labels) == 4


def test_records_with_other_keys_are_refused(tmp_path):
    write_set(tmp_path, [example("a").replace(b"image/", b"photo/")])
    with pytest.raises(DataError, match="keys of the TensorFlow.*photo/encoded.*record 0"):
        read_tfrecord(tmp_path)


def test_images_beside_the_records(tmp_path):
    write_set(tmp_path, [example("a.png", [DOG], image__encoded=None)])
    (tmp_path / "a.png").write_bytes(encoded())
    dataset = read(tmp_path)
    assert dataset.image_paths == (str(tmp_path / "a.png"),)
    assert not (tmp_path / "unpacked_images").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    write_set(tmp_path)
    (tmp_path / "unpacked_images").write_text("a file")
    with pytest.raises(DataError, match=r"written into a folder.*unpacked_images.*--image-dir"):
        read_tfrecord(tmp_path)


def test_cut_and_damaged_files_name_the_record(tmp_path):
    path = write_set(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    with pytest.raises(DataError, match="must be complete. Received: .*cut off at record 1"):
        read_tfrecord(tmp_path)
    flipped = bytearray(data)
    flipped[40] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="damaged or cut off at record 0"):
        read_tfrecord(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="must hold records. Received: none"):
        read_tfrecord(tmp_path)


def test_any_damage_is_a_data_error_or_a_correct_data_set(tmp_path):
    """Seeded damage to bytes of the file: never a traceback, never other numbers."""
    path = write_set(tmp_path)
    data, expected = path.read_bytes(), read(tmp_path)
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(data)
        kind = rng.integers(3)
        place = int(rng.integers(len(data)))
        if kind == 0:
            damaged[place] ^= int(rng.integers(1, 256))
        elif kind == 1:
            del damaged[place:]
        else:
            damaged[place:place] = rng.bytes(int(rng.integers(1, 20)))
        path.write_bytes(damaged)
        try:
            found = read(tmp_path)
        except DataError as error:
            assert "train.tfrecord" in str(error)
            outcomes.add("error")
            continue
        outcomes.add("read")  # cut off between two records
        count = len(found)
        assert found.image_ids == expected.image_ids[:count]
        np.testing.assert_array_equal(found.boxes, expected.boxes[: len(found.boxes)])
    assert "error" in outcomes


def test_any_damage_to_the_content_of_records(tmp_path):
    """Seeded damage inside records with right checksums."""
    rng = np.random.default_rng(6)
    record = example("a.png", [DOG, CAT])
    outcomes = set()
    for i in range(30):
        damaged = bytearray(record)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        root = tmp_path / str(i)
        write_set(root, [record, bytes(damaged)])
        try:
            dataset = read(root)
        except DataError as error:
            assert "Received: " in str(error)
            outcomes.add("error")
            continue
        outcomes.add("left out" if any("left out" in note for note in dataset.notes) else "read")
        assert np.isfinite(dataset.boxes).all() and (dataset.labels >= 0).all()
        np.testing.assert_array_equal(dataset[0].boxes[:2], [[2, 3, 6, 6], [0, 0, 4, 3]])
    assert "left out" in outcomes


def test_finding_shards_loads_no_tensorflow(tmp_path):
    write_set(tmp_path)
    code = (
        "import sys, pathlib, json; from keras_det.data.formats import tfrecord; "
        f"layout = tfrecord.find(pathlib.Path({str(tmp_path)!r})); "
        "print(json.dumps([list(layout.splits), 'tensorflow' in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == [["train"], False]
