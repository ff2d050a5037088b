"""Copying from a server of this computer: what breaks, falls silent, and goes on later."""

import functools
import hashlib
import http.server
import re
import socket
import threading
import time

import pytest

from keras_det.errors import DataError
from keras_det.weights.common import transfer
from keras_det.weights.common.fetch import fetch
from tests.weights.common.archive_writer import kept

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
HALF = 2 * transfer.CHUNK


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, or the half of it, or nothing for a while; obeys Range as servers do."""

    def do_GET(self):
        server = self.server
        server.asked.append({k: self.headers[k] for k in ("Range", "If-Range") if self.headers[k]})
        if server.mode == "silent":
            server.wake.wait(20)
            return
        if server.mode == "gone":
            self.send_error(404)
            return
        start, content = 0, server.content
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and self.headers.get("If-Range") == server.etag:
            start = int(found[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        stop = HALF if server.mode in ("breaks", "falls silent") else len(content)
        self.wfile.write(content[start:stop])
        self.wfile.flush()
        if server.mode == "falls silent":
            server.wake.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("KERAS_DET_OFFLINE")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.mode, server.etag, server.content, server.asked = "whole", '"1"', CONTENT, []
    server.wake = threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}/a.h5"
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True)
    thread.start()
    yield server
    server.wake.set()
    server.shutdown()
    server.server_close()


def fetched(server, cache, **kwargs):
    return fetch(server.address, name="a.h5", cache_dir=cache, **kwargs).read_bytes()


def test_a_file_comes_whole(server, cache):
    assert fetched(server, cache) == CONTENT
    assert server.asked == [{}] and kept(cache) == ["a.h5", "a.h5.sha256"]


def test_a_broken_download_is_completed_later(server, cache):
    server.mode = "breaks"
    with pytest.raises(DataError, match=r"must be reachable\. Received: http.*a\.h5 \(.*\)\. With"):
        fetched(server, cache)
    assert kept(cache) == [".fetching-a.h5", ".fetching-a.h5.json"]
    assert (cache / "models" / ".fetching-a.h5").read_bytes() == CONTENT[:HALF]
    server.mode = "whole"
    assert fetched(server, cache) == CONTENT
    assert server.asked[1] == {"Range": f"bytes={HALF}-", "If-Range": '"1"'}
    assert kept(cache) == ["a.h5", "a.h5.sha256"]


def test_a_part_of_an_older_file_is_not_completed(server, cache):
    server.mode = "breaks"
    with pytest.raises(DataError):
        fetched(server, cache)
    server.mode, server.etag, server.content = "whole", '"2"', CONTENT[::-1]
    assert fetched(server, cache) == CONTENT[::-1]


def test_a_server_that_gives_no_version_is_asked_for_all(server, cache):
    server.mode, server.etag = "breaks", ""
    with pytest.raises(DataError):
        fetched(server, cache)
    server.mode = "whole"
    assert fetched(server, cache) == CONTENT and server.asked[1] == {}


# The server says that the file is the same, and it is not.
def test_a_completed_file_with_a_wrong_hash_is_copied_anew(server, cache):
    server.mode, server.content = "breaks", CONTENT[::-1]
    digest = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DataError, match="must be reachable"):
        fetched(server, cache, file_hash=digest)
    server.mode, server.content = "whole", CONTENT
    assert fetched(server, cache, file_hash=digest) == CONTENT
    assert [len(each) for each in server.asked] == [0, 2, 0]


@pytest.mark.parametrize("mode", ["silent", "falls silent"])
def test_silence_ends_in_a_sentence(server, cache, monkeypatch, mode):
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.2)
    server.mode = mode
    with pytest.raises(DataError, match=r"a\.h5 \(no data arrived for 0\.2 seconds\)\. Without"):
        fetched(server, cache)


# A resolver that hangs cannot be given a time limit; the thread that waits for it can be left.
def test_a_name_that_is_never_resolved_ends_in_a_sentence(cache, monkeypatch):
    monkeypatch.delenv("KERAS_DET_OFFLINE")
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.2)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20))
    started = time.monotonic()
    with pytest.raises(DataError, match=r"no data arrived for 0\.2 seconds"):
        fetch("http://example.invalid/a.h5", name="a.h5", cache_dir=cache)
    released.set()
    assert time.monotonic() - started < 10 and kept(cache) == []


def test_what_the_server_refuses_is_named(server, cache):
    server.mode = "gone"
    with pytest.raises(DataError, match=r"a\.h5 \(404 Not Found\)\. Without"):
        fetched(server, cache)
    assert kept(cache) == []


def test_offline_asks_nobody(server, cache, monkeypatch):
    monkeypatch.setenv("KERAS_DET_OFFLINE", "1")
    with pytest.raises(DataError, match=r"a\.h5 \(KERAS_DET_OFFLINE is set\)\. Without a network"):
        fetched(server, cache)
    assert server.asked == []
    monkeypatch.setenv("KERAS_DET_OFFLINE", "0")
    assert fetched(server, cache) == CONTENT
    monkeypatch.setenv("KERAS_DET_OFFLINE", "1")
    assert fetched(server, cache) == CONTENT, "what is in the cache needs no network"


def test_an_interruption_leaves_a_part_that_is_not_the_file(server, cache, monkeypatch):
    show, calls = transfer._show, []

    def interrupt(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        show(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(transfer, "_show", interrupt)
        fetched(server, cache)
    assert kept(cache) == [".fetching-a.h5", ".fetching-a.h5.json"]
    assert fetched(server, cache) == CONTENT and "Range" in server.asked[1]


def test_two_processes_do_not_write_into_one_part(tmp_path):
    target = tmp_path / "a.h5"
    with transfer.part_of(target) as first:
        first.write_bytes(b"half")
        with transfer.part_of(target) as second:
            assert second != first
            second.write_bytes(b"x")
        assert not second.exists() and first.read_bytes() == b"half"
    with transfer.part_of(target) as third:
        assert third == first


def test_progress_is_for_terminals(server, cache, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetched(server, cache)
    assert "\rFetching a.h5: 0.1 of 0.1 MB\n" in capsys.readouterr().err


def test_more_than_any_checkpoint_has_is_refused(server, cache, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(DataError, match=r"102400 bytes or more, and the limit is 102399"):
        fetched(server, cache)
    assert kept(cache) == []


def test_what_cannot_be_continued_is_not_kept(server, cache):
    server.mode, server.etag = "breaks", ""
    with pytest.raises(DataError, match="must be reachable"):
        fetched(server, cache)
    assert kept(cache) == []
