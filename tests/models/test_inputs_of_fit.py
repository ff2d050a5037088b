"""Numbers, images and weights that Keras would ignore, round or broadcast are refused."""

import keras
import numpy as np
import pytest

from keras_det.data import Pipeline, draw_shapes_dataset, load
from tests.export.tiny import tiny

IMAGES = np.zeros((4, 64, 64, 3), "uint8")
BOXES = np.tile(np.float32([5, 6, 40, 45]), (4, 1, 1))
TARGETS = {"boxes": BOXES, "labels": np.zeros((4, 1), "int32")}


@pytest.fixture(scope="module")
def model():
    model = tiny(image_size=(64, 64))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


def stream(*parts):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensors(parts or (IMAGES, TARGETS))


def unknown(images=IMAGES, targets=TARGETS, *weights):
    """A generator, of which Keras knows nothing before."""
    yield (images, targets, *weights)


VALIDATION = {"validation_data": (IMAGES, TARGETS)}


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"validation_split": 0.5, **VALIDATION}, ValueError, "must not be given together"),
        ({"validation_steps": 2}, ValueError, "`validation_steps` needs validation data"),
        ({"validation_freq": 2}, ValueError, "`validation_freq` needs validation data"),
        ({"validation_freq": [1]}, ValueError, "`validation_freq` needs validation data"),
        ({"validation_batch_size": 2}, ValueError, "`validation_batch_size` needs validation"),
        ({"validation_steps": 0, **VALIDATION}, ValueError, "`validation_steps` must be at least"),
        ({"validation_freq": 1.5, **VALIDATION}, TypeError, "`validation_freq` must be a whole"),
        ({"steps_per_epoch": 0}, ValueError, "`steps_per_epoch` must be at least 1. Received: 0"),
        ({"steps_per_epoch": 1.5}, TypeError, "`steps_per_epoch` must be a whole number"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1. Received: 0"),
        ({"batch_size": 2.5}, TypeError, "`batch_size` must be a whole number"),
        ({"epochs": 1.5}, TypeError, "`epochs` must be a whole number"),
        ({"initial_epoch": -1}, ValueError, "`initial_epoch` must be at least 0"),
    ],
)
def test_numbers_of_fit(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model.fit(IMAGES, TARGETS, verbose=0, **arguments)


@pytest.mark.parametrize(
    "value, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_numbers_of_evaluate_and_predict(model, value, error):
    for name in ("batch_size", "steps"):
        with pytest.raises(error, match=f"`{name}` must be "):
            model.evaluate(IMAGES, TARGETS, **{name: value})
        with pytest.raises(error, match=f"`{name}` must be "):
            model.predict(IMAGES, **{name: value})
    with pytest.raises(error, match="`steps_per_execution` must be "):
        model.compile(steps_per_execution=value)


def test_compile_needs_an_optimizer(model):
    with pytest.raises(TypeError, match="`optimizer` must be a Keras optimizer"):
        model.compile(optimizer=None)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_empty_data_are_refused(model):
    none = {name: value[:0] for name, value in TARGETS.items()}
    for data in ((IMAGES[:0], none), (stream().take(0),)):
        for run in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match="at least one"):
                run(*data, verbose=0)
        with pytest.raises(ValueError, match="at least one"):
            model.predict(data[0], verbose=0)
        validation = data[0] if len(data) == 1 else data
        with pytest.raises(ValueError, match="`validation_data` must .*at least one"):
            model.fit(IMAGES, TARGETS, verbose=0, validation_data=validation)
    filtered = stream().filter(lambda *_: False)
    for run in (model.evaluate, model.predict):
        with pytest.raises(ValueError, match="must give at least one batch. Received: none"):
            run(filtered, verbose=0)
    with pytest.raises(ValueError, match="must give at least one batch. Received: none"):
        model.fit(IMAGES, TARGETS, verbose=0, validation_data=filtered)


@pytest.mark.parametrize(
    "images",
    [IMAGES[..., :1], np.zeros((4, 64, 64, 4), "uint8"), IMAGES[:, :32], IMAGES[..., 0], IMAGES[0]],
    ids=lambda images: str(images.shape),
)
def test_images_of_another_shape_are_refused(model, images):
    message = r"must hold RGB images of the network's size, shape \(batch, 64, 64, 3\). Received"
    for run in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=f"`x` {message}"):
            run(images, TARGETS)
    for x in ([images], images):
        with pytest.raises(ValueError, match=f"`x` {message}"):
            model.predict(x, verbose=0)
    with pytest.raises(ValueError, match=f"`x` {message}"):
        model.fit([images], TARGETS, verbose=0)
    with pytest.raises(ValueError, match=f"`validation_data` {message}"):
        model.fit(IMAGES, TARGETS, validation_data=([images], TARGETS))
    for run in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match=f"`x` {message}"):
            run(stream(images, TARGETS), verbose=0)
        with pytest.raises(ValueError, match=f"`x` {message}"):
            run(unknown(images), verbose=0)


def test_a_list_of_one_array_is_checked_and_taken(model):
    found = model.evaluate([IMAGES], TARGETS, verbose=0)
    assert found == model.evaluate(IMAGES, TARGETS, verbose=0)
    with pytest.raises(ValueError, match="Rename `classes` to `labels`"):
        model.fit([IMAGES], {"boxes": BOXES, "classes": TARGETS["labels"]}, verbose=0)
    with pytest.raises(ValueError, match="must be one array of images. Received: a list of 2"):
        model.predict([IMAGES, IMAGES], verbose=0)


def test_pipelines_of_another_size_or_mode_are_refused(tmp_path):
    draw_shapes_dataset(tmp_path, num_train=2, num_val=1, image_size=64, seed=0)
    dataset = load(tmp_path, split="train")
    model = tiny(image_size=(64, 64), resize_mode="stretch")
    model.class_names = list(dataset.class_names)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    for size, received in ((96, r"'letterbox' and size \(96, 96\)"), (64, "'letterbox'")):
        pipeline = Pipeline(dataset, size, 2)
        for run in (model.fit, model.evaluate, model.predict):
            with pytest.raises(ValueError, match=f"must resize .*: x with mode {received}"):
                run(pipeline, verbose=0)
        with pytest.raises(ValueError, match="Received: validation_data with mode"):
            model.fit(Pipeline(dataset, model, 2), validation_data=pipeline)
    model.evaluate(Pipeline(dataset, model, 2), verbose=0)


@pytest.mark.parametrize("eager", [True, False])
def test_weights_of_a_batch_are_as_many_as_its_images(model, eager):
    if not eager:
        model = tiny(image_size=(64, 64))
        model.compile(keras.optimizers.SGD(0.0))
    for wrong in ([2.0], [1.0, 1.0, 1.0], [1.0, 1.0, np.inf, 1.0], [1.0, 1.0, np.nan, 1.0]):
        batch = (IMAGES, TARGETS, np.float32(wrong))
        for data in (stream(*batch), unknown(*batch)):
            with pytest.raises(ValueError, match="`sample_weight` must hold one finite number"):
                model.evaluate(data, verbose=0)
    model.evaluate(stream(IMAGES, TARGETS, np.float32([1, 2, 0, 1])), verbose=0)


def test_weights_are_numbers(model):
    words = np.array(["1", "2", "3", "4"])
    with pytest.raises(ValueError, match="`sample_weight` must hold one finite number"):
        model.fit(IMAGES, TARGETS, sample_weight=words)
    with pytest.raises(ValueError, match="`sample_weight` must hold one .*string"):
        model.fit(stream(IMAGES, TARGETS, words), verbose=0)
