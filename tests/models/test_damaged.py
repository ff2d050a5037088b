"""Damaged model files: one sentence with the file's name and the cure, never wrong weights."""

import io
import json
import os
import pathlib
import random
import zipfile

import keras
import numpy as np
import pytest

from keras_det import load_model
from keras_det.errors import DataError
from keras_det.files import opening, reason_of
from keras_det.models import Detector
from keras_det.models.opening import check_finite
from keras_det.weights.common.fill import Slot, fill
from tests.export.tiny import tiny
from tests.fuzz import mutators, saved
from tests.weights.common.torch_writer import stream_head


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, its weights and its preset."""
    folder = tmp_path_factory.mktemp("made")
    saved.build(folder, [])
    return folder


@pytest.fixture(scope="module")
def whole(made):
    return (made / "m.keras").read_bytes()


def refused(tmp_path, data, name="m.keras"):
    """The message for a `.keras` file with this content."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match="Received: ") as caught:
        load_model(path)
    assert str(path) in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def test_the_whole_file_is_loaded(made):
    assert load_model(made / "m.keras").class_names == ["cat", "dog", "cow"]


@pytest.mark.parametrize(
    "start, what",
    [
        (stream_head(), "a PyTorch file. Rename it to .pth"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file. Rename it to .h5"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, start, what):
    assert what in refused(tmp_path, start + bytes(500))


def test_a_zip_of_torch_is_named(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert "a PyTorch file. Rename it to .pth" in refused(tmp_path, content.getvalue())


def test_one_flipped_bit_of_the_weights_is_named(tmp_path, whole):
    place = whole.index(b"\x89HDF") + 200_000
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    message = refused(tmp_path, damaged)
    assert "model.weights.h5 does not match its checksum. Copy or" in message
    # What it is for: Keras alone reads the weights, and finds nothing wrong in many of its bytes.
    (tmp_path / "m.keras").write_bytes(damaged)
    with pytest.raises(DataError, match="not match its checksum"):
        tiny((64, 64)).start_from(tmp_path / "m.keras")


def test_no_flipped_bit_is_a_traceback_or_another_weight(tmp_path, whole, made):
    rng, path = random.Random(0), tmp_path / "m.keras"
    outcomes = []
    for _ in range(30):
        path.write_bytes(mutators.flipped_bit(whole, rng))
        outcomes.append(outcome_of(lambda: saved.check_whole(path)))
    assert set(outcomes) <= {"whole", "refused"} and outcomes.count("refused") > 25


def outcome_of(call):
    try:
        call()
    except DataError:
        return "refused"
    return "whole"


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "an empty file. Copy or save it again."),
        (
            b"<html>404</html>",
            "16 bytes, not a Keras archive (not a zip file). Copy or save it again.",
        ),
        (b"PK\x03\x04" + b"\0" * 100, "104 bytes, not a Keras archive"),
    ],
)
def test_other_files_are_refused(tmp_path, data, reason):
    assert reason in refused(tmp_path, data)


def test_truncated_files_and_missing_members_are_refused(tmp_path, whole):
    assert "not a Keras archive" in refused(tmp_path, whole[: len(whole) // 2])
    for name in ("config.json", "model.weights.h5", "metadata.json"):
        assert f"without {name}. Copy or" in refused(tmp_path, saved.rezipped(whole, {name: None}))


@pytest.mark.parametrize(
    "config, reason",
    [
        (b"{", "Expecting property name"),
        (b"[]", "config.json"),
        (b"null", "config.json"),
        (b'{"class_name": "Nobody", "module": "nowhere", "config": {}}', "Nobody|nowhere"),
    ],
)
def test_a_configuration_of_another_shape(tmp_path, whole, config, reason):
    message = refused(tmp_path, saved.rezipped(whole, {"config.json": config}))
    own = "If it has classes of your own, import them first. Otherwise save the model again."
    assert (own if b"Nobody" in config else "Copy or save it again.") in message


def test_arguments_of_another_kind(tmp_path, whole):
    content = json.loads(saved.member(whole, "config.json"))
    for name, value in (("score_thresholds", [0.1]), ("image_size", "x"), ("class_names", 5)):
        changed = {**content, "config": {**content["config"], name: value}}
        config = json.dumps(changed).encode()
        assert "m.keras" in refused(tmp_path, saved.rezipped(whole, {"config.json": config}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, whole, value):
    weights = saved.with_value(saved.member(whole, "model.weights.h5"), value)
    message = refused(tmp_path, saved.rezipped(whole, {"model.weights.h5": weights}))
    assert "Weights must be finite numbers. Received: " in message
    assert "holds NaN or infinity (variables with such numbers: 1)" in message
    (tmp_path / "m.weights.h5").write_bytes(weights)
    model = tiny((64, 64))
    before = model.get_weights()
    with pytest.raises(DataError, match="m.weights.h5, where .* holds NaN or infinity"):
        model.start_from(tmp_path / "m.weights.h5")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_preset_whose_weights_are_not_finite(tmp_path, made):
    import hashlib
    import shutil

    preset = shutil.copytree(made / "preset", tmp_path / "preset")
    data = saved.with_value((preset / "model.weights.h5").read_bytes(), np.nan)
    (preset / "model.weights.h5").write_bytes(data)
    metadata = json.loads((preset / "metadata.json").read_text())
    metadata["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (preset / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="preset/model.weights.h5, where .* holds NaN"):
        Detector.from_preset(preset)


def test_bfloat16_is_checked_too():
    variable = keras.Variable([1.0, np.nan], dtype="bfloat16", name="v")
    with pytest.raises(DataError, match="Received: a file, where 'v' holds NaN"):
        check_finite([variable], "a file")
    check_finite([keras.Variable([1, 2], dtype="int32"), keras.Variable([1.0])], "a file")


def test_public_weights_that_are_not_finite_are_named():
    variable = keras.Variable([1.0, 2.0])
    with pytest.raises(DataError, match="a mapping, where 'a' holds NaN or infinity"):
        fill([Slot("a", variable)], {"a": np.array([np.inf, 1.0])}, "Give another.")
    for other in (np.array([True, False]), np.array([1, 2]), np.array([1j, 2.0])):
        with pytest.raises(DataError, match=rf"m\.pth, where 'a' holds {other.dtype}\. Give an"):
            fill([Slot("a", variable)], {"a": other}, "Give another.", "m.pth")
    np.testing.assert_array_equal(variable, [1, 2])


def test_something_else_in_the_place_of_a_model(tmp_path):
    path = tmp_path / "m.keras"
    path.mkdir()
    with pytest.raises(DataError, match="m.keras, which is a folder. Give the file"):
        load_model(path)
    os.mkfifo(tmp_path / "p.keras")
    with pytest.raises(DataError, match="p.keras, which is a named pipe. Give the file"):
        load_model(tmp_path / "p.keras")


def test_the_door_names_the_file_and_lets_sentences_through():
    with pytest.raises(DataError, match=r"^A file must be so. Received: x \(gone\). Mend it.$"):
        with opening("x", "A file must be so", "Mend it."):
            raise RuntimeError("gone.\nand more")
    with pytest.raises(DataError, match="^as it is$"), opening("x", "r", "c"):
        raise DataError("as it is")
    with pytest.raises(KeyboardInterrupt), opening("x", "r", "c"):
        raise KeyboardInterrupt
    assert reason_of(KeyError("a")) == "KeyError: 'a'"
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(OSError(2, "No such file", "x")) == "No such file"
    assert reason_of(MemoryError()) == "it needs more memory than is available"
    assert len(reason_of(ValueError("x" * 999))) == 200


def test_archives_of_zip_that_lie_about_their_members(tmp_path, whole):
    file = io.BytesIO(whole)
    with zipfile.ZipFile(file) as archive:
        directory = archive.start_dir
    for place in range(directory, min(directory + 120, len(whole)), 7):
        data = whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :]
        path = pathlib.Path(tmp_path / "m.keras")
        path.write_bytes(data)
        assert outcome_of(lambda: saved.check_whole(path)) in ("whole", "refused")  # noqa: B023
