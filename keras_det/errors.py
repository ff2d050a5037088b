"""Errors that the user can correct, and helpers for the advice in their messages."""

import difflib
import os
import pathlib
import re
from collections.abc import Iterable

from keras_det.words import printable

DISTRIBUTION = "keras-det"
CHECKOUT = pathlib.Path(__file__).resolve().parent.parent


class DataError(ValueError):
    """Wrong input from outside: a missing file, a bad annotation, an unknown name.

    The message has three parts: what must hold, `Received:` with the value, what to do next. The
    command line prints it as one sentence and exits with code 2. Control characters, which names of
    files may hold, are written as in `printable`.
    """

    def __init__(self, *messages: object) -> None:
        super().__init__(
            *(printable(each, keep="\n") if isinstance(each, str) else each for each in messages)
        )


class DiskFull(DataError, OSError):
    """No room for a file: the disk or the quota is full, or the limit on file sizes is reached."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a training, which has said what is saved and how to continue."""


def suggest(name: object, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the choice nearest to `name`, "" if none is near.

    Args:
        name: what was asked for; anything, compared as text.
        choices: the names that exist.
    """
    near = difflib.get_close_matches(str(name).lower(), [str(c) for c in choices], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def suggest_path(path: pathlib.Path) -> str:
    """Returns `suggest` for a path that does not exist, among the names in the same folder."""
    return suggest(path.name, os.listdir(path.parent) if path.parent.is_dir() else [])


def install_hint(extra: str) -> str:
    """Returns the command that installs an extra of `setup.cfg` here.

    The package is not on an index, so pip cannot find it by its name. In a checkout, the command
    installs it again with the extra: `pip install -e "/path/to/it[edge]"`. If a wheel is installed,
    the command installs the packages of the extra by name: `pip install "ai-edge-litert"`.

    Args:
        extra: name of the extra, such as "edge".

    Raises:
        ValueError: there is no such extra.
    """
    if (CHECKOUT / "setup.cfg").is_file() and (CHECKOUT / "export").is_dir():
        return f'pip install -e "{CHECKOUT}[{extra}]"'
    import importlib.metadata  # takes longer than the rest of this module

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # copied, not installed
        return f'pip install -e ".[{extra}]" in a checkout of keras_det'
    # Build backends write "keras_hub" as "keras-hub" (PEP 685).
    name = re.escape(extra).replace("_", "[-_.]")
    marker = re.compile(rf"""extra\s*==\s*['"]{name}['"]""")
    needed = [line.split(";")[0].strip() for line in lines if marker.search(line)]
    if not needed:
        raise ValueError(f"`extra` must be an extra of {DISTRIBUTION}. Received: {extra!r}.")
    return " ".join(["pip install", *(f'"{each}"' for each in needed)])
