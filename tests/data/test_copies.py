"""Copies of training images among validation images."""

import os

import pytest

from keras_det.data import copies
from keras_det.data.copies import find_copies


def files(folder, contents):
    """Writes one file per content; returns their paths."""
    paths = []
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        paths.append(str(folder / name))
    return paths


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that are opened."""
    found = []
    original = copies.open_bytes
    monkeypatch.setattr(
        copies, "open_bytes", lambda path: found.append(os.path.basename(path)) or original(path)
    )
    return found


def test_only_files_of_equal_size_are_opened(tmp_path, opened):
    train = files(tmp_path, {"t/a": b"1", "t/b": b"22", "t/c": b"333", "t/d": b"4444"})
    val = files(tmp_path, {"v/e": b"22", "v/f": b"444", "v/g": b"55555"})
    assert find_copies(train, val) == ([(val[0], train[1])], True)
    assert sorted(opened) == ["b", "c", "e", "f"]


def test_equal_paths_and_lost_files_are_no_copies_and_links_are(tmp_path, opened):
    train = files(tmp_path, {"t/a": b"1", "t/b": b"22"})
    os.link(train[1], tmp_path / "link")
    val = [train[0], str(tmp_path / "lost"), "\0", str(tmp_path / "link")]
    assert find_copies(train, val) == ([(val[3], train[1])], True)
    assert opened == []


# Ten bytes are more than two parts of four: the whole files are read where both parts are equal.
@pytest.mark.parametrize(
    "other, same, whole", [(b"x23", 0, 0), (b"123", 1, 1), (b"12y", 0, 0), (b"1x3", 0, 1)]
)
def test_beginning_and_end_are_compared_first(tmp_path, monkeypatch, other, same, whole):
    monkeypatch.setattr(copies, "PART", 4)
    compared = []
    original = copies._equal
    monkeypatch.setattr(copies, "_equal", lambda *pair: compared.append(pair) or original(*pair))
    train = files(tmp_path, {"t/a": b"1" * 4 + b"22" + b"3" * 4})
    val = files(tmp_path, {"v/b": other[:1] * 4 + other[1:2] * 2 + other[2:] * 4})
    assert len(find_copies(train, val).pairs) == same and len(compared) == whole


def test_the_number_of_opened_files_is_limited(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(copies, "LEAST_OPENED", 5)
    train = files(tmp_path, {f"t/{i}": bytes([i]) * (9 + i) for i in range(8)})
    val = files(tmp_path, {f"v/{i}": bytes([i]) * (9 + i) for i in range(8)})
    found = find_copies(train, val)
    assert len(found.pairs) == 2 and not found.all_compared and len(opened) == 4
    monkeypatch.setattr(copies, "LEAST_OPENED", 99)
    assert find_copies(train, val) == (sorted(zip(val, train, strict=True)), True)


def test_empty_files_are_no_copies(tmp_path):
    assert find_copies(files(tmp_path, {"t/a": b""}), files(tmp_path, {"v/a": b""})).pairs == []
