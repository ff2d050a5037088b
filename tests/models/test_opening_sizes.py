"""A configuration asks for no more layers and numbers than its weights fill; no other functions."""

import io
import json
import os
import time

import h5py
import keras
import numpy as np
import pytest

from keras_det import RetinaNet, load_model
from keras_det.errors import DataError
from keras_det.weights.common import hdf5
from keras_det.weights.common.hdf5 import check_hdf5
from keras_det.weights.common.keras_file import check_config
from tests.models.saved_copies import CONFIG, changed, saved

__all__ = ["saved"]  # a fixture


def changed_arguments(saved, tmp_path, name, change):
    """A copy of the saved model whose arguments are changed."""
    return changed(saved, tmp_path, lambda config: change(config["config"]), name=name)


def first_convolution(config):
    layers = config["backbone"]["config"]["layers"]
    return next(each["config"] for each in layers if each["class_name"] == "Conv2D")


SIZES = {
    "channels": lambda config: config.update(neck_channels=10**9),
    "repeats": lambda config: config.update(head_repeats=10**6),
    "classes": lambda config: config.update(class_names=[f"{i}" for i in range(10**6)]),
    "ratios": lambda config: config.update(aspect_ratios=[1.0] * 10**6),
    "filters": lambda config: first_convolution(config).update(filters=10**8),
    "kernel": lambda config: first_convolution(config).update(kernel_size=[30_000, 30_000]),
    "backbone": lambda config: config.update(backbone="resnet152"),
}


@pytest.mark.parametrize("what", SIZES)
def test_a_model_much_larger_than_its_weights_is_refused(what, saved, tmp_path):
    path, start = changed_arguments(saved, tmp_path, "large.keras", SIZES[what]), time.thread_time()
    with pytest.raises(DataError, match=r"must fit its weights.*large\.keras, which describes"):
        load_model(path)
    assert time.thread_time() - start < 20


def test_presets_are_no_larger_than_their_weights_either(saved, tmp_path):
    preset = tmp_path / "preset"
    preset.mkdir()
    for file in (saved / "preset").iterdir():
        (preset / file.name).write_bytes(file.read_bytes())
    config = json.loads((preset / CONFIG).read_text())
    config["config"]["neck_channels"] = 10**9
    (preset / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"must fit its weights.*preset, which describes"):
        RetinaNet.from_preset(preset)


@pytest.mark.parametrize(
    "name, value, limit",
    [
        ("max_level", 10**6, "at most"),
        ("image_size", [60_000, 60_000], "from 32 to 8,192"),
        ("num_octaves", 10**7, "from 1 to 100"),
        ("anchor_scale", 1e308, "from 0.001 to 1000"),
        ("aspect_ratios", [1e308], "from 1/1000 to 1000"),
    ],
)
def test_pyramids_images_and_anchors_have_limits(name, value, limit, saved, tmp_path):
    path = changed_arguments(saved, tmp_path, "large.keras", lambda c: c.update({name: value}))
    with pytest.raises(DataError, match=rf"large\.keras \(`.*{name}` .*{limit}"):
        load_model(path)


def test_keras_is_left_as_it_was(saved):
    before = keras.Layer.__init__, keras.Variable.__init__
    load_model(saved / "model.keras")
    assert (keras.Layer.__init__, keras.Variable.__init__) == before


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": None}


@pytest.mark.parametrize(
    "part",
    [
        function("keras.utils", "plot_model"),
        function("keras.datasets.mnist", "load_data"),
        function("keras.applications", "MobileNet"),
        function("keras.src.applications.resnet", "ResNet50"),
        function("keras.config", "set_floatx"),
        function("keras", "device"),
        {"module": "keras.callbacks", "class_name": "CSVLogger", "config": {}},
        {"module": "keras.utils", "class_name": "FeatureSpace", "config": {}},
    ],
    ids=lambda part: f"{part['module']}.{part['class_name']}",
)
def test_functions_that_belong_to_no_model_are_refused(part, saved, tmp_path):
    path = changed_arguments(
        saved,
        tmp_path,
        "x.keras",
        lambda config: first_convolution(config).update(activation=part),
    )
    with pytest.raises(DataError, match=r"made of layers and the functions.*x\.keras, with keras"):
        load_model(path)


def test_functions_of_layers_are_read():
    for module in ("builtins", "keras.activations", "keras.ops", "keras.src.activations", "mine"):
        check_config({"activation": function(module, "relu")}, "x.keras")


def test_a_reason_that_keras_wraps_is_shown(saved, tmp_path):
    path = changed_arguments(saved, tmp_path, "x.keras", lambda config: config.update(colour=1))
    with pytest.raises(DataError, match=r"x\.keras \(.*unexpected keyword argument 'colour'\)"):
        load_model(path)


def test_lists_of_files_and_pipes_hold_no_weights(saved, tmp_path):
    model = load_model(saved / "model.keras")
    (tmp_path / "m.weights.json").write_text('{"weight_map": {"/vars": ["../secret.weights.h5"]}}')
    with pytest.raises(DataError, match=r"in one regular file.*m\.weights\.json, a list of files"):
        model.load_weights(tmp_path / "m.weights.json")
    os.mkfifo(tmp_path / "p.weights.h5")
    with pytest.raises(DataError, match=r"in one regular file.*which is a named pipe"):
        model.load_weights(tmp_path / "p.weights.h5")


def hdf5_with(**settings):
    """An HDF5 file in memory with one data set."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("a/kernel", **settings)
    return content


def test_a_chunk_counts_as_it_is_read(monkeypatch):
    monkeypatch.setattr(hdf5, "FREE", 1 << 16)
    small = dict(shape=(1,), maxshape=(None,), dtype="f4", compression="gzip")
    held = check_hdf5(hdf5_with(chunks=(1 << 10,), **small), "x.h5")
    assert (held.datasets, held.bytes) == (1, 4)
    with pytest.raises(DataError, match=r"x\.h5, with a chunk of 4194304 bytes in a file of"):
        check_hdf5(hdf5_with(chunks=(1 << 20,), **small), "x.h5")


@pytest.mark.parametrize(
    "dtype",
    [h5py.string_dtype(), h5py.vlen_dtype(np.uint8), h5py.ref_dtype, [("a", h5py.string_dtype())]],
    ids=["text", "bytes", "references", "inside"],
)
def test_values_of_any_size_are_no_numbers(dtype):
    with pytest.raises(
        DataError, match=r"x\.h5, with a data set of (values that are no|complex) numbers"
    ):
        check_hdf5(hdf5_with(shape=(3,), dtype=dtype), "x.h5")
