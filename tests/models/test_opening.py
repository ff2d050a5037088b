"""Opening a model file reads that file and nothing else: no network, no other file, no writing."""

import builtins
import io
import json
import os
import pathlib
import socket
import subprocess
import zipfile

import h5py
import keras
import numpy as np
import pytest
from h5py import h5pl

from keras_det import RetinaNet, load_model
from keras_det.errors import DataError
from keras_det.models.opening import check_flags
from keras_det.weights.common import keras_file
from keras_det.weights.common.hdf5 import Held
from keras_det.weights.common.keras_file import check_config, check_keras_file
from tests.helpers import tiny_parts
from tests.models.saved_copies import CONFIG, WEIGHTS, changed, saved

__all__ = ["saved"]  # a fixture


@pytest.fixture(scope="module")
def model(saved):
    return load_model(saved / "model.keras")


@pytest.fixture
def watched(monkeypatch):
    """A function of a path: afterwards sockets, processes and all other files are refused."""
    allowed = []

    def guard(function):
        def guarded(*arguments, **settings):
            path = arguments[0]
            inside = isinstance(path, int) or any(
                pathlib.Path(os.fsdecode(path)).is_relative_to(each) for each in allowed
            )
            mode = settings.get("mode", arguments[1] if len(arguments) > 1 else "r")
            writes = mode & (os.O_WRONLY | os.O_RDWR) if isinstance(mode, int) else "w" in str(mode)
            if allowed and (not inside or writes):
                raise AssertionError(f"opened {path} with {mode}")
            return function(*arguments, **settings)

        return guarded

    def refusing(function):
        def refuse(*arguments, **settings):
            assert not allowed, f"looked up, started or made {arguments}"
            return function(*arguments, **settings)

        return refuse

    monkeypatch.setattr(builtins, "open", guard(builtins.open))
    monkeypatch.setattr(io, "open", guard(io.open))
    monkeypatch.setattr(os, "open", guard(os.open))
    for home, name in ((os, "mkdir"), (socket, "getaddrinfo"), (subprocess, "run")):
        monkeypatch.setattr(home, name, refusing(getattr(home, name)))
    for home, name in ((socket.socket, "connect"), (subprocess.Popen, "__init__")):
        monkeypatch.setattr(home, name, refusing(getattr(home, name)))
    return allowed.append


def with_argument(name, value):
    return lambda config: config["config"].update({name: value})


def test_only_the_file_itself_is_opened(saved, watched):
    watched(saved / "model.keras")
    for forbidden in (
        lambda: open(saved / "model.weights.h5"),
        lambda: os.open(saved / "model.keras", os.O_RDWR),
        lambda: socket.getaddrinfo("localhost", 80),
        lambda: pathlib.Path(saved / "new").mkdir(),
    ):
        with pytest.raises(AssertionError):
            forbidden()
    assert load_model(saved / "model.keras").class_names == ["class_0", "class_1"]


def test_plain_keras_opens_only_the_file_too(saved, watched):
    watched(saved / "model.keras")
    assert keras.saving.load_model(saved / "model.keras").class_names == ["class_0", "class_1"]


def test_a_preset_opens_only_its_folder(saved, watched):
    watched(saved / "preset")
    assert RetinaNet.from_preset(saved / "preset").num_classes == 2


@pytest.mark.parametrize("loader", [load_model, keras.saving.load_model])
@pytest.mark.parametrize("argument", ["weights", "backbone_weights"])
@pytest.mark.parametrize(
    "value",
    ["hf://owner/name", "/etc/passwd", "imagenet", "coco", "https://a.b/c", ["x"], {"a": 1}],
)
def test_weights_to_fetch_are_refused(loader, argument, value, saved, tmp_path, watched):
    path = changed(saved, tmp_path, with_argument(argument, value))
    watched(path)
    with pytest.raises(DataError, match=rf"must not name weights.*{argument}=.*Nothing was read"):
        loader(path)


def test_no_weights_are_no_offence(saved, tmp_path):
    model = load_model(changed(saved, tmp_path, with_argument("weights", None)))
    assert not {"weights", "backbone_weights"} & set(model.get_config())
    with pytest.raises(DataError, match=r"must not name weights.*RetinaNet, with weights='coco'"):
        model.with_changes(weights="coco")


@keras.saving.register_keras_serializable(package="test_opening")
class Filled(RetinaNet):
    """Its weights are read unless one says otherwise."""

    def __init__(self, weights="/etc/passwd", **settings):
        super().__init__(weights=weights, **settings)


def test_no_default_is_fetched_either(saved, tmp_path, watched):
    parts = tiny_parts(num_classes=2)
    made = Filled(weights=saved / "model.keras", **parts)
    assert made.load_report is not None and made.get_config()["weights"] is None
    made.save(tmp_path / "filled.keras")
    watched(tmp_path / "filled.keras")
    again = load_model(tmp_path / "filled.keras")
    assert isinstance(again, Filled)
    lacking = {k: v for k, v in made.get_config().items() if k != "weights"}
    assert Filled.from_config(lacking).load_report is None


def lookup(**names):
    return {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"name": "x", "vocabulary": "/etc/passwd"},
        "registered_name": None,
        **names,
    }


@pytest.mark.parametrize(
    "part",
    [
        lookup(),
        lookup(class_name="TextVectorization"),
        lookup(class_name="keras.layers.StringLookup", module=None),
        lookup(class_name="TFSMLayer", config={"filepath": "/tmp/x"}),
        lookup(class_name="Lambda"),
        lookup(class_name="harmless", registered_name="keras>TorchModuleWrapper"),
        lookup(class_name="BertTokenizer", module="keras_hub.src.models.bert"),
        lookup(class_name="x", registered_name="keras_hub>ResNetImageConverter"),
        {"class_name": "__lambda__", "config": {"value": "x"}},
    ],
    ids=lambda part: part["class_name"],
)
@pytest.mark.parametrize("place", ["neck", "compile_config", "deep"])
def test_layers_that_read_files_are_refused(part, place, saved, tmp_path, watched):
    def change(config):
        if place == "compile_config":
            config["compile_config"] = {"optimizer": part}
        else:
            config["config"]["neck"] = part if place == "neck" else [{"x": [part]}]

    path = changed(saved, tmp_path, change)
    watched(path)
    with pytest.raises(DataError, match=r"layers that read no other files.*reads files or runs"):
        load_model(path)


def test_a_detector_inside_a_detector_names_no_weights():
    inner = {
        "module": "keras_det.models",
        "class_name": "EfficientDet",
        "registered_name": "keras_det>EfficientDet",
        "config": {"variant": "d0", "weights": "hf://owner/name"},
    }
    with pytest.raises(DataError, match=r"must not name weights.*x\.keras, with weights='hf://"):
        check_config({"config": {"backbone": inner}}, "x.keras")
    kernel = {"module": "keras.layers", "class_name": "Dense", "config": {"weights": [1.0]}}
    check_config({"config": {"neck": kernel}}, "x.keras")  # Keras' own argument


def test_presets_name_no_weights_either(saved, tmp_path):
    preset = tmp_path / "preset"
    preset.mkdir()
    for file in (saved / "preset").iterdir():
        (preset / file.name).write_bytes(file.read_bytes())
    config = json.loads((preset / CONFIG).read_text())
    config["config"]["weights"] = "hf://owner/name"
    (preset / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"must not name weights.*hf://owner/name"):
        RetinaNet.from_preset(preset)
    with pytest.raises(DataError, match=r"must not name weights.*hf://owner/name"):
        RetinaNet(**tiny_parts(num_classes=2, weights=preset))


@pytest.mark.parametrize("name", ["assets/x", "model.weights.npz", "../x", "config.json", "x/"])
def test_other_members_are_refused(name, saved, tmp_path):
    with pytest.warns() if name == CONFIG else pytest.MonkeyPatch.context():
        path = changed(saved, tmp_path, extra=[(name, b"{}")])
    with pytest.raises(DataError, match=r"must hold config\.json, metadata\.json and model\.weigh"):
        load_model(path)


def test_bombs_are_refused(saved, tmp_path, monkeypatch):
    packed = zipfile.ZIP_DEFLATED
    monkeypatch.setattr(keras_file, "FREE", 1 << 20)
    path = changed(saved, tmp_path, weights=bytes(3_000_000), compression=packed)
    with pytest.raises(
        DataError,
        match=r"model\.weights\.h5 of .* must unpack to at most 1,048,576 bytes.*3,000,000",
    ):
        load_model(path)
    monkeypatch.setattr(keras_file, "MAX_CONFIG", 1000)
    with pytest.raises(
        DataError, match=r"config\.json of a \.keras .* at most 1,000 bytes.*, where"
    ):
        load_model(saved / "model.keras")
    monkeypatch.undo()
    deep = tmp_path / "deep.keras"
    with zipfile.ZipFile(deep, "w") as archive:
        for name, content in ((CONFIG, "[" * 100_000), ("metadata.json", "{}"), (WEIGHTS, "")):
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"A \.keras file must be complete.*recursion"):
        load_model(deep)


def test_a_compressed_file_is_read_too(saved, tmp_path):
    path = changed(saved, tmp_path, compression=zipfile.ZIP_DEFLATED)
    assert load_model(path).num_classes == 2


# ---- HDF5 ----


def damaged(saved, change):
    """The weights after a change of the open file, as bytes."""
    stream = io.BytesIO((saved / WEIGHTS).read_bytes())
    with h5py.File(stream, "a") as file:
        change(file)
    return stream.getvalue()


def first(file):
    return file.visititems(lambda name, item: name if isinstance(item, h5py.Dataset) else None)


def replaced(make):
    def change(file):
        name = first(file)
        shape = file[name].shape
        del file[name]
        make(file, name, shape)

    return change


def external(file, name, shape):
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def linked(file, name, shape):
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file, name, shape):
    file[name] = h5py.SoftLink("/elsewhere")


def virtual(file, name, shape):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape)
    file.create_virtual_dataset(name, layout)


def unlimited(file, name, shape):
    layout = h5py.VirtualLayout((4,), "f4", maxshape=(None,))
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,), maxshape=(None,))
    file.create_virtual_dataset(name, layout)


def filtered(file, name, shape):
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((4,))
    settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard, which needs a plug-in
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings)


def huge(file, name, shape):
    file.create_dataset(name, (1 << 40,), "f4", chunks=(1024,))


def complex_numbers(file, name, shape):
    file.create_dataset(name, shape, "c8")


def text(file, name, shape):
    file.create_dataset(name, shape, "S4")


def linked_group(file, name, shape):
    file["layers_elsewhere"] = h5py.ExternalLink("other.h5", "/layers")


HOSTILE = {
    external: "a data set in another file at '",
    linked: "a link to another file at '",
    linked_group: "a link to another file at 'layers_elsewhere'",
    soft: "a soft link at '",
    complex_numbers: "a data set of complex numbers or records at '",
    text: "a data set of values that are no numbers at '",
    virtual: "a virtual data set at '",
    unlimited: "a virtual data set at '",
    filtered: "a data set with the filter 32015 at '",
    huge: r"data sets of \d+ bytes in a file of \d+ bytes, which may hold \d+, at '",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hdf5_holds_its_numbers_itself(make, saved, model, tmp_path, watched):
    weights = damaged(saved, replaced(make))
    plain = tmp_path / "model.weights.h5"
    plain.write_bytes(weights)
    whole = changed(saved, tmp_path, weights=weights)
    watched(tmp_path)
    for load in (
        lambda: load_model(whole),
        lambda: model.load_weights(plain),
        lambda: model.load_weights(whole),
        lambda: model.start_from(plain),
        lambda: model.start_from(whole),
    ):
        with pytest.raises(DataError, match=rf"all its data itself.*with {HOSTILE[make]}"):
            load()


def test_flags_are_no_weights(saved, model, tmp_path):
    flags = replaced(lambda file, name, shape: file.create_dataset(name, shape, bool))
    plain = tmp_path / "model.weights.h5"
    plain.write_bytes(damaged(saved, flags))
    whole = changed(saved, tmp_path, weights=plain.read_bytes())
    for load in (lambda: load_model(whole), lambda: model.load_weights(plain)):
        with pytest.raises(DataError, match="must be numbers.*1 array of True and False"):
            load()


def test_flags_of_a_layer_of_the_users_own_are_loaded(tmp_path):
    variable = keras.Variable(True, dtype="bool")
    check_flags([variable], Held(1, 1, flags=1), "x")
    with pytest.raises(DataError, match="2 arrays of True and False instead of 1"):
        check_flags([variable], Held(2, 2, flags=2), "x")


def test_files_of_keras_are_read_and_the_filters_come_back(saved, model):
    paths = [h5pl.get(i) for i in range(h5pl.size())]
    before = model.get_weights()
    model.set_weights([np.zeros_like(each) for each in before])
    model.load_weights(saved / WEIGHTS)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert paths == [h5pl.get(i) for i in range(h5pl.size())]


def test_compressed_data_sets_are_read(saved, tmp_path):
    def pack(file, name, shape):
        file.create_dataset(
            name, shape, "f4", compression="gzip", shuffle=True, fletcher32=True, chunks=shape
        )

    weights = damaged(saved, replaced(pack))
    assert load_model(changed(saved, tmp_path, weights=weights)).num_classes == 2


def test_damage_is_a_sentence(saved, tmp_path):
    content = (saved / "model.keras").read_bytes()
    path = tmp_path / "model.keras"
    for length in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"A \.keras file must be complete\. Received: "):
            check_keras_file(path)
    path = changed(saved, tmp_path, weights=b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError, match="must be a complete HDF5 file"):
        load_model(path)
