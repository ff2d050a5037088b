"""What all commands share: how errors and warnings reach the user, and the arguments' types."""

import contextlib
import os
import re
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from keras_det.errors import DataError
from keras_det.names import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE

# An option as messages name it, in words or in brackets.
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Options of `keras-det data convert` on how data is read.
WRITTEN_SO = (
    "--format",
    "--image-dir",
    "--box-format",
    "--sizes",
    "--voc-first-pixel",
    "--classes",
)


class Command(click.Command):
    """A command whose wrong input ends in one sentence and exit code 2.

    Args:
        examples: lines shown at the end of the help.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        if examples:
            kwargs["epilog"] = "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("show_default", True)
        for param in self.params:  # shorter than click's INTEGER RANGE
            if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
                param.metavar = "N" if isinstance(param.type, click.types.IntParamType) else "X"
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=lambda ctx, _, value: ctx.meta.update({"debug": value}),
                help="Show the traceback of an error.",
                show_default=False,
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", log_level())
        try:
            with _plain_warnings():
                self._refuse_empty(ctx)
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output has stopped, as `| head` does
            raise  # click ends quietly
        except (DataError, OSError) as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            raise WrongInput(_sentence(error) + _other_ways(str(error), ctx)) from error

    def _refuse_empty(self, ctx: click.Context) -> None:
        """Refuses an empty text, which would mean this folder, or count as not given."""
        for param in self.params:
            given = ctx.params.get(param.name or "")
            if given == "" or (isinstance(given, tuple) and "" in given):
                name = (
                    param.opts[-1] if param.opts[-1].startswith("-") else param.human_readable_name
                )
                other = ", or leave it out" * (not param.required)
                raise DataError(
                    f"{name} must not be empty. Received: an empty text. Give a value{other}."
                )


def _other_ways(message: str, ctx: click.Context) -> str:
    """What to do where a message advises options that this command does not have.

    Messages about data come from the readers, which do not know the command.
    """
    own = {name for param in ctx.command.params for name in param.opts}
    missing = [name for name in dict.fromkeys(OPTION.findall(message)) if name not in own]
    ways = ""
    for name in missing:
        if name in WRITTEN_SO:
            ways += (
                f" {ctx.command_path} has no {name}: first write the data set with `keras-det data "
                f"convert DATA NEW {name} …`, then give NEW."
            )
        elif name == "--split-by":
            ways += (
                f" {ctx.command_path} has no {name}: `keras-det data split DATA NEW` makes the "
                "split."
            )
    return ways


def log_level() -> str:
    """How much of TensorFlow's C++ log is shown: errors if a GPU may be the cause, else nothing.

    TensorFlow logs a page of messages at start. In the first training step it also logs "oneDNN
    supports DT_INT32 only …" as an error, although nothing is wrong. Real errors are raised as
    exceptions too.
    """
    return "2" if shutil.which("nvidia-smi") else "3"


class WrongInput(click.ClickException):
    """Shown as `Error: …`, without the usage line, because the usage was correct."""

    exit_code = 2


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line for a user, without file and line of our source."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(wrapped(f"Note: {message}"), err=True)


def wrapped(text: str) -> str:
    """Text whose long lines are broken between words on a terminal; in files it stays as it is."""
    if not sys.stderr.isatty():
        return text
    width = max(40, min(shutil.get_terminal_size().columns, 100))
    lines = [
        textwrap.wrap(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.splitlines()
    ]
    return "\n".join(part for line in lines for part in line)


def given_options(ctx: click.Context) -> set[str]:
    """Names of the options that were given on the command line, whatever their value."""
    on_command_line = click.core.ParameterSource.COMMANDLINE
    return {name for name in ctx.params if ctx.get_parameter_source(name) == on_command_line}


def refuse_useless(ctx: click.Context, names: Sequence[str], when: str, advice: str) -> None:
    """DataError if one of these options was given: they have no effect here.

    Args:
        ctx: of the command.
        names: of the options, as the command's function calls them.
        when: why, e.g. "without --calibrate".
        advice: what to do if it should have one, e.g. "give --calibrate".
    """
    for name in names:
        if name in given_options(ctx):
            option = f"--{name.replace('_', '-')}"
            raise DataError(
                f"{option} has no effect {when}. Received: {option} {ctx.params[name]}. Leave it "
                f"out, or {advice}."
            )


@contextlib.contextmanager
def user_input() -> Iterator[None]:
    """Turns a ValueError into a DataError, around calls that check the user's input."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error


class ImageSize(click.ParamType):
    """`320` or `320x416` (height x width), each side from 32 to 8,192 pixels."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            sides = tuple(int(side) for side in str(value).lower().split("x"))
        except ValueError:
            sides = ()
        if len(sides) not in (1, 2):
            self.fail(f"must be like 320 or 320x416 (height x width). Received: {value}.")
        if min(sides) < MIN_IMAGE_SIZE:
            self.fail(f"must be at least {MIN_IMAGE_SIZE} pixels. Received: {value}.")
        if max(sides) > MAX_IMAGE_SIZE:
            self.fail(
                f"must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE:,} pixels. Received: {value!s:.40}."
            )
        return (sides[0], sides[-1])


IMAGE_SIZE = ImageSize()
