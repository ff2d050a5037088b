"""What the system refuses is said in three parts; what stands in the place of a file is no wait."""

import os

import pytest
from click.testing import CliRunner

from keras_det.cli.command import Command, _sentence
from keras_det.cli.data_options import class_list
from keras_det.data.pixel_limit import default_pixel_limit, pixel_limit
from keras_det.errors import DataError, Interrupted
from keras_det.runtime.engine_cache import EngineCache
from keras_det.runtime.exported import load_exported
from keras_det.training.run_lock import owner_of
from keras_det.training.states import load_newest, states_in


@pytest.mark.parametrize(
    "number, cure",
    [
        (13, "Change its permissions"),
        (20, "A file is in the place of a folder"),
        (21, "A folder is in the place of a file"),
        (36, "Choose a shorter name"),
        (5, "Check the path"),
    ],
)
def test_errors_of_the_system_have_three_parts(number, cure):
    text = _sentence(OSError(number, os.strerror(number), "a\x1b[31m/b"))
    start = "The system must allow reading and writing. Received: a\\x1b[31m/b "
    assert text.startswith(f"{start}({os.strerror(number)}). {cure}")
    assert len(_sentence(OSError(36, "File name too long", "x" * 5000))) < 500


@pytest.mark.parametrize("error, said", [(KeyboardInterrupt, True), (Interrupted, False)])
def test_ctrl_c_ends_as_in_a_shell(error, said):
    def body():
        raise error

    result = CliRunner().invoke(Command("x", callback=body), [])
    assert result.exit_code == 130
    assert ("Interrupted." in result.output) == said and "Aborted" not in result.output


def test_a_folder_under_a_file(refused, coco, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("data", "convert", coco, tmp_path / "file" / "new", "--to", "voc")
    assert "Received: " in message and "file" in message
    message = refused("doctor", coco, "--quick", "--classes", tmp_path)
    assert "The file of --classes must be UTF-8 text. Received: " in message


def test_a_long_list_of_classes_is_no_path(tmp_path, monkeypatch):
    names = [f"class number {i}" for i in range(100)]
    assert class_list(",".join(names)) == names
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").mkdir()
    assert class_list("cat") == ["cat"]


def test_pipes_beside_a_model_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "names.txt")
    with pytest.raises(DataError, match=r"--classes must be UTF-8.*it is a named pipe"):
        class_list(str(tmp_path / "names.txt"))
    os.mkfifo(tmp_path / "lock")
    assert owner_of(tmp_path / "lock") == {}
    (tmp_path / "m.keras").write_bytes(b"x")
    (tmp_path / "m.keras.engines").mkdir()
    for name in ("engines.json", "network.tflite"):
        os.mkfifo(tmp_path / "m.keras.engines" / name)
    assert EngineCache(tmp_path / "m.keras").network("litert") is None
    os.mkfifo(tmp_path / "epoch_9999.keras")
    for checksum in (False, True):
        if checksum:
            os.mkfifo(tmp_path / "epoch_9999.keras.sha256")
        with pytest.raises(DataError, match=r"an undamaged state.*epoch_9999\.keras cannot be"):
            load_newest(states_in(tmp_path), ["a"], print)


def test_a_pipe_in_the_place_of_a_certificate(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "m.tflite").write_bytes(b"x")
    os.mkfifo(tmp_path / "m.tflite.certificate.json")
    with pytest.raises(DataError, match=r"must be in the same folder.*named pipe"):
        load_exported(tmp_path / "m.tflite")


def test_a_limit_of_pixels_fits_into_64_bits():
    with default_pixel_limit(10**30):
        assert pixel_limit() == 2**62
