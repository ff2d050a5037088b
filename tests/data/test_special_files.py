"""Named pipes, sockets and devices in a folder: left out or refused, never waited for."""

import contextlib
import os
import signal
import socket

import pytest

from keras_det.data import load, read_image
from keras_det.data.image import read_header
from keras_det.errors import DataError
from keras_det.files import open_handle, read_bytes
from keras_det.video.sources import find_images
from tests.data.every_format import FORMATS, expected, files_of, objects_by_image, outcome, write

SUFFIXES = (".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".jsonl", ".pbtxt", ".tfrecord")
SECONDS = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")


@pytest.fixture(autouse=True)
def _no_hang():
    """A test that waits for a pipe fails instead of waiting for ever."""

    def stop(*_):
        pytest.fail("waited for a file that nobody writes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", FORMATS)
def test_named_pipes_beside_the_files_change_nothing(tmp_path, name):
    write(tmp_path, files_of(name))
    for suffix in (*SUFFIXES, ".jpg"):
        pipe(tmp_path / f"0{suffix}")
        pipe(tmp_path / f"z{suffix}")
    for folder in ("annotations", "labels", "images", "train"):
        pipe(tmp_path / folder / "0.json")
        pipe(tmp_path / folder / "0.xml")
    found = outcome(tmp_path, name)
    if found.dataset is None:
        assert "not a regular file" in found.error
    else:
        assert objects_by_image(found.dataset) == expected()


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_of_named_pipes_is_recognised_as_without_them(tmp_path, name):
    write(tmp_path, files_of(name))
    for suffix in SUFFIXES:
        pipe(tmp_path / f"0{suffix}")
    with contextlib.suppress(DataError):
        load(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_an_annotation_that_is_a_named_pipe_is_never_an_empty_one(tmp_path, name):
    """Reading a pipe without writer gives no bytes: it must not pass for a file without objects."""
    files = files_of(name)
    write(tmp_path, files)
    first = min(file for file in files if not file.endswith((".png", ".yaml")))
    pipe(tmp_path / first)
    found = outcome(tmp_path, name)
    notes = "" if found.dataset is None else " ".join(found.dataset.notes)
    assert found.error or first in notes


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_that_is_a_named_pipe_is_left_out_with_a_note(tmp_path, name):
    write(tmp_path, files_of(name))
    pipe(tmp_path / "a.png")
    found = outcome(tmp_path, name)
    assert found.error or list(objects_by_image(found.dataset)) == ["b.png"]
    assert found.error or any("left out" in note and "a" in note for note in found.dataset.notes)


def test_a_path_that_is_no_regular_file_is_refused_by_its_kind(tmp_path):
    pipe(tmp_path / "a.json")
    with pytest.raises(DataError, match="must be a folder or a regular file.*a named pipe"):
        load(tmp_path / "a.json")
    with pytest.raises(DataError, match="must be a folder or a regular file.*a device"):
        load("/dev/zero")
    with pytest.raises(DataError, match="An image.*a named pipe"):
        read_image(tmp_path / "a.json")
    with pytest.raises(DataError, match="it is a named pipe"):
        read_header(tmp_path / "a.json")


def test_predict_leaves_out_named_pipes_of_a_folder_and_refuses_a_given_one(tmp_path):
    (tmp_path / "a.jpg").touch()
    pipe(tmp_path / "b.jpg")
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.jpg"]
    with pytest.raises(DataError, match="regular file or a folder.*b.jpg, which is a named pipe"):
        find_images([str(tmp_path / "b.jpg")])


def test_predict_names_folders_that_it_cannot_read(tmp_path, monkeypatch):
    for name in ("a", "b", "c.jpg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").touch()
    scandir = os.scandir

    def refused(path):
        if path == os.path.join(str(tmp_path), "b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.warns(UserWarning, match=r"A folder cannot be read and is left out: .*b \(Permi"):
        found = find_images([str(tmp_path)])
    assert found == [tmp_path / "a" / "x.jpg", tmp_path / "c.jpg" / "x.jpg"]


def test_only_regular_files_and_links_to_them_are_opened(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo")
    (tmp_path / "link").symlink_to(tmp_path / "a.txt")
    assert read_bytes(tmp_path / "a.txt") == read_bytes(tmp_path / "link") == b"one\r\ntwo"
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as opened:
        opened.bind("socket")
        with pytest.raises(OSError, match="it is a socket, not a regular file"):
            open_handle(tmp_path / "socket")
    with pytest.raises(OSError, match="it is a device, not a regular file"):
        open_handle("/dev/zero")
    with pytest.raises(IsADirectoryError):
        open_handle(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_handle(tmp_path / "none")
