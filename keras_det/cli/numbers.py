"""Types of options that are numbers in a range; the message for another value names the range."""

import math
from typing import Any

import click

from keras_det.names import MAX_COUNT

# Far more than anybody needs, as MAX_COUNT: a typing error is refused before it fills the memory.
MAX_BATCH = 65_536
MAX_DEVICES = 1_024  # of one machine


class Whole(click.IntRange):
    """A whole number in a range.

    Args:
        least, most: both in the range.
        word: a word that is accepted instead of a number, or None.
    """

    def __init__(self, least: int, most: int = MAX_COUNT, word: str | None = None) -> None:
        super().__init__(least, most)
        self.least, self.most, self.word = least, most, word
        self.words = f"a whole number from {least:,} to {most:,}"
        if word is not None:
            self.words += f', or "{word}"'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self.word is not None and value == self.word:
            return value
        try:
            number = int(value)
        except (ValueError, TypeError):
            number = None
        if number is None or not self.least <= number <= self.most:
            self.fail(f"must be {self.words}. Received: {value!s:.40}.", param, ctx)
        return number


class Odd(Whole):
    """An odd number in a range."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)
        self.words = f"an odd number from {least:,} to {most:,}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number % 2 == 0:
            self.fail(f"must be {self.words}. Received: {value!s:.40}.", param, ctx)
        return number


class Real(click.FloatRange):
    """A finite number in a range.

    Args:
        least, most: the ends of the range.
        open: which of the ends are outside: "", "least", "most" or "both".
    """

    def __init__(self, least: float, most: float, open: str = "") -> None:
        if open not in ("", "least", "most", "both"):
            raise ValueError(f"`open` must be an end of the range. Received: {open!r}.")
        super().__init__(
            least, most, min_open=open in ("least", "both"), max_open=open in ("most", "both")
        )
        self.least, self.most = least, most
        low = f"above {least:g}" if self.min_open else f"of at least {least:g}"
        high = f"below {most:g}" if self.max_open else f"at most {most:g}"
        self.words = (
            f"a number {low} and {high}" if open else f"a number from {least:g} to {most:g}"
        )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = float(value)
        except (ValueError, TypeError):
            number = math.nan
        above = self.least < number if self.min_open else self.least <= number
        below = number < self.most if self.max_open else number <= self.most
        if not (above and below):  # NaN is neither
            self.fail(f"must be {self.words}. Received: {value!s:.40}.", param, ctx)
        return number
