"""EfficientDet from the official checkpoint: its classes, others, the wrong variant, AdvProp."""

import pathlib
import tarfile

import keras
import numpy as np
import pytest

from keras_det import EfficientDet, RetinaNet
from keras_det.errors import DataError
from keras_det.weights.common.coco_classes import COCO_CLASSES
from keras_det.weights.download import Found
from tests.helpers import d0_checkpoint

pytestmark = pytest.mark.slow
numbers = keras.ops.convert_to_numpy


@pytest.fixture(scope="module")
def checkpoint():
    return d0_checkpoint()


def test_coco_outputs_become_the_classes_that_exist(checkpoint):
    model = EfficientDet.from_checkpoint("d0", checkpoint, image_size=64)
    assert model.class_names == list(COCO_CLASSES.values()) and model.load_report.missing == []
    whole = EfficientDet.from_checkpoint("d0", checkpoint, num_classes=90, image_size=64)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("uint8")
    ours, all_outputs = (numbers(m(images)["class_logits"]) for m in (model, whole))
    used = [category - 1 for category in COCO_CLASSES]
    np.testing.assert_allclose(ours, all_outputs[..., used], atol=1e-5)


def test_known_classes_keep_their_predictions_and_parts_can_be_frozen(checkpoint):
    names = ["toothbrush", "bolt", "person"]
    model = EfficientDet("d0", class_names=names, image_size=64, weights=checkpoint, freeze="neck")
    found = model.load_report.classes
    assert found == {"toothbrush": "toothbrush", "bolt": None, "person": "person"}
    bias = numbers(model.class_head.prediction.bias).reshape(9, 3)
    np.testing.assert_allclose(bias[:, 1], -np.log(99), rtol=1e-6)
    heads = (model.class_head, model.box_head)
    count = sum(len(head.trainable_variables) for head in heads)
    assert len(model.trainable_variables) == count


def test_the_wrong_variant_is_told_the_right_one(checkpoint):
    with pytest.raises(DataError, match=r"d0"):
        EfficientDet.from_checkpoint("d1", checkpoint, image_size=64)
    with pytest.raises(ValueError, match=r"`variant` must be one of"):
        EfficientDet.from_checkpoint("d9", checkpoint)


# AdvProp: x * 2 / 255 - 1, from -1 to 1.
def test_advprop_scales_pixels_to_one(checkpoint):
    model = EfficientDet.from_checkpoint("d0", checkpoint, image_size=64, advprop=True)
    pixels = np.array([0.0, 127.5, 255.0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(numbers(model.normalization(pixels)).ravel(), [-1, 0, 1], atol=1e-6)
    again = EfficientDet.from_config(model.get_config())
    assert again.normalization.mean == [127.5] * 3


def test_coco_is_fetched_from_a_mirror(checkpoint, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "efficientdet-d0.tar.gz", "w:gz") as archive:
        for file in sorted(checkpoint.parent.glob("model.*")):
            archive.add(file, f"efficientdet-d0/{file.name}")
    monkeypatch.setenv("KERAS_DET_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    model = EfficientDet("d0", num_classes=90, image_size=64, weights="coco")
    again = EfficientDet("d0", num_classes=90, image_size=64, weights=checkpoint)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("family", ["efficientdet", "retinanet"])
def test_imagenet_fills_the_backbone_only(family, monkeypatch):
    application = keras.applications.EfficientNetB0(include_top=False, weights=None)
    asked = []

    def source(name):
        asked.append(name)
        return Found(application, pathlib.Path("b0.h5"), "cached", None, True)

    monkeypatch.setattr("keras_det.models.public_weights.obtain", source)
    if family == "efficientdet":
        model = EfficientDet("d0", num_classes=2, image_size=64, weights="imagenet")
    else:
        model = RetinaNet("efficientnet_b0", 2, image_size=64, neck_channels=8, weights="imagenet")
    assert asked == ["imagenet/efficientnet_b0"] and model.load_report.missing == []
    theirs = numbers(application.get_layer("block6d_project_conv").kernel)
    layers = {layer.name: layer for layer in model.backbone.layers}
    np.testing.assert_array_equal(numbers(layers["block14_project"].kernel), theirs)
