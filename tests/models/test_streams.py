"""Labels and weights of streams are checked in every batch, with a message that helps."""

import keras
import numpy as np
import pytest

from keras_det.models.streams import check_values, checked_stream, own_errors
from tests.export.tiny import tiny

IMAGES = np.zeros((4, 64, 64, 3), "uint8")
BOXES = np.zeros((4, 1, 4), "float32") + np.float32([5, 6, 40, 45])
RIGHT = [[0], [-1], [1], [2]]
LABELS = r"`labels` must lie in 0..2, or be -1 in empty slots. Received: {} at index 1 of a batch. "
LABELS += "The first class is 0. COCO category ids start at 1"
WEIGHTS = r"`sample_weight` must hold one .* Received: {} at index 1 of a batch. Use 0 to ignore"
# Labels and weights of four images in batches of two, and the message.
WRONG = [
    (np.int32([[0], [-1], [1], [3]]), None, LABELS.format(3)),
    (np.int64([[0], [-2], [1], [2]]), None, LABELS.format(-2)),
    (np.uint8([[0], [1], [1], [255]]), np.ones(4), LABELS.format(255)),
    (np.float32([[0], [np.nan], [1], [2]]), None, LABELS.format("nan")),
    (np.int32(RIGHT), [1, 1, 1, -1], WEIGHTS.format(r"-1(\.0)?")),
    (np.int32(RIGHT), [1, 1, 1, np.nan], WEIGHTS.format("nan")),
    (np.int32(RIGHT), [1, np.inf, 1, 1], WEIGHTS.format("inf")),
]


class Batches(keras.utils.PyDataset):
    def __init__(self, labels, weights):
        super().__init__(workers=2, max_queue_size=3)
        self.labels, self.weights, self.epochs = labels, weights, []

    def __len__(self):
        return 2

    def __getitem__(self, i):
        rows = slice(2 * i, 2 * i + 2)
        weights = () if self.weights is None else (np.float32(self.weights)[rows],)
        return IMAGES[rows], {"boxes": BOXES[rows], "labels": self.labels[rows]}, *weights

    def on_epoch_begin(self):
        self.epochs.append("begin")

    def on_epoch_end(self):
        self.epochs.append("end")


def dataset(labels, weights):
    tf = pytest.importorskip("tensorflow")
    weights = () if weights is None else (np.float32(weights),)
    slices = (IMAGES, {"boxes": BOXES, "labels": labels}, *weights)
    return tf.data.Dataset.from_tensor_slices(slices).batch(2)


def generator(labels, weights):
    yield from (Batches(labels, weights)[i] for i in range(2))


@pytest.fixture(scope="module")
def model():
    model = tiny(image_size=(64, 64))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


@pytest.mark.parametrize("make", [dataset, generator, Batches])
@pytest.mark.parametrize("labels, weights, message", WRONG)
def test_a_wrong_value_stops_the_stream(make, labels, weights, message):
    with pytest.raises(ValueError, match=message), own_errors():
        list(iterated(checked_stream(make(labels, weights), 3)))


def iterated(x):
    return (x[i] for i in range(x.num_batches)) if isinstance(x, keras.utils.PyDataset) else x


@pytest.mark.parametrize("make", [dataset, generator, Batches])
@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 0.5, 2.0]])
def test_right_values_pass_unchanged(make, weights):
    labels = np.int32(RIGHT)
    plain, checked = (make(labels, weights) for _ in range(2))
    found, expected = iterated(checked_stream(checked, 3)), iterated(plain)
    for one, other in zip(found, expected, strict=True):
        keras.tree.assert_same_structure(one, other)
        pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


def test_a_dataset_keeps_its_spec_and_length():
    plain = dataset(np.int32(RIGHT), None)
    for each in (plain, plain.repeat(), plain.filter(lambda *_: True)):
        checked = checked_stream(each, 3)
        assert checked is not each and checked.element_spec == each.element_spec
        assert int(checked.cardinality()) == int(each.cardinality())


def test_a_py_dataset_keeps_its_settings_and_its_epochs():
    plain = Batches(np.int32(RIGHT), None)
    checked = checked_stream(plain, 3)
    assert (checked.workers, checked.max_queue_size, checked.use_multiprocessing) == (2, 3, False)
    checked.on_epoch_begin()
    checked.on_epoch_end()
    assert plain.epochs == ["begin", "end"]


@pytest.mark.parametrize("make", [dataset, generator, Batches])
def test_fit_and_evaluate_check_every_stream(model, make):
    labels, weights, message = WRONG[0]
    right = np.int32(RIGHT)
    for call in (
        lambda: model.fit(make(labels, weights), verbose=0),
        lambda: model.evaluate(make(labels, weights), verbose=0),
        lambda: model.fit(make(right, None), validation_data=make(labels, weights), verbose=0),
    ):
        with pytest.raises(ValueError, match="^" + message):
            call()


def test_a_generator_may_be_used_further_and_other_forms_pass():
    batches = generator(np.int32(RIGHT), None)
    checked = checked_stream(batches, 3)
    next(checked)
    checked.close()
    assert len(list(batches)) == 1
    for other in (IMAGES, [IMAGES], None, "text"):
        assert checked_stream(other, 3) is other
    for batch in (IMAGES, (IMAGES,), (IMAGES, None), (IMAGES, {"classes": BOXES}), None):
        check_values(batch, 3)
    tf = pytest.importorskip("tensorflow")
    words = tf.data.Dataset.from_tensors((IMAGES, {"boxes": BOXES, "labels": [["a"]]}))
    assert checked_stream(words, 3) is words
