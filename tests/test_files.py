"""Files of results: whole or not there, and valid JSON."""

import json
import os

import numpy as np
import pytest

from keras_det import files
from keras_det.errors import DataError


def test_write_whole_keeps_the_old_file_when_interrupted(tmp_path, monkeypatch):
    target = tmp_path / "metrics.json"
    target.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(target, b"new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_write_whole_writes_through_links_and_into_pipes(tmp_path):
    target, link, pipe = (tmp_path / name for name in ("real.json", "link.json", "pipe"))
    target.write_text("old")
    link.symlink_to(target)
    files.write_whole(link, b"new")
    assert link.is_symlink() and target.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_whole(pipe, b"report")
    assert os.read(reader, 100) == b"report" and pipe.is_fifo()
    os.close(reader)


@pytest.mark.parametrize("name", ["folder", "missing/file.json"])
def test_write_whole_names_the_file_and_not_the_hidden_one(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=name) as error:
        files.write_whole(tmp_path / name, b"")
    assert error.value.filename == str(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")


def test_staging_never_replaces_a_pipe_or_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="exists already"):
        with files.staging(tmp_path / "pipe", "OUT must not exist yet"):
            pass


def test_write_json_turns_nan_into_null(tmp_path):
    target = tmp_path / "metrics.json"
    metrics = {"AP": np.float32(0.5), "AP_small": float("nan"), "AP_per_class": {"é": np.nan}}
    files.write_json(target, metrics)
    assert json.loads(target.read_text()) == {
        "AP": 0.5,
        "AP_small": None,
        "AP_per_class": {"é": None},
    }
    (tmp_path / "other").write_text("")
    assert target.stat().st_mode == (tmp_path / "other").stat().st_mode


# The digests of "abc" in RFC 1321 and FIPS 180-2.
def test_digest_of_the_algorithm(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.file_digest(tmp_path / "abc").startswith("ba7816bf8f01cfea")
    assert files.file_digest(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_staging_leaves_the_final_file_alone(tmp_path):
    with files.staging(tmp_path / "new" / "out.bin", "It must be new") as (final, path):
        path.write_bytes(b"x")
        os.replace(path, final)
    assert (tmp_path / "new" / "out.bin").read_bytes() == b"x"
    assert os.listdir(tmp_path / "new") == ["out.bin"]
    with (
        pytest.raises(DataError, match="It must be new. Received: .*out.bin, which exists alrea"),
        files.staging(tmp_path / "new" / "out.bin", "It must be new"),
    ):
        pass
