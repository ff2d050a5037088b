"""How often folders are listed."""

import os
from collections import Counter

import pytest

from keras_det.data.listing import entries, folders_in, listed_once, names_in
from keras_det.data.load import open_data
from tests.data.every_format import FORMATS, files_of, write


@pytest.fixture
def listed(monkeypatch):
    """How often each folder that exists is listed."""
    counts = Counter()

    def counting(original):
        def listing(path="."):
            counts[os.path.normpath(path)] += os.path.isdir(path)
            return original(path)

        return listing

    monkeypatch.setattr(os, "scandir", counting(os.scandir))
    monkeypatch.setattr(os, "listdir", counting(os.listdir))
    return counts


@pytest.mark.parametrize("name", FORMATS)
def test_recognising_a_format_lists_each_folder_once(tmp_path, name, listed):
    write(tmp_path, files_of(name))
    assert open_data(tmp_path).format.name == name
    assert listed[str(tmp_path)] == 1 and max(listed.values()) == 1


def test_folders_are_listed_again_after_the_block(tmp_path, listed):
    with listed_once():
        assert names_in(tmp_path) == []
        (tmp_path / "b").mkdir()
        (tmp_path / "a").touch()
        with listed_once():
            assert names_in(tmp_path) == []
    assert names_in(tmp_path) == ["a", "b"] and folders_in(tmp_path) == [tmp_path / "b"]
    assert listed[str(tmp_path)] == 3
    with listed_once(), pytest.raises(FileNotFoundError):
        entries(tmp_path / "lost")
