"""Reads a few elements ahead in a thread, so that reading and computing overlap."""

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

Element = TypeVar("Element")
WAIT = 0.05  # seconds after which the thread looks whether it is still needed


def ahead(read: Generator[Element, None, None], size: int) -> Generator[Element, None, None]:
    """The elements of a generator, in order, with up to `size` of them read in advance.

    An exception of the generator is raised after the elements before it. Closing ends the thread
    and closes the generator.

    Args:
        read: runs in a thread of its own.
        size: int >= 1.
    """
    waiting: queue.Queue[tuple[bool, Element | BaseException | None]] = queue.Queue(size)
    stopped = threading.Event()

    def put(is_element: bool, value: Element | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((is_element, value), timeout=WAIT)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for element in read:
                if not put(True, element):
                    break
                del element  # else it would live until the next one is read
            end: BaseException | None = None
        except BaseException as error:  # raised again where the elements are used
            end = error
        read.close()
        put(False, end)

    thread = threading.Thread(target=work, name="keras_det reads ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_element, value = waiting.get()
            if is_element:
                yield value  # type: ignore[misc]
                del value
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
