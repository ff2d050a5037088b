"""Errors that are the user's to mend, and the helper that finds the name they meant."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Wrong input from outside: a missing file, a bad annotation, an unknown name.

    The message has three parts: what must hold, `Received:` with the value, what to do next. The
    command line prints it as one sentence and exits with code 2.
    """


def suggest(name: object, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the choice nearest to `name`, or an empty string.

    Args:
        name: what was asked for; anything, compared as text.
        choices: the names that exist.
    """
    near = difflib.get_close_matches(str(name).lower(), [str(c) for c in choices], n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
