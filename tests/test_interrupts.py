"""Signals end long work, also where a library swallows their exception."""

import signal
import threading

import pytest

from keras_det.export.check.publishing import exporting, publish
from keras_det.interrupts import USUAL, stop_if_asked, stoppable


@pytest.fixture(autouse=True)
def usual_handlers():
    """Those that Python starts with: a program in the background may ignore Ctrl-C."""
    kept = {number: signal.signal(number, handler) for number, handler in USUAL.items()}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def swallowing(number):
    """What happens where C++ calls back into Python: the exception is lost."""
    try:
        signal.raise_signal(number)
    except BaseException as error:
        return error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_swallowed_ends_the_export_and_leaves_nothing(tmp_path, number):
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    before = signal.getsignal(number)
    with pytest.raises(expected) as raised, exporting(tmp_path / "m.tflite") as (final, artefact):
        artefact.write_bytes(b"content")
        assert isinstance(swallowing(number), expected)
        publish(artefact, final, {".labels.txt": "a\n"})
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(number) is before
    assert number == signal.SIGINT or raised.value.code == 143
    stop_if_asked()  # nothing is left of it


def test_an_error_that_a_library_made_of_a_signal_is_the_signal(tmp_path):
    with pytest.raises(KeyboardInterrupt) as raised, exporting(tmp_path / "m.tflite"):
        swallowing(signal.SIGINT)
        raise SystemError("bad argument to internal function")
    assert "bad argument" in str(raised.value.__cause__)
    with pytest.raises(SystemError), exporting(tmp_path / "m.tflite"):
        raise SystemError("without a signal")


def test_without_a_signal_the_export_appears(tmp_path):
    with exporting(tmp_path / "m.tflite") as (final, artefact):
        artefact.write_bytes(b"content")
        publish(artefact, final, {".labels.txt": "a\n"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tflite", "m.tflite.labels.txt"]


def test_a_signal_ends_the_work_at_once_where_nothing_swallows_it():
    reached = []
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(signal.SIGINT)
        reached.append(True)
    assert reached == []


def test_a_handler_of_the_caller_stays_in_charge():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("own"))
    try:
        with stoppable():
            signal.raise_signal(signal.SIGTERM)
            stop_if_asked()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["own"]


def test_inner_work_is_part_of_the_outer():
    with pytest.raises(KeyboardInterrupt), stoppable():
        with stoppable():
            swallowing(signal.SIGINT)
        stop_if_asked()


def test_other_threads_are_left_alone():
    errors = []

    def work():
        try:
            with stoppable():
                stop_if_asked()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == [] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
