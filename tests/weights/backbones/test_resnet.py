"""Public ResNet weights in ours: torch's names, keras-hub's models, and what is refused."""

import types

import keras
import numpy as np
import pytest

from keras_det.backbones import resnet
from keras_det.errors import DataError
from keras_det.weights import load_resnet
from keras_det.weights.backbones.resnet import resnet_variant
from tests.weights.common.torch_writer import write_torch_file
from tests.weights.retinanet import torchvision_recipe as recipe


def torch_values(variant="resnet18", classifier=True):
    values = recipe.weights(recipe.resnet_shapes(variant))
    head = {"fc.weight": np.ones((10, 512), "float32"), "fc.bias": np.ones(10, "float32")}
    return {**values, **head} if classifier else values


def blank(shapes):
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def resnet18():
    return resnet("resnet18")


def numpy_of(variable):
    return keras.ops.convert_to_numpy(variable)


def test_tensors_go_to_the_layers_of_their_names(resnet18):
    values = torch_values()
    report = load_resnet(resnet18, values)
    for layer, name in (
        ("stem", "conv1"),
        ("stage2_block0_conv1", "layer1.0.conv1"),
        ("stage3_block0_shortcut", "layer2.0.downsample.0"),
        ("stage5_block1_conv2", "layer4.1.conv2"),
    ):
        kernel = numpy_of(resnet18.get_layer(layer).kernel)
        theirs = values[f"{name}.weight"]  # outputs, inputs, height, width
        assert kernel[0, -1, 2, 5] == theirs[5, 2, 0, -1]
        assert np.sum(kernel, dtype="float64") == pytest.approx(theirs.sum(dtype="float64"))
    norm = resnet18.get_layer("stage3_block0_shortcut_norm")
    for variable, part in (
        (norm.gamma, "weight"),
        (norm.beta, "bias"),
        (norm.moving_mean, "running_mean"),
        (norm.moving_variance, "running_var"),
    ):
        np.testing.assert_array_equal(numpy_of(variable), values[f"layer2.0.downsample.1.{part}"])
    assert report.missing == [] and len(report.loaded) == 20 * 5
    assert report.skipped["fc.weight"] == report.skipped["fc.bias"] == "classifier"
    assert report.skipped["bn1.num_batches_tracked"] == "counts training steps"
    assert len(report.skipped) == 22


def test_every_variable_is_filled(resnet18):
    values = recipe.weights(recipe.resnet_shapes("resnet18", frozen=True), seed=1)
    for variable in resnet18.variables:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    load_resnet(resnet18, values)
    assert not any(np.isnan(numpy_of(variable)).any() for variable in resnet18.variables)


@pytest.mark.parametrize("variant", ["resnet18", "resnet34", "resnet50"])
def test_the_variant_is_told_from_the_tensors(variant):
    values = blank({f"x.{name}": shape for name, shape in recipe.resnet_shapes(variant).items()})
    assert resnet_variant(values, "x.") == variant and resnet_variant(values) is None
    wide = {**values, "x.layer1.0.conv1.weight": np.zeros((128, 64, 1, 1))}
    assert resnet_variant(wide, "x.") is None
    del values["x.layer3.1.conv1.weight"]
    assert resnet_variant(values, "x.") is None


@pytest.mark.slow
def test_bottleneck_files_fit_the_file_way(tmp_path):
    values = recipe.weights(recipe.resnet_shapes("resnet50"))
    write_torch_file(tmp_path / "resnet50.pth", values)
    backbone = resnet("resnet50")
    report = load_resnet(backbone, tmp_path / "resnet50.pth")
    assert len(report.loaded) == 53 * 5 and report.missing == []
    kernel = numpy_of(backbone.get_layer("stage4_block5_conv3").kernel)
    np.testing.assert_array_equal(kernel[0, 0].T, values["layer3.5.conv3.weight"][:, :, 0, 0])


def test_a_source_that_lacks_a_tensor_changes_nothing(resnet18):
    before = [numpy_of(variable).copy() for variable in resnet18.variables]
    values = blank(recipe.resnet_shapes("resnet18"))
    del values["layer4.1.bn2.running_var"]
    with pytest.raises(
        DataError, match=r"without 'layer4\.1\.bn2\.running_var' among 119 tensors\. Build"
    ):
        load_resnet(resnet18, values)
    for old, variable in zip(before, resnet18.variables, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), old)


def test_deeper_and_other_networks_are_refused(resnet18):
    for variant in ("resnet34", "resnet50"):
        with pytest.raises(
            DataError, match=r"Received: .*, with 'layer1\.\d.* which the network does"
        ):
            load_resnet(resnet18, blank(recipe.resnet_shapes(variant)))
    wrong = {**blank(recipe.resnet_shapes("resnet18")), "conv1.weight": np.zeros((64, 3, 3, 3))}
    with pytest.raises(DataError, match=r"must have shape \(7, 7, 3, 64\).*\(3, 3, 3, 64\)"):
        load_resnet(resnet18, wrong)


def test_other_backbones_are_refused():
    with pytest.raises(DataError, match=r"fill a ResNet\. Received: the backbone 'source'"):
        load_resnet(hub_like(["stem"]), {})
    same = types.SimpleNamespace(
        layers=[types.SimpleNamespace(name=n) for n in ("stem", "stem_norm", "stage2_block0_conv1")]
    )
    with pytest.raises(DataError, match=r"'symmetric' padding\. Received: a backbone with 'same'"):
        load_resnet(same, {})


# ---- Keras models as sources ----


def hub_like(names, **attributes):
    """A Keras model with layers of these names, as far as the refusals look."""
    x = inputs = keras.Input((4, 4, 3))
    for name in names:
        x = keras.layers.Conv2D(2, 1, name=name)(x)
    model = keras.Model(inputs, x, name="source")
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    "names, attributes, message",
    [
        (
            ["conv1_conv", "conv2_block1_1_conv"],
            {},
            "keras.applications, which strides in the first 1x1",
        ),
        (["anything"], {}, "not named as in a keras-hub ResNetBackbone"),
        (["conv1_conv", "stack0_block0_1_conv", "post_bn"], {}, "before its convolutions"),
        (["conv1_conv", "stack0_block0_1_conv", "conv2_conv"], {}, '"vd" kind'),
        (["conv1_conv", "stack0_block0_1_conv"], {"block_type": "basic_block_vd"}, '"vd" kind'),
    ],
)
def test_other_keras_models_are_refused_with_the_reason(resnet18, names, attributes, message):
    with pytest.raises(DataError, match=message):
        load_resnet(resnet18, hub_like(names, **attributes))


def test_keras_applications_itself_is_refused(resnet18):
    application = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    with pytest.raises(DataError, match=r"'resnet50' of keras.applications.*and has biases"):
        load_resnet(resnet18, application)


HUB_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
def test_keras_hub_gives_the_same_pyramid(variant):
    hub = pytest.importorskip("keras_hub")
    source = hub.models.ResNetBackbone(
        [64],
        [7],
        [64, 128, 256, 512],
        HUB_BLOCKS[variant],
        [1, 2, 2, 2],
        "basic_block" if variant == "resnet18" else "bottleneck_block",
        image_shape=(None, None, 3),
    )
    random = np.random.RandomState(0)
    for variable in source.variables:
        positive = variable.name in ("gamma", "moving_variance")
        noise = random.uniform(*((0.5, 1) if positive else (-0.1, 0.1)), variable.shape)
        variable.assign(noise if variable.name != "kernel" else variable + 0.1 * noise * variable)
    backbone = resnet(variant)
    report = load_resnet(backbone, source)
    assert report.missing == [] and report.skipped == {}
    images = random.normal(size=(1, 70, 53, 3)).astype("float32")
    theirs = keras.Model(source.input, source.pyramid_outputs)(images, training=False)
    ours = backbone(images, training=False)
    for level in ("P2", "P3", "P4", "P5"):
        mine, other = (numpy_of(outputs[level]) for outputs in (ours, theirs))
        np.testing.assert_allclose(mine, other, atol=1e-4 * other.std())
