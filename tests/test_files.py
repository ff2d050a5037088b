"""Files of results: whole or not there, and valid JSON."""

import json
import os

import numpy as np
import pytest

from keras_det import files


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
