"""Losses on the validation set, computed in the same pass as average precision."""

import math

import numpy as np
import pytest

from keras_det import CornerNet
from keras_det.backbones.hourglass import Hourglass
from keras_det.data import Pipeline
from keras_det.training import callbacks
from keras_det.training.evaluate import detect_dataset, measure
from tests.training.shapes import drawn, untrained


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("shapes"), 4)


@pytest.fixture(scope="module")
def model(images):
    return untrained(images)


def test_losses_are_those_of_keras_evaluate(model, images):
    # Of 4 images in batches of 3, the last batch has one, and two that fill it up.
    expected = model.evaluate(
        Pipeline(images, model, 3, training=False), verbose=0, return_dict=True
    )
    found = measure(model, images, 3, losses=True)
    assert set(found.losses) == {"loss", "class_loss", "box_loss"}
    for name, value in found.losses.items():
        assert value == pytest.approx(expected[name], rel=1e-5)
    assert found.as_metrics()["box_loss"] == found.losses["box_loss"]


def test_the_detections_are_the_same_as_without_losses(model, images):
    from keras_det.training.evaluate import passed

    indices, detections = detect_dataset(model, images, 3, score_threshold=0.005)
    also, others, _ = passed(model, images, 3, None, True, {"score_threshold": 0.005})
    assert indices == also == [0, 1, 2, 3]
    assert sum(len(each["scores"]) for each in detections) > 0
    for one, two in zip(detections, others, strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-4)


# With `flip` the network sees each image and its mirror image; the losses are those of the image.
def test_losses_beside_mirrored_detections_are_those_of_the_images(images):
    small = Hourglass(1, (4, 6), (1, 1), 2)
    corner = CornerNet(small, class_names=images.class_names, image_size=63)
    plain, mirrored = (measure(corner, images, 3, losses=True, flip=flip) for flip in (False, True))
    assert set(plain.losses) == {"loss", *CornerNet.LOSSES}
    for name, value in plain.losses.items():
        assert mirrored.losses[name] == pytest.approx(value, rel=1e-5)


def logged(model, images, before=None, epochs=2, every=2):
    watcher = callbacks.EvaluateAP(images, 4, every, before, losses=True)
    pipeline = Pipeline(images, model, 4, training=True)
    return model.fit(pipeline, epochs=epochs, verbose=0, callbacks=[watcher]).history


def test_the_callback_logs_them_and_nan_before_the_first_measurement(model, images):
    history = logged(model, images)
    for name in ("val_loss", "val_class_loss", "val_box_loss"):
        assert math.isnan(history[name][0]) and 0 < history[name][1] < math.inf
    assert history["val_measured"] == [0, 1]
    assert history["val_loss"][1] == pytest.approx(
        measure(model, images, 4, losses=True).losses["loss"]
    )


def test_a_resumed_run_repeats_those_of_its_history(model, images):
    before = {"epoch": "1", "val_loss": "7.5", "val_class_loss": "", "val_AP": "0.25"}
    history = logged(model, images, before)
    assert history["val_loss"][0] == 7.5 and math.isnan(history["val_class_loss"][0])
    assert history["val_AP"][0] == 0.25
