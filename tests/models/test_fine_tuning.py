"""Starting from earlier weights: other classes, frozen parts, what is refused."""

import keras
import numpy as np
import pytest

from keras_det import EfficientDet, RetinaNet, load_model
from keras_det.errors import DataError

numbers = keras.ops.convert_to_numpy
NAMES = ["square", "circle", "star"]


def lite0(**arguments):
    return EfficientDet("lite0", **{"class_names": NAMES, "image_size": 64, **arguments})


def drawn(model):
    """The same with every variable drawn, so that no two places hold the same numbers."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in model.weights])
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of three classes and its two files."""
    folder, model = tmp_path_factory.mktemp("saved"), drawn(lite0())
    model.save(folder / "old.keras")
    model.save_weights(folder / "old.weights.h5")
    return model, folder


@pytest.mark.parametrize("name", ["old.keras", "old.weights.h5"])
def test_the_same_classes_are_loaded_whole(saved, name):
    old, folder = saved
    model = lite0(weights=folder / name)
    for ours, theirs in zip(model.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(model.load_report.loaded) == len(model.weights)


def test_classes_of_the_same_name_keep_their_predictions(saved):
    old, folder = saved
    model = lite0(class_names=["star", "bolt", "square", "nut"], weights=folder / "old.keras")
    bias = numbers(model.class_head.prediction.bias).reshape(9, 4)
    theirs = numbers(old.class_head.prediction.bias).reshape(9, 3)
    np.testing.assert_array_equal(bias[:, [0, 2]], theirs[:, [2, 0]])
    np.testing.assert_allclose(bias[:, [1, 3]], -np.log(99), rtol=1e-6)
    kernel = numbers(model.class_head.prediction.pointwise_kernel).reshape(-1, 9, 4)
    theirs = numbers(old.class_head.prediction.pointwise_kernel).reshape(-1, 9, 3)
    np.testing.assert_array_equal(kernel[..., [0, 2]], theirs[..., [2, 0]])
    assert np.abs(kernel[..., [1, 3]]).max() < 0.5, "rows of new classes are not the file's"
    np.testing.assert_array_equal(
        model.box_head.prediction.bias, old.box_head.prediction.bias, "the rest is kept whole"
    )
    assert model.load_report.classes == {
        "star": "star", "bolt": None, "square": "square", "nut": None
    }  # fmt: skip


def test_names_that_say_nothing_go_by_their_number(saved, tmp_path):
    old, folder = saved
    model = lite0(class_names=None, num_classes=3, weights=folder / "old.keras")
    np.testing.assert_array_equal(model.class_head.prediction.bias, old.class_head.prediction.bias)
    model.save(tmp_path / "unnamed.keras")
    fewer = lite0(class_names=None, num_classes=2, weights=tmp_path / "unnamed.keras")
    assert set(fewer.load_report.classes.values()) == {None}


def test_other_networks_are_refused_and_change_nothing(saved, tmp_path):
    _, folder = saved
    model = lite0(class_names=["a"], neck="fpn")
    before = model.get_weights()
    for file in ("old.keras", "old.weights.h5"):
        with pytest.raises(DataError, match=r"must be of efficientdet_lite0.* Received"):
            model.start_from(folder / file)
    (tmp_path / "broken.keras").write_bytes((folder / "old.keras").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"must be of efficientdet_lite0.* Received"):
        model.start_from(tmp_path / "broken.keras")
    with pytest.raises(DataError, match=r"must exist. Received: .*absent"):
        model.start_from(tmp_path / "absent.keras")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_lite_has_no_imagenet_weights_and_retinanet_no_coco_ones():
    with pytest.raises(DataError, match=r"B0 to B7. Received: weights='imagenet' for .*lite0"):
        lite0(weights="imagenet")
    with pytest.raises(DataError, match=r"Received: weights='coco' for .*from_torchvision"):
        RetinaNet("resnet18", 2, image_size=64, neck_channels=8, weights="coco")


@pytest.mark.parametrize("freeze, learn", [("backbone", ["neck", "head"]), ("neck", ["head"])])
def test_frozen_parts_keep_kernels_and_statistics(freeze, learn, tmp_path):
    model = lite0(freeze=freeze)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    before = [np.array(w) for w in model.weights]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    boxes, labels = np.array([[[4, 4, 40, 40]]] * 2, "float32"), np.zeros((2, 1), "int32")
    model.fit(images, {"boxes": boxes, "labels": labels}, verbose=0)
    parts = {"backbone": model.backbone, "neck": model.neck, "head": model.class_head}
    for name, part in parts.items():
        ids = {id(w) for w in part.weights}
        changed = [
            not np.array_equal(old, np.array(w))
            for old, w in zip(before, model.weights, strict=True)
            if id(w) in ids
        ]
        assert any(changed) == (name in learn), name
    model.save(tmp_path / "frozen.keras")
    again = load_model(tmp_path / "frozen.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    assert again.optimizer.iterations.numpy() == 1


def test_unfreezing_gives_back_what_was_trainable_and_asks_to_compile():
    from keras_det.backbones import resnet

    model = RetinaNet(resnet("resnet18", frozen_norm=True), 1, image_size=64, neck_channels=8)
    count = len(model.trainable_variables)
    model.freeze("neck")
    model.compile()
    assert len(model.trainable_variables) == len(model.class_head.trainable_variables) * 2
    model.freeze("none")
    assert len(model.trainable_variables) == count, "normalisation frozen for good stays so"
    with pytest.raises(ValueError, match=r"Call model.compile\(…\) after model.freeze"):
        model.fit(np.zeros((1, 64, 64, 3)), {"boxes": np.zeros((1, 1, 4)), "labels": [[-1]]})
    with pytest.raises(ValueError, match=r"`freeze` must be one of .* Received: 'heads'"):
        model.freeze("heads")
