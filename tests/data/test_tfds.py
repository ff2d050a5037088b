"""Data sets of TensorFlow Datasets: a drawn builder, its folder, and what is missing."""

import json
import shutil
import sys
import types
import warnings

import numpy as np
import pytest

from keras_det.data import from_tfds, load
from keras_det.data.formats import tfds as reader
from keras_det.data.formats import tfrecord
from keras_det.data.formats.tfrecord_examples import records_of
from keras_det.data.image import read_image
from keras_det.errors import DataError


def make_builder(folder, labels=True, boxes=True):
    """A builder with three images: 0, 1 and 2 objects."""
    tfds = pytest.importorskip("tensorflow_datasets")
    each = {"is_crowd": np.bool_, "area": np.int64}
    if boxes:
        each["bbox"] = tfds.features.BBoxFeature()
    if labels:
        each["label"] = tfds.features.ClassLabel(names=["cat", "dog"])
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(each),
    }

    class Drawn(tfds.core.GeneratorBasedBuilder):
        name = f"drawn_{labels:d}{boxes:d}"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(3), "validation": self._generate_examples(1)}

        def _generate_examples(self, count):
            for i in range(count):
                one = {"is_crowd": i == 1, "area": 3} | ({"label": 1} if labels else {})
                lows = (0.5, 0.25)[:i] if boxes else (0.0,) * i
                both = [
                    one | ({"bbox": tfds.features.BBox(0.0, 0.25, low, 0.75)} if boxes else {})
                    for low in lows
                ]
                yield (
                    i,
                    {
                        "image": np.full((6, 8, 3), i * 10, np.uint8),
                        "image/filename": f"photo {i}.png",
                        "image/id": i + 40,
                        "objects": both,
                    },
                )

    builder = Drawn(data_dir=folder)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return make_builder(tmp_path_factory.mktemp("tfds"))


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def check(dataset):
    order = np.argsort(dataset.image_ids)  # TFDS shuffles when it writes
    assert [dataset.image_ids[i] for i in order] == [40, 41, 42]
    assert dataset.class_names == ("cat", "dog") and dataset.split == "train"
    assert [len(dataset[int(i)].labels) for i in order] == [0, 1, 2]
    # yxyx (0, 0.25, 0.5, 0.75) and (0, 0.25, 0.25, 0.75) of an image 6 high and 8 wide
    expected = np.array([[2, 0, 6, 3], [2, 0, 6, 1.5]])
    for count, i in enumerate(order):
        np.testing.assert_array_equal(dataset[int(i)].boxes, expected[:count])
    assert dataset.labels.tolist() == [1, 1, 1] and dataset.area.tolist() == [3, 3, 3]
    for i, number in zip(order, range(3), strict=True):
        path = dataset.image_paths[i]
        assert path.endswith(f"photo {number}.png")
        assert read_image(path)[0, 0, 0] == 10 * number
        assert dataset[int(i)].crowd.tolist() == [number == 1] * number


def test_a_builder_and_its_folder_give_the_same(builder, tmp_path):
    dataset = quiet(from_tfds, builder, "train", image_dir=tmp_path / "images")
    check(dataset)
    assert f"3 images (0.0 MB) unpacked into {tmp_path / 'images'}" in dataset.notes[0]
    root = tmp_path / "copy"
    shutil.copytree(builder.data_path, root / "1.0.0")
    check(quiet(load, root, "train"))
    assert (root / "1.0.0" / "unpacked_images" / "photo 2.png").is_file()
    check(quiet(from_tfds, root / "1.0.0", "train"))
    assert len(quiet(from_tfds, root / "1.0.0", "train[:2]")) == 2
    assert len(quiet(load, root, "val")) == 1
    assert tfrecord.find(root / "1.0.0") is None


def test_splits_and_damage_are_named(builder, tmp_path):
    with pytest.raises(DataError, match="one of train, validation or a part.*'test'"):
        from_tfds(builder, "test")
    root = tmp_path / "copy"
    shutil.copytree(builder.data_path, root)
    shard = next(root.glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DataError, match="must be complete.*damaged after example"):
        quiet(from_tfds, root, "train")
    (root / "features.json").write_text("{")
    with pytest.raises(DataError, match="features.json and dataset_info.json must be"):
        from_tfds(root, "train")
    (root / "features.json").unlink()
    assert reader.find(root) is None
    assert reader.resembles(root) == "has dataset_info.json, but no features.json"


def test_features_without_labels_or_boxes(tmp_path):
    dataset = quiet(from_tfds, make_builder(tmp_path, labels=False), "train")
    assert dataset.class_names == ("objects",) and dataset.labels.tolist() == [0, 0, 0]
    assert any("no labels: all are of one class, 'objects'" in note for note in dataset.notes)
    with pytest.raises(DataError, match="must have an image and a sequence of objects"):
        from_tfds(make_builder(tmp_path, boxes=False), "train")


def test_names_and_arguments(builder, tmp_path):
    with pytest.raises(DataError, match="name that TensorFlow Datasets knows.*'no_such_set'"):
        from_tfds("no_such_set", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="`data_dir` is for data sets that are given by name"):
        from_tfds(builder, "train", data_dir=tmp_path)


def test_without_the_package_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    info = {"splits": [{"name": "train"}]}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(DataError, match=r"need the package.*Install it with pip install .*tfds"):
        load(tmp_path, "train")
    with pytest.raises(DataError, match="Install it with"):
        from_tfds("voc", "train")


def test_an_error_whose_message_is_no_text_names_the_data_set():
    def examples():
        b"\xe7".decode()
        yield

    builder = types.SimpleNamespace(name="drawn", data_path="/data")
    rows = reader._checked(examples(), None, builder, "train")
    with pytest.raises(DataError, match=r"Received: drawn train in /data, .*example 0 \('utf-8'"):
        list(rows)


def refusing_text(*_):
    b"\xe7".decode()
    yield


def test_an_error_whose_message_is_no_text_names_the_file(tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.data, "TFRecordDataset", refusing_text)
    with pytest.raises(DataError, match=r"Received: .*train\.tfrecord, damaged .* record 0 \('utf"):
        list(records_of(tmp_path / "train.tfrecord"))
