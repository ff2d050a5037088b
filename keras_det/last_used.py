"""A bounded cache: what has been compiled and is still in use."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

# Sets of settings whose compiled function is kept. Numbers, such as `score_threshold`, are
# arguments of one function and need none of their own.
MOST_FUNCTIONS = 4
# Sets of settings, with their numbers, that are kept checked.
MOST_SETTINGS = 64


class LastUsed(Generic[Value]):
    """Keeps the values of the keys that were used last, for any number of threads.

    Args:
        limit: int >= 1, how many are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: collections.OrderedDict[Hashable, Value] = collections.OrderedDict()
        # Making may take seconds: values that exist are handed out meanwhile.
        self._reading, self._making = threading.Lock(), threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the value of a key, which is made if it is not kept.

        Args:
            key: any hashable object.
            make: makes the value. One thread makes at a time, so that two never make the same.
        """
        found = self._find(key)
        if found:
            return found[0]
        with self._making:
            found = self._find(key)
            if found:
                return found[0]
            value = make()
            with self._reading:
                self._values[key] = value
                while len(self._values) > self.limit:
                    self._values.popitem(last=False)
        return value

    def _find(self, key: Hashable) -> tuple[Value, ...]:
        """The value of a key as a tuple of one; empty if it is not kept."""
        with self._reading:
            if key not in self._values:
                return ()
            self._values.move_to_end(key)
            return (self._values[key],)
