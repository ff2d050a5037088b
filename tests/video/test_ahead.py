"""Reading ahead keeps the order, the errors and a limit, and ends when it is closed."""

import threading
import time

import pytest

from keras_det.video.ahead import ahead


def counting(events, count=10, fail_at=None):
    """Numbers from 0; notes each one, and its end."""
    try:
        for k in range(count):
            if k == fail_at:
                raise ValueError(f"no {k}")
            events.append(k)
            yield k
    finally:
        events.append("closed")


def test_elements_come_in_order_and_the_generator_is_closed():
    events = []
    assert list(ahead(counting(events), 3)) == list(range(10))
    assert events == [*range(10), "closed"]


def test_no_more_than_the_limit_is_read():
    events = []
    reading = ahead(counting(events), 3)
    assert next(reading) == 0
    # One was taken, three wait, and the thread holds one more.
    deadline = time.monotonic() + 60
    while len(events) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    reading.close()
    assert events == [0, 1, 2, 3, 4, "closed"]
    assert "keras_det reads ahead" not in [thread.name for thread in threading.enumerate()]


def test_an_error_comes_after_the_elements_before_it():
    events, found = [], []
    with pytest.raises(ValueError, match="no 4"):
        for element in ahead(counting(events, fail_at=4), 2):
            found.append(element)
    assert found == [0, 1, 2, 3] and events[-1] == "closed"
