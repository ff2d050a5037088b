import json
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_det.data import from_arrays
from keras_det.errors import DataError
from tests.data.builders import write_image


@pytest.fixture
def paths(tmp_path):
    return [str(write_image(tmp_path / f"{k}.png", 60, 80)) for k in range(2)]


def make(items, form="xyxy", **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_arrays(items, bounding_box_format=form, **arguments)


def nested(image, boxes, classes):
    return {"images": image, "bounding_boxes": {"boxes": boxes, "classes": classes}}


def test_items_of_both_forms_and_empty_slots(paths):
    items = [
        nested(paths[0], [[4, 10, 40, 30], [-1, -1, -1, -1]], [1.0, -1.0]),
        {"image": paths[1], "boxes": np.zeros((0, 4)), "labels": []},
    ]
    dataset = make(items, class_names=["cat", "dog"], name="mine", split="train")
    assert dataset.image_paths == tuple(paths)
    assert dataset.boxes.tolist() == [[4, 10, 40, 30]] and dataset.labels.tolist() == [1]
    assert dataset.row_splits.tolist() == [0, 1, 1]
    assert (dataset.class_names, dataset.name, dataset.split) == (("cat", "dog"), "mine", "train")
    assert dataset.image_sizes.tolist() == [[60, 80], [60, 80]] and not dataset.notes
    assert make(items).class_names == ("class_0", "class_1")


# All are the box from (8, 6) to (40, 30) in an image of 80 by 60.
@pytest.mark.parametrize(
    "form, box",
    [
        ("xyxy", [8, 6, 40, 30]),
        ("yxyx", [6, 8, 30, 40]),
        ("xyWH", [8, 6, 32, 24]),
        ("center_xywh", [24, 18, 32, 24]),
        ("rel_xyxy", [0.1, 0.1, 0.5, 0.5]),
        ("rel_yxyx", [0.1, 0.1, 0.5, 0.5]),
        ("rel_xywh", [0.1, 0.1, 0.4, 0.4]),
    ],
)
def test_formats_of_boxes(paths, form, box):
    dataset = make([nested(paths[0], [box], [0])], form)
    np.testing.assert_allclose(dataset.boxes, [[8, 6, 40, 30]], rtol=1e-6)


def test_columns_and_batches(paths):
    boxes = np.array([[[4, 10, 40, 30]], [[1, 2, 3, 4]]], "float32")
    columns = nested(paths, boxes, np.array([[0], [1]]))
    ragged = nested(np.array(paths), [[[4, 10, 40, 30]], []], [[0], []])
    assert make(columns).boxes.tolist() == boxes[:, 0].tolist()
    assert make(ragged).row_splits.tolist() == [0, 1, 1]
    batches = [nested(paths[:1], boxes[:1], [[0]]), nested(paths[1:], boxes[1:], [[1]])]
    assert make(batches).boxes.tolist() == boxes[:, 0].tolist()
    with pytest.raises(DataError, match="2 images, boxes of 1, classes of 2"):
        make(nested(paths, boxes[:1], [[0], [1]]))


def test_arrays_are_written_to_a_new_folder(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), "uint8")
    batch = nested(images.astype("float32"), np.array([[[1, 1, 5, 5]]] * 2), np.zeros((2, 1)))
    dataset = make(batch, image_dir=tmp_path / "new")
    assert [os.path.basename(path) for path in dataset.image_paths] == ["000000.png", "000001.png"]
    for path, image in zip(dataset.image_paths, images, strict=True):
        np.testing.assert_array_equal(np.array(Image.open(path)), image)
    with pytest.raises(DataError, match="must be a new or empty folder.*not empty"):
        make(batch, image_dir=tmp_path / "new")
    with pytest.raises(DataError, match="holds image paths, not pixels.*image_dir="):
        make(batch)
    half = nested(np.full((6, 8, 3), 99.5), [[1, 1, 5, 5]], [0])
    assert "1 image were rounded (first: items[0])" in make(half, image_dir=tmp_path / "h").notes[0]


def test_a_stream_of_tensorflow(tmp_path, paths):
    tf = pytest.importorskip("tensorflow")
    boxes = tf.ragged.constant([[[4, 10, 40, 30], [1, 2, 3, 4]], [[5, 5, 9, 9]]], ragged_rank=1)
    columns = nested(tf.constant(paths), boxes, tf.ragged.constant([[0, 1], [1]]))
    stream = tf.data.Dataset.from_tensor_slices(columns)
    for data in (stream, stream.ragged_batch(2)):
        dataset = make(data)
        assert dataset.labels.tolist() == [0, 1, 1] and dataset.image_paths == tuple(paths)
        assert dataset.boxes[2].tolist() == [5, 5, 9, 9]


@pytest.mark.parametrize(
    "boxes, classes, message",
    [
        ([[1, 2, 3]], [0], r"array of shape \(n, 4\)"),
        ([[1, 2, 3, 4]], [0, 1], r"1 box and 2 classes in items\[0\]"),
        ([[1, 2, 3, 4]], ["cat"], r"items\[0\], classes .*their indices in `class_names`"),
        ([[1, 2, 3, 4]], [0.5], r"whole number from 0.*0\.5 in items\[0\]"),
        ([[1, 2, 3, 4]], [-2], r"-2 in items\[0\]"),
        ([[1, 2, 3, 4]], [2], r"Classes must lie in 0\.\.1.*2 in items\[0\]"),
        ([[1, 2], [1, 2, 3]], [0, 0], r"items\[0\], boxes"),
    ],
)
def test_wrong_boxes_and_classes_are_named(paths, boxes, classes, message):
    with pytest.raises(DataError, match=message):
        make([nested(paths[0], boxes, classes)], class_names=["a", "b"])


@pytest.mark.parametrize(
    "image, message",
    [
        (np.full((4, 4, 3), 0.5), r"values from 0\.5 to 0\.5 in items\[0\]"),
        (np.full((4, 4, 3), -1.0), "values from -1"),
        (np.full((4, 4, 3), 300), "to 300"),
        (np.full((4, 4, 3), np.nan), "values from nan"),
        (np.zeros((4, 4), "uint8"), r"shape \(4, 4\) of uint8"),
        (np.zeros((4, 4, 4), "uint8"), r"shape \(4, 4, 4\)"),
        (None, "as the image of items"),
    ],
)
def test_wrong_images_are_named(tmp_path, image, message):
    with pytest.raises(DataError, match=message):
        make([nested(image, [[1, 1, 3, 3]], [0])], image_dir=tmp_path / "new")


def test_wrong_arguments(paths):
    good = nested(paths[0], [[1, 2, 3, 4]], [0])
    with pytest.raises(
        ValueError, match="`bounding_box_format` must be .*Did you mean 'center_yxhw'"
    ):
        make([good], "center_xyhw")
    with pytest.raises(TypeError, match="`class_names` must be a list"):
        make([good], class_names="cat")
    with pytest.raises(TypeError, match='Each item must be a dict of "images"'):
        make(json.dumps({}))
    for items in ([], [{"images": paths[0], "boxes": []}], [paths[0]], [{"bounding_boxes": 3}]):
        with pytest.raises(DataError, match='Each item must be a dict of "images"'):
            make(items)
