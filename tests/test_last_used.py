import threading
import time

import pytest

from keras_det.last_used import LastUsed


def test_the_last_used_are_kept():
    made = []
    cache = LastUsed(2)

    def get(key):
        return cache.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abac"] == ["A", "B", "A", "C"]  # "b" goes
    assert get("a") == "A" and made == ["a", "b", "c"] and len(cache) == 2
    assert get("b") == "B" and made == ["a", "b", "c", "b"]


def test_one_key_is_made_once_by_many_threads():
    cache, made = LastUsed(8), []

    def make():
        time.sleep(0.02)
        made.append(1)
        return len(made)

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get("a", make))) for _ in "12345678"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8 and made == [1]


def test_what_exists_is_handed_out_while_another_is_made():
    cache = LastUsed(8)
    cache.get("a", lambda: 1)
    begun, read = threading.Event(), threading.Event()

    def make():
        begun.set()
        assert read.wait(5), "`get` of another key waits"
        return 2

    thread = threading.Thread(target=lambda: cache.get("b", make))
    thread.start()
    assert begun.wait(5) and cache.get("a", lambda: 3) == 1
    read.set()
    thread.join()


def test_an_error_is_not_kept():
    cache = LastUsed(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert cache.get("a", lambda: 5) == 5
