"""keras.applications' EfficientNets in ours: same features, every variable, and what is refused."""

import inspect
import math

import h5py
import keras
import numpy as np
import pytest

from keras_det.backbones import efficientnet
from keras_det.backbones.efficientnet import EFFICIENTNETS, scaled_stages
from keras_det.errors import DataError
from keras_det.layers.normalization import Normalization
from keras_det.weights.backbones.keras_applications import (
    EFFICIENTNETS_BY_BLOCKS,
    load_keras_applications,
)

# Last layers of the stages that end P3, P4 and P5.
LEVEL_ENDS = {
    "b0": ("block3b_add", "block5c_add", "block7a_project_bn"),
    "b1": ("block3c_add", "block5d_add", "block7b_add"),
}
DRAWN = {
    "gamma": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "moving_variance": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "beta": lambda rng, shape: rng.normal(0, 0.2, shape),
    "moving_mean": lambda rng, shape: rng.normal(0, 0.2, shape),
    "bias": lambda rng, shape: rng.normal(0, 0.2, shape),
}


def numpy_of(variable):
    return keras.ops.convert_to_numpy(variable)


def application(variant, size=(64, 64), **kwargs):
    """keras.applications' EfficientNet with random statistics, gammas, betas and biases."""
    build = getattr(keras.applications, f"EfficientNet{variant.upper()}")
    model = build(include_top=False, weights=None, input_shape=(*size, 3), **kwargs)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in DRAWN:
            variable.assign(DRAWN[variable.name](rng, variable.shape))
    return model


def largest_differences(source, backbone, variant, size):
    """Largest difference of P3, P4, P5 from the normalised input on, in deviations of the map."""
    ends = [source.get_layer(name).output for name in LEVEL_ENDS[variant]]
    theirs = keras.Model(source.get_layer("stem_conv_pad").input, ends)
    images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype("float32")
    ours, found = backbone(images, training=False), []
    for level, other in zip(("P3", "P4", "P5"), theirs(images, training=False), strict=True):
        mine, other = numpy_of(ours[level]), numpy_of(other)
        assert other.std() > 0.3, "maps of almost constants prove little"
        found.append(np.abs(mine - other).max() / other.std())
    return found


@pytest.fixture(scope="module")
def b0_source():
    return application("b0")


@pytest.fixture(scope="module")
def b0():
    return efficientnet("b0")


def write_distributed(path, model, keras2=False):
    """A file in the older layout; `keras2` names variables as the distributed files do."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            for variable in layer.weights:
                name = variable.name
                if keras2:
                    depthwise = "dwconv" in layer.name and name == "kernel"
                    name = ("depthwise_kernel" if depthwise else name) + ":0"
                group[f"{layer.name}/{name}"] = numpy_of(variable)


def scaling_reason(report):
    """Why the mean of their Normalization was skipped; Keras numbers the layer's name."""
    return next(reason for name, reason in report.skipped.items() if name.endswith("/mean"))


# ---- the function ----


@pytest.mark.slow
def test_features_are_those_of_keras_applications():
    source, backbone = application("b1"), efficientnet("b1")
    load_keras_applications(backbone, source)
    assert max(largest_differences(source, backbone, "b1", (64, 64))) < 1e-4


@pytest.mark.slow
def test_odd_sizes_agree_where_the_source_was_built_for_them(b0):
    source = application("b0", (97, 75))
    load_keras_applications(b0, source)
    assert max(largest_differences(source, b0, "b0", (97, 75))) < 1e-4


@pytest.mark.slow
def test_features_are_equal_and_swapped_kernels_would_be_seen(b0_source, b0):
    load_keras_applications(b0, b0_source)
    assert max(largest_differences(b0_source, b0, "b0", (64, 64))) < 1e-4
    first, second = (b0.get_layer(f"block{i}_depthwise").kernel for i in (9, 10))
    values = numpy_of(first), numpy_of(second)
    first.assign(values[1])
    second.assign(values[0])
    assert max(largest_differences(b0_source, b0, "b0", (64, 64))) > 1e-2


# Theirs with weights="imagenet": Rescaling, Normalization whose "variance" is the deviation, and
# Rescaling by 1 / sqrt(deviation).
def test_their_scaling_of_pixels_is_the_detectors():
    deviations = inspect.getmodule(keras.applications.EfficientNetB0).IMAGENET_STDDEV_RGB
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype("float32")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=deviations)(x)
    theirs = keras.layers.Rescaling([1 / math.sqrt(value) for value in deviations])(x)
    ours = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))(pixels)
    np.testing.assert_allclose(numpy_of(ours), numpy_of(theirs), atol=1e-5)


@pytest.mark.parametrize("variant", sorted(EFFICIENTNETS_BY_BLOCKS.values()))
def test_variants_are_told_by_blocks_and_channels(variant):
    stages = scaled_stages(variant)
    assert (
        EFFICIENTNETS_BY_BLOCKS[sum(stage.repeats for stage in stages), stages[-1].filters]
        == variant
    )


def test_every_variant_with_weights_is_known():
    assert {name for name in EFFICIENTNETS if name[0] == "b"} == set(
        EFFICIENTNETS_BY_BLOCKS.values()
    )


# ---- every variable ----


@pytest.mark.slow
def test_every_variable_is_filled_once(b0_source, b0):
    for variable in b0.weights:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    report = load_keras_applications(b0, b0_source)
    assert not any(np.isnan(numpy_of(variable)).any() for variable in b0.weights)
    assert len(report.loaded) == len(set(report.loaded)) == len(b0.weights) == 304
    assert report.missing == [] and len(report.skipped) == 8
    assert "after the last stage" in report.skipped["top_conv/kernel"]
    assert "with other numbers" in scaling_reason(report)  # never adapted: 0


@pytest.mark.slow
@pytest.mark.parametrize("keras2", [False, True])
def test_distributed_files_fill_the_same(b0_source, b0, tmp_path, keras2):
    load_keras_applications(b0, b0_source)
    expected = [numpy_of(variable).copy() for variable in b0.weights]
    write_distributed(tmp_path / "b0_notop.h5", b0_source, keras2)
    with h5py.File(tmp_path / "b0_notop.h5", "a") as file:
        layer = next(name for name in file if name.startswith("normalization"))
        mean = file[layer][layer]["mean:0" if keras2 else "mean"]
        mean[()] = [0.485, 0.456, 0.406]
    for variable in b0.weights:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    report = load_keras_applications(b0, str(tmp_path / "b0_notop.h5"))
    for old, variable in zip(expected, b0.weights, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), old)
    assert len(report.loaded) == 304 and len(report.skipped) == 8
    assert scaling_reason(report).endswith("as ImageNet's weights need it")


@pytest.mark.slow
def test_files_that_keras_writes(b0_source, b0, tmp_path):
    b0_source.save(tmp_path / "whole.h5")
    assert len(load_keras_applications(b0, tmp_path / "whole.h5").loaded) == 304
    b0_source.save_weights(tmp_path / "b0.weights.h5")
    with pytest.raises(
        DataError, match=r"stored by layer name\. Received: .*stored them by number\. Load"
    ):
        load_keras_applications(b0, tmp_path / "b0.weights.h5")


@pytest.mark.slow
def test_the_classifier_is_skipped(b0):
    source = keras.applications.EfficientNetB0(
        include_top=True, weights=None, input_shape=(32, 32, 3), classes=5
    )
    report = load_keras_applications(b0, source)
    assert "predictions/kernel" in report.skipped and len(report.skipped) == 10


# ---- what is refused ----


@pytest.mark.slow
def test_another_variant_names_the_one_that_fits(b0):
    before = [numpy_of(variable).copy() for variable in b0.weights]
    source = application("b1")
    with pytest.raises(
        DataError,
        match=r"variant, b0\. Received: the model 'efficientnetb1', which is EfficientNetB1\. "
        r"Build the model with the backbone 'b1' or give the weights of EfficientNetB0\.",
    ):
        load_keras_applications(b0, source)
    for old, variable in zip(before, b0.weights, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), old)


@pytest.mark.slow
def test_a_file_that_lacks_a_tensor_changes_nothing(b0_source, b0, tmp_path):
    path = tmp_path / "b0_notop.h5"
    write_distributed(path, b0_source)
    before = [numpy_of(variable).copy() for variable in b0.weights]
    with h5py.File(path, "a") as file:
        del file["top_conv/top_conv/kernel"], file["block7a_bn/block7a_bn/gamma"]
    with pytest.raises(
        DataError, match=r"without 'block7a_bn/gamma' among 310 tensors\. Give the w"
    ):
        load_keras_applications(b0, path)
    with h5py.File(path, "a") as file:
        file["block7a_bn/block7a_bn/gamma"] = np.ones(1152, "float32")
        file["head/head/kernel"] = np.ones(3, "float32")
    with pytest.raises(
        DataError,
        match=r"only tensors of .*Received: .*, with 'head/kernel', which the network does not",
    ):
        load_keras_applications(b0, path)
    for old, variable in zip(before, b0.weights, strict=True):
        np.testing.assert_array_equal(numpy_of(variable), old)


@pytest.mark.slow
def test_other_networks_and_damaged_files_are_refused(b0, b0_source, tmp_path):
    x = inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="stem_conv")(x), name="other")
    with pytest.raises(
        DataError, match=r"EfficientNetB0 to B7 .*'other', 2 tensors .*'stem_conv/k"
    ):
        load_keras_applications(b0, other)
    write_distributed(tmp_path / "whole.h5", b0_source)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:9_000_000])
    for name in ("cut.h5", "absent.h5"):
        with pytest.raises(DataError, match=rf"complete HDF5 file\. Received: .*{name} \("):
            load_keras_applications(b0, tmp_path / name)


@pytest.mark.slow
def test_lites_are_refused_with_the_reason():
    lite = efficientnet("lite0")
    with pytest.raises(DataError, match=r"not of Lite, which has no sq.*Received: the backbone '"):
        load_keras_applications(lite, "unread.h5")


def test_other_backbones_are_refused():
    x = inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="stem")(x), name="other")
    with pytest.raises(DataError, match=r"fill an EfficientNet\. Received: the backbone 'other'"):
        load_keras_applications(other, "unread.h5")
