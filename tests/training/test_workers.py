"""The workers of a training: their addresses, how they meet, and what they say of each other."""

import socket
import threading
import time

import pytest

from keras_det.errors import DataError
from keras_det.training.workers import Workers, from_environment, meet, workers_of

HERE = "127.0.0.1"


def free_ports(number):
    """Ports of this machine that nothing uses now."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind((HERE, 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def addresses(number=2):
    return [f"{HERE}:{port}" for port in free_ports(number)]


def met(list_of_workers, abouts):
    """What each worker of a meeting ends with: an error, or None."""
    ends = [None] * len(list_of_workers)

    def one(place):
        try:
            meet(list_of_workers[place], abouts[place])
        except DataError as error:
            ends[place] = str(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(list_of_workers))]
    for place, thread in enumerate(threads):
        thread.start()
        time.sleep(0.1 * place)  # they do not start at the same time
    for thread in threads:
        thread.join()
    return ends


def test_three_workers_meet_and_free_their_ports():
    names = addresses(3)
    workers = [Workers(names, i, 1.0) for i in range(3)]
    assert met(workers, [{"keras": "3"}] * 3) == [None] * 3
    assert met(workers, [{"keras": "3"}] * 3) == [None] * 3


def test_both_workers_are_told_what_differs():
    names = addresses()
    first, second = met(
        [Workers(names, i, 1.0) for i in range(2)], [{"keras": "3"}, {"keras": "4"}]
    )
    assert f"Received: keras '3' here, but '4' in worker 1 ({names[1]})" in first
    assert f"Received: keras '4' here, but '3' in worker 0 ({names[0]})" in second


def test_two_workers_with_one_index_are_refused():
    names = addresses(3)
    workers = Workers(names, 0, 0.05)
    wrong = Workers([names[0], names[2], names[1]], 2, 0.05)  # listens at the place of worker 1
    errors = met([workers, wrong], [{}, {}])
    assert "workers [" in errors[0] and "Start all of them with the same" in errors[0]


def test_a_worker_that_never_comes_is_named():
    names = addresses(3)
    began = time.monotonic()
    errors = met([Workers(names, i, 0.02) for i in range(2)], [{}, {}])
    assert time.monotonic() - began < 30
    for error in errors:
        assert error.startswith(
            "All workers must start within 0.02 minutes. Received: nothing from"
        )
        assert f"worker 2 ({names[2]})." in error and "worker 1" not in error


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        name = f"{HERE}:{taken.getsockname()[1]}"
        with pytest.raises(DataError, match=rf"must be free. Received: worker 0 \({name}\)"):
            meet(Workers([name, *addresses(1)], 0, 0.01), {})


def test_a_stranger_at_the_port_is_no_worker():
    names = addresses()
    ends = []

    def stranger():
        host, port = names[0].split(":")
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"index": [2]}\n'):
            for _ in range(100):
                try:
                    with socket.create_connection((host, int(port)), timeout=2) as connection:
                        connection.sendall(text)
                        connection.shutdown(socket.SHUT_WR)
                        ends.append(connection.recv(10))
                    break
                except OSError:
                    time.sleep(0.02)

    thread = threading.Thread(target=stranger)
    thread.start()
    (error,) = met([Workers(names, 0, 0.05)], [{}])
    thread.join()
    assert "nothing from worker 1" in error and ends == [b""] * 3


def test_unreachable_workers():
    with socket.socket() as alive:
        alive.bind((HERE, 0))
        alive.listen()
        names = [f"{HERE}:{alive.getsockname()[1]}", *addresses(2)]
        assert Workers(names, 2).unreachable() == [1]
        assert Workers(names, 1).name(0) == f"worker 0 ({names[0]})"


@pytest.mark.parametrize(
    "names, index, received",
    [
        (["a"], 0, "'a'"),
        (["a:0"], 0, "'a:0'"),
        (["a:70000"], 0, "'a:70000'"),
        (["a:x"], 0, "'a:x'"),
        ([":5000"], 0, "':5000'"),
        (["a:1", "a:1"], 0, "a:1,a:1"),
        ([], 0, "no address"),
        (["a:1", "b:1"], 2, "2"),
        (["a:1", "b:1"], -1, "-1"),
    ],
)
def test_wrong_addresses_are_refused(names, index, received):
    with pytest.raises(DataError, match=f"Received: {received}. Give all workers the same list"):
        Workers(names, index)


def test_tf_config_names_the_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert from_environment() is None
    cluster = '{"cluster": {"chief": ["c:1"], "worker": ["a:1", "b:2"]}, "task": %s}'
    monkeypatch.setenv("TF_CONFIG", cluster % '{"type": "worker", "index": 1}')
    assert from_environment(3.0) == Workers(["c:1", "a:1", "b:2"], 2, 3.0)
    assert workers_of(None, None, 3.0) == Workers(["c:1", "a:1", "b:2"], 2, 3.0)
    monkeypatch.setenv("TF_CONFIG", cluster % '{"type": "chief", "index": 0}')
    assert from_environment() == Workers(["c:1", "a:1", "b:2"], 0) and from_environment().chief
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}}')
    assert from_environment() is None


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"cluster": {"worker": ["a:1", "b:2"]}}']
    + ['{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "ps", "index": 0}}'],
)
def test_a_wrong_tf_config_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(DataError, match="TF_CONFIG must be JSON such as"):
        from_environment()


def test_workers_of_the_command_line():
    assert workers_of("a:1, b:2,", 1, 2.0) == Workers(["a:1", "b:2"], 1, 2.0)
    with pytest.raises(DataError, match="given together. Received: only --workers."):
        workers_of("a:1,b:2", None, 2.0)
    with pytest.raises(DataError, match="given together. Received: only --worker."):
        workers_of(None, 1, 2.0)
