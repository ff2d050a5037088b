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
