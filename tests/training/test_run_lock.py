"""One process at a time in a run folder, whatever becomes of the one before."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from keras_det.errors import DataError
from keras_det.names import RUN_LOCK
from keras_det.training import run_lock as module
from keras_det.training.run_lock import owner_of, run_lock

HOLD = """
import pathlib, sys, time
from keras_det.training.run_lock import run_lock
with run_lock(pathlib.Path(sys.argv[1]), print):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_pipe_in_the_place_of_the_lock_is_named(tmp_path):
    os.mkfifo(tmp_path / RUN_LOCK)
    with pytest.raises(
        DataError, match=r"a regular file\. Received: .*run\.lock, which is a named"
    ):
        with run_lock(tmp_path, print):
            pass
    assert (tmp_path / RUN_LOCK).is_fifo(), "it is left where it was"


def test_the_lock_names_its_owner_and_is_gone_afterwards(tmp_path):
    lines = []
    with run_lock(tmp_path, lines.append):
        owner = owner_of(tmp_path / RUN_LOCK)
        assert owner["process"] == os.getpid() and owner["computer"] == socket.gethostname()
        with pytest.raises(DataError) as error, run_lock(tmp_path, lines.append):
            pass
        message = str(error.value)
        assert "Only one process may train in a run folder. Received: " in message
        assert f"in use by process {os.getpid()} on {socket.gethostname()} since " in message
        assert owner_of(tmp_path / RUN_LOCK) == owner, "the refused one has changed nothing"
    assert list(tmp_path.iterdir()) == [] and lines == []
    with pytest.raises(KeyError), run_lock(tmp_path, lines.append):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(DataError, match=f"in use by process {process.pid} on"):
            with run_lock(tmp_path, print):
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = []
        with run_lock(tmp_path, lines.append):
            assert owner_of(tmp_path / RUN_LOCK)["process"] == os.getpid()
    assert lines == [
        f"Process {process.pid} on {socket.gethostname()} ended without releasing this folder. Its "
        "lock is taken over."
    ]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": "x"}'])
def test_a_lock_that_says_nothing_is_taken_over(tmp_path, content):
    (tmp_path / RUN_LOCK).write_text(content)
    with run_lock(tmp_path, lambda line: pytest.fail(line)):
        pass


# A file system on a network may have no locks: then the owner's number counts.
@pytest.mark.parametrize(
    "owner, refused",
    [
        ({"process": os.getpid(), "computer": socket.gethostname()}, True),
        ({"process": 2**22 + 1, "computer": socket.gethostname()}, False),
        ({"process": 10**30, "computer": socket.gethostname()}, False),
        ({"process": 1, "computer": "another one"}, True),
        ({}, False),
    ],
)
def test_without_locks_the_owner_is_looked_for(tmp_path, monkeypatch, owner, refused):
    fcntl = pytest.importorskip("fcntl")

    def none(*_):
        raise OSError(module.NO_LOCKS[0], "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / RUN_LOCK).write_text(json.dumps(owner))
    if refused:
        with pytest.raises(DataError, match="Only one process .* remove .*lock"):
            with run_lock(tmp_path, print):
                pass
    else:
        with run_lock(tmp_path, lambda line: None):
            pass


def test_a_lock_that_is_removed_in_between_is_made_anew(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    real, calls = fcntl.flock, []

    def slow(handle, how):
        calls.append(handle)
        if len(calls) == 1:  # its owner ends between our opening and our locking
            (tmp_path / RUN_LOCK).unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with run_lock(tmp_path, print):
        assert len(calls) == 2 and (tmp_path / RUN_LOCK).is_file()
