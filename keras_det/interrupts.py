"""Ctrl-C and SIGTERM end long work, also where a library swallows the exception, and clean up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# The handlers that are replaced: those that Python starts with.
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class _State(threading.local):
    """What happened in this thread; signals come in the main thread."""

    depth = 0
    wanted: BaseException | None = None


_STATE = _State()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Remembers that Ctrl-C or SIGTERM came, so that `stop_if_asked` can raise it again.

    TensorFlow calls back into Python from C++. An exception that a signal raises there can be lost,
    or become another one, which is replaced by that of the signal. SIGTERM raises SystemExit(143)
    here instead of ending the process at once, so that what was begun is removed. Handlers of the
    caller stay in charge: if there is one, it is kept. In other threads than the main one, where no
    signal is handled, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _STATE.depth:
        yield
        return
    kept = {}
    for number, usual in USUAL.items():
        if signal.getsignal(number) is usual:
            kept[number] = signal.signal(number, _remember)
    _STATE.depth, _STATE.wanted = 1, None
    try:
        yield
    except Exception as error:
        stop_if_asked(error)  # a library may raise something else in its place
        raise
    finally:
        _STATE.depth, _STATE.wanted = 0, None
        for number, handler in kept.items():
            signal.signal(number, handler)


def _remember(number: int, frame: FrameType | None) -> None:
    _STATE.wanted = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
    raise _STATE.wanted


def stop_if_asked(cause: Exception | None = None) -> None:
    """Raises the KeyboardInterrupt or SystemExit of a signal that came, and was swallowed."""
    if _STATE.wanted is not None:
        raise _STATE.wanted from cause
