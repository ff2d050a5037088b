"""Dictionaries of keras_cv become batches for `fit`: ragged or padded, in every box format."""

import keras
import numpy as np
import pytest

from keras_det.data import to_batches
from keras_det.errors import DataError
from tests.export.tiny import tiny

tf = pytest.importorskip("tensorflow")
HEIGHT, WIDTH = 32, 64
# One box, x1 = 8, y1 = 4, x2 = 24, y2 = 12, as each format writes it in an image of 64x32.
WRITTEN = {
    "xyxy": [8, 4, 24, 12],
    "yxyx": [4, 8, 12, 24],
    "xywh": [8, 4, 16, 8],
    "center_xywh": [16, 8, 16, 8],
    "center_yxhw": [8, 16, 8, 16],
    "rel_xyxy": [0.125, 0.125, 0.375, 0.375],
    "rel_yxyx": [0.125, 0.125, 0.375, 0.375],
    "rel_xywh": [0.125, 0.125, 0.25, 0.25],
    "rel_center_xywh": [0.25, 0.25, 0.25, 0.25],
    "rel_center_yxhw": [0.25, 0.25, 0.25, 0.25],
}
BOX = [8.0, 4.0, 24.0, 12.0]


def stream(boxes, classes, size=(HEIGHT, WIDTH)):
    """Examples that are not batched yet, from lists of boxes and classes."""
    spec = {
        "images": tf.TensorSpec((*size, 3), tf.uint8),
        "bounding_boxes": {
            "boxes": tf.TensorSpec((None, 4), tf.float32),
            "classes": tf.TensorSpec((None,), tf.float32),
        },
    }

    def examples():
        for rows, labels in zip(boxes, classes, strict=True):
            image = np.full((*[side or 5 for side in size], 3), len(labels), "uint8")
            rows = np.reshape(rows, (-1, 4)).astype("float32")
            labels = np.array(labels, "float32")
            yield {"images": image, "bounding_boxes": {"boxes": rows, "classes": labels}}

    return tf.data.Dataset.from_generator(examples, output_signature=spec)


def padded(data, count):
    values = {"images": np.uint8(0), "bounding_boxes": {"boxes": -1.0, "classes": -1.0}}
    return data.padded_batch(count, padding_values=values)


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("batched", [tf.data.Dataset.ragged_batch, padded])
def test_boxes_become_corners_in_pixels_and_empty_slots_are_marked(form, batched):
    row = WRITTEN[form]
    data = stream([[row], [row, row], []], [[2], [0, 1], []])
    ((images, targets),) = to_batches(batched(data, 3), bounding_box_format=form, max_boxes=3)
    zero = [0.0] * 4
    np.testing.assert_allclose(
        targets["boxes"], [[BOX, zero, zero], [BOX, BOX, zero], [zero] * 3], atol=1e-5
    )
    assert targets["labels"].numpy().tolist() == [[2, -1, -1], [0, 1, -1], [-1, -1, -1]]
    assert targets["boxes"].dtype == "float32" and targets["labels"].dtype == "int32"
    assert images.numpy().max(axis=(1, 2, 3)).tolist() == [1, 2, 0]


def test_flat_dictionaries_are_taken_and_shapes_are_static():
    flat = tf.data.Dataset.from_tensors(
        {
            "images": np.zeros((1, HEIGHT, WIDTH, 3), "float32"),
            "boxes": np.array([[WRITTEN["xywh"], [-1] * 4]]),
            "labels": np.array([[1, -1]]),
            "image_id": np.array([7]),
        }
    )
    batches = to_batches(flat, bounding_box_format="XYWH")
    ((_, targets),) = batches
    assert targets["boxes"][0, 0].numpy().tolist() == BOX
    spec = batches.element_spec[1]
    assert spec["boxes"].shape.as_list() == [1, 100, 4]
    assert spec["labels"].shape.as_list() == [1, 100]


def test_a_model_trains_on_them_and_names_too_many_objects():
    model = tiny(image_size=(HEIGHT, WIDTH))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    data = stream([[BOX], [BOX, BOX]], [[0], [1, 2]]).ragged_batch(2)
    batches = to_batches(data, bounding_box_format="xyxy", max_boxes=2)
    found = model.fit(batches, verbose=0).history
    corners = np.array([[BOX, [0] * 4], [BOX, BOX]], "float32")
    targets = {"boxes": corners, "labels": np.array([[0, -1], [1, 2]])}
    images = np.stack([np.full((HEIGHT, WIDTH, 3), count, "uint8") for count in (1, 2)])
    expected = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert found["positives_per_image"] == [expected["positives_per_image"]]
    assert expected["positives_per_image"] > 0
    few = to_batches(data, bounding_box_format="xyxy", max_boxes=1)
    with pytest.raises(ValueError, match="`max_boxes` must.*max_boxes=1 .*a larger max_boxes.$"):
        model.fit(few, verbose=0)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data, r"shape \(32, 64, 3\)\. Batch the stream: stream\.ragged_batch"),
        (lambda data: data.map(lambda x: x["images"]).batch(2), "as an element of the stream"),
    ],
)
def test_streams_of_another_form_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        to_batches(change(stream([[BOX]], [[0]])), bounding_box_format="xyxy")


def test_images_of_several_sizes_and_other_arguments_are_refused():
    several = stream([[BOX]], [[0]], size=(None, None)).ragged_batch(1)
    with pytest.raises(DataError, match="images of one size.*Resize the images.*from_arrays"):
        to_batches(several, bounding_box_format="xyxy")
    with pytest.raises(TypeError, match="must be a tf.data.Dataset of batches. Received: list"):
        to_batches([], bounding_box_format="xyxy")
    one = stream([[BOX]], [[0]]).ragged_batch(1)
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of"):
        to_batches(one, bounding_box_format="xxyy")
    with pytest.raises(ValueError, match="`max_boxes` must"):
        to_batches(one, bounding_box_format="xyxy", max_boxes=0)
