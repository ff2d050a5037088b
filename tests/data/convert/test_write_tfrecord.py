"""Writing TFRecord files, and reading them back."""

import warnings

import numpy as np
import pytest
from PIL import Image

from keras_det.data import Dataset, load, write_tfrecord
from keras_det.errors import DataError
from tests.data.builders import write_image

SIZES = ((61, 40), (333, 500), (1, 4001))  # (height, width)


def drawn(tmp_path, split="train", ids=(3, 7)):
    """Three images of odd sizes, the last without objects; one crowd, areas of masks."""
    paths = [
        write_image(tmp_path / "images" / f"{i}.{suffix}", *size, value=i)
        for i, (size, suffix) in enumerate(zip(SIZES, ("png", "jpg", "bmp"), strict=True))
    ]
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (5, 2, 2)).astype(np.float32)
    sides = np.array([SIZES[0][::-1]] * 2 + [SIZES[1][::-1]] * 3)
    boxes = np.concatenate([corners.min(1) * sides, corners.max(1) * sides], axis=1)
    return Dataset(
        image_paths=tuple(map(str, paths)),
        image_ids=(11, 5, 8),
        image_sizes=np.array(SIZES),
        boxes=boxes,
        labels=np.array([0, 1, 1, 0, 1]),
        crowd=np.array([0, 0, 1, 0, 0], bool),
        area=np.array([3.5, 2, 700, 9, 1]),
        row_splits=np.array([0, 2, 5, 5]),
        class_names=("cat", 'a "dog"\\ é'),
        category_ids=ids,
        name="zoo",
        split=split,
    )


def test_the_round_trip_keeps_everything(tmp_path):
    dataset = drawn(tmp_path)
    files = write_tfrecord(dataset, tmp_path / "out", shards=2)
    assert [file.name for file in files] == [f"train-0000{i}-of-00002.tfrecord" for i in (0, 1)]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "label_map.pbtxt",
        *(file.name for file in files),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = load(tmp_path / "out", "train")
    np.testing.assert_allclose(back.boxes, dataset.boxes, atol=0.001)
    for field in ("labels", "crowd", "area", "row_splits", "image_sizes"):
        np.testing.assert_array_equal(getattr(back, field), getattr(dataset, field), field)
    for field in ("image_ids", "class_names", "category_ids", "split"):
        assert getattr(back, field) == getattr(dataset, field), field
    for path, other in zip(back.image_paths, dataset.image_paths, strict=True):
        with open(path, "rb") as a, open(other, "rb") as b:
            assert path.rpartition("/")[2] == other.rpartition("/")[2] and a.read() == b.read()


def test_splits_share_a_folder_and_nothing_is_overwritten(tmp_path):
    dataset, out = drawn(tmp_path), tmp_path / "out"
    write_tfrecord(dataset, out, shards=1)
    with pytest.raises(DataError, match="must not exist yet. Received: .*train-00000-of-00001"):
        write_tfrecord(dataset, out, shards=3)
    assert len(write_tfrecord(drawn(tmp_path, "val"), out)) == 1
    with pytest.raises(DataError, match="same classes"):
        write_tfrecord(drawn(tmp_path, "test", ids=(7, 3)), out)
    assert len(list(out.glob("*.tfrecord"))) == 2
    with pytest.raises(ValueError, match="`shards` must be 1 or more. Received: 0"):
        write_tfrecord(dataset, tmp_path / "other", shards=0)


def test_category_ids_that_are_no_labels_count_from_1(tmp_path):
    for ids in ((0, 1), ("x", "y"), (4, 4)):
        out = tmp_path / str(ids)
        write_tfrecord(drawn(tmp_path, ids=ids), out)
        text = (out / "label_map.pbtxt").read_text()
        assert "id: 1\n" in text and "id: 2\n" in text and text.count("item") == 2


def test_a_missing_image_leaves_no_shard(tmp_path):
    dataset = drawn(tmp_path)
    (tmp_path / "images" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"must be readable. Received: .*1\.jpg"):
        write_tfrecord(dataset, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["label_map.pbtxt"]


def test_images_that_hold_an_orientation_are_counted(tmp_path):
    dataset = drawn(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 6)).save(tmp_path / "images" / "1.jpg", exif=exif)
    with pytest.warns(UserWarning, match="Images with an EXIF orientation: 1"):
        write_tfrecord(dataset, tmp_path / "out")
