"""Words that several parts put into their sentences, and text that is safe to print."""

import re
from collections.abc import Callable, Sequence

# Control characters, line breaks, marks that turn the direction of writing, and halves of
# characters, as which Python reads file names that are no UTF-8.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and a noun, in the plural except for 1: "1 image", "1,024 images".

    Args:
        number: how many.
        noun: in the singular.
        plural: of the noun, if it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def either(words: Sequence[str]) -> str:
    """Words as a choice: "a", "a or b", "a, b or c"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def printable(text: str, keep: str = "") -> str:
    """The text with control characters as Python writes them: a line break becomes "\\n".

    Names of classes and files may come from strangers. An escape sequence in one would change what
    a terminal shows, and a line break would add a line to a log or to a file of labels.

    Args:
        text: a name, or a sentence with names in it.
        keep: characters to keep, such as the line breaks of a text of several lines.
    """
    if text.isprintable():
        return text
    return UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text
    )


def printing(say: Callable[[str], object]) -> Callable[[str], None]:
    """A function that passes lines on to `say`, as `printable` writes them, with their breaks."""

    def say_safely(line: str = "") -> None:
        say(printable(line, keep="\n\t"))

    return say_safely
