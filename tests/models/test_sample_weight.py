"""An image of weight w counts as w copies of it: in the losses and in what they are divided by."""

import keras
import numpy as np
import pytest

from keras_det import CornerNet, RetinaNet
from keras_det.backbones import Hourglass
from tests.export.tiny import tiny

numbers = keras.ops.convert_to_numpy
MAKERS = {
    "efficientdet": lambda: tiny(image_size=(64, 64)),  # its parts, its loss
    "retinanet": lambda: RetinaNet("resnet18", 3, image_size=64),
    "retinanet, boxes": lambda: RetinaNet("resnet18", 3, image_size=64, box_loss="giou"),
    "cornernet": lambda: CornerNet(Hourglass(2, (8, 12), (1, 1), 4), 3, image_size=63),
}
# Three images: two objects, one, none.
BOXES = np.zeros((3, 2, 4), "float32")
BOXES[0], BOXES[1, 0] = [[5, 6, 40, 45], [20, 10, 60, 50]], [8, 4, 30, 60]
LABELS = np.int32([[0, 2], [1, -1], [-1, -1]])


@pytest.fixture(scope="module", params=MAKERS)
def case(request):
    """A model, and raw outputs of three images, different everywhere."""
    model, rng = MAKERS[request.param](), np.random.default_rng(1)
    images = rng.integers(0, 256, (3, *model.image_size, 3)).astype("uint8")
    raw = model(images, training=True)

    def noisy(value):
        return (numbers(value) + rng.normal(0, 0.3, value.shape)).astype("float32")

    return model, keras.tree.map_structure(noisy, raw)


def losses(case, chosen, weights=None):
    """The losses of the images of these numbers."""
    model, raw = case
    raw = keras.tree.map_structure(lambda value: value[chosen], raw)
    targets = {"boxes": BOXES[chosen], "labels": LABELS[chosen]}
    weights = None if weights is None else np.float32(weights)
    parts = model.losses_of(targets, raw, weights)
    return {name: float(value) for name, value in parts.items()}


def same(found, expected):
    assert set(found) == set(expected)
    for name in expected:
        assert found[name] == pytest.approx(expected[name], rel=2e-6, abs=1e-7), name


def test_weight_two_is_the_image_twice(case):
    same(losses(case, [0, 1, 2], [2, 1, 1]), losses(case, [0, 0, 1, 2]))
    same(losses(case, [0, 1, 2], [1, 3, 2]), losses(case, [0, 1, 1, 1, 2, 2]))


def test_weight_zero_is_the_image_left_out(case):
    same(losses(case, [0, 1, 2], [1, 0, 1]), losses(case, [0, 2]))
    same(losses(case, [0, 1, 2], [0, 0, 1]), losses(case, [2]))


def test_weight_one_is_no_weight_and_other_weights_change_something(case):
    same(losses(case, [0, 1, 2], [1, 1, 1]), losses(case, [0, 1, 2]))
    plain, weighted = losses(case, [0, 1, 2]), losses(case, [0, 1, 2], [3, 1, 1])
    assert all(abs(plain[name] / weighted[name] - 1) > 1e-3 for name in plain)


def test_all_weights_zero_is_a_loss_of_zero(case):
    assert set(losses(case, [0, 1, 2], [0, 0, 0]).values()) == {0.0}


# The gradient too, through fit, evaluate, batches of three and train_on_batch.
def test_fit_and_evaluate_take_weights_in_every_form():
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 3)).astype("uint8")
    targets = {"boxes": BOXES, "labels": LABELS}
    twice = [0, 0, 1]

    def fitted(**arguments):
        model = tiny(image_size=(64, 64), seed=1)
        # Batch statistics would see the copies.
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
        logs = [model.evaluate(**arguments, verbose=0, return_dict=True)]
        logs.append(model.fit(**arguments, verbose=0, shuffle=None).history)
        return np.concatenate([w.ravel() for w in model.get_weights()]), logs

    copies = {"x": images[twice], "y": {k: v[twice] for k, v in targets.items()}}
    expected, logs = fitted(**copies)
    weights = np.float32([2, 1, 0])
    arrays = {"x": images, "y": targets, "sample_weight": weights}
    stream = tf.data.Dataset.from_tensor_slices((images, targets, weights)).batch(3)
    for arguments in (arrays, {"x": stream}):
        found, found_logs = fitted(**arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        for one, other in zip(found_logs, logs, strict=True):
            for name in other:
                np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=name)
    model = tiny(image_size=(64, 64), seed=1)
    model.compile(run_eagerly=True)
    loss = model.test_on_batch(images, targets, weights, return_dict=True)["loss"]
    assert loss == pytest.approx(logs[0]["loss"], rel=1e-5)


@pytest.mark.parametrize(
    "weights, received",
    [
        (np.ones((3, 1)), r"\(3, 1\) for 3 images"),
        (np.ones(2), r"\(2,\) for 3 images"),
        ([1.0, -1.0, 1.0], "-1.0 for image 1"),
        ([1.0, 1.0, np.nan], "nan for image 2"),
        ({"labels": np.ones(3)}, "dict for 3 images"),
    ],
)
def test_wrong_weights_are_refused(weights, received):
    model, images = tiny(image_size=(64, 64)), np.zeros((3, 64, 64, 3), "uint8")
    model.compile(run_eagerly=True)
    targets = {"boxes": BOXES, "labels": LABELS}
    for method in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="`sample_weight` must hold one .*" + received):
            method(images, targets, sample_weight=weights)
    with pytest.raises(ValueError, match="`sample_weight` must hold one"):
        model.fit(images, targets, validation_data=(images, targets, weights))


def test_wrong_weights_of_a_stream_are_refused():
    tf = pytest.importorskip("tensorflow")
    model = tiny(image_size=(64, 64))
    model.compile()
    targets = {"boxes": BOXES, "labels": LABELS}

    def stream(weights):
        images = np.zeros((3, 64, 64, 3), "uint8")
        return tf.data.Dataset.from_tensor_slices((images, targets, np.float32(weights))).batch(3)

    with pytest.raises(ValueError, match="`sample_weight` must hold one .* Received: TensorSpec"):
        model.fit(stream(np.ones((3, 2))))
    with pytest.raises(
        ValueError, match="`sample_weight` must hold one .* Received: -1 at index 2"
    ):
        model.evaluate(stream([1, 1, -1]), verbose=0)
