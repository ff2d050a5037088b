"""Reads the marks of objects (crowd, difficult, group), which files write in many ways."""

import math
from typing import Any

TRUE = frozenset(("1", "true", "yes", "t", "y", "on"))
FALSE = frozenset(("0", "false", "no", "f", "n", "off", "", "none", "null", "nan"))


def truth(value: Any) -> bool | None:
    """Whether a mark is set: a number above 0, or a word such as "true" or "yes".

    A missing value, NaN and -1 (OpenImages: unknown) are False. None where the value is neither.
    """
    if value is None:
        return False
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:  # a scalar of NumPy
        value = value.item()
    if isinstance(value, (bool, int, float)):
        return value > 0
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return None
    word = value.strip().strip("'\"").lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    try:
        number = float(word)
    except ValueError:
        return None
    return number > 0 if math.isfinite(number) else None
