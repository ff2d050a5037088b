"""Saved states: which are kept, which are loaded, and what is never saved."""

import hashlib
import json

import keras
import numpy as np
import pytest

from keras_det.errors import DataError, DiskFull
from keras_det.training import states
from tests.export.tiny import tiny


@pytest.fixture(scope="module")
def model():
    """A detector with an optimizer that has taken no step."""
    model = tiny(image_size=(64, 64))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    return model


def small():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def load(folder, model):
    lines = []
    names = model.class_names
    found, state, _ = states.load_newest(states.states_in(folder), names, lines.append)
    return found, state.epochs, lines


def test_the_last_three_states_are_kept_with_their_checksums(tmp_path):
    model, folder = small(), tmp_path / "checkpoints"
    assert states.load_newest(states.states_in(folder), [], print) == (None, None, {})
    for epochs in (1, 2, 3, 4, 5):
        states.save_state(model, folder, epochs)
    kept = [f"epoch_000{epochs}.keras" for epochs in (3, 4, 5)]
    assert names(folder) == sorted([*kept, *(f"{name}.sha256" for name in kept)])
    assert [state.epochs for state in states.states_in(folder)] == [5, 4, 3]
    content = (folder / "epoch_0005.keras").read_bytes()
    text = f"{hashlib.sha256(content).hexdigest()}  epoch_0005.keras\n"
    assert (folder / "epoch_0005.keras.sha256").read_text() == text, "as `sha256sum --check` reads"
    states.save_state(model, folder, 4)  # after a fall-back: the fifth was damaged
    assert [state.epochs for state in states.states_in(folder)] == [4, 3]


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, model):
    for epochs in (1, 2, 3):
        states.save_state(model, tmp_path, epochs)
    found, epochs, lines = load(tmp_path, model)
    assert epochs == 3 and lines == ["The run continues after epoch 3."]
    for a, b in zip(model.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    path = tmp_path / "epoch_0003.keras"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one flipped bit
    path.write_bytes(content)
    _, epochs, lines = load(tmp_path, model)
    assert epochs == 2 and len(lines) == 2
    assert lines[0].startswith(f"Note: {path} is not used: it is damaged (its SHA-256")
    assert lines[1] == "The run continues from the previous state, after epoch 2."
    for state in states.states_in(tmp_path):
        state.path.write_bytes(b"")
    with pytest.raises(DataError, match=r"must have an undamaged state. Received: .*--weights"):
        load(tmp_path, model)


def test_states_of_earlier_versions_have_no_checksum(tmp_path, model):
    for epochs in (1, 2):
        states.save_state(model, tmp_path, epochs)
        states.checksum_of(tmp_path / f"epoch_000{epochs}.keras").unlink()
    assert load(tmp_path, model)[1:] == (2, ["The run continues after epoch 2."])
    path = tmp_path / "epoch_0002.keras"
    path.write_bytes(path.read_bytes()[:-1000])  # cut off
    _, epochs, lines = load(tmp_path, model)
    assert epochs == 1 and "is not used: it cannot be read (" in lines[0]


def test_other_models_and_states_with_nan_are_not_used(tmp_path, model, monkeypatch):
    states.save_state(model, tmp_path, 1)
    small().save(tmp_path / "epoch_9999.keras")
    other = tiny(image_size=(64, 64), seed=1)
    other.save(tmp_path / "epoch_0003.keras")
    with monkeypatch.context() as patch:
        patch.setattr(states, "refuse_not_finite", lambda model: None)  # as earlier versions did
        spoiled = tiny(image_size=(64, 64))
        spoiled.compile(keras.optimizers.SGD(0.1))
        spoiled.weights[0].assign(spoiled.weights[0] * np.nan)
        spoiled.save(tmp_path / "epoch_0002.keras")
    _, epochs, lines = load(tmp_path, model)
    assert epochs == 1
    reasons = [line.split(" is not used: ")[1] for line in lines[:-1]]
    assert reasons[:2] == ["it holds another model.", "it holds no optimizer."]
    assert "holds NaN or infinity" in reasons[2]


@pytest.mark.parametrize("spoil", ["weight", "optimizer"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_never_saved(tmp_path, spoil, value):
    model = small()
    states.save_state(model, tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    variable = model.weights[0] if spoil == "weight" else model.optimizer.variables[-1]
    assert tuple(variable.shape) == (1, 1)
    variable.assign(np.full((1, 1), value))
    with pytest.raises(DataError, match="All weights must stay finite. Received: NaN or inf"):
        states.save_state(model, tmp_path, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_leaves_the_earlier_states_whole(tmp_path, model, monkeypatch):
    states.save_state(model, tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    wanted = states.size_of(model)
    assert wanted == sum(v.nbytes for v in map(np.asarray, model.get_weights())) + sum(
        np.asarray(v).nbytes for v in model.optimizer.variables
    )

    def no_room(path):
        with open(path, "wb") as file:
            file.write(b"the first part")
        try:
            raise OSError(28, "No space left on device")
        finally:  # as zipfile does, which closes what it could not write
            raise ValueError("Can't close the ZIP file while there is an open writing handle")

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "save", lambda self, path, **_: no_room(path))
        for act in (
            lambda: states.save_state(model, tmp_path, 2),
            lambda: states.save_whole(model, tmp_path / "last.keras"),
        ):
            with pytest.raises(DiskFull, match=rf"(0002|last).keras, {wanted:,} bytes needed, "):
                act()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("moment", ["save", "digest", "replace", "checksum"])
def test_a_program_killed_at_any_moment_leaves_a_state_that_loads(
    tmp_path, model, monkeypatch, moment
):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    states.save_state(model, tmp_path, 1)
    states.save_state(model, tmp_path, 2)  # the one to be replaced, as after a fall-back
    names = {
        "save": "keras_det.training.states.sync",
        "digest": "keras_det.training.states.file_digest",
        "replace": "os.replace",
        "checksum": "keras_det.training.states.write_whole",
    }
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(names[moment], kill)
        states.save_state(model, tmp_path, 2)
    found, epochs, lines = load(tmp_path, model)
    assert found is not None and epochs == 2 and lines == ["The run continues after epoch 2."]


def test_left_over_files_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = [".best.partial.keras", ".history.csv.abc", "checkpoints/.epoch_0003.partial.keras"]
    left += ["checkpoints/.epoch_0003.keras.sha256.abc"]
    kept = ["best.keras", "history.csv", "checkpoints/epoch_0003.keras", ".run.lock"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    states.remove_left_over(tmp_path)
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in kept)


def test_a_state_within_an_epoch_has_its_random_numbers_and_means(tmp_path, model):
    folder = tmp_path / "checkpoints"
    states.save_state(model, folder, 3)
    for metric in model.metrics:
        metric.variables[0].assign(7.25)
    state = states.save_state(model, folder, 3, 40, {"unread": 2})
    assert state.path.name == "epoch_0003_step_000040.keras" and state.place == "step 40 of epoch 4"
    for metric in model.metrics:
        metric.reset_state()
    lines, known = [], model.class_names
    found, newest, noted = states.load_newest(states.states_in(folder), known, lines.append)
    assert (newest, noted["unread"]) == (state, 2)
    assert lines == ["The run continues after step 40 of epoch 4."]
    assert [float(m.variables[0]) for m in found.metrics] == [7.25] * len(model.metrics)
    # Kept: the newest three, in the order of the training.
    for place in ((3, 80), (4, 0)):
        states.save_state(model, folder, *place)
    assert [s[1:] for s in states.states_in(folder)] == [(4, 0), (3, 80), (3, 40)]
    assert len(list(folder.glob("*.json"))) == 2 and len(list(folder.glob("*.sha256"))) == 3
    states.save_state(model, folder, 3, 40)  # trained again: later ones were damaged
    assert [s[1:] for s in states.states_in(folder)] == [(3, 40)]


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"sha256": "0"}', "generators", "means", "metric"]
)
def test_a_state_whose_json_is_damaged_is_not_used(tmp_path, model, content):
    states.save_state(model, tmp_path, 1)
    path = states.running_of(states.save_state(model, tmp_path, 1, 5).path)
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        noted = json.loads(path.read_text())
        if content == "metric":
            noted["means"][next(iter(noted["means"]))] = ["x", {}]
        else:
            noted[content] = "x"
        path.write_text(json.dumps(noted))
    _, epochs, lines = load(tmp_path, model)
    assert epochs == 1 and len(lines) == 2 and "epoch_0001_step_000005.keras is not us" in lines[0]
    assert lines[1] == "The run continues from the previous state, after epoch 1."
