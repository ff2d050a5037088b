"""What the commands of `keras-det bench` share: progress, lines of 80 columns, JSON."""

import contextlib
import os
import pathlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from keras_det.cli.command import PATH, echo
from keras_det.errors import DataError
from keras_det.files import plain, write_json

WIDTH = 80
JSON = click.option("--json", "json_file", type=PATH, help="File to write the figures to, as JSON.")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows on standard error what is measured now.

    On a terminal, one line is rewritten; elsewhere each is written once.
    """
    live = sys.stderr.isatty()

    def say(what: str) -> None:
        text = f"Measuring: {what}"
        if live:
            columns = shutil.get_terminal_size().columns - 1
            click.echo("\r\x1b[K", err=True, nl=False)
            echo(text[:columns], err=True, nl=False)
        else:
            echo(text, err=True)

    try:
        yield say
    finally:
        if live:
            click.echo("\r\x1b[K", err=True, nl=False)


def echo_sentences(sentences: Iterable[str]) -> None:
    """Prints sentences, each on a new line, in at most 80 columns."""
    for sentence in sentences:
        if sentence:
            echo(textwrap.fill(sentence, WIDTH, subsequent_indent="  ", break_long_words=False))


def check_json(file: str | None) -> None:
    """DataError where the figures cannot be written there, before anything is measured."""
    if file is None:
        return
    path = pathlib.Path(file).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise DataError(
            f"--json must name a file in a folder that exists. Received: {file}. Create the "
            "folder first, or choose another file."
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(
            f"--json must name a file that can be written. Received: {file}. Choose another folder."
        )


def save_json(file: str | None, content: dict[str, Any]) -> None:
    """Writes the figures if a file was named."""
    if file is not None:
        write_json(pathlib.Path(file), plain(content))
        echo(f"Figures: {file}")
