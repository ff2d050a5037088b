"""Starting from earlier weights: other classes, frozen parts, what is refused."""

import functools
import shutil
import warnings

import keras
import numpy as np
import pytest

from keras_det import EfficientDet, RetinaNet, load_model
from keras_det.errors import DataError
from keras_det.keras_private import all_layers
from keras_det.layers import AnchorGenerator
from keras_det.models import fine_tuning
from keras_det.models.fine_tuning import saved_anchors

numbers = keras.ops.convert_to_numpy
NAMES = ["square", "circle", "star"]


def lite0(**arguments):
    return EfficientDet("lite0", **{"class_names": NAMES, "image_size": 64, **arguments})


def drawn(model):
    """The same with random variables, so that no two places hold the same numbers."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in model.weights])
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of three classes, its two files and its preset."""
    folder, model = tmp_path_factory.mktemp("saved"), drawn(lite0())
    model.save(folder / "old.keras")
    model.save_weights(folder / "old.weights.h5")
    model.save_to_preset(folder / "preset")
    return model, folder


@pytest.mark.parametrize("name", ["old.keras", "old.weights.h5", "preset"])
def test_the_same_classes_are_loaded_whole(saved, name):
    old, folder = saved
    model = lite0(weights=folder / name)
    for ours, theirs in zip(model.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(model.load_report.loaded) == len(model.weights)
    assert list(model.load_report.classes) == NAMES
    # Bare weights say nothing of classes: the report shows that they go by their number.
    sources = ["output 0", "output 1", "output 2"] if name == "old.weights.h5" else NAMES
    assert list(model.load_report.classes.values()) == sources


@pytest.mark.parametrize("name", ["old.keras", "preset"])
def test_classes_of_the_same_name_keep_their_predictions(saved, name):
    old, folder = saved
    model = lite0(class_names=["star", "bolt", "square", "nut"], weights=folder / name)
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


def refuse(model, source, match):
    before = model.get_weights()
    with pytest.raises(DataError, match=match), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras has a page of them
        model.start_from(source)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_networks_are_refused_and_change_nothing(saved):
    _, folder = saved
    model, bare = (
        lite0(class_names=["a"], neck="fpn"),
        r"weights.h5 \((other layers|A total of 9 |Layer 'extra_p6' expected)",
    )
    for file in ("old.keras", "preset"):
        refuse(model, folder / file, r"must be of \S+lite0,.*, of \S+lite0 \(other parts\)")
    refuse(model, folder / "old.weights.h5", bare)
    model = EfficientDet("lite1", class_names=["a"], image_size=64)
    for file in ("old.keras", "preset"):
        refuse(model, folder / file, r"of \S+lite0 \(another variant\)\. Build \S+lite0, or")
    refuse(model, folder / "old.weights.h5", bare)


def test_damaged_and_absent_files_are_refused_and_change_nothing(saved, tmp_path):
    _, folder = saved
    model = lite0()
    for name, reason in (("old.keras", "not a zip"), ("old.weights.h5", "truncated")):
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:50_000])
        refuse(model, tmp_path / name, f"be complete. Received: .*{name}.*{reason}.*save them")
    refuse(model, tmp_path / "absent.keras", r"must be an existing file. Received: .*absent")
    shutil.copytree(folder / "preset", tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").write_bytes(b"")
    refuse(model, tmp_path / "preset", r"must have the SHA-256 given in metadata.json")


def test_retinanet_has_no_coco_weights_that_fit():
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


def test_frozen_norm_keeps_the_batch_norm_of_the_backbone_alone(tmp_path):
    model = RetinaNet("resnet18", 1, image_size=64, neck_channels=8, head_repeats=1)
    norms = [x for x in all_layers(model) if isinstance(x, keras.layers.BatchNormalization)]
    own = {id(x) for x in all_layers(model.backbone)}
    model.freeze("norm")
    for layer in norms:
        assert layer.trainable == (id(layer) not in own)
    frozen = sum(len(x.weights) for x in norms if id(x) in own)
    assert frozen == 4 * 20, "resnet18 has 20 of them"
    assert len(model.trainable_variables) == len(model.weights) - frozen
    again = model.with_changes()
    assert len(again.trainable_variables) == len(model.trainable_variables)
    model.freeze("none")
    assert all(layer.trainable for layer in norms)


@pytest.mark.parametrize(
    "model, frozen",
    [
        (lite0, ("stem", "block0_", "block1_", "block2_")),
        (
            lambda: RetinaNet("resnet18", 1, image_size=64, neck_channels=8, head_repeats=1),
            ("stem", "stage2"),
        ),
    ],
)
def test_frozen_early_layers_are_those_up_to_stride_4(model, frozen):
    model = model()
    model.freeze("early")
    learn = {v.path for v in model.backbone.trainable_variables}
    assert learn and not any(path.startswith(frozen) for path in learn)
    for layer in model.backbone.layers:
        assert layer.trainable != layer.name.startswith(frozen) or not layer.weights, layer.name
    model.freeze("none")
    assert all(layer.trainable for layer in all_layers(model.backbone))


def test_early_layers_end_at_a_level():
    model = RetinaNet("resnet18", 1, image_size=64, neck_channels=8, head_repeats=1)
    levels = {k: v for k, v in model.backbone.output.items() if k != "P2"}
    model = RetinaNet(
        keras.Model(model.backbone.input, levels), 1, image_size=64, neck_channels=8, head_repeats=1
    )
    with pytest.raises(ValueError, match=r"freeze='early' for .* has levels P.*, not P2\. Use"):
        model.freeze("early")


def test_unfreezing_gives_back_what_was_trainable_and_asks_to_compile():
    from keras_det.backbones import resnet

    model = RetinaNet(resnet("resnet18", frozen_norm=True), 1, image_size=64, neck_channels=8)
    count = len(model.trainable_variables)
    model.freeze("neck")
    model.compile()
    assert len(model.trainable_variables) == len(model.class_head.trainable_variables) * 2
    model.freeze("none")
    assert len(model.trainable_variables) == count, "normalisation frozen for good stays so"
    with pytest.raises(ValueError, match=r"Call model.compile\(…\) again after"):
        model.fit(np.zeros((1, 64, 64, 3)), {"boxes": np.zeros((1, 1, 4)), "labels": [[-1]]})
    with pytest.raises(ValueError, match=r"`freeze` must be one of .* Received: 'heads'"):
        model.freeze("heads")


def test_the_anchors_of_a_saved_model_are_known(saved, tmp_path, monkeypatch):
    folder = saved[1]
    own = {"anchor_scale": 3.0, "num_octaves": 3, "aspect_ratios": [1.0, 2.0, 0.5]}
    for name in ("old.keras", "preset"):
        assert saved_anchors(folder / name) == own
    for other in (folder / "old.weights.h5", "imagenet", tmp_path / "absent.keras", None):
        assert saved_anchors(other) == {}
    generator = AnchorGenerator((3, 4), 2.0)
    config = {"anchor_generator": keras.saving.serialize_keras_object(generator)}
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "_opened", lambda source: (None, None, config))
        found = saved_anchors("any.keras")["anchor_generator"]
    assert found.get_config() == generator.get_config()
    model = lite0(anchor_scale=1.5, weights=folder / "old.keras")
    assert str(model.load_report).splitlines()[-1] == (
        "  The saved model has other anchors: anchor_scale=3.0. Train this model further, "
        "or build it with the same arguments."
    )
    assert not lite0(weights=folder / "old.keras").load_report.notes


@pytest.mark.parametrize("build", [lite0, functools.partial(RetinaNet, "resnet18", 3)])
def test_backbone_weights_that_would_be_overwritten_are_refused(build):
    with pytest.raises(DataError, match=r"one source. Received: backbone_weights='b.pth' .*'x.k"):
        build(weights="x.keras", backbone_weights="b.pth")
