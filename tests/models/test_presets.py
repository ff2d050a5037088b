"""Presets: whole folders, exact round trips, clear refusals."""

import hashlib
import json
import os
import shutil
import sys
import types

import keras
import numpy as np
import pytest

import keras_det
from keras_det.errors import DataError
from keras_det.losses import GIoULoss
from keras_det.models import Detector, EfficientDet, RetinaNet
from keras_det.targets import ATSSTargets

FILES = {"README.md", "config.json", "metadata.json", "model.weights.h5"}
METRICS = {
    "AP": 0.3125,
    "AP50": np.float32(0.5),
    "AP_small": float("nan"),
    "AP_per_class": {"a": 1},
}


@pytest.fixture(scope="module")
def model():
    names = ["ant", "bee | wasp"]
    made = EfficientDet("lite0", class_names=names, image_size=(64, 96), resize_mode="stretch")
    perturb(made)
    return made


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "mine"
    model.save_to_preset(folder, source="https://a/b", license="Apache-2.0", metrics=METRICS)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A preset of one's own to damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def perturb(model):
    """Weights unlike those of a new model, so that an output tells them apart."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "float" in variable.dtype:
            variable.assign(variable + rng.uniform(0.01, 0.05, variable.shape))


def images(model):
    return np.random.default_rng(1).integers(0, 256, (2, *model.image_size, 3)).astype("uint8")


def check_equal(found, expected):
    batch = images(expected)
    raw, wanted = found(batch), expected(batch)
    for name in wanted:
        np.testing.assert_array_equal(raw[name], wanted[name])
    assert type(found) is type(expected)


def test_round_trip_is_exact(model, saved):
    found = EfficientDet.from_preset(saved)
    check_equal(found, model)
    assert found.get_config() == model.get_config()
    assert found.class_names == ["ant", "bee | wasp"]
    assert found.resize_policy == {"mode": "stretch", "size": (64, 96)}


def test_folder_is_in_the_form_that_keras_loads(model, saved):
    assert {path.name for path in saved.iterdir()} == FILES
    check_equal(keras.saving.load_model(saved), model)


def test_metadata_says_what_and_when(model, saved):
    metadata = json.loads((saved / "metadata.json").read_text())
    assert metadata["keras_version"] == keras.__version__
    assert metadata["keras_det_version"] == keras_det.__version__
    assert metadata["parameter_count"] == model.count_params()
    assert metadata["source"] == "https://a/b"
    assert metadata["metrics"] == {
        "AP": 0.3125,
        "AP50": 0.5,
        "AP_small": None,
        "AP_per_class": {"a": 1},
    }
    content = (saved / "model.weights.h5").read_bytes()
    assert metadata["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_card_shows_provenance(model, saved):
    card = (saved / "README.md").read_text()
    content = (saved / "model.weights.h5").read_bytes()
    assert card.startswith("---\nlibrary_name: keras\npipeline_tag: object-detection\n")
    assert '\nlicense: "apache-2.0"\n---\n' in card
    assert "| classes | ant, bee \\| wasp |" in card
    assert "| source | https://a/b |" in card
    assert "| licence | Apache-2.0 |" in card
    assert hashlib.sha256(content).hexdigest() in card
    assert "| AP | 0.3125 |\n| AP50 | 0.5 |\n\n" in card  # the undefined one is not shown
    assert "not measured" not in card
    assert f"| parameters | {model.count_params():,} |" in card


def test_card_says_what_is_not_known(model, tmp_path):
    model.save_to_preset(tmp_path / "p", license="Our own: see the site")
    card = (tmp_path / "p" / "README.md").read_text()
    assert "| source | not given |" in card
    assert "## Average precision\n\nnot measured\n" in card
    assert 'license: "other"\nlicense_name: "Our own: see the site"\n' in card


def test_metrics_come_from_a_file_too(model, tmp_path):
    (tmp_path / "metrics.json").write_text('{"AP": 0.25, "AP_small": null}')
    model.save_to_preset(tmp_path / "p", metrics=tmp_path / "metrics.json")
    assert "| AP | 0.25 |" in (tmp_path / "p" / "README.md").read_text()
    for content, match in (("[", "must be a JSON file"), ("[1]", "must hold a JSON object")):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(DataError, match=match):
            model.save_to_preset(tmp_path / "q", metrics=tmp_path / "metrics.json")
    assert not (tmp_path / "q").exists()


@pytest.mark.slow
def test_parts_and_mixed_precision_are_kept(tmp_path):
    application = keras.applications.MobileNetV2((64, 64, 3), include_top=False, weights=None)
    layers = {"P3": "block_5_add", "P4": "block_12_add", "P5": "out_relu"}
    model = RetinaNet(
        keras_det.backbones.feature_pyramid(application, layers),
        class_names=["ant"],
        image_size=64,
        normalization="tf",
        neck=keras_det.necks.PAFPN(32),
        neck_channels=32,
        matcher=ATSSTargets(num_candidates=5),
        box_loss=GIoULoss(),
        dtype="mixed_bfloat16",
    )
    perturb(model)
    model.save_to_preset(tmp_path / "p")
    found = RetinaNet.from_preset(tmp_path / "p")
    check_equal(found, model)
    assert found.class_head.compute_dtype == "bfloat16"
    assert isinstance(found.matcher, ATSSTargets) and found.matcher.num_candidates == 5
    assert isinstance(found.box_loss, GIoULoss)
    assert keras.config.dtype_policy().name == "float32"


def test_a_folder_that_holds_something_is_refused(model, saved, tmp_path):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(DataError, match="new or empty folder"):
        model.save_to_preset(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="new or empty folder"):
        model.save_to_preset(tmp_path / "file")


def test_an_empty_folder_is_filled(model, tmp_path):
    (tmp_path / "p").mkdir()
    model.save_to_preset(str(tmp_path / "p"))
    assert {path.name for path in (tmp_path / "p").iterdir()} == FILES
    # The permissions of any other new folder and file.
    (tmp_path / "plain").mkdir()
    assert os.stat(tmp_path / "p").st_mode == os.stat(tmp_path / "plain").st_mode


def test_nothing_is_left_when_writing_fails(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_det.models.presets, "model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save_to_preset(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_an_incomplete_folder_is_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"without {name}\\. Copy the whole folder"):
        EfficientDet.from_preset(copy)


def test_a_folder_that_does_not_exist_is_refused(saved):
    with pytest.raises(DataError, match="Did you mean 'mine'"):
        EfficientDet.from_preset(saved.with_name("mime"))


def test_damaged_weights_are_refused(copy):
    content = bytearray((copy / "model.weights.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.weights.h5").write_bytes(content)
    with pytest.raises(DataError, match="must have the SHA-256 given in metadata.json"):
        EfficientDet.from_preset(copy)


def test_a_preset_of_another_class_is_refused(copy):
    with pytest.raises(DataError, match="must hold a RetinaNet. Received: .*, a EfficientDet"):
        RetinaNet.from_preset(copy)
    config = json.loads((copy / "config.json").read_text())
    for name in ("other>EfficientDet", "keras_det>BiFPN"):
        (copy / "config.json").write_text(json.dumps({**config, "registered_name": name}))
        with pytest.raises(DataError, match="must hold a Detector"):
            Detector.from_preset(copy)


@pytest.mark.parametrize("change", [{"no_such": 1}, {"class_names": ["ant"]}, {"variant": "d99"}])
def test_a_configuration_that_does_not_fit_is_refused(copy, change):
    config = json.loads((copy / "config.json").read_text())
    config["config"].update(change)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="saved with 0.1.0: "):
        EfficientDet.from_preset(copy)


def fake_hub(monkeypatch, download):
    hub = types.SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)


def test_hugging_face_is_asked_for_the_four_files(model, saved, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, set(allow_patterns)))
        return str(saved)

    fake_hub(monkeypatch, download)
    check_equal(Detector.from_preset("hf://owner/my.model-1"), model)
    assert asked == [("owner/my.model-1", FILES)]


def test_without_huggingface_hub_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r'pip install -e ".*\[hub\]"'):
        EfficientDet.from_preset("hf://owner/name")


class ReadTimeout(Exception):
    """As httpx raises it where a download stops half-way: neither an OSError nor a ValueError."""


@pytest.mark.parametrize(
    "error", [ConnectionError("no network\nmore"), ValueError("bad name"), ReadTimeout("too slow")]
)
def test_offline_the_message_says_so(monkeypatch, error):
    def download(name, allow_patterns):
        raise error

    fake_hub(monkeypatch, download)
    reason = str(error).splitlines()[0]
    with pytest.raises(DataError, match=f"must be reachable.*{reason}\\. .*offline give a folder"):
        EfficientDet.from_preset("hf://owner/name")


def test_a_repository_that_is_no_preset_is_refused(tmp_path, monkeypatch):
    fake_hub(monkeypatch, lambda name, allow_patterns: str(tmp_path))
    with pytest.raises(DataError, match="hf://owner/name, without config.json, model.weights.h5"):
        EfficientDet.from_preset("hf://owner/name")


@pytest.mark.parametrize("address", ["hf://name", "hf://a/b/c", "kaggle://a/b", "hf://../b/.."])
def test_other_addresses_are_refused(address, monkeypatch):
    fake_hub(monkeypatch, lambda *_, **__: pytest.fail("must not be asked"))
    with pytest.raises(DataError, match="must be hf://owner/name"):
        EfficientDet.from_preset(address)
