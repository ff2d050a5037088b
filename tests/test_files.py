"""Files of results: whole or not there, and valid JSON."""

import errno
import json
import os
import pathlib
import shutil
import stat
import types

import numpy as np
import pytest

from keras_det import files
from keras_det.errors import DataError, DiskFull


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
    with pytest.raises(OSError, match="nobody reads from this named pipe: '.*pipe'"):
        files.write_whole(pipe, b"report")


def test_a_full_disk_is_named_with_the_bytes_wanted(tmp_path, monkeypatch):
    target = tmp_path / "metrics.json"
    target.write_text("old")

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(DiskFull) as error:
        patch.setattr(os, "replace", no_room)
        files.write_whole(target, b"x" * 1234)
    message = str(error.value)
    assert message.startswith(
        f"There must be enough space on the disk. Received: {target}, 1,234 bytes needed, "
    )
    assert " free. " in message and message.endswith("Free some space, or write to another disk.")
    assert isinstance(error.value, OSError) and error.value.errno == errno.ENOSPC
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["metrics.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_without_room(tmp_path):
    with pytest.raises(DiskFull, match="/dev/full, 5,000 bytes needed"):
        files.write_whole(pathlib.Path("/dev/full"), b"x" * 5000)


def test_a_full_disk_is_recognised_behind_other_errors():
    def raised(error, then=None):
        try:
            try:
                raise error
            finally:
                if then is not None:
                    raise then
        except Exception as found:
            return found

    full = OSError(errno.ENOSPC, "No space left on device")
    assert files.is_full(raised(full))
    assert files.is_full(raised(full, ValueError("Can't close the ZIP file")))
    assert files.is_full(raised(RuntimeError("write failed: No space left on device; a.index")))
    assert files.is_full(raised(OSError(errno.EFBIG, "File too large")))
    assert not files.is_full(raised(OSError(errno.EACCES, "Permission denied"), ValueError("x")))
    with pytest.raises(KeyError), files.room_for("x", 1):
        raise KeyError


def test_staging_names_the_final_path_where_there_is_no_room(tmp_path):
    final = tmp_path / "model.tflite"
    for wanted, said in ((5000, "5,000"), (0, "1,001")):  # unknown: more than was written
        with pytest.raises(DiskFull, match=rf"{final}, {said} bytes needed"):
            with files.staging(final, "It must be new", wanted) as (_, path):
                path.write_bytes(b"x" * 1000)
                raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_staged_file_without_room_is_removed_before_the_free_bytes_are_counted(
    tmp_path, monkeypatch
):
    left = []

    def no_room(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    def usage(folder):
        left.extend(tmp_path.rglob("model.onnx"))
        return types.SimpleNamespace(free=0)

    monkeypatch.setattr(pathlib.Path, "write_bytes", no_room)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    final = tmp_path / "model.onnx"
    with pytest.raises(DiskFull, match=rf"{final}, 3 bytes needed, 0 free"):
        with files.staging(final, "It must be new") as (_, path):
            files.write_staged(path, b"abc", final)
    assert left == [] and list(tmp_path.iterdir()) == []


def test_durable_files_are_synced_before_they_appear_and_their_folder_after(tmp_path, monkeypatch):
    calls = []
    replace, fsync = os.replace, os.fsync

    def synced(handle):
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    files.write_whole(tmp_path / "a", b"x", durable=True)
    assert calls == ["file", "replace", "folder"]
    calls.clear()
    files.write_whole(tmp_path / "b", b"x")
    assert calls == ["replace"]


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
